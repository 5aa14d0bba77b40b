#!/usr/bin/env python
"""Do real measurements help a search? Estimates, latencies, PPO and `hybrid`, under equal time.

    python scripts/compare_real.py [--networks squeezenet ...] [--seconds 60] [--seeds 3] [--csv F]

Every network is optimised in each way, once a seed, with `--seconds` on the wall clock a run:

- `estimated`: `taso` on the times of operators, or with `--prices` on the price list of a device;
- `real`: `taso` on latencies;
- `ppo`: PPO on latencies, after a training of about `--train-seconds`, which comes on top;
- `hybrid`: `taso` on the same estimates for half of the time, the best few raced in the other.

What was found is then proven and timed against the original, interleaved, as it is deployed (in a
process of its own, 95% interval of the noise); `hybrid` spends its own time on that, the others get
`--final-seconds` for it. No run knows what another has timed. `found` is the speed-up of the graph
that was found or that won, `delivered` is 1 where that is not faster beyond the noise.

A row is written as soon as it is known, and what the file has is not run again. Printed is a table:
medians of `found` over the seeds, with their range.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xflowrl.judge import Judge
from xflowrl.measurement import Objective
from xflowrl.options import build_option, make_problems
from xflowrl.problem import Budget
from xflowrl.provenance import versions
from xflowrl.report import write_csv

NETWORKS = ("squeezenet", "resnet18", "nasrnn", "bert")
SMALL_ROLLOUTS = {
    "_target_": "xflowrl.agents.ppo.settings.LearningSettings",
    "num_envs": 4,
    "num_steps": 8,
}
Row = dict[str, Any]


@dataclass(frozen=True)
class Way:
    """An agent and what it is told that graphs cost.

    Attributes:
        search_share: of the time, for the search; the rest is for the race.
    """

    agent: str
    measurement: str
    search_share: float = 1.0


WAYS = {
    "estimated": Way("taso", "estimated"),
    "real": Way("taso", "real"),
    "ppo": Way("ppo", "real"),
    "hybrid": Way("taso", "hybrid", search_share=0.5),
}


def main() -> None:
    """Runs what the file lacks, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="of a run")
    parser.add_argument("--train-seconds", type=float, default=240.0, help="of PPO, apart")
    parser.add_argument("--final-seconds", type=float, default=10.0, help="of the final timing")
    parser.add_argument("--max-real", type=int, help="graphs executed in a search, at most")
    parser.add_argument("--prices", help="estimates by roofline: a price list like h100_fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runtime", default="onnxruntime", help="that decides")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--csv", type=Path, default=Path("results/three_way_cpu.csv"))
    options = parser.parse_args()
    rows = read_rows(options.csv)
    done = {
        (r["network"], r["way"], int(r["seed"])) for r in rows if r["prices"] == prices_of(options)
    }
    for network in options.networks:
        for seed in range(options.seeds):
            for way in options.ways:
                if (network, way, seed) not in done:
                    rows.append(run(network, way, seed, options))
                    write_csv(rows, options.csv)
                    print(f"{network} {way} {seed}: found {rows[-1]['found']:.3f}", flush=True)
    print(table(rows))


def read_rows(path: Path) -> list[Row]:
    """The rows of an earlier call."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [dict(row) for row in csv.DictReader(file)]


def run(network: str, name: str, seed: int, options: argparse.Namespace) -> Row:
    """One search, and the final timing of what it found."""
    way = WAYS[name]
    training = {"train_wall_s": options.train_seconds, "learning": SMALL_ROLLOUTS}
    (problem,) = make_problems(
        [build_option("graph", network, seed=seed)],
        build_option("rules", "core"),
        objective_of(way.measurement, options),
        Budget(
            max_iterations=None,
            max_wall_s=way.search_share * options.seconds,
            max_real_measurements=options.max_real,
        ),
        seed=seed,
    )
    agent = build_option("agent", way.agent, training if way.agent == "ppo" else {}, seed=seed)
    judge_s = (1 - way.search_share) * options.seconds or options.final_seconds
    judge = Judge(max_s=judge_s, **deployed(options))
    began_s = time.monotonic()
    (result,) = agent.optimize([problem], lambda metrics, step: None)
    search_s, ended_s = result.optimisation_s + result.measure_s, time.monotonic()
    judgement = real = None
    if result.trace.steps or way.search_share < 1:  # else the judge would look for something itself
        with tempfile.TemporaryDirectory() as folder:
            judgement = judge.deliver(result, problem, Path(folder) / "best.onnx", seed=seed)
        real = judgement.real
    is_ours = judgement is not None and not judgement.kept_original
    return {
        "network": network,
        "way": name,
        "prices": prices_of(options),
        "seed": seed,
        "found": real.speedup if real else 1.0,
        "delivered": real.speedup if real and is_ours else 1.0,
        "noise": real.noise if real else 0.0,
        "initial_ms": real.initial.median_ms if real else "",
        "found_ms": real.best.median_ms if real else "",
        "proof": judgement.verdict.status if judgement else "",
        "num_steps": len(result.trace.steps),
        "iterations": result.iterations,
        "operators_timed": result.measurements,
        "graphs_executed": result.real_measurements,
        "search_s": search_s,
        "train_s": ended_s - began_s - search_s if way.agent == "ppo" else 0.0,
        "judge_s": time.monotonic() - ended_s,
        "stop_reason": str(result.stop_reason),
        "device": real.device if real else "",
        "runtime": judge.runtime,
        "precision": options.precision,
        "seconds": options.seconds,
        "versions": " ".join(
            f"{package} {version}"
            for package, version in versions().items()
            if package in ("onnxruntime", "torch")
        ),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def prices_of(options: argparse.Namespace) -> str:
    """What estimates are made of."""
    return options.prices or "operators"


def deployed(options: argparse.Namespace) -> Row:
    """Where a file is deployed, which decides."""
    return {key: getattr(options, key) for key in ("device", "runtime", "precision")}


def objective_of(measurement: str, options: argparse.Namespace) -> Objective:
    """What graphs cost in a search."""
    settings: Row = {"database": None}
    if measurement == "real":
        settings |= deployed(options)
    elif options.prices and measurement == "estimated":
        measurement, settings = "roofline", {"prices": options.prices}
    elif options.prices:
        settings |= {"guide": "roofline", "prices": options.prices}
    elif options.device != "cpu":  # operators alone are timed where nothing compiles them
        settings |= {"device": options.device, "runtime": "torch"}
    objective: Objective = build_option("measurement", measurement, settings)
    return objective


def table(rows: list[Row]) -> str:
    """Networks by ways, in Markdown."""
    ways = [name for name in WAYS if any(row["way"] == name for row in rows)]
    lines = [f"| network | {' | '.join(ways)} |", "|---" * (1 + len(ways)) + "|"]
    for network in dict.fromkeys(row["network"] for row in rows):
        cells = []
        for way in ways:
            found = [
                float(row["found"])
                for row in rows
                if (row["network"], row["way"]) == (network, way)
            ]
            cells.append(
                f"{statistics.median(found):.3f} ({min(found):.3f}-{max(found):.3f})"
                if found
                else ""
            )
        lines.append(f"| {network} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
