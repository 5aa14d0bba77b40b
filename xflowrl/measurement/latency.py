"""The latency of a whole graph, executed for real: a reward."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xflowrl.measurement.operand_values import draw
from xflowrl.measurement.runtimes import Runtime, export_for
from xflowrl.measurement.timer import sample_ms

if TYPE_CHECKING:
    from xflowrl._engine import State
    from xflowrl.onnx_io import Model

_MAX_MS = 1000.0
_PRECISION = 0.02


def latency_ms(
    original: Model, state: State, *, runtime: Runtime, max_ms: float = _MAX_MS
) -> float:
    """Median latency of the state's graph in a runtime, with the original's weights.

    Timed until the median is known to within 2%, or for `max_ms` (at least three times); nothing
    stays in memory.

    Raises:
        RuntimeError: the runtime refuses the graph.
    """
    feeds = {name: draw(state.graph.tensor_type(name)) for name in state.graph.inputs}
    run = runtime.compile(export_for(runtime, original.with_graph(state.graph)), feeds)
    with runtime.lock.exclusive():
        samples_ms = sample_ms([run], max_ms=max_ms, precision=_PRECISION, min_rounds=3)
    del run
    runtime.release()
    return float(np.median(samples_ms))
