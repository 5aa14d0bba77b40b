"""The final measurement: original and result executed for real, side by side."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xflowrl.measurement import onnxruntime_cpu
from xflowrl.measurement.device import cpu_name, device_lock
from xflowrl.measurement.onnxruntime_cpu import BoundSession
from xflowrl.measurement.operands import draw
from xflowrl.measurement.timer import Measurement, is_narrow, median_interval, sample_ms

if TYPE_CHECKING:
    from xflowrl.measurement.cost_model import CostModel
    from xflowrl.onnx_io import Model

RUNTIMES = (onnxruntime_cpu.RUNTIME, onnxruntime_cpu.RUNTIME_OPTIMISED)
_PRECISION = 0.005
_MAX_MODEL_BYTES = 2**31 - 2**27  # a protobuf holds 2 GiB; the rest is for the nodes


@dataclass(frozen=True)
class RealMeasurement:
    """Original and result, interleaved in one runtime on this machine.

    Attributes:
        decides: whether the cost model that guided the search was timed here; only then does a
            slowdown speak against the result.
        noise: how far a ratio of medians may be from the truth here: the largest deviation from 1
            in the 95% confidence interval of (original again) / original, taken in the same rounds.
    """

    device: str
    runtime: str
    decides: bool
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

    def entry(self) -> dict[str, Any]:
        """An element of `real` in result.json."""
        return {
            "device": self.device,
            "runtime": self.runtime,
            "decides": self.decides,
            "initial_ms": self.initial.quartiles(),
            "best_ms": self.best.quartiles(),
            "speedup": self.speedup,
            "noise": self.noise,
        }


def compare(
    original: Model,
    best: Model,
    *,
    cost_model: CostModel | None = None,
    runtimes: Sequence[str] = RUNTIMES,
    max_s: float = 10.0,
) -> list[RealMeasurement]:
    """Executes both models in every runtime of this machine, one thread, interleaved.

    Three sessions take turns: original, result, and the original again, whose difference from
    the first is the noise. Rounds go on until both ratios are known to half a percent, at most
    `max_s` seconds a runtime, at least three rounds. The device lock is held exclusive. Sessions
    are released before it returns. All three are in memory at once.

    Raises:
        ValueError: an unknown runtime, or a model that a runtime refuses.
    """
    for runtime in runtimes:
        if runtime not in RUNTIMES:
            raise ValueError(f"runtime {runtime!r}: use one of {', '.join(RUNTIMES)}")
    feeds = {name: draw(original.graph.tensor_type(name)) for name in original.graph.inputs}
    results = []
    for runtime in runtimes:
        device = cpu_name()
        sessions = _open_sessions(original, best, runtime, feeds)
        samples = interleave_ms(sessions, max_s=max_s)
        del sessions
        onnxruntime_cpu.return_free_memory()
        decides = cost_model is not None and cost_model.decides(device=device, runtime=runtime)
        results.append(_measured(samples, device=device, runtime=runtime, decides=decides))
    return results


def interleave_ms(runs: Sequence[BoundSession], *, max_s: float) -> np.ndarray:
    """Times original, result and original again in turn; milliseconds, shape [rounds, 3]."""
    with device_lock().exclusive():
        return sample_ms(
            runs,
            max_ms=1000.0 * max_s,
            precision=_PRECISION,
            min_rounds=3,
            settled_after=20,
            settled=_ratios_are_known,
            min_warmup_ms=min(200.0, 100.0 * max_s),
            clock_ns=onnxruntime_cpu.CLOCK_NS,
        )


def _ratios_are_known(samples_ms: np.ndarray) -> bool:
    original, best, again = samples_ms.T
    return is_narrow(best / original, _PRECISION) and is_narrow(again / original, _PRECISION)


def _measured(
    samples_ms: np.ndarray, *, device: str, runtime: str, decides: bool
) -> RealMeasurement:
    original, best, again = samples_ms.T
    of = functools.partial(Measurement.of, device=device, runtime=runtime)
    low, high = median_interval(again / original)
    return RealMeasurement(
        device=device,
        runtime=runtime,
        decides=decides,
        initial=of(np.concatenate([original, again])),
        best=of(best),
        noise=max(abs(low - 1.0), abs(high - 1.0)),
    )


def _open_sessions(
    original: Model, best: Model, runtime: str, feeds: Mapping[str, np.ndarray]
) -> list[BoundSession]:
    """Sessions of the original, the result, and the original again."""
    exported = _export(original, runtime)
    sessions = [_open(exported, original.name, runtime, feeds) for _ in range(2)]
    del exported
    sessions.insert(1, _open(_export(best, runtime), best.name, runtime, feeds))
    return sessions


def _export(model: Model, runtime: str) -> bytes:
    """The model as a runtime gets it: in the first with the runtime's fused kernels."""
    from xflowrl.onnx_io import export_onnx

    num_bytes = sum(weight.num_bytes for weight in model.graph.weights.values())
    if num_bytes > _MAX_MODEL_BYTES:
        raise ValueError(
            f"model {model.name!r} has {num_bytes / 2**30:.1f} GiB of weights: beyond 2 GiB it "
            "cannot be measured; run with judge.measure=false"
        )
    fused = runtime == onnxruntime_cpu.RUNTIME
    exported: bytes = export_onnx(model, fused_conv=fused).SerializeToString()
    return exported


def _open(
    exported: bytes, name: str, runtime: str, feeds: Mapping[str, np.ndarray]
) -> BoundSession:
    try:
        optimised = runtime == onnxruntime_cpu.RUNTIME_OPTIMISED
        return BoundSession(onnxruntime_cpu.open_session(exported, optimised=optimised), feeds)
    except RuntimeError as error:
        raise ValueError(f"model {name!r} cannot be executed in {runtime}: {error}") from error
