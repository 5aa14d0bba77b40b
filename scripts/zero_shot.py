"""Trained policies on networks they have never seen, beside other agents, as a Markdown table.

    python scripts/zero_shot.py --csv results/zero_shot.csv [--seeds 0 1 2] [--train-s 1200]
    python scripts/zero_shot.py --seeds 0 --train-iterations 1          # a rehearsal

For each seed a policy is trained on nasbench_3x3 and squeezenet (agent=ppo, rules=core,
measurement=roofline); then it decodes on inception_v2 and resnet18, and so does an untrained policy
of the same size. Beside them stand greedy and TASO's search, all with the same
budget.max_iterations. One thread. Those two do not depend on the seed: with every seed they only
give their time once more. `share_of_greedy` is the saving divided by that of greedy,
`best_seconds` when in `optimisation_s` the best was found.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from xflowrl.options import build_option, make_problems
from xflowrl.problem import Agent, Budget, Problem, Result
from xflowrl.report import write_csv

TRAINED_ON = ["nasbench_3x3", "squeezenet"]
UNSEEN: dict[str, tuple[str, dict[str, Any]]] = {
    "inception_v2": ("onnx_light", {"name": "inception_v2"}),
    "resnet18": ("resnet18", {}),
}
MAX_ITERATIONS = 1000
COLUMNS = (
    *("network", "agent", "seed", "cost_initial_ms", "cost_best_ms", "saved_percent"),
    *("share_of_greedy", "optimisation_s", "iterations", "train_s", "best_seconds"),
)


def problems_of(models: list[Any], *, seed: int, max_iterations: int) -> list[Problem]:
    """The core rules and the default price list for all."""
    rules, prices = build_option("rules", "core"), build_option("measurement", "roofline")
    return make_problems(models, rules, prices, Budget(max_iterations=max_iterations), seed=seed)


def optimize(agent: Agent, problems: list[Problem]) -> list[Result]:
    """Without a log."""
    return agent.optimize(problems, lambda metrics, step: None)


def train(folder: Path, options: argparse.Namespace, *, seed: int) -> tuple[str, float]:
    """Trains a policy and keeps it in `folder`; its file, and the seconds of training."""
    changes = {"train_iterations": options.train_iterations, "train_s": options.train_s}
    given = {name: value for name, value in changes.items() if value is not None}
    agent = build_option("agent", "ppo", {"folder": str(folder), **given}, seed=seed)
    networks = build_option("graph", "networks", {"names": TRAINED_ON}, seed=seed)
    # Without a budget there is nothing but training.
    optimize(agent, problems_of(networks, seed=seed, max_iterations=0))
    best, last = (folder / "checkpoints" / name for name in ("best.pt", "last.pt"))
    return str(best if best.is_file() else last), agent.train_s


def rows(folder: Path, options: argparse.Namespace, *, seed: int) -> Iterator[dict[str, Any]]:
    """Yields a row for every unseen network and agent."""
    checkpoint, train_s = train(folder, options, seed=seed)
    trained = {"train": False, "checkpoint": checkpoint}
    agents = {
        "greedy": build_option("agent", "greedy", seed=seed),
        "taso": build_option("agent", "taso", {"alpha": 1.05}, seed=seed),
        "trained": build_option("agent", "ppo", trained, seed=seed),
        "untrained": build_option("agent", "ppo", {"train": False}, seed=seed),
    }
    for network, (graph, changes) in UNSEEN.items():
        model = build_option("graph", graph, changes, seed=seed)
        problems = problems_of([model], seed=seed, max_iterations=MAX_ITERATIONS)
        greedy_ms = 0.0
        for name, agent in agents.items():
            (result,) = optimize(agent, problems)
            saved_ms = result.cost_initial_ms - result.cost_best_ms
            greedy_ms = saved_ms if name == "greedy" else greedy_ms
            yield {
                "network": network,
                "agent": name,
                "seed": seed,
                "cost_initial_ms": result.cost_initial_ms,
                "cost_best_ms": result.cost_best_ms,
                "saved_percent": 100 * saved_ms / result.cost_initial_ms,
                "share_of_greedy": saved_ms / greedy_ms if greedy_ms > 0 else None,
                "optimisation_s": result.optimisation_s,
                "iterations": result.iterations,
                "train_s": train_s if name == "trained" else None,
                "best_seconds": result.best_seconds,
            }


def cells(row: Mapping[str, Any]) -> Iterator[str]:
    """The row as text; what is missing is empty."""
    for value in row.values():
        text = "" if value is None else str(value)
        yield f"{value:.4g}" if isinstance(value, float) else text


def main() -> None:
    """Prints the table, and writes it as CSV where asked to, row by row as it is made."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--train-s", type=float, help="agent.train_s, if not its default")
    parser.add_argument("--train-iterations", type=int, help="agent.train_iterations, likewise")
    parser.add_argument("--csv", type=Path, help="also write the rows here")
    parser.add_argument("--folder", type=Path, help="where the policies are kept; else nowhere")
    options = parser.parse_args()
    if options.folder is not None and options.folder.exists():
        sys.exit(f"error: --folder {options.folder} exists already: give a new one")
    torch.set_num_threads(1)
    print("|", " | ".join(COLUMNS), "|")
    print("|" + "---|" * len(COLUMNS), flush=True)
    table: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in options.seeds:
            folder = (options.folder or Path(temporary)) / f"seed-{seed}"
            for row in rows(folder, options, seed=seed):
                print("|", " | ".join(cells(row)), "|", flush=True)
                table.append(row)
                if options.csv:
                    write_csv(table, options.csv)


if __name__ == "__main__":
    main()
