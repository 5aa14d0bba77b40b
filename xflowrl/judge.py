"""Is the result right, and is it really faster? Asked at the end of every run, of files.

What is delivered is the fastest, as deployed, of a few files: the user's own, what the search
found, and states made of it that differ in what they rewrite (`xflowrl.candidates`), as many as the
objective has measured for real. Merging pays under some runtimes and not under others, and costs
that are sums of single operators do not tell which.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xflowrl.candidates import Candidate, diverse
from xflowrl.delivery import copy_file, move_file, work_name, workshop
from xflowrl.measurement.runtimes import open_runtime, runtimes_on
from xflowrl.onnx_io.model_file import inspect_file
from xflowrl.problem import Problem, Result, Step
from xflowrl.proving import Proof, prove_steps

if TYPE_CHECKING:
    import numpy as np

    from xflowrl.measurement import RealMeasurement
    from xflowrl.measurement.runtimes import Runtime
    from xflowrl.onnx_io import Model
    from xflowrl.proof import Verdict

Tell = Callable[[str], None]
"""Takes the name of the stage that begins."""


@dataclass(frozen=True)
class Raced:
    """A state that was measured for real, against the user's file.

    Attributes:
        takes: what it rewrites, in words, of all that the states of this race do.
        num_steps: the rewrites in it.
        cost_ms: of the search's objective.
        speedup: in the race. The delivered file was timed once more, alone: `Judgement.real`.
        noise: how far such a ratio of the user's file to itself is from 1.
        num_rounds: so long it stayed in the race.
        is_found: it is what the search found, as it is.
        is_delivered: it became the delivered file.
    """

    takes: str
    num_steps: int
    cost_ms: float
    speedup: float
    noise: float
    num_rounds: int
    is_found: bool
    is_delivered: bool = False


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
        raced: what was measured for real, the fastest first.
    """

    verdict: Verdict
    steps: tuple[Step, ...] = ()
    given_up: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    real: RealMeasurement | None = None
    kept_original: bool = False
    detail: str = ""
    raced: tuple[Raced, ...] = ()


@dataclass(frozen=True)
class _Entry:
    """A candidate and the file that it is written to, with those of its steps that it has."""

    file: Path
    candidate: Candidate
    steps: tuple[Step, ...]
    model: Model | None  # what the steps lead to, if it is at hand


