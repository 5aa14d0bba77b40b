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
from xflowrl.measurement.runtimes import open_runtime, runtimes_on
from xflowrl.onnx_io.model_file import inspect_file
from xflowrl.problem import Problem, Result, Step, StopReason
from xflowrl.proving import Proof, prove_steps

if TYPE_CHECKING:
    import numpy as np

    from xflowrl.measurement import RealMeasurement
    from xflowrl.measurement.runtimes import Runtime
    from xflowrl.onnx_io import Model
    from xflowrl.proof import Verdict

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
        fixed: rules of rewrites that hold at one size of a dynamic dimension only, and left out.
        real: the fastest proven file against the original; None where nothing was timed.
        kept_original: the user's file was copied.
        detail: one line: why it was kept; "" where it was not.
    """

    verdict: Verdict
    steps: tuple[Step, ...] = ()
    given_up: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    real: RealMeasurement | None = None
    kept_original: bool = False
    detail: str = ""


@dataclass(frozen=True)
class _Candidate:
    file: Path
    steps: tuple[Step, ...]
    model: Model | None  # what the steps lead to, if it is at hand


class Judge:
    """Proves what was found, races it against the original, and delivers the fastest file.

    Args:
        draws: sets of weights and inputs that original and result are compared on.
        measure: race; without it what the search found is delivered if it is proven.
        max_s: at most so long for the race.
        runtime: where they race.
        device: where it runs: "cpu" or "cuda".
        threads: of the runtime.
        precision: what it computes tensors of single precision in.
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
        precision: str = "fp32",
    ) -> None:
        if draws < 1:
            raise ValueError(f"judge.draws is {draws}: give at least 1")
        self._draws = draws
        self._measure = measure
        self._max_s = max_s
        runtimes_on(device, group="judge")
        self._runtime = open_runtime(
            runtime, device=device, threads=threads, precision=precision, group="judge"
        )

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
            inputs: that the files are compared and timed on; random ones if None.
            deadline_s: of `time.monotonic`; what is not proven or timed by then is left out.

        Raises:
            ValueError: the user's file cannot be copied there.
            KeyboardInterrupt: nothing is written then.
        """
        from xflowrl.proof import CannotRun

        self._runtime.release()  # what the search held is needed for the files
        with workshop(target) as folder:
            original = _original(problem.model, folder / "original" / work_name(target))

            def prove(candidate: _Candidate) -> Proof:
                tell("proving")
                return prove_steps(
                    *(problem, candidate.steps, candidate.file),
                    model=candidate.model,
                    draws=self._draws,
                    seed=seed,
                    inputs=inputs,
                    deadline_s=deadline_s,
                )

            candidates = [
                _Candidate(folder / str(number) / work_name(target), found.trace.steps, found.model)
                for number, found in enumerate(self._found(result, problem, deadline_s))
            ]
            if not candidates:
                return _kept(original, target, "nothing to rewrite")
            if not self._measure:
                proof = prove(candidates[0])
                if proof.verdict.equal and proof.steps:
                    return _delivered(candidates[0], proof, target)
                return _kept(original, target, proof.refusal, proof)
            tell("measuring")
            race = _Race(self._runtime, original, problem.model, seed, inputs)
            try:
                race.prepare()
                ranked = race.ranked(candidates, prove, self._left_s(deadline_s, 0.6))
            except (RuntimeError, CannotRun) as error:
                return _kept(original, target, f"{self._runtime.name} cannot run it: {error}")
            refused: Proof | None = None
            best = ranked[0][1] if ranked else None
            # Only what has won is proven, and it is timed again: the best of several was lucky.
            for candidate, real in ranked:
                if not real.is_faster:
                    break
                proof = prove(candidate)
                if not (proof.verdict.equal and proof.steps):
                    refused = refused or proof
                    continue
                tell("measuring")
                left_s = max(self._left_s(deadline_s, 0.4), 0.25 * self._max_s)
                best = race.measure([candidate], left_s)[0]
                if best.is_faster:
                    return replace(_delivered(candidate, proof, target), real=best)
                if time.monotonic() > deadline_s:
                    break
            if refused is not None:
                return _kept(original, target, refused.refusal, refused)
            return _kept(
                original, target, f"nothing found is faster in {self._runtime.name}", real=best
            )

    def _left_s(self, deadline_s: float, share: float) -> float:
        return share * max(0.0, min(self._max_s, deadline_s - time.monotonic()))

    def _found(self, result: Result, problem: Problem, deadline_s: float) -> Iterator[Result]:
        """What becomes a candidate; a search that could only find the same is not made."""
        if not result.trace.steps:
            return
        yield result
        if not self._measure:
            return
        last = result
        for is_kept in (_is_not_regrouping, _is_folding):
            names = [rule.name for rule in problem.rules.rules if is_kept(rule.filename)]
            if not names or {step.rule for step in last.trace.steps} <= set(names):
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
            last = again
            if last.trace.steps:
                yield last


class _Race:
    """Times candidates against the original, all on the same inputs."""

    def __init__(
        self,
        runtime: Runtime,
        original: Path,
        model: Model,
        seed: int,
        inputs: Mapping[str, np.ndarray] | None,
    ) -> None:
        self._runtime = runtime
        self._original = original
        self._model = model
        self._seed = seed
        self._feeds = inputs

    def prepare(self) -> None:
        """Draws inputs that the original can be run on. Raises CannotRun if there are none."""
        from xflowrl.proof import draw_feeds

        if self._feeds is None:
            self._feeds = draw_feeds(self._original, self._model.input_shapes(), self._seed)

    def ranked(
        self,
        candidates: Sequence[_Candidate],
        prove: Callable[[_Candidate], Proof],
        max_s: float,
    ) -> list[tuple[_Candidate, RealMeasurement]]:
        """The candidates, written, the fastest first; of equal files one, as far as time allows.

        What cannot be written or run as it is, is proven first: that leaves out what is at fault.
        """
        from xflowrl.onnx_io import save_onnx

        try:
            for candidate in candidates:
                assert candidate.model is not None, "just found"
                save_onnx(candidate.model, candidate.file)
            racing = _different(candidates)
            measured = self.measure(racing, max_s)
        except (ValueError, RuntimeError):
            proofs = [(candidate, prove(candidate)) for candidate in candidates]
            racing = _different(
                [
                    replace(c, steps=p.steps, model=None)
                    for c, p in proofs
                    if p.verdict.equal and p.steps
                ]
            )
            measured = self.measure(racing, max_s) if racing else []
        return sorted(
            zip(racing, measured, strict=False), key=lambda entry: entry[1].speedup, reverse=True
        )

    def measure(self, candidates: Sequence[_Candidate], max_s: float) -> list[RealMeasurement]:
        from xflowrl.measurement.compare import race

        assert self._feeds is not None, "prepared before"
        files = [candidate.file for candidate in candidates]
        return race(self._original, files, self._feeds, self._runtime, max_s=max_s)


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


def _delivered(candidate: _Candidate, proof: Proof, target: Path) -> Judgement:
    move_file(candidate.file, target)
    return Judgement(proof.verdict, proof.steps, proof.given_up, proof.fixed)


def _kept(
    original: Path,
    target: Path,
    detail: str,
    refused: Proof | None = None,
    *,
    real: RealMeasurement | None = None,
) -> Judgement:
    """Delivers the user's file."""
    from xflowrl.proof import Verdict

    copy_file(original, target)
    verdict = Verdict("equal", 0.0, 0.0, "the original itself, byte for byte")
    if refused is not None and not refused.verdict.equal:
        verdict = refused.verdict
    given_up, fixed = (refused.given_up, refused.fixed) if refused is not None else ((), ())
    return Judgement(verdict, (), given_up, fixed, real, kept_original=True, detail=detail)


def _different(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Of candidates with equal files the first."""
    found: dict[bytes, _Candidate] = {}
    for candidate in candidates:
        found.setdefault(_digest(candidate.file), candidate)
    return list(found.values())


def _digest(file: Path) -> bytes:
    """Of the file and its external data."""
    digest = hashlib.sha256()
    for part in (file, *(file.parent / name for name in inspect_file(file).data_files)):
        with part.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.digest()
