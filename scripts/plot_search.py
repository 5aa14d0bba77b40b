"""Draws what a search did, iteration by iteration, and writes the data.

    python scripts/plot_search.py RUN_FOLDER... --csv results/NAME.csv --svg results/NAME.svg

Reads the `metrics.jsonl` of every run folder below: the cost of the graph expanded in each
iteration and the best cost so far, for the first iterations and, thinned, for all. A row of the
figure a run.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from xflowrl.report import metric_rows, read_runs, write_csv
from xflowrl.run_folder import read_result

COLUMNS = {
    "iteration": "search/iteration",
    "seconds": "search/seconds",
    "cost_ms": "search/current_cost_ms",
    "best_cost_ms": "search/best_cost_ms",
    "queue_length": "search/queue_length",
    "memory_mb": "search/memory_mb",
}


def history(folder: Path) -> list[dict[str, Any]]:
    """The rows of one run of one graph; nothing if its agent keeps no queue."""
    unsaid = ("agent=", "budget.", "graph=", "judge.", "rules.path=", "wandb.")
    options = [option for option in read_result(folder).overrides if not option.startswith(unsaid)]
    run = {"run": " ".join(options)}
    return [run | row for row in metric_rows(folder, COLUMNS, needed="queue_length")]


def draw(histories: list[list[dict[str, Any]]], first: int, path: Path) -> None:
    """Costs against iterations: the first ones, and all."""
    figure = Figure(figsize=(9, 3.2 * len(histories)), layout="constrained")
    grid = figure.subplots(len(histories), 2, squeeze=False)
    for (left, right), rows in zip(grid, histories, strict=True):
        for axes, shown in ((left, [r for r in rows if r["iteration"] <= first]), (right, rows)):
            iterations = [r["iteration"] for r in shown]
            axes.plot(iterations, [r["cost_ms"] for r in shown], lw=0.6, label="expanded graph")
            axes.plot(iterations, [r["best_cost_ms"] for r in shown], label="best so far")
            axes.set(xlabel="iteration", ylabel="cost (ms)")
            axes.grid(alpha=0.3)
        left.set_title(rows[0]["run"], fontsize=8, loc="left")
        right.set_xlabel(f"iteration, all {rows[-1]['iteration']}")
        right.legend()
    with rc_context({"svg.hashsalt": "xflowrl"}):  # the same figure is the same file
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Reads the command line; writes and draws."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--first", type=int, default=200, help="iterations of the left panel")
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--svg", type=Path, required=True)
    options = parser.parse_args()
    histories = read_runs(options.folders, history, "run of agent=taso")
    write_csv([row for rows in histories for row in rows], options.csv)
    draw(histories, options.first, options.svg)


if __name__ == "__main__":
    main()
