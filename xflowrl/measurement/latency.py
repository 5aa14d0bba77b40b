"""Real latency as a reward."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xflowrl._engine import State
    from xflowrl.onnx_io import Model

_MAX_MS = 1000.0
_PRECISION = 0.02


def cpu_latency_ms(original: Model, state: State) -> float:
    """Median latency of the state's graph in ONNX Runtime on one thread of this machine's CPU.

    Executed as a fused network is deployed: the runtime's own optimisations are off. Timed until
    the median is known to within 2% or a second has passed; nothing stays in memory.
    """
    from xflowrl.measurement import device_lock
    from xflowrl.measurement.onnxruntime_cpu import (
        CLOCK_NS,
        BoundSession,
        open_session,
        return_free_memory,
    )
    from xflowrl.measurement.operands import draw
    from xflowrl.measurement.timer import sample_ms
    from xflowrl.onnx_io import export_onnx

    model = original.with_graph(state.graph)
    feeds = {name: draw(state.graph.tensor_type(name)) for name in state.graph.inputs}
    session = open_session(export_onnx(model, fused_conv=True).SerializeToString())
    run = BoundSession(session, feeds)
    with device_lock().exclusive():
        samples_ms = sample_ms(
            [run], max_ms=_MAX_MS, precision=_PRECISION, min_rounds=3, clock_ns=CLOCK_NS
        )
    del run, session
    return_free_memory()
    return float(sorted(samples_ms[:, 0])[len(samples_ms) // 2])
