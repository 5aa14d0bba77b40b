#!/usr/bin/env python
"""Searches side by side on random networks: agents x size x trap density, as a Markdown table.

    python scripts/compare_agents.py --sizes 50 200 1000 --traps 0 0.2 0.5 [--csv PATH]

Rules are `core`, costs `roofline` (A100, fp32), so figures are deterministic but for the seconds.
Each entry: percent of the original's cost that was saved, the median over the seeds, then its range
where there are several; and the median of `optimisation_s`. The best agents of a row are bold.
PPO trains on each network first, which the seconds leave out and `train_s` of the CSV file has; it
is not among the agents by default.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xflowrl.agents.beam import Beam
from xflowrl.agents.greedy import Greedy
from xflowrl.agents.ppo.agent import PPO
from xflowrl.agents.random_search import RandomSearch
from xflowrl.agents.taso import Taso
from xflowrl.graphs.random_networks import random_network
from xflowrl.measurement import roofline
from xflowrl.problem import Agent, Budget, Problem, Result
from xflowrl.report import write_csv
from xflowrl.rules import load_core

AGENTS: dict[str, Agent] = {
    "random_search": RandomSearch(),
    "greedy": Greedy(),
    "taso alpha=1": Taso(alpha=1.0),
    "taso alpha=1.05": Taso(alpha=1.05),
    "taso alpha=1.2": Taso(alpha=1.2),
    "beam width=1": Beam(width=1),
    "beam width=8": Beam(width=8),
    "ppo": PPO(),
}


Found = list[tuple[Result, float]]  # with the seconds of training, one a seed


def results(agent: Agent, options: argparse.Namespace, size: int, trap: float) -> Found:
    """What the agent finds on the networks of all seeds."""
    found = []
    rules, objective = load_core(), roofline()
    for seed in range(options.seeds):
        problem = Problem(
            model=random_network(num_nodes=size, trap=trap, seed=seed),
            rules=rules,
            objective=objective,
            budget=Budget(max_iterations=options.iterations, max_seconds=options.seconds),
            seed=seed,
        )
        (result,) = agent.optimize([problem], lambda metrics, step: None)
        found.append((result, getattr(agent, "train_s", 0.0)))
    return found


def saved_percent(found: Found) -> list[float]:
    """Of the original's cost."""
    return [100 * (1 - result.cost_best_ms / result.cost_initial_ms) for result, _ in found]


def entry(found: Found, *, is_best: bool) -> str:
    """One cell of the table."""
    saved = saved_percent(found)
    text = f"{statistics.median(saved):.1f}"
    text = f"**{text}**" if is_best else text
    if len(saved) > 1:
        text += f" ({min(saved):.1f}-{max(saved):.1f})"
    return f"{text}, {statistics.median(result.optimisation_s for result, _ in found):.2f} s"


def rows(name: str, size: int, trap: float, found: Found) -> Iterator[dict[str, Any]]:
    """One row a network."""
    saved = saved_percent(found)
    for seed, (result, train_s) in enumerate(found):
        yield {
            "nodes": size,
            "trap": trap,
            "seed": seed,
            "agent": name,
            "cost_initial_ms": f"{result.cost_initial_ms:.6g}",
            "cost_best_ms": f"{result.cost_best_ms:.6g}",
            "saved_percent": f"{saved[seed]:.4g}",
            "iterations": result.iterations,
            "optimisation_s": f"{result.optimisation_s:.4g}",
            "train_s": f"{train_s:.4g}",
        }


def main() -> None:
    """Prints the table, row by row as it is made."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 200, 1000])
    parser.add_argument("--traps", type=float, nargs="+", default=[0.0, 0.2, 0.5])
    parser.add_argument("--seeds", type=int, default=3, help="networks a row")
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=None, help="at most, of each search")
    searches = [name for name in AGENTS if name != "ppo"]
    parser.add_argument("--agents", nargs="+", choices=AGENTS, default=searches)
    parser.add_argument("--csv", type=Path, help="also write a row for every search to this file")
    options = parser.parse_args()
    table: list[dict[str, Any]] = []
    print("| nodes | traps |", " | ".join(options.agents), "|")
    print("|---|---|" + "---|" * len(options.agents))
    for size in options.sizes:
        for trap in options.traps:
            found = {name: results(AGENTS[name], options, size, trap) for name in options.agents}
            medians = {name: statistics.median(saved_percent(each)) for name, each in found.items()}
            best = max(medians.values()) - 0.05  # what is printed alike is alike
            cells = [entry(found[name], is_best=medians[name] >= best) for name in options.agents]
            print(f"| {size} | {trap:g} |", " | ".join(cells), "|", flush=True)
            for name, each in found.items():
                table += rows(name, size, trap, each)
            if options.csv:
                write_csv(table, options.csv)


if __name__ == "__main__":
    main()
