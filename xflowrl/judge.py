"""Is the result right, and is it really faster? Asked at the end of every run, of files.

What is delivered is the fastest, as deployed, of at most four files: the user's own, what the
search found, what steepest descent finds without rules that merge or regroup operators, and what
it finds with those alone that fold constants or remove operators. Merging pays under some runtimes
and not under others, and costs that are sums of single operators do not tell which.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xflowrl.agents.greedy import Greedy
from xflowrl.delivery import copy_file, move_file, work_name, workshop
from xflowrl.measurement.runtimes import open_runtime
from xflowrl.onnx_io.model_file import inspect_file
from xflowrl.problem import Problem, Result, Step, StopReason
from xflowrl.proving import Proof, prove_steps

if TYPE_CHECKING:
    import numpy as np

    from xflowrl.measurement import RealMeasurement
    from xflowrl.onnx_io import Model
    from xflowrl.verify import Verdict

_REGROUPING = {"merging.rules", "exchange.rules"}
_FOLDING = {"folding.rules", "elimination.rules"}

Tell = Callable[[str], None]
"""Takes the name of the stage that begins."""


@dataclass(frozen=True)
class Judgement:
    """What was found and what was delivered.

    Attributes:
        verdict: whether the delivered file computes the original's function; where the original
            is delivered although rewrites were found, why none of them was proven.
        steps: the rewrites in the delivered file.
        given_up: rules of rewrites that were not proven, and left out.
        real: the fastest proven file against the original; None where nothing was timed.
        kept_original: the user's file was copied.
        detail: one line: why it was kept; "" where it was not.
    """

    verdict: Verdict
    steps: tuple[Step, ...] = ()
    given_up: tuple[str, ...] = ()
    real: RealMeasurement | None = None
    kept_original: bool = False
    detail: str = ""


@dataclass(frozen=True)
class _Candidate:
    file: Path
    proof: Proof


class Judge:
    """Proves what was found, races it against the original, and delivers the fastest file.

    Args:
        draws: sets of weights and inputs that original and result are compared on.
        measure: race; without it what the search found is delivered if it is proven.
        max_s: at most so long for the race.
        runtime: where they race.
        device: where it runs: "cpu".
        threads: of the runtime.
    """

    def __init__(
        self,
        *,
        draws: int = 3,
        measure: bool = True,
        max_s: float = 10.0,
        runtime: str = "onnxruntime",
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        if draws < 1:
            raise ValueError(f"judge.draws is {draws}: give at least 1")
        self._draws = draws
        self._measure = measure
        self._max_s = max_s
        self._runtime = open_runtime(runtime, device=device, threads=threads, group="judge")

    @property
    def runtime(self) -> str:
        """Where files race."""
        return self._runtime.name

    def deliver(
        self,
        result: Result,
        problem: Problem,
        target: Path,
        *,
        seed: int = 0,
        inputs: Mapping[str, np.ndarray] | None = None,
        deadline_s: float = float("inf"),
        tell: Tell = lambda stage: None,
    ) -> Judgement:
        """Writes `target`: the fastest proven file, or a copy of the user's; whole or not at all.

        Args:
            inputs: that the files are timed on; random ones if None.
            deadline_s: of `time.monotonic`; what is not proven or timed by then is left out.

        Raises:
            ValueError: the user's file cannot be copied there.
            KeyboardInterrupt: nothing is written then.
        """
        from xflowrl.verify import Verdict

        with workshop(target) as folder:
            original = _original(problem.model, folder / "original" / work_name(target))
            proven: list[_Candidate] = []
            failed: Proof | None = None
            for number, steps in enumerate(self._found(result, problem, deadline_s)):
                if number and time.monotonic() > deadline_s:
                    break
                tell("proving")
                file = folder / str(number) / work_name(target)
                proof = prove_steps(
                    problem, steps, file, draws=self._draws, seed=seed, deadline_s=deadline_s
                )
                if proof.verdict.equal and proof.steps:
                    proven.append(_Candidate(file, proof))
                elif not number:
                    failed = proof
            unchanged = Verdict("equal", 0.0, 0.0, "the original itself, byte for byte")
            if not proven:
                copy_file(original, target)
                if failed is None:
                    return Judgement(unchanged, kept_original=True, detail="nothing to rewrite")
                detail = f"not proven: {failed.verdict.detail}"
                return Judgement(failed.verdict, (), failed.given_up, None, True, detail)
            if not self._measure:
                return _delivered(proven[0], target)
            tell("measuring")
            try:
                best, real = self._fastest(
                    original, proven, problem.model, seed, inputs, deadline_s
                )
            except RuntimeError as error:
                copy_file(original, target)
                detail = f"{self._runtime.name} cannot run it: {error}"
                return Judgement(unchanged, kept_original=True, detail=detail)
            if real.is_faster:
                return replace(_delivered(best, target), real=real)
            copy_file(original, target)
            detail = f"nothing found is faster in {self._runtime.name}"
            return Judgement(unchanged, (), (), real, kept_original=True, detail=detail)

    def _found(
        self, result: Result, problem: Problem, deadline_s: float
    ) -> Iterator[tuple[Step, ...]]:
        """The steps of each candidate; a search that could only find the same is not made."""
        steps = result.trace.steps
        if not steps:
            return
        yield steps
        if not self._measure:
            return
        for is_kept in (_is_not_regrouping, _is_folding):
            names = [rule.name for rule in problem.rules.rules if is_kept(rule.filename)]
            if not names or {step.rule for step in steps} <= set(names):
                continue
            left_s = max(0.0, min(self._max_s, deadline_s - time.monotonic()))
            smaller = replace(
                problem,
                rules=problem.rules.select(names),
                budget=replace(problem.budget, max_seconds=left_s),
            )
            (again,) = Greedy().optimize([smaller], lambda metrics, step: None)
            if again.stop_reason == StopReason.INTERRUPTED:
                raise KeyboardInterrupt
            steps = again.trace.steps
            if steps:
                yield steps

    def _fastest(
        self,
        original: Path,
        proven: Sequence[_Candidate],
        model: Model,
        seed: int,
        inputs: Mapping[str, np.ndarray] | None,
        deadline_s: float,
    ) -> tuple[_Candidate, RealMeasurement]:
        from xflowrl.measurement.compare import race
        from xflowrl.weights import draw_inputs

        different = {_digest(candidate.file): candidate for candidate in reversed(proven)}
        racing = list(different.values())[::-1]
        measured = race(
            original,
            [candidate.file for candidate in racing],
            inputs or draw_inputs(model.graph, seed),
            self._runtime,
            max_s=max(0.0, min(self._max_s, deadline_s - time.monotonic())),
        )
        pairs = zip(racing, measured, strict=True)
        return max(pairs, key=lambda pair: pair[1].speedup)


def _is_not_regrouping(filename: str) -> bool:
    return filename not in _REGROUPING


def _is_folding(filename: str) -> bool:
    return filename in _FOLDING


def _original(model: Model, place: Path) -> Path:
    """The user's file; a model that was read from none is written to `place`."""
    from xflowrl.onnx_io import save_onnx

    if model.file is not None:
        return model.file
    save_onnx(model, place)
    return place


def _delivered(candidate: _Candidate, target: Path) -> Judgement:
    move_file(candidate.file, target)
    proof = candidate.proof
    return Judgement(proof.verdict, proof.steps, proof.given_up)


def _digest(file: Path) -> bytes:
    """Of the file and its external data."""
    digest = hashlib.sha256()
    for part in (file, *(file.parent / name for name in inspect_file(file).data_files)):
        with part.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.digest()
