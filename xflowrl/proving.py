"""Proves a rewritten model as a file, and gives up the rewrites that are in the way, alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xflowrl.problem import Problem, Step
from xflowrl.replaying import Recording, record, replay_some

if TYPE_CHECKING:
    import numpy as np

    from xflowrl.onnx_io import Model
    from xflowrl.verify import Verdict

logger = logging.getLogger(__name__)

Place = tuple[int, int]  # where a proof fails, as `Verdict.failed` has it
_WRITING = (-1, -1)  # before anything was run
_MAX_GIVEN_UP = 8
_MAX_SWEEPS = 4
_LOOKING = 4  # times the first proof
_MIN_LOOKING_S = 30.0


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
    reference: Path | None = None,
    views: bool = False,
    draws: int,
    seed: int,
    inputs: Mapping[str, np.ndarray] | None = None,
    deadline_s: float = float("inf"),
) -> Proof:
    """Writes the model that the steps lead to, without those that make it another function.

    A proof that fails may say in which pieces of the network, and with which weights and inputs.
    Suspects are the steps that bind or make something there, or all if it does not say. The one at
    fault ends the longest prefix of them, among all other steps, that does not show this difference
    there; it is found by bisection and left out alone. What is left is proven in whole again.

    Looking takes at most four times as long as the first proof, or 30 s if that is longer, and ends
    at `deadline_s` of `time.monotonic`: then the suspects are left out from the first on that was
    not found innocent. Eight steps at fault are looked for; then all steps of their rules are left
    out; then all from the next one on. After four more proofs that fail no step is kept. Undecided
    is not at fault.

    Args:
        file: is written, also where nothing is proven.
        model: what all the steps lead to, if it is at hand.
        reference: the original's file, likewise.
        views: as for `save_onnx`.
    """

    def prove(result: Model, only: Place | None = None) -> tuple[Verdict, bool]:
        options: Any = {"views": views, "draws": draws, "seed": seed, "inputs": inputs}
        return _prove(problem.model, result, file, reference=reference, only=only, **options)

    begun_s, until_s, num_sweeps = time.monotonic(), None, 0
    kept, given_up, fixed, reason = list(steps), list[str](), list[str](), ""
    result = model or problem.model.with_graph(record(problem, kept).final.graph)
    while True:
        verdict, needs_fixed = prove(result)
        if verdict.status != "different" or not kept:
            return Proof(tuple(kept), verdict, tuple(given_up), tuple(fixed), reason)
        if until_s is None:
            reason, took_s = verdict.detail, time.monotonic() - begun_s
            until_s = min(deadline_s, begun_s + took_s + max(_MIN_LOOKING_S, _LOOKING * took_s))
        recording = record(problem, kept)
        suspects = _suspects(recording, verdict.pieces)
        others = sorted({*range(len(kept))}.difference(suspects))
        place, tried = verdict.failed, {len(suspects): needs_fixed}

        def differs(
            number: int,
            recording: Recording = recording,
            suspects: Sequence[int] = suspects,
            others: Sequence[int] = others,
            place: Place | None = place,
            tried: dict[int, bool] = tried,
        ) -> bool:
            state, _ = replay_some(recording, [*others, *suspects[:number]])
            verdict, tried[number] = prove(problem.model.with_graph(state.graph), place)
            return verdict.status == "different"

        index, first_wrong = _first_wrong(len(suspects), differs, until_s)
        faulty = [suspects[index]] if first_wrong == index + 1 else suspects[index:]
        (fixed if tried[first_wrong] else given_up).extend(kept[step].rule for step in faulty)
        left = sorted({*range(len(kept))}.difference(faulty))
        num_found = len(given_up) + len(fixed)
        if len(faulty) > 1 or num_found > _MAX_GIVEN_UP:
            num_sweeps += 1
            logger.info("%s; not all rewrites at fault were found one by one", verdict.detail)
            if len(faulty) == 1:  # what is before it is all that can be trusted
                left = list(range(faulty[0]))
            if num_sweeps > _MAX_SWEEPS:
                logger.info("no part of %d rewrites could be proven in this time", len(kept))
                left = []
        elif num_found == _MAX_GIVEN_UP:  # too many to find each: none of these rules is trusted
            given_up.extend(kept[step].rule for step in left if kept[step].rule in given_up)
            fixed.extend(kept[step].rule for step in left if kept[step].rule in fixed)
            wrong = {*given_up, *fixed}
            left = [step for step in left if kept[step].rule not in wrong]
        state, kept = replay_some(recording, left)
        result = problem.model.with_graph(state.graph)


def _suspects(recording: Recording, pieces: Collection[str]) -> list[int]:
    """The steps that bind or make a tensor of some pieces, or go with one that does.

    A step goes with another that binds what it makes, or makes what it binds. All steps if that is
    none, or if there are no pieces. Linear in the number of steps.
    """
    steps, made = recording.steps, recording.made
    reached = set(pieces)
    for graph in (recording.origin.graph, recording.final.graph):  # files have the public names
        outputs = zip(graph.outputs, graph.output_tensors, strict=True)
        reached.update(tensor for public, tensor in outputs if public in pieces)
    maker = {name: index for index, names in enumerate(made) for name in names}
    binders: dict[str, list[int]] = {}
    for index, step in enumerate(steps):
        for name in step.tensors:
            binders.setdefault(name, []).append(index)
    pending = [
        index
        for index, step in enumerate(steps)
        if not reached.isdisjoint(step.tensors) or not reached.isdisjoint(made[index])
    ]
    found: set[int] = set()
    while pending:
        index = pending.pop()
        if index not in found:
            found.add(index)
            pending.extend(maker[name] for name in steps[index].tensors if name in maker)
            pending.extend(other for name in made[index] for other in binders.get(name, []))
    return sorted(found) or list(range(len(steps)))


def _first_wrong(number: int, differs: Callable[[int], bool], until_s: float) -> tuple[int, int]:
    """How many of `number` suspects do not differ together, and how many do: one more, or more.

    All of them differ, none of them does not. One more if there is time until `until_s`.
    """
    innocent, wrong = 0, number
    while wrong - innocent > 1 and time.monotonic() < until_s:
        middle = (innocent + wrong) // 2
        if differs(middle):
            wrong = middle
        else:
            innocent = middle
    return innocent, wrong


def _prove(
    original: Model,
    result: Model,
    file: Path,
    *,
    reference: Path | None,
    only: Place | None,
    views: bool,
    draws: int,
    seed: int,
    inputs: Mapping[str, np.ndarray] | None,
) -> tuple[Verdict, bool]:
    """Writes the result and compares it with the original; does it need a fixed size?"""
    from xflowrl import verify
    from xflowrl.onnx_io import NeedsFixedSize, save_onnx

    place: Place | None = _WRITING
    try:
        save_onnx(result, file, views=views)
        if only == _WRITING:
            return verify.Verdict("undecided", 0.0, 0.0, "not asked"), False
        place = None
        verdict = verify.verify_file(
            *(original, result, file),
            draws=draws,
            seed=seed,
            inputs=inputs,
            reference=reference,
            only=only,
        )
    except ValueError as error:  # not valid ONNX, or of another interface
        verdict = verify.Verdict("different", float("inf"), float("inf"), str(error), failed=place)
        return verdict, isinstance(error, NeedsFixedSize)
    return verdict, False
