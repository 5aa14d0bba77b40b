"""How good estimates are: errors, order, and the classes of operators to blame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xflowrl.calibrate.table import Latencies, Row


@dataclass(frozen=True)
class Accuracy:
    """Estimates of some graphs against what they take.

    Attributes:
        median_error, largest_error: relative, as estimated.
        factor: latency over estimate, at the median: the best constant factor.
        scaled_median_error, scaled_largest_error: relative, after that factor.
        spearman: rank correlation with a measurement, the mean over the two.
    """

    median_error: float
    largest_error: float
    factor: float
    scaled_median_error: float
    scaled_largest_error: float
    spearman: float


def accuracy(estimates_ms: np.ndarray, latencies: Latencies) -> Accuracy:
    """What estimates are worth; all arrays in the same order, of two graphs at least."""
    real_ms = latencies.mean
    factor = float(np.median(real_ms / estimates_ms))
    errors = np.abs(estimates_ms / real_ms - 1)
    scaled = np.abs(factor * estimates_ms / real_ms - 1)
    return Accuracy(
        *(float(np.median(errors)), float(errors.max()), factor),
        *(float(np.median(scaled)), float(scaled.max())),
        (spearman(estimates_ms, latencies.first) + spearman(estimates_ms, latencies.second)) / 2,
    )


def ceiling(latencies: Latencies) -> float:
    """The rank correlation of the two measurements: more than that no estimate can promise."""
    return spearman(latencies.first, latencies.second)


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation; equal values share the mean of their ranks. NaN if all are."""
    with np.errstate(invalid="ignore"):
        return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    means: np.ndarray = np.cumsum(counts) - (counts + 1) / 2
    return means[inverse]


def estimates(rows: Sequence[Row], factors: Mapping[str, float]) -> np.ndarray:
    """What each row's operators cost together, corrected; milliseconds."""
    return np.array(
        [sum(ms * factors.get(name, 1.0) for name, ms in row.classes.items()) for row in rows]
    )


@dataclass(frozen=True)
class Blame:
    """A class of operators whose estimates go with the error.

    Attributes:
        share: of the error's variance that this class alone explains.
        estimated_ms: in the original.
        worth: milliseconds really taken for each one that is estimated, among these graphs; NaN
            where all have the same.
    """

    name: str
    share: float
    estimated_ms: float
    worth: float


def worst_classes(
    rows: Sequence[Row], factors: Mapping[str, float], latencies: Latencies
) -> list[Blame]:
    """Every class whose estimate differs among the rows, the worst first.

    The error, after the best constant factor, is regressed on each class's estimate alone. What
    changes together is blamed together.
    """
    estimated_ms = estimates(rows, factors)
    factor = accuracy(estimated_ms, latencies).factor
    error_ms = latencies.mean - factor * estimated_ms
    error_ms = error_ms - error_ms.mean()
    blamed = []
    for name in sorted({name for row in rows for name in row.classes}):
        scale = factors.get(name, 1.0)
        own_ms = scale * np.array([row.classes.get(name, 0.0) for row in rows])
        deviation = own_ms - own_ms.mean()
        if np.ptp(own_ms) <= 1e-6 * estimated_ms.mean():
            continue
        slope = float(deviation @ error_ms / (deviation @ deviation))
        explained = slope**2 * float(deviation @ deviation) / float(error_ms @ error_ms)
        blamed.append(Blame(name, explained, float(own_ms[0]), factor + slope))
    return sorted(blamed, key=lambda blame: -blame.share)
