"""Errors, ranks and blame, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from calibration_rows import row

from xflowrl.calibrate.statistics import accuracy, ceiling, estimates, spearman, worst_classes
from xflowrl.calibrate.table import Latencies


def latencies(first: list[float], second: list[float] | None = None) -> Latencies:
    return Latencies(np.array(first), np.array(second or first))


def test_errors_are_relative_before_and_after_the_best_factor() -> None:
    found = accuracy(np.array([1.0, 2.0, 4.0]), latencies([2.0, 4.0, 10.0]))
    assert found.factor == 2.0
    assert (found.median_error, found.largest_error) == pytest.approx((0.5, 0.6))
    assert (found.scaled_median_error, found.scaled_largest_error) == pytest.approx((0.0, 0.2))
    assert found.spearman == pytest.approx(1.0)


def test_order_is_judged_against_each_measurement() -> None:
    both = latencies([1.0, 2.0, 3.0], [1.0, 3.0, 2.0])
    assert ceiling(both) == pytest.approx(0.5)
    assert accuracy(np.array([1.0, 2.0, 3.0]), both).spearman == pytest.approx((1.0 + 0.5) / 2)


def test_ranks() -> None:
    values = np.array([3.0, 1.0, 2.0, 9.0])
    assert spearman(values, np.exp(values)) == pytest.approx(1.0)
    assert spearman(values, -values) == pytest.approx(-1.0)
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4.
    assert spearman(np.array([1, 2, 2, 3]), np.array([1, 2, 3, 4])) == pytest.approx(
        4.5 / math.sqrt(4.5 * 5)
    )
    assert math.isnan(spearman(np.ones(3), values[:3]))


def test_the_drift_of_the_machine_cancels() -> None:
    """Everything twice as slow while the second graph ran: it is as fast as the first."""
    rows = [row(real_ms=8.0, original_ms=10.0), row(real_ms=16.0, original_ms=20.0)]
    times = Latencies.of(rows)
    assert times.first.tolist() == times.second.tolist() == [0.8 * 15.0, 0.8 * 15.0]


def test_factors_correct_estimates() -> None:
    rows = [row("Conv=2 Relu:after_product=1")]
    assert estimates(rows, {}) == 3.0
    assert estimates(rows, {"Relu:after_product": 0.0, "Other": 9.0}) == 2.0


def test_blame_falls_on_the_class_that_costs_something_else() -> None:
    rows = [
        row(f"Conv={conv} Split={split} Add=1", real_ms=conv + 5 * split + 1)
        for conv, split in [(10, 0), (9, 1), (8, 1), (7, 2), (10, 2), (6, 0)]
    ]
    times = Latencies.of([*rows])
    blamed = worst_classes(rows, {}, times)
    assert [blame.name for blame in blamed] == ["Split", "Conv"], "what never changes has no blame"
    assert blamed[0].share > 0.9
    assert blamed[0].worth == pytest.approx(5.0, abs=0.5)
    assert blamed[0].estimated_ms == 0.0