class Judge:
    """Proves what was found, races it against the original, and delivers the fastest file.

    Args:
        draws: sets of weights and inputs that original and result are compared on.
        measure: race; without it what the search found is delivered if it is proven.
        when: "now", at the end of a run; "deferred", when the run is resumed: timings of a sweep
            are then made in one pass, after all of its searches; "never": nothing is delivered.
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
        when: Literal["now", "deferred", "never"] = "now",
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
        self.is_deferred, self.is_idle = when == "deferred", when == "never"
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

            def prove(entry: _Entry) -> Proof:
                tell("proving")
                return prove_steps(
                    *(problem, entry.steps, entry.file),
                    model=entry.model,
                    reference=original,
                    views=self._runtime.views,
                    draws=self._draws,
                    seed=seed,
                    inputs=inputs,
                    deadline_s=deadline_s,
                )

            num = problem.objective.num_real if self._measure else 1
            until_s = time.monotonic() + self._left_s(deadline_s, 0.2)
            entries = [
                _Entry(folder / str(number) / work_name(target), made, made.steps, made.model)
                for number, made in enumerate(diverse(result, problem, num, deadline_s=until_s))
            ]
            if not entries:
                return _kept(original, target, "nothing to rewrite")
            if not self._measure:
                proof = prove(entries[0])
                if proof.verdict.equal and proof.steps:
                    return _delivered(entries[0], proof, target)
                return _kept(original, target, proof.refusal, proof)
            tell("measuring")
            race = _Race(self._runtime, original, problem.model, seed, inputs)
            try:
                race.prepare()
                ranked, refused = race.ranked(entries, prove, self._left_s(deadline_s, 0.6))
            except CannotRun as error:
                return _kept(original, target, str(error))
            except RuntimeError as error:
                return _kept(original, target, f"{self._runtime.name} cannot run it: {error}")
            best = ranked[0][1] if ranked else None
            raced = tuple(_raced(entry, real) for entry, real in ranked)
            # Only what has won is proven, and it is timed again: the best of several was lucky.
            for place, (entry, real) in enumerate(ranked):
                if not real.is_faster:
                    break
                proof = prove(entry)
                if not (proof.verdict.equal and proof.steps):
                    refused = refused or proof
                    continue
                tell("measuring")
                left_s = max(self._left_s(deadline_s, 0.4), 0.25 * self._max_s)
                best = race.time_again(entry, left_s)
                if best.is_faster:
                    winner = replace(raced[place], is_delivered=True)
                    raced = (*raced[:place], winner, *raced[place + 1 :])
                    return replace(_delivered(entry, proof, target), real=best, raced=raced)
                if time.monotonic() > deadline_s:
                    break
            detail = f"nothing found is faster in {self._runtime.name}"
            if refused is not None:
                best, detail = None, refused.refusal
            return replace(_kept(original, target, detail, refused), real=best, raced=raced)

    def _left_s(self, deadline_s: float, share: float) -> float:
        return share * max(0.0, min(self._max_s, deadline_s - time.monotonic()))


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
        entries: Sequence[_Entry],
        prove: Callable[[_Entry], Proof],
        max_s: float,
    ) -> tuple[list[tuple[_Entry, RealMeasurement]], Proof | None]:
        """The entries, written, the fastest first; of equal files one, as far as time allows.

        What cannot be written or run as it is, is proven first: that leaves out what is at fault.
        Where that leaves nothing, the second value says why.
        """
        from xflowrl.onnx_io import save_onnx

        try:
            for entry in entries:
                assert entry.model is not None, "just found"
                save_onnx(entry.model, entry.file, views=self._runtime.views)
            return self._places(entries, max_s), None
        except (ValueError, RuntimeError):
            proofs = [(entry, prove(entry)) for entry in entries]
            proven = [
                replace(entry, steps=proof.steps, model=None)
                for entry, proof in proofs
                if proof.verdict.equal and proof.steps
            ]
            return (self._places(proven, max_s), None) if proven else ([], proofs[0][1])

    def time_again(self, entry: _Entry, max_s: float) -> RealMeasurement:
        """Times one alone against the original."""
        from xflowrl.measurement.compare import time_again

        assert self._feeds is not None, "prepared before"
        return time_again(self._original, entry.file, self._feeds, self._runtime, max_s=max_s)

    def _places(
        self, entries: Sequence[_Entry], max_s: float
    ) -> list[tuple[_Entry, RealMeasurement]]:
        from xflowrl.measurement.compare import race

        assert self._feeds is not None, "prepared before"
        racing = {entry.file: entry for entry in _different(entries)}
        places = race(self._original, list(racing), self._feeds, self._runtime, max_s=max_s)
        return [(racing[file], real) for file, real in places.items()]


def _original(model: Model, place: Path) -> Path:
    """The user's file; a model that was read from none is written to `place`."""
    from xflowrl.onnx_io import save_onnx

    if model.file is not None:
        return model.file
    save_onnx(model, place)
    return place


def _delivered(entry: _Entry, proof: Proof, target: Path) -> Judgement:
    move_file(entry.file, target)
    return Judgement(proof.verdict, proof.steps, proof.given_up, proof.fixed)


def _kept(
    original: Path,
    target: Path,
    detail: str,
    refused: Proof | None = None,
) -> Judgement:
    """Delivers the user's file."""
    from xflowrl.proof import Verdict

    copy_file(original, target)
    verdict = Verdict("equal", 0.0, 0.0, "the original itself, byte for byte")
    if refused is not None and not refused.verdict.equal:
        verdict = refused.verdict
    given_up, fixed = (refused.given_up, refused.fixed) if refused is not None else ((), ())
    return Judgement(verdict, (), given_up, fixed, kept_original=True, detail=detail)


def _raced(entry: _Entry, real: RealMeasurement) -> Raced:
    candidate = entry.candidate
    return Raced(
        takes=candidate.takes,
        num_steps=len(entry.steps),
        cost_ms=candidate.cost_ms,
        speedup=real.speedup,
        noise=real.noise,
        num_rounds=real.best.num_repeats,
        is_found=candidate.is_found,
    )


def _different(entries: Sequence[_Entry]) -> list[_Entry]:
    """Of entries with equal files the first."""
    found: dict[bytes, _Entry] = {}
    for entry in entries:
        found.setdefault(_digest(entry.file), entry)
    return list(found.values())


def _digest(file: Path) -> bytes:
    """Of the file and its external data."""
    digest = hashlib.sha256()
    for part in (file, *(file.parent / name for name in inspect_file(file).data_files)):
        with part.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.digest()
