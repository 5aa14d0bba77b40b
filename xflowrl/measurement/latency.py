"""The latency of a whole graph, executed for real."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xflowrl._engine import TensorType
from xflowrl.measurement.operand_values import draw
from xflowrl.measurement.runtimes import Runtime, export_for
from xflowrl.measurement.timer import Measurement, sample_ms

if TYPE_CHECKING:
    import numpy as np

    from xflowrl._engine import State
    from xflowrl.onnx_io import Model

PRECISION = 0.01
_MIN_ROUNDS = 3


def feeds_of(model: Model) -> dict[str, np.ndarray]:
    """Drawn inputs of a model by name, of the sizes that it is priced at."""
    shapes, graph = model.input_shapes(), model.graph
    types = {name: graph.tensor_type(name) for name in graph.inputs}
    return {
        name: draw(TensorType(known.dtype, shapes.get(name, known.shape)))
        for name, known in types.items()
    }


def time_graph(model: Model, runtime: Runtime, *, max_ms: float = 300.0) -> Measurement:
    """Times a model's graph in a runtime, with its weights, at the sizes it is priced at.

    Executed until the median is known to within `PRECISION`, or for `max_ms`, warm-up included, but
    three times at least. The device lock is held exclusive; nothing stays in memory.

    Raises:
        RuntimeError: the runtime refuses the graph.
    """
    run = runtime.compile(export_for(runtime, model), feeds_of(model))
    try:
        with runtime.lock.exclusive():
            samples_ms = sample_ms(
                [run], max_ms=max_ms, precision=PRECISION, min_rounds=_MIN_ROUNDS
            )
    finally:
        del run
        runtime.release()
    return Measurement.of(samples_ms, device=runtime.device, runtime=runtime.name)


def latency_ms(original: Model, state: State, *, runtime: Runtime, max_ms: float = 300.0) -> float:
    """Median latency of the state's graph in a runtime, with the original's weights.

    `max_ms` is as for `time_graph`.

    Raises:
        RuntimeError: the runtime refuses the graph.
    """
    return time_graph(original.with_graph(state.graph), runtime, max_ms=max_ms).median_ms
