"""What a calibration says: lines to print, and a picture."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from xflowrl.calibrate.statistics import Accuracy, accuracy, ceiling, estimates, worst_classes
from xflowrl.calibrate.table import Latencies, Row
from xflowrl.measurement.correction import known_factors

_log = logging.getLogger(__name__)

_NUM_BLAMED = 6


def report(rows: Sequence[Row]) -> str:
    """Lines about one network's rows, as estimated and corrected."""
    if len(rows) < 2:
        return f"{len(rows)} graphs: too few to compare"
    first, latencies = rows[0], Latencies.of(rows)
    real_ms, factors = latencies.mean, _known(first)
    lines = [
        f"{first.network}: {len(rows)} graphs, {first.prices} against {first.version}, "
        f"{real_ms.min():.4g} to {real_ms.max():.4g} ms",
        accuracy_title(14),
    ]
    for way, used in _ways(factors).items():
        found = accuracy(estimates(rows, used), latencies)
        lines.append(accuracy_line(way, found, ceiling(latencies), 14))
    lines.append(f"{'worst classes':34}{'error explained':>16}{'estimated ms':>14}{'worth':>8}")
    for blame in worst_classes(rows, factors, latencies)[:_NUM_BLAMED]:
        lines.append(
            f"  {blame.name:32}{blame.share:16.0%}{blame.estimated_ms:14.4f}{blame.worth:8.2f}"
        )
    return "\n".join(lines)


def accuracy_title(width: int) -> str:
    """Two lines above `accuracy_line`."""
    names = ("median", "largest", "factor", "median", "largest", "Spearman", "ceiling")
    return (
        f"{'':{width}}{'error':>20}{'':10}{'error after factor':>20}\n"
        f"{'':{width}}{''.join(f'{name:>10}' for name in names)}"
    )


def accuracy_line(way: str, found: Accuracy, limit: float, width: int) -> str:
    """A row of numbers: an accuracy and its ceiling."""
    return (
        f"{way:{width}}{found.median_error:10.1%}{found.largest_error:10.1%}{found.factor:10.3f}"
        f"{found.scaled_median_error:10.1%}{found.scaled_largest_error:10.1%}"
        f"{found.spearman:10.3f}{limit:10.3f}"
    )


def _known(row: Row) -> dict[str, float]:
    return known_factors(row.prices, row.runtime, row.kind)


def _ways(factors: Mapping[str, float]) -> dict[str, Mapping[str, float]]:
    return {"uncorrected": {}} | ({"corrected": factors} if factors else {})


def write_scatter(path: Path, rows: Sequence[Row]) -> None:
    """Draws estimates over latencies, corrected and not, as a PNG or SVG file.

    Where matplotlib is not installed the log says so, and nothing is drawn.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        _log.warning('no scatter is drawn: run pip install "xflowrl[report]" for matplotlib')
        return
    first, latencies = rows[0], Latencies.of(rows)
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.subplots()
    real_ms = latencies.mean
    spread_ms = np.abs(latencies.first - latencies.second) / 2
    for (way, used), marker in zip(_ways(_known(first)).items(), "ox", strict=False):
        estimated_ms = estimates(rows, used)
        factor = float(np.median(real_ms / estimated_ms))
        axes.errorbar(
            *(factor * estimated_ms, real_ms, spread_ms),
            fmt=marker, markersize=4, alpha=0.7, label=f"{way}, times {factor:.3f}",
        )  # fmt: skip
    ends = [real_ms.min(), real_ms.max()]
    axes.plot(ends, ends, color="0.6", linewidth=1, zorder=0)
    axes.set_xlabel(f"prices of {first.prices}, times the factor, ms")
    axes.set_ylabel(f"{first.version}, ms")
    axes.set_title(f"{first.network}: {len(rows)} graphs")
    axes.legend()
    figure.savefig(path, dpi=150)
