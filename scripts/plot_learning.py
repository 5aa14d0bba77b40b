"""Draws the learning curves of `agent=ppo` runs and writes their data.

    python scripts/plot_learning.py RUN_FOLDER... --csv results/NAME.csv --svg results/NAME.svg

Reads the `metrics.jsonl` of every run folder below; a curve a run. A run with
`agent.learning.learning_rate=0 agent.learning.final_learning_rate=0` is the untrained policy, which
the others are to be compared with: it is drawn dashed.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from xflowrl.report import metric_rows, read_runs, write_csv
from xflowrl.run_folder import read_result

COLUMNS = {
    "iteration": "train/iteration",
    "env_steps": "train/env_steps",
    "seconds": "train/seconds",
    "episode_return": "train/episode_return",
    "episode_length": "train/episode_length",
    "best_cost_ms": "train/best_cost_ms",
    "learning_rate": "train/learning_rate",
    "entropy": "train/entropy",
    "approx_kl": "train/approx_kl",
    "explained_variance": "train/explained_variance",
}


def curve(folder: Path) -> list[dict[str, Any]]:
    """The rows of one run: graph, seed and the training metrics of each iteration."""
    entry = read_result(folder).results[0]
    run = {"graph": entry.graph, "seed": entry.seed}
    return [run | row for row in metric_rows(folder, COLUMNS, needed="episode_return")]


def is_untrained(rows: list[dict[str, Any]]) -> bool:
    """Did this run not learn?"""
    return not any(row["learning_rate"] for row in rows)


def summary(rows: list[dict[str, Any]]) -> str:
    """Mean return in the first and in the last tenth of training, or of the untrained policy."""
    returns = [row["episode_return"] for row in rows]
    tenth = max(1, len(returns) // 10)
    name = f"{rows[0]['graph']} seed {rows[0]['seed']}: mean episode return"
    if is_untrained(rows):
        return f"{name} untrained {statistics.fmean(returns):.3f}"
    first, last = statistics.fmean(returns[:tenth]), statistics.fmean(returns[-tenth:])
    return f"{name} first tenth {first:.3f}, last tenth {last:.3f}"


def draw(curves: list[list[dict[str, Any]]], path: Path) -> None:
    """Return against environment steps, and best cost against seconds of training."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for rows in curves:
        seed = rows[0]["seed"]
        style: dict[str, Any] = {"color": f"C{seed}", "label": f"seed {seed}"}
        if is_untrained(rows):
            style |= {"linestyle": "--", "label": f"seed {seed}, untrained"}
        left.plot([r["env_steps"] for r in rows], [r["episode_return"] for r in rows], **style)
        right.plot([r["seconds"] for r in rows], [r["best_cost_ms"] for r in rows], **style)
    left.set(xlabel="environment steps", ylabel="mean episode return (fraction of cost saved)")
    right.set(xlabel="seconds of training", ylabel="best cost (ms)")
    figure.suptitle(f"agent=ppo, graph={curves[0][0]['graph']}")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    with rc_context({"svg.hashsalt": "xflowrl"}):  # the same figure is the same file
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Reads the command line; writes and draws."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--svg", type=Path, required=True)
    options = parser.parse_args()
    curves = read_runs(options.folders, curve, "run of agent=ppo")
    for rows in curves:
        print(summary(rows))
    write_csv([row for rows in curves for row in rows], options.csv)
    draw(curves, options.svg)


if __name__ == "__main__":
    main()
