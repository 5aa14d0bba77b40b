"""Run folders as tables: the one place where scripts read many runs and write CSV files."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from xflowrl.run_folder import find_runs, read_metrics

T = TypeVar("T")


def read_runs(
    folders: Sequence[Path], read_fn: Callable[[Path], list[T]], what: str
) -> list[list[T]]:
    """What `read_fn` reads from each run folder below, in the order of the paths; no empty ones.

    Ends the program with one line if nothing is left, which says that there is no `what`.
    """
    runs = [rows for folder in find_runs(folders) if (rows := read_fn(folder))]
    if not runs:
        sys.exit(f"error: no {what} below {', '.join(map(str, folders))}")
    return runs


def metric_rows(folder: Path, columns: Mapping[str, str], needed: str) -> list[dict[str, Any]]:
    """The rows of a run's metrics that have the column `needed`.

    Args:
        columns: the name of each column, and of its metric.
    """
    return [
        {name: row.get(metric) for name, metric in columns.items()}
        for row in read_metrics(folder)
        if columns[needed] in row
    ]


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes rows, reals with six digits; a column that a row lacks is empty there."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
