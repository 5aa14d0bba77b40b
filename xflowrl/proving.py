"""Proves a rewritten model as a file, and gives up the rewrites that are in the way, alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xflowrl.problem import Problem, Step
from xflowrl.replaying import record, replay_some

if TYPE_CHECKING:
    import numpy as np

    from xflowrl.onnx_io import Model
    from xflowrl.verify import Verdict

_MAX_GIVEN_UP = 8


@dataclass(frozen=True)
class Proof:
    """What is proven of a sequence of rewrites.

    Attributes:
        steps: those that the written file has.
        verdict: on that file.
        given_up: rules of the steps without which it is proven, in order.
        fixed: rules of the steps that hold at one size of a dynamic dimension only, in order.
        reason: why the first of them is not.
    """

    steps: tuple[Step, ...]
    verdict: Verdict
    given_up: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    reason: str = ""

    @property
    def refusal(self) -> str:
        """One line: why nothing of it can be delivered."""
        if self.given_up or self.fixed:
            return f"not proven equal: {self.reason}"
        return f"not proven: {self.verdict.detail}"


def prove_steps(
    problem: Problem,
    steps: Sequence[Step],
    file: Path,
    *,
    model: Model | None = None,
    views: bool = False,
    draws: int,
    seed: int,
    inputs: Mapping[str, np.ndarray] | None = None,
    deadline_s: float = float("inf"),
) -> Proof:
    """Writes the model that the steps lead to, without those that make it another function.

    The step at fault ends the longest proven prefix, found by bisection; those behind it are kept
    where they still match. Eight steps at fault are looked for; then all steps of their rules are
    left out, and if that does not help, or `deadline_s` of `time.monotonic` has passed, the longest
    proven prefix is taken. Undecided is not at fault.

    Args:
        file: is written, also where nothing is proven.
        model: what all the steps lead to, if it is at hand.
        views: as for `save_onnx`.
    """

    def prove(tried: Sequence[Step]) -> tuple[Verdict, bool]:
        if model is not None and len(tried) == len(steps):
            result = model
        else:
            result = problem.model.with_graph(record(problem, tried).final.graph)
        return _prove(
            *(problem.model, result, file), views=views, draws=draws, seed=seed, inputs=inputs
        )

    kept, given_up, fixed, reason = list(steps), list[str](), list[str](), ""
    while True:
        verdict, needs_fixed = prove(kept)
        if verdict.status != "different" or not kept:
            return Proof(tuple(kept), verdict, tuple(given_up), tuple(fixed), reason)
        reason = reason or verdict.detail
        tried = {len(kept): needs_fixed}

        def is_proven(prefix: Sequence[Step], tried: dict[int, bool] = tried) -> bool:
            verdict, tried[len(prefix)] = prove(prefix)
            return verdict.equal

        index = _first_wrong(kept, is_proven)
        (fixed if tried[index + 1] else given_up).append(kept[index].rule)
        num_found = len(given_up) + len(fixed)
        if num_found > _MAX_GIVEN_UP or time.monotonic() > deadline_s:
            kept = kept[:index]
            continue
        left = [other for other in range(len(kept)) if other != index]
        if num_found == _MAX_GIVEN_UP:  # too many to find each: none of these rules is trusted
            given_up.extend(kept[other].rule for other in left if kept[other].rule in given_up)
            fixed.extend(kept[other].rule for other in left if kept[other].rule in fixed)
            left = [other for other in left if kept[other].rule not in (*given_up, *fixed)]
        kept = replay_some(record(problem, kept), left)[1]


def _first_wrong(steps: Sequence[Step], is_proven: Callable[[Sequence[Step]], bool]) -> int:
    """Index of the step after the longest proven prefix; all of them together are not proven."""
    proven, wrong = 0, len(steps)
    while wrong - proven > 1:
        middle = (proven + wrong) // 2
        if is_proven(steps[:middle]):
            proven = middle
        else:
            wrong = middle
    return proven


def _prove(
    original: Model,
    result: Model,
    file: Path,
    *,
    views: bool,
    draws: int,
    seed: int,
    inputs: Mapping[str, np.ndarray] | None,
) -> tuple[Verdict, bool]:
    """Writes the result and compares it with the original; does it need a fixed size?"""
    from xflowrl import verify
    from xflowrl.onnx_io import NeedsFixedSize, save_onnx

    try:
        save_onnx(result, file, views=views)
        verdict = verify.verify_file(
            original, result, file, draws=draws, seed=seed, inputs=inputs, views=views
        )
    except ValueError as error:  # not valid ONNX, or of another interface
        verdict = verify.Verdict("different", float("inf"), float("inf"), str(error))
        return verdict, isinstance(error, NeedsFixedSize)
    return verdict, False
