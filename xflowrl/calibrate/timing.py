"""A rewritten graph executed beside the original, in turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from xflowrl.measurement.latency import feeds_of
from xflowrl.measurement.runtimes import Run, Runtime, export_for
from xflowrl.measurement.runtimes.worker import checked, compile_each, side_by_side
from xflowrl.measurement.timer import is_narrow, sample_ms

if TYPE_CHECKING:
    from xflowrl._engine import Graph
    from xflowrl.onnx_io import Model

_PRECISION = 0.003


class PairTimer:
    """Times graphs of one model against the original.

    The original is compiled twice, at the beginning, and each measurement of a graph has its own.

    Raises:
        RuntimeError: the runtime refuses the original.
    """

    def __init__(self, original: Model, runtime: Runtime, *, max_s: float) -> None:
        self._model = original
        self._runtime = runtime
        self._max_ms = 1000.0 * max_s
        self._feeds = feeds_of(original)
        self._originals = [checked(run) for run in self._compiled([original.graph] * 2)]

    def time_pairs(
        self, graphs: Sequence[Graph]
    ) -> Iterator[list[tuple[float, float]] | RuntimeError | MemoryError]:
        """For each graph the medians of two measurements, each of the graph and of an original.

        In milliseconds. Each measurement has a compilation of its own; graph and original take
        turns until their ratio is known to 0.3%, or for `max_s` seconds. As many graphs as compile
        side by side are in memory together. In place of a graph that is refused is the error.
        """
        step = side_by_side(self._runtime)
        for together in (graphs[i : i + step] for i in range(0, len(graphs), step)):
            measured: list[list[tuple[float, float]] | RuntimeError | MemoryError]
            measured = [[] for _ in together]
            for original in self._originals:
                for place, run in enumerate(self._compiled(together)):
                    times_ms = measured[place]
                    if isinstance(run, RuntimeError | MemoryError):
                        measured[place] = run
                    elif isinstance(times_ms, list):
                        times_ms.append(self._time(run, original))
            yield from measured

    def _time(self, run: Run, original: Run) -> tuple[float, float]:
        with self._runtime.lock.exclusive():
            samples_ms = sample_ms(
                [run, original],
                max_ms=self._max_ms,
                precision=_PRECISION,
                min_rounds=5,
                settled=lambda samples: is_narrow(samples[:, 0] / samples[:, 1], _PRECISION),
            )
        graph_ms, original_ms = np.median(samples_ms, axis=0)
        return float(graph_ms), float(original_ms)

    def _compiled(self, graphs: Sequence[Graph]) -> Iterator[Run | RuntimeError | MemoryError]:
        models = (export_for(self._runtime, self._model.with_graph(graph)) for graph in graphs)
        yield from compile_each(self._runtime, models, self._feeds)
        self._runtime.release()
