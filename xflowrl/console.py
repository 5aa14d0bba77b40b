"""What a run shows on the terminal: a progress bar while it works, a table at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from xflowrl.problem import Problem
from xflowrl.run_folder import GraphRecord


class ProgressBar:
    """One bar a problem, with the time left; fed with the metrics agents log.

    An attempt is as far as the limit of its budget that it has used up most of; where it has no
    limit on what it counts, the bar tells costs only. Metrics `train/iteration` and
    `train/max_iterations` drive a bar for training. On standard error, on a terminal alone.
    """

    def __init__(self, problems: Sequence[Problem], console: Console | None = None) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console or Console(stderr=True),
            disable=not (console or Console(stderr=True)).is_terminal,
        )
        self._limits = {problem.log_as: problem.budget.limits() for problem in problems}
        self._tasks = {
            problem.log_as: self._progress.add_task(problem.name, total=1.0, start=False, note="")
            for problem in problems
        }

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Moves the bars that the metrics speak of; takes what `Log` takes."""
        for prefix, limits in self._limits.items():
            if f"{prefix}/iteration" in metrics:
                note = "{:.4g} -> best {:.4g} ms".format(
                    metrics[f"{prefix}/current_cost_ms"], metrics[f"{prefix}/best_cost_ms"]
                )
                self._move(prefix, share_spent(metrics, prefix, limits), note)
        if "train/iteration" in metrics and "train/max_iterations" in metrics:
            if "train" not in self._tasks:
                self._tasks["train"] = self._progress.add_task("training", total=1.0, note="")
            share = metrics["train/iteration"] / max(metrics["train/max_iterations"], 1)
            self._move("train", share, "")

    def _move(self, name: str, share: float, note: str) -> None:
        task = self._tasks[name]
        self._progress.start_task(task)
        self._progress.update(task, completed=min(share, 1.0), note=note)


_COUNTED = {
    "max_iterations": "iteration",
    "max_candidates": "candidates",
    "max_seconds": "seconds",
    "max_measurements": "measurements",
}


def share_spent(
    metrics: Mapping[str, float], prefix: str, limits: Mapping[str, float | None]
) -> float:
    """How much of the budget is gone, from 0 to 1: the largest share over its limits."""
    shares = [
        metrics[f"{prefix}/{counted}"] / limit
        for name, counted in _COUNTED.items()
        if (limit := limits[name]) and f"{prefix}/{counted}" in metrics
    ]
    return max(shares, default=0.0)


def result_table(entries: Sequence[GraphRecord]) -> Table:
    """What was found, from the `results` of `result.json`."""
    table = Table(title="Results", title_justify="left")
    for column in ("graph", "agent"):
        table.add_column(column)
    for column in ("cost ms", "best ms", "saved", "nodes", "kernels", "iterations", "seconds"):
        table.add_column(column, justify="right")
    for column in ("stopped by", "verified", "best.onnx"):
        table.add_column(column)
    for entry in entries:
        before, after = entry.cost_initial_ms, entry.cost_best_ms
        table.add_row(
            entry.graph,
            entry.agent,
            "-" if before is None else f"{before:.4g}",
            "-" if after is None else f"{after:.4g}",
            f"{1 - after / before:.1%}" if before and after is not None else "-",
            f"{entry.num_nodes_initial} > {entry.num_nodes_best}",
            f"{entry.num_kernels_initial} > {entry.num_kernels_best}",
            str(entry.iterations),
            f"{entry.optimisation_s:.2f}",
            entry.stop_reason,
            "NOT EQUAL" if entry.verified.status == "different" else entry.verified.status,
            _written(entry),
        )
    return table


def real_table(entries: Sequence[GraphRecord]) -> Table:
    """What was measured on this machine, from the `results` of `result.json`."""
    table = Table(title="Measured here, interleaved", title_justify="left")
    for column in ("graph", "runtime"):
        table.add_column(column)
    for column in ("original ms", "best ms", "speed-up", "noise"):
        table.add_column(column, justify="right")
    table.add_column("decides")
    for entry in entries:
        for real in entry.real:
            table.add_row(
                entry.graph,
                real.runtime,
                f"{real.initial_ms.median:.4g}",
                f"{real.best_ms.median:.4g}",
                f"{real.speedup:.3f}",
                f"{real.noise:.1%}",
                "yes" if real.decides else "no",
            )
    return table


def print_tables(entries: Sequence[GraphRecord]) -> None:
    """Prints to standard output, in full width where that is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 160))
    console.print(result_table(entries))
    if any(entry.real for entry in entries):
        console.print(real_table(entries))


def _written(entry: GraphRecord) -> str:
    if entry.best_onnx is None:
        return "not written"
    return "the original" if entry.kept_original else "written"
