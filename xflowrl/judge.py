"""Is the result right, and is it really faster? Asked at the end of every run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xflowrl.measurement import CostModel
    from xflowrl.measurement.compare import RealMeasurement
    from xflowrl.onnx_io import Model
    from xflowrl.problem import Result
    from xflowrl.verify import Verdict


@dataclass(frozen=True)
class Judgement:
    """What was found.

    Attributes:
        verdict: whether original and result compute the same function.
        real: one entry a device and runtime, as under `real` in `result.json`.
        kept_original: the runtime that decides found the result slower beyond the noise.
        model: what to deliver: the result, or the original; None where it is not proven equal.
    """

    verdict: Verdict
    real: tuple[RealMeasurement, ...]
    kept_original: bool
    model: Model | None


class Judge:
    """Verifies a result and measures it against its original, interleaved, in every runtime here.

    Where the device and runtime are those the cost model was timed in, the measurement decides: a
    result slower by more than the noise (original against original) is not delivered.
    """

    def __init__(self, *, draws: int = 3, measure: bool = True, max_s: float = 10.0) -> None:
        if draws < 1:
            raise ValueError(f"judge.draws is {draws}: give at least 1")
        self._draws = draws
        self._measure = measure
        self._max_s = max_s

    def judge(self, result: Result, cost_model: CostModel, *, seed: int = 0) -> Judgement:
        """Judges one result. A result that is not proven equal is not measured."""
        from xflowrl import verify

        verdict = verify.verify(result.original, result.model, draws=self._draws, seed=seed)
        if not verdict.equal:
            return Judgement(verdict, (), kept_original=False, model=None)
        real = self._real(result, cost_model)
        slower = any(entry.decides and entry.is_slower for entry in real)
        model = result.original if slower else result.model
        return Judgement(verdict, real, kept_original=slower, model=model)

    def refuse(self) -> Judgement:
        """The judgement on a result of rules that are not all sound: it is not looked at."""
        from xflowrl.verify import Verdict

        verdict = Verdict(False, 0.0, 0.0, False, "undecided: rules.faithful=true, not exported")
        return Judgement(verdict, (), kept_original=False, model=None)

    def _real(self, result: Result, cost_model: CostModel) -> tuple[RealMeasurement, ...]:
        if not self._measure:
            return ()
        from xflowrl.measurement.compare import compare

        return tuple(
            compare(result.original, result.model, cost_model=cost_model, max_s=self._max_s)
        )
