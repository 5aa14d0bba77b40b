"""Is the result right, and is it really faster? Asked at the end of every run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xflowrl.measurement.runtimes import open_runtime, runtimes_on

if TYPE_CHECKING:
    from xflowrl.measurement import Objective, RealMeasurement
    from xflowrl.onnx_io import Model
    from xflowrl.problem import Result
    from xflowrl.verify import Verdict


@dataclass(frozen=True)
class Judgement:
    """What was found.

    Attributes:
        verdict: whether original and result compute the same function.
        real: one entry a runtime, as under `real` in `result.json`.
        decisive: the one of them that decides what is delivered; None where none does.
        kept_original: it found the result slower beyond the noise.
        model: what to deliver: the result, or the original; None where it is not proven equal.
    """

    verdict: Verdict
    real: tuple[RealMeasurement, ...] = ()
    decisive: RealMeasurement | None = None
    kept_original: bool = False
    model: Model | None = None


class Judge:
    """Verifies a result and measures it against its original, interleaved, in every runtime here.

    One runtime decides, the others are reported beside it: a result that is slower there by more
    than the noise (original against original) is not delivered.

    Args:
        draws: sets of weights and inputs that original and result are compared on.
        measure: execute both for real; without it the result is delivered as it is.
        max_s: at most so long in each runtime.
        runtime: the one that decides; None: the one the costs were timed in, on the same device,
            and none where they come from a price list.
        device: where they run: "cpu".
        threads: of each runtime.
    """

    def __init__(
        self,
        *,
        draws: int = 3,
        measure: bool = True,
        max_s: float = 10.0,
        runtime: str | None = None,
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        if draws < 1:
            raise ValueError(f"judge.draws is {draws}: give at least 1")
        self._draws = draws
        self._measure = measure
        self._max_s = max_s
        self._runtime = runtime
        names = runtimes_on(device, group="judge")
        self._runtimes = [
            open_runtime(name, device=device, threads=threads, group="judge")
            for name in dict.fromkeys([*names, runtime or names[0]])
        ]

    def judge(self, result: Result, objective: Objective, *, seed: int = 0) -> Judgement:
        """Judges one result. A result that is not proven equal is not measured."""
        from xflowrl import verify

        verdict = verify.verify(result.original, result.model, draws=self._draws, seed=seed)
        if not verdict.equal:
            return Judgement(verdict)
        real = self._real(result)
        decisive = next((entry for entry in real if self._decides(entry, objective)), None)
        is_slower = decisive is not None and decisive.is_slower
        model = result.original if is_slower else result.model
        return Judgement(verdict, real, decisive, kept_original=is_slower, model=model)

    def _real(self, result: Result) -> tuple[RealMeasurement, ...]:
        if not self._measure:
            return ()
        from xflowrl.measurement.compare import compare

        return tuple(
            compare(result.original, result.model, runtime, max_s=self._max_s)
            for runtime in self._runtimes
        )

    def _decides(self, entry: RealMeasurement, objective: Objective) -> bool:
        if self._runtime is not None:
            return entry.runtime == self._runtime
        return (entry.device, entry.runtime) == (objective.device, objective.runtime)
