"""The table of a calibration: a row a graph, written as it is measured, read by whoever fits."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

_PARSERS: dict[Any, Callable[[str], Any]] = {"str": str, "int": int, "float": float}


@dataclass(frozen=True)
class Row:
    """One graph, estimated and executed twice, each time beside the original.

    Attributes:
        network: the original's name.
        graph: the hash of the rewritten one.
        prices: what they are from: "roofline", or the runtime that operators are timed in.
        kind: of the device that decides, "cpu" or "cuda".
        real_ms, again_ms: medians of two measurements, in sessions of their own.
        original_ms, original_again_ms: of the original, which took turns with it.
        ms_by_class: the estimate by class of operators, "Conv=1.5 Relu:after_product=0.1".
    """

    network: str
    graph: str
    num_steps: int
    num_nodes: int
    estimated_ms: float
    real_ms: float
    original_ms: float
    again_ms: float
    original_again_ms: float
    prices: str
    runtime: str
    kind: str
    device: str
    version: str
    date: str
    ms_by_class: str

    @property
    def classes(self) -> dict[str, float]:
        """The estimate by class of operators, milliseconds."""
        pairs = (item.rpartition("=") for item in self.ms_by_class.split())
        return {name: float(ms) for name, _, ms in pairs}


def classes_text(ms_by_class: dict[str, float]) -> str:
    """The form of `Row.ms_by_class`; six digits, more than a time has."""
    return " ".join(f"{name}={ms:.6g}" for name, ms in sorted(ms_by_class.items()))


@dataclass(frozen=True)
class Latencies:
    """Two measurements of each row, milliseconds, freed from the drift of the machine.

    Each is the ratio to the original that took turns with it, times the original's median over
    all rows.
    """

    first: np.ndarray
    second: np.ndarray

    @staticmethod
    def of(rows: Sequence[Row]) -> Latencies:
        original_ms = float(np.median([(row.original_ms, row.original_again_ms) for row in rows]))
        return Latencies(
            original_ms * np.array([row.real_ms / row.original_ms for row in rows]),
            original_ms * np.array([row.again_ms / row.original_again_ms for row in rows]),
        )

    @property
    def mean(self) -> np.ndarray:
        """What the rows take."""
        both: np.ndarray = (self.first + self.second) / 2
        return both


def read_rows(path: Path) -> list[Row]:
    """The rows of a file; none where it does not exist.

    Raises:
        ValueError: it is no table of a calibration.
    """
    if not path.exists():
        return []
    rows = []
    with path.open(encoding="utf-8", newline="") as file:
        for number, record in enumerate(csv.DictReader(file), start=2):
            try:
                rows.append(Row(**{f.name: _PARSERS[f.type](record[f.name]) for f in fields(Row)}))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{path}:{number}: no row of a calibration ({error!r}); give a file that "
                    "python -m xflowrl.calibrate wrote"
                ) from error
    return rows


def append_row(path: Path, row: Row) -> None:
    """Adds a row, and the header to a new file; whoever dies afterwards has it."""
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)], lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(_rounded(row))


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Replaces a file by these rows."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(_rounded, rows))


def _rounded(row: Row) -> dict[str, object]:
    return {
        name: f"{value:.6g}" if isinstance(value, float) else value
        for name, value in asdict(row).items()
    }


def by_network(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each network, in their order."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.network].append(row)
    return dict(groups)
