"""Speed and memory of `agent=taso`. Not a timed test.

    python scripts/benchmark_search.py [--iterations 200 1000] [--repeats 3] [--csv PATH]
    python scripts/benchmark_search.py --taso graph_subst.pb [--csv PATH]

By default `rules=core measurement=roofline`; with `--taso` and your copy of TASO's rule file,
TASO's rules on the networks and budgets of TASO's own published figures, priced as TASO does and
honestly.
Prints a row for each case: medians over the repeats of seconds (wall clock with quartiles, and
processor time, which other work on the machine disturbs less), of iterations and candidates a
second of processor time, and of the growth of peak resident memory, all during `optimize` alone.
Each repeat has a process of its own, so that the memory of one is not that of another; one core is
used. Growth is the peak during the search minus what was resident when it began; where the peak
cannot be reset (not Linux), minus the peak until then, which may hide some of it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xflowrl.report import write_csv


@dataclass(frozen=True)
class Case:
    """One search: options of the command line, as strings or numbers."""

    graph: str
    graph_options: dict[str, Any]
    iterations: int
    rules: str = "core"
    rule_options: dict[str, Any] = field(default_factory=dict)
    measurement: str = "roofline"
    alpha: float = 1.05

    @property
    def label(self) -> str:
        """The graph and what is not its default."""
        return " ".join([self.graph, *(f"{k}={v}" for k, v in self.graph_options.items())])


def core_cases(iterations: Sequence[int]) -> list[Case]:
    """Two networks with the built-in rules."""
    graphs: list[tuple[str, dict[str, Any]]] = [
        ("nasbench_3x3", {}),
        ("onnx_light", {"name": "resnet50"}),
    ]
    return [Case(*graph, number) for graph in graphs for number in iterations]


def taso_cases(path: str) -> list[Case]:
    """The networks and budgets of TASO's published figures; the last was out of its reach."""
    rows: list[tuple[str, dict[str, Any], int, float]] = [
        ("squeezenet", {}, 1000, 1.05),
        ("squeezenet", {}, 100_000, 1.05),
        ("resnet18", {}, 1000, 1.05),
        ("resnet50", {}, 1000, 1.05),
        ("resnet152", {}, 1000, 1.05),
        ("bert", {}, 1_000_000, 1.0),
        ("nasbench_3x3", {}, 1000, 1.05),
        ("nasbench_3x3", {"num_modules_per_stack": 27}, 1000, 1.05),
    ]
    return [
        Case(graph, options, number, "taso", {"path": path}, measurement, alpha)
        for graph, options, number, alpha in rows
        for measurement in ("taso", "roofline")
    ]


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


def measure(case: Case) -> dict[str, float | str]:
    """One search in this process: what it took and what it found."""
    from xflowrl.options import build_option, make_problems
    from xflowrl.problem import Budget

    made = build_option("graph", case.graph, case.graph_options)
    (problem,) = make_problems(
        made if isinstance(made, list) else [made],
        build_option("rules", case.rules, case.rule_options),
        build_option("measurement", case.measurement),
        Budget(max_iterations=case.iterations),
        seed=0,
    )
    agent = build_option("agent", "taso", {"alpha": case.alpha})
    before, cpu_s = reset_peak(), time.process_time()
    (result,) = agent.optimize([problem], lambda metrics, step: None)
    cpu_s, grown_mb = time.process_time() - cpu_s, (peak_since_reset() - before) / 2**20
    return {
        "iterations": result.iterations,
        "seconds": result.optimisation_s,
        "cpu_seconds": cpu_s,
        "iterations_per_s": result.iterations / cpu_s,
        "candidates_per_s": result.candidates / cpu_s,
        "peak_growth_mb": grown_mb,
        "cost_initial_ms": result.cost_initial_ms,
        "cost_best_ms": result.cost_best_ms,
        "stop_reason": str(result.stop_reason),
    }


def measure_apart(case: Case) -> dict[str, Any]:
    """The same in a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", json.dumps(asdict(case))],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def summary(case: Case, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of the repeats; the search itself is deterministic."""
    result: dict[str, Any] = {"graph": case.label, "rules": case.rules}
    result |= {"measurement": case.measurement, "alpha": case.alpha, "repeats": len(rows)}
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
    parser.add_argument("--taso", metavar="FILE", help="TASO's rule file: compare with TASO")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(Case(**json.loads(options.one)))))
        return
    table = []
    for case in taso_cases(options.taso) if options.taso else core_cases(options.iterations):
        row = summary(case, [measure_apart(case) for _ in range(options.repeats)])
        table.append(row)
        if len(table) == 1:
            print("  ".join(f"{name:>16}" for name in row))
        cells = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values())
        print("  ".join(f"{cell:>16}" for cell in cells), flush=True)
    if options.csv:
        write_csv(table, options.csv)


if __name__ == "__main__":
    main()
