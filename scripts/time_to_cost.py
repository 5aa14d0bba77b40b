#!/usr/bin/env python
"""How long the pretrained policy takes to be as good as TASO's search, on networks it never saw.

    python scripts/time_to_cost.py [--draws 5] [--seconds 4] [--csv PATH]

For each built-in network that training left out and each draw, one after the other: TASO's search
with 1,000 iterations, then the policy until the seconds are over. `ppo_s` is when the policy's
best first cost at most 0.5% of the original's cost more than what TASO's search ended with, empty
if it never did. Rules are `core`, costs `roofline` (A100, fp32). One core; not a timed test.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from typing import Any

import torch

from xflowrl.measurement import roofline
from xflowrl.onnx_io import Model
from xflowrl.options import build_option
from xflowrl.problem import Budget, Problem, Result
from xflowrl.report import write_csv
from xflowrl.rules import load_core

TOLERANCE = 0.005  # of the initial cost

POLICY = {"train": False, "checkpoint": "pretrained", "num_samples": 1_000_000}


def optimized(agent: str, model: Model, draw: int, budget: Budget, **options: object) -> Result:
    """What an agent makes of a model."""
    problem = Problem(
        model=model, rules=load_core(), objective=roofline(), budget=budget, seed=draw
    )
    (result,) = build_option("agent", agent, options).optimize([problem], lambda *logged: None)
    return result  # type: ignore[no-any-return]


def compared(model: Model, draw: int, seconds: float) -> dict[str, Any]:
    """One row."""
    taso = optimized("taso", model, draw, Budget(max_iterations=1000))
    budget = Budget(max_seconds=seconds, max_iterations=None)
    policy = optimized("ppo", model, draw, budget, **POLICY)
    enough_ms = taso.cost_best_ms + TOLERANCE * taso.cost_initial_ms
    reached_s = [each.seconds for each in policy.improvements if each.cost_ms <= enough_ms]
    return {
        "graph": taso.graph,
        "draw": draw,
        "taso_saved": f"{1 - taso.cost_best_ms / taso.cost_initial_ms:.4f}",
        "taso_s": f"{taso.optimisation_s:.3g}",
        "ppo_s": f"{min(reached_s):.3g}" if reached_s else "",
        "ppo_saved": f"{1 - policy.cost_best_ms / policy.cost_initial_ms:.4f}",
    }


def main() -> None:
    """Prints a line a network, with medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of the policy, each draw")
    parser.add_argument("--csv", type=Path, help="also write every draw to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    models = build_option("graph", "unseen_builtin")
    compared(models[0], 0, seconds=1.0)  # what is loaded once is loaded
    table: list[dict[str, Any]] = []
    for model in models:
        rows = [compared(model, draw, options.seconds) for draw in range(options.draws)]
        taso_s = median(float(row["taso_s"]) for row in rows)
        ppo_s = sorted(float(row["ppo_s"] or "inf") for row in rows)
        print(
            f"{rows[0]['graph']}: taso {taso_s:.3g} s to {rows[0]['taso_saved']}, "
            f"ppo {median(ppo_s):.3g} s ({ppo_s[0]:.3g} to {ppo_s[-1]:.3g})",
            flush=True,
        )
        table += rows
        if options.csv:
            write_csv(table, options.csv)


if __name__ == "__main__":
    main()
