"""A rewritten graph executed beside the original, in turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from xflowrl.measurement.operand_values import draw
from xflowrl.measurement.runtimes import Run, Runtime, export_for
from xflowrl.measurement.timer import is_narrow, sample_ms

if TYPE_CHECKING:
    from xflowrl._engine import Graph
    from xflowrl.onnx_io import Model

_PRECISION = 0.003


class PairTimer:
    """Times graphs of one model against the original.

    The original is compiled twice, at the beginning, and each measurement of a graph has its own.
    """

    def __init__(self, original: Model, runtime: Runtime, *, max_s: float) -> None:
        self._model = original
        self._runtime = runtime
        self._max_ms = 1000.0 * max_s
        self._feeds: Mapping[str, np.ndarray] = {
            name: draw(original.graph.tensor_type(name)) for name in original.graph.inputs
        }
        self._originals = [self._compiled(original.graph) for _ in range(2)]

    def time_pair(self, graph: Graph, number: int) -> tuple[float, float]:
        """Medians, milliseconds: of the graph in a new session, and of original `number`.

        They take turns until their ratio is known to 0.3%, or for `max_s` seconds.

        Raises:
            RuntimeError: the runtime refuses the graph.
        """
        run = self._compiled(graph)
        with self._runtime.lock.exclusive():
            samples_ms = sample_ms(
                [run, self._originals[number]],
                max_ms=self._max_ms,
                precision=_PRECISION,
                min_rounds=5,
                settled=lambda samples: is_narrow(samples[:, 0] / samples[:, 1], _PRECISION),
            )
        del run
        self._runtime.release()
        graph_ms, original_ms = np.median(samples_ms, axis=0)
        return float(graph_ms), float(original_ms)

    def _compiled(self, graph: Graph) -> Run:
        return self._runtime.compile(
            export_for(self._runtime, self._model.with_graph(graph)), self._feeds
        )
