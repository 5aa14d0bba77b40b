"""What the other scripts share: run folders in, CSV files and figures out."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

Row = Mapping[str, Any]
T = TypeVar("T")


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Writes rows, reals with six digits; a column that a row lacks is empty there."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def read_runs(
    folders: Sequence[Path], read_fn: Callable[[Path], list[T]], what: str
) -> list[list[T]]:
    """What `read_fn` reads from each run folder below, in the order of the paths; no empty ones.

    Ends the program with one line if nothing is left, which says that there is no `what`.
    """
    found = [path.parent for folder in folders for path in sorted(folder.rglob("result.json"))]
    runs = [rows for folder in found if (rows := read_fn(folder))]
    if not runs:
        sys.exit(f"error: no {what} below {', '.join(map(str, folders))}")
    return runs


def metrics(folder: Path, columns: Mapping[str, str], needed: str) -> Iterator[dict[str, Any]]:
    """Yields the rows of a run's `metrics.jsonl` that have the column `needed`, by our names."""
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        if columns[needed] in values:
            yield {name: values.get(key) for name, key in columns.items()}


def plotting() -> Any:
    """Matplotlib's pyplot, without a display; the same figure is the same file."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "xflowrl"
    from matplotlib import pyplot

    return pyplot
