#!/usr/bin/env python
"""How far searches are from the optimum of what they have explored, as a Markdown table.

    python scripts/bounds.py [--graphs squeezenet ...] [--iterations 1000] [--csv PATH]

Rules are `core`, costs `roofline` (A100, fp32), so figures are deterministic but for the seconds.
All agents show the states that they expand, and what the matches of these would make, to one
e-graph a network. `bound_ms` holds for every graph of this joint e-graph, and so for every agent's
result; `own_bound_ms` for what the agent alone has shown. Neither is a bound on all that the rules
reach: a longer search sees more. Equal nodes count once in both. A bound is looser where the time
limit ended the integer program.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from xflowrl._engine import EGraph as Egraph
from xflowrl.agents.attempt import Attempt
from xflowrl.agents.beam import Beam
from xflowrl.agents.egraph.agent import EGraph, Explorer, extract_from
from xflowrl.agents.egraph.saturation import Saturation
from xflowrl.agents.greedy import Greedy
from xflowrl.agents.mcts.search import Search, SearchSettings
from xflowrl.agents.ppo.checkpoint import load_policy
from xflowrl.agents.ppo.decoding import DecodingSettings, decode
from xflowrl.agents.taso import Taso
from xflowrl.measurement import roofline
from xflowrl.onnx_io import Model
from xflowrl.options import build_option
from xflowrl.problem import Budget, Problem
from xflowrl.report import write_csv
from xflowrl.rules import load_core


@dataclass(frozen=True)
class Pretrained:
    """By the policy that comes with the package: a tree search, or episode after episode."""

    is_tree: bool

    def search(self, attempt: Attempt) -> None:
        """Until the budget is spent."""
        policy = load_policy("pretrained", attempt.problem.rules).eval()
        if self.is_tree:
            Search(attempt, policy, SearchSettings()).run()
        else:
            decode(attempt, policy, DecodingSettings(num_samples=1000))


GRAPHS = ("squeezenet", "nasbench_3x3", "inception_v3", "nasrnn")
AGENTS: dict[str, Explorer] = {
    "egraph saturation": EGraph(explorer=Saturation(), explore=0.5),
    "egraph": EGraph(),
    "greedy": Greedy(),
    "taso": Taso(),
    "beam": Beam(),
    "mcts": Pretrained(is_tree=True),
    "ppo": Pretrained(is_tree=False),
}


def searched(agent: Explorer, model: Model, egraph: Egraph, iterations: int) -> Attempt:
    """An agent's attempt at a model, all that it expands shown to an e-graph."""
    budget = Budget(max_iterations=iterations)
    problem = Problem(model=model, rules=load_core(), objective=roofline(), budget=budget)
    attempt = Attempt(problem, lambda metrics, step: None)
    attempt.egraph = egraph
    agent.search(attempt)
    egraph.add(attempt.best)
    return attempt


def rows(graph: str, iterations: int, time_limit_s: float) -> list[dict[str, Any]]:
    """One row an agent."""
    model, found = build_option("graph", graph), []
    joint = Egraph()
    for name, agent in AGENTS.items():
        # What the first one explores is the joint e-graph's first part; it alone explores by it.
        own = Egraph() if found else joint
        attempt = searched(agent, model, own, iterations)
        search_s = attempt.meter.seconds
        _, extraction = extract_from(own, attempt.best, time_limit_s=time_limit_s)
        found.append((name, attempt, search_s, len(own), extraction))
        if own is not joint:
            searched(agent, model, joint, iterations)
    best = min((attempt for _, attempt, *_ in found), key=lambda a: a.best_cost_ms).best
    _, optimum = extract_from(joint, best, time_limit_s=time_limit_s)
    return [
        {
            "graph": graph,
            "agent": name,
            "cost_ms": f"{attempt.best_cost_ms:.6g}",
            "bound_ms": f"{optimum.bound_ms:.6g}",
            "gap_percent": f"{gap_percent(attempt.best_cost_ms, optimum.bound_ms):.2f}",
            "own_bound_ms": f"{extraction.bound_ms:.6g}",
            "own_gap_percent": f"{gap_percent(attempt.best_cost_ms, extraction.bound_ms):.2f}",
            "own_nodes": num_nodes,
            "joint_nodes": len(joint),
            "iterations": attempt.meter.iterations,
            "search_s": f"{search_s:.3g}",
        }
        for name, attempt, search_s, num_nodes, extraction in found
    ]


def gap_percent(cost_ms: float, bound_ms: float) -> float:
    """How far a cost is above a bound, but for rounding."""
    return max(0.0, 100 * (cost_ms / bound_ms - 1))


def main() -> None:
    """Prints the table, network by network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graphs", nargs="+", default=GRAPHS)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--time-limit-s", type=float, default=60.0, help="of an integer program")
    parser.add_argument("--csv", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table: list[dict[str, Any]] = []
    for graph in options.graphs:
        found = rows(graph, options.iterations, options.time_limit_s)
        if not table:
            print("|", " | ".join(found[0]), "|")
            print("|" + "---|" * len(found[0]))
        for row in found:
            print("|", " | ".join(map(str, row.values())), "|", flush=True)
        table += found
        if options.csv:
            write_csv(table, options.csv)


if __name__ == "__main__":
    main()
