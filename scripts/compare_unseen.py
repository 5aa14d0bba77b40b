"""Searches and the pretrained policy on networks it has not seen, at equal wall-clock time.

    python scripts/compare_unseen.py --csv results/unseen.csv [--seconds 10] [--sets unseen_cells]

Every agent has the same seconds for every network, rules=core, measurement=roofline, one thread,
and no limit of iterations; training is not counted. `saved_1s` is the share of the original's cost,
in percent, that the best graph found within 1 s saves. Let the machine be idle otherwise.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from xflowrl.options import build_option, make_problems
from xflowrl.problem import Budget, Result
from xflowrl.report import write_csv

SETS = ("unseen_builtin", "unseen_random", "unseen_families", "unseen_traps", "unseen_cells")
AGENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "greedy": ("greedy", {}),
    "taso": ("taso", {"alpha": 1.05}),
    "taso alpha=1.2": ("taso", {"alpha": 1.2}),
    "beam": ("beam", {}),
    "untrained": ("ppo", {"train": False, "num_samples": 1000}),
    "pretrained": ("ppo", {"train": False, "checkpoint": "pretrained", "num_samples": 1000}),
    "mcts": ("mcts", {}),
}
LOOKS_S = (0.1, 0.3, 1.0, 3.0, 10.0)


def saved_percent(result: Result, seconds: float) -> float:
    """What was saved by then, in percent of the original's cost."""
    found = [each.cost_ms for each in result.improvements if each.seconds <= seconds]
    return 100 * (1 - min(found) / result.cost_initial_ms)


def rows(sets: Sequence[str], seconds: float, seed: int) -> Iterator[dict[str, Any]]:
    """Yields a row for every network and agent."""
    rules, prices = build_option("rules", "core"), build_option("measurement", "roofline")
    budget = Budget(max_iterations=None, max_seconds=seconds)
    for name in sets:
        for model in build_option("graph", name, seed=seed):
            for agent, (option, changes) in AGENTS.items():
                problems = make_problems([model], rules, prices, budget, seed=seed)
                searcher = build_option("agent", option, changes, seed=seed)
                (result,) = searcher.optimize(problems, lambda metrics, step: None)
                yield {
                    "set": name,
                    "graph": model.graph.name,
                    "num_nodes": result.num_nodes_initial,
                    "agent": agent,
                    "seconds": result.optimisation_s,
                    "iterations": result.iterations,
                    "best_seconds": result.best_seconds,
                    "saved": saved_percent(result, float("inf")),
                } | {f"saved_{t:g}s": saved_percent(result, t) for t in LOOKS_S if t <= seconds}


def summary(table: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Lines of a table: the mean saving of each agent in each set, in percent."""
    savings = defaultdict(list)
    for row in table:
        savings[row["set"], row["agent"]].append(row["saved"])
    sets = list(dict.fromkeys(row["set"] for row in table))
    yield " | ".join(["| agent", *sets]) + " |"
    yield "|---" * (1 + len(sets)) + "|"
    for agent in AGENTS:
        yield " | ".join([f"| {agent}", *(f"{mean(savings[s, agent]):.2f}" for s in sets)]) + " |"


def main() -> None:
    """Prints a line for every row and the summary; writes the rows as CSV."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--csv", type=Path, required=True, help="where the rows are written")
    parser.add_argument("--seconds", type=float, default=10.0, help="for every agent and network")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = []
    for row in rows(options.sets, options.seconds, options.seed):
        table.append(row)
        line = (
            f"{row['graph']:32} {row['agent']:16} {row['saved']:6.2f} % in {row['seconds']:.2f} s"
        )
        print(line, file=sys.stderr, flush=True)
    write_csv(table, options.csv)
    print("\n".join(summary(table)))


if __name__ == "__main__":
    main()
