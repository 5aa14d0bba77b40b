"""The final measurement: original and result executed for real, side by side."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xflowrl.measurement.operand_values import draw
from xflowrl.measurement.runtimes import Run, Runtime, export_for
from xflowrl.measurement.timer import Measurement, is_narrow, median_interval, sample_ms

if TYPE_CHECKING:
    from xflowrl.onnx_io import Model

_PRECISION = 0.005


@dataclass(frozen=True)
class RealMeasurement:
    """Original and result, interleaved in one runtime on this machine.

    Attributes:
        noise: how far a ratio of medians may be from the truth here: the largest deviation from 1
            in the 95% confidence interval of (original again) / original, taken in the same rounds.
    """

    device: str
    runtime: str
    initial: Measurement
    best: Measurement
    noise: float

    @property
    def speedup(self) -> float:
        """Median of the original over median of the result."""
        return self.initial.median_ms / self.best.median_ms

    @property
    def is_slower(self) -> bool:
        """Whether the result is slower than the original by more than the noise."""
        return self.speedup < 1.0 - self.noise


def compare(
    original: Model, best: Model, runtime: Runtime, *, max_s: float = 10.0
) -> RealMeasurement:
    """Executes both models in a runtime, interleaved.

    Three runs take turns: original, result, and the original again, whose difference from the
    first is the noise. Rounds go on until both ratios are known to half a percent, at most `max_s`
    seconds, at least three rounds. The device lock is held exclusive. What was compiled is
    released before it returns; all three are in memory at once.

    Raises:
        ValueError: a model that the runtime refuses.
    """
    runs = _prepare(original, best, runtime)
    with runtime.lock.exclusive():
        samples_ms = sample_ms(
            runs,
            max_ms=1000.0 * max_s,
            precision=_PRECISION,
            min_rounds=3,
            settled_after=20,
            settled=_ratios_are_known,
            min_warmup_ms=min(200.0, 100.0 * max_s),
            clock_ns=runtime.clock_ns,
        )
    del runs
    runtime.release()
    return _measured(samples_ms, device=runtime.device, runtime=runtime.name)


def _ratios_are_known(samples_ms: np.ndarray) -> bool:
    original, best, again = samples_ms.T
    return is_narrow(best / original, _PRECISION) and is_narrow(again / original, _PRECISION)


def _measured(samples_ms: np.ndarray, *, device: str, runtime: str) -> RealMeasurement:
    original, best, again = samples_ms.T
    of = functools.partial(Measurement.of, device=device, runtime=runtime)
    low, high = median_interval(again / original)
    return RealMeasurement(
        device=device,
        runtime=runtime,
        initial=of(np.concatenate([original, again])),
        best=of(best),
        noise=max(abs(low - 1.0), abs(high - 1.0)),
    )


def _prepare(original: Model, best: Model, runtime: Runtime) -> list[Run]:
    """Runs of the original, the result, and the original again."""
    feeds = {name: draw(original.graph.tensor_type(name)) for name in original.graph.inputs}

    def compiled(exported: bytes, name: str) -> Run:
        try:
            return runtime.compile(exported, feeds)
        except RuntimeError as error:
            raise ValueError(
                f"model {name!r} cannot be executed in {runtime.name}: {error}"
            ) from error

    exported = export_for(runtime, original)
    runs = [compiled(exported, original.name) for _ in range(2)]
    del exported
    runs.insert(1, compiled(export_for(runtime, best), best.name))
    return runs
