"""Rows of `metrics.jsonl`, under the same names whether a run has one graph or several.

Seconds and iterations are those of the training or the search that a row is of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xflowrl.report.runs import Run
from xflowrl.run_folder import read_metrics

# The quantities, and the metrics that give them; `*` is a graph's name.
_TRAINING = {
    "iteration": ("train/iteration",),
    "env_steps": ("train/env_steps",),
    "seconds": ("train/seconds",),
    "episode_return": ("train/episode_return",),
    "episode_length": ("train/episode_length",),
    "learning_rate": ("train/learning_rate",),
    "entropy": ("train/entropy",),
    "approx_kl": ("train/approx_kl",),
    "explained_variance": ("train/explained_variance",),
}
_SEARCH = {
    "iteration": ("search/*/iteration", "search/iteration"),
    "seconds": ("search/*/seconds", "search/seconds"),
    "cost_ms": ("search/*/current_cost_ms", "search/current_cost_ms"),
    "best_cost_ms": ("search/*/best_cost_ms", "search/best_cost_ms"),
    "queue_length": ("search/*/queue_length", "search/queue_length"),
    "memory_mb": ("search/*/memory_mb", "search/memory_mb"),
}
_BEST_IN_TRAINING = ("train/*/best_cost_ms", "train/best_cost_ms")


def training_rows(run: Run, graph: str) -> list[dict[str, Any]]:
    """The iterations of a run's training; `best_cost_ms` is that of one graph."""
    quantities = _TRAINING | {"best_cost_ms": _BEST_IN_TRAINING}
    return [row for row in _rows(run, graph, quantities) if row["episode_return"] is not None]


def search_rows(run: Run, graph: str) -> list[dict[str, Any]]:
    """The logged iterations of a search that keeps a queue."""
    return [row for row in _rows(run, graph, _SEARCH) if row["queue_length"] is not None]


def _rows(run: Run, graph: str, quantities: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    of_graph = {
        name: [metric.replace("*", graph) for metric in metrics]
        for name, metrics in quantities.items()
    }
    rows = []
    try:
        for row in read_metrics(run.folder):
            rows.append(
                {
                    name: next((row[metric] for metric in metrics if metric in row), None)
                    for name, metrics in of_graph.items()
                }
            )
    except (OSError, ValueError):  # a curve less: what was found stands in other files
        return []
    return rows
