"""Writes the results of run folders as one CSV file, a row a graph and run.

    python scripts/collect_results.py multirun/<date>/<time> --csv results/name.csv

Every folder below the given ones that holds a `result.json` is read, in the order of its path.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from xflowrl.report import read_runs, write_csv
from xflowrl.run_folder import read_result

COLUMNS = (
    "graph",
    "agent",
    "rules",
    "measurement",
    "seed",
    "cost_initial_ms",
    "cost_best_ms",
    "iterations",
    "candidates",
    "optimisation_s",
    "stop_reason",
    "num_nodes_initial",
    "num_nodes_best",
    "num_kernels_initial",
    "num_kernels_best",
    "kept_original",
)
RUNTIMES = ("onnxruntime_plain", "onnxruntime", "torch", "torch_compile")


def rows(folder: Path) -> list[dict[str, Any]]:
    """One row for every graph of a run."""
    record = read_result(folder)
    table = []
    for entry in record.results:
        row = {name: getattr(entry, name) for name in COLUMNS}
        row["equal"] = entry.verified.status == "equal"
        row["max_rel_error"] = entry.verified.max_rel_error
        row["train_s"] = record.train_s
        row["git_commit"] = record.git_commit
        # A path is of one machine alone.
        row["overrides"] = " ".join(o for o in record.overrides if ".path=" not in o)
        for real in entry.real:
            if real.runtime in RUNTIMES:
                prefix = real.runtime
                row[f"{prefix}_initial_ms"] = real.initial_ms.median
                row[f"{prefix}_best_ms"] = real.best_ms.median
                row[f"{prefix}_speedup"] = real.speedup
                row[f"{prefix}_noise"] = real.noise
                row["device"] = real.device
        if entry.raced:
            picked = [raced.speedup for raced in entry.raced if raced.is_found]
            row["num_raced"] = len(entry.raced)
            row["picked_speedup"] = picked[0] if picked else None  # what the search alone found
            row["takes"] = next((raced.takes for raced in entry.raced if raced.is_delivered), None)
        table.append(row)
    return table


def main() -> None:
    """Reads the command line, writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--csv", type=Path, required=True, help="the file to write")
    arguments = parser.parse_args()
    table = [row for run in read_runs(arguments.folders, rows, "result.json") for row in run]
    write_csv(table, arguments.csv)
    print(f"{arguments.csv}: {len(table)} rows")


if __name__ == "__main__":
    main()
