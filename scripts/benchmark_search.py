"""Speed and memory of the search, `agent=taso measurement=roofline rules=core`. Not a timed test.

    python scripts/benchmark_search.py [--iterations 200 1000] [--repeats 3] [--csv PATH]

Prints a row for each graph and number of iterations: medians over the repeats of iterations and
candidates a second, of seconds (wall clock with quartiles, and processor time, which other work on
the machine disturbs less), and of the growth of peak resident memory, all during `optimize` alone.
Each repeat has a process of its own, so that the memory of one is not that of another; one core is
used. Growth is the peak during the search minus what was resident when it began; where the peak
cannot be reset (not Linux), minus the peak until then, which may hide some of it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

GRAPHS: dict[str, dict[str, str]] = {"nasbench_3x3": {}, "onnx_light": {"name": "resnet50"}}


def reset_peak() -> int:
    """Forgets how much memory was held in the past; returns what is, or that peak, in bytes."""
    from xflowrl.problem import peak_resident_bytes, resident_bytes

    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return peak_resident_bytes()
    return resident_bytes()


def peak_since_reset() -> int:
    """The most memory held since then, in bytes."""
    from xflowrl.problem import peak_resident_bytes

    status = Path("/proc/self/status")
    if not status.exists():
        return peak_resident_bytes()
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def measure(graph: str, iterations: int) -> dict[str, float | str]:
    """One search in this process: what it took and what it found."""
    from xflowrl.problem import Budget, Problem
    from xflowrl.run import build, load_option

    made = build(load_option("graph", graph, GRAPHS[graph], seed=0))
    problem = Problem(
        model=made[0] if isinstance(made, list) else made,
        rules=build(load_option("rules", "core", {}, seed=0)),
        cost_model=build(load_option("measurement", "roofline", {}, seed=0)),
        budget=Budget(max_iterations=iterations),
    )
    agent = build(load_option("agent", "taso", {}, seed=0))
    before, cpu_s = reset_peak(), time.process_time()
    (result,) = agent.optimize([problem], lambda metrics, step: None)
    cpu_s, grown_mb = time.process_time() - cpu_s, (peak_since_reset() - before) / 2**20
    return {
        "iterations": result.iterations,
        "seconds": result.optimisation_s,
        "cpu_seconds": cpu_s,
        "iterations_per_s": result.iterations / result.optimisation_s,
        "candidates_per_s": result.candidates / result.optimisation_s,
        "peak_growth_mb": grown_mb,
        "cost_initial_ms": result.cost_initial_ms,
        "cost_best_ms": result.cost_best_ms,
        "stop_reason": str(result.stop_reason),
    }


def measure_apart(graph: str, iterations: int) -> dict[str, Any]:
    """The same in a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", graph, "--iterations", str(iterations)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def summary(graph: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of the repeats; the search itself is deterministic."""
    label = " ".join([graph, *GRAPHS[graph].values()])
    result: dict[str, Any] = {"graph": label, "repeats": len(rows)}
    for name, value in rows[0].items():
        values = [row[name] for row in rows]
        result[name] = value if isinstance(value, str) else statistics.median(values)
    seconds = sorted(row["seconds"] for row in rows)
    quartiles = statistics.quantiles(seconds, method="inclusive") if len(rows) > 1 else seconds * 3
    result["seconds_q1"], result["seconds_q3"] = quartiles[0], quartiles[2]
    return result


def main() -> None:
    """Prints the table; writes it as CSV where asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--iterations", type=int, nargs="+", default=[200, 1000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="also write the rows to this file")
    parser.add_argument("--one", choices=GRAPHS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.iterations[0])))
        return
    table = []
    for graph in GRAPHS:
        for iterations in options.iterations:
            repeats = [measure_apart(graph, iterations) for _ in range(options.repeats)]
            row = summary(graph, repeats)
            table.append(row)
            if len(table) == 1:
                print("  ".join(f"{name:>16}" for name in row))
            cells = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values())
            print("  ".join(f"{cell:>16}" for cell in cells), flush=True)
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, table[0])
            writer.writeheader()
            writer.writerows(table)


if __name__ == "__main__":
    main()
