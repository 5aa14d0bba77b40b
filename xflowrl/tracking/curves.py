"""What agents log, on the axes that runs are compared on.

An agent logs its training and one search a graph, each with a clock and a count of its own. Here
they follow one another, so that every agent, on one graph or on several, draws the same curves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

# Every metric is drawn over iterations but those that are over seconds. No two patterns overlap: of
# two that do, Weights & Biases takes either.
AXES = {
    **dict.fromkeys(("search/*", "graph/*", "train/*", "loss/*", "rules/*"), "iteration"),
    "by_seconds/*": "seconds",
}


class Curves:
    """Follows one run. To go on with an earlier one, give it that one's rows first.

    Attributes:
        iteration: states whose matches were listed since the run began, in training too.
        seconds: of training and searching since then; never less than before. Timing operators and
            graphs is not counted, so that it means the same with a warm op-cost database.
    """

    def __init__(self, graphs: Sequence[str]) -> None:
        self.iteration = 0
        self.seconds = 0.0
        self._graphs = list(graphs)
        self._initial_ms: dict[str, float] = {}
        self._best_ms: dict[str, float] = {}
        self._stage = ""
        self._before = (0, 0.0)  # iterations and seconds of the stages that are over

    def axes(self, metrics: Mapping[str, float | None]) -> dict[str, float]:
        """Takes in a row of metrics; `iteration` and `seconds` as of then."""
        costs = {name: ms for name, ms in metrics.items() if name.endswith("/best_cost_ms")}
        if "train/env_steps" in metrics:
            self._move("train", metrics["train/env_steps"], metrics.get("train/seconds"))
        elif costs:
            stage = next(iter(costs)).removesuffix("/best_cost_ms")
            self._move(stage, metrics.get(f"{stage}/iteration"), metrics.get(f"{stage}/seconds"))
        for name, cost_ms in costs.items():
            if cost_ms is not None and math.isfinite(cost_ms):
                graph = self._graph_of(name.removesuffix("/best_cost_ms"))
                self._initial_ms.setdefault(graph, cost_ms)
                self._best_ms[graph] = min(cost_ms, self._best_ms.get(graph, cost_ms))
        return {"iteration": self.iteration, "seconds": self.seconds}

    def row(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Takes in a row of metrics; the same for comparison, under names that know no graph.

        `search/<graph>/...` becomes `search/...`, of the graph at work. `search/best_cost_ms` is
        the total of all graphs, once each one's cost is known; `search/saved` the mean share that
        is saved of each. Both are over seconds, too, and include what training has seen.
        """
        row = self.axes(metrics)
        for name, value in metrics.items():
            first, _, rest = name.partition("/")
            is_graphs = first in ("search", "train") and rest
            row[f"{first}/{rest.rpartition('/')[2]}" if is_graphs else name] = value
        for name in ("train/best_cost_ms", "search/best_cost_ms"):
            row.pop(name, None)
        row |= {f"graph/{graph}/best_cost_ms": ms for graph, ms in self._best_ms.items()}
        if self._best_ms:
            compared = {"saved": self._saved()}
            if len(self._best_ms) == max(len(self._graphs), 1):
                compared["best_cost_ms"] = sum(self._best_ms.values())
            for axis in ("search", "by_seconds"):
                row |= {f"{axis}/{name}": value for name, value in compared.items()}
        return row

    def _move(self, stage: str, iteration: float | None, seconds: float | None) -> None:
        if stage != self._stage:
            self._stage, self._before = stage, (self.iteration, self.seconds)
        self.iteration = max(self.iteration, self._before[0] + int(iteration or 0))
        self.seconds = max(self.seconds, self._before[1] + (seconds or 0.0))

    def _graph_of(self, stage: str) -> str:
        graph = stage.partition("/")[2]
        return graph or (self._graphs[0] if self._graphs else "graph")

    def _saved(self) -> float:
        shares = [
            1 - best_ms / self._initial_ms[graph] if self._initial_ms[graph] > 0 else 0.0
            for graph, best_ms in self._best_ms.items()
        ]
        return sum(shares) / max(len(self._graphs), 1)
