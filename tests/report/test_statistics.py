"""Means and intervals against second implementations."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xflowrl.report.statistics import (
    bootstrap,
    interquartile_mean,
    mean,
    mean_curve,
    mean_difference,
    mean_interval,
    nested_bootstrap,
    pareto_front,
    performance_profile,
    probability_of_improvement,
    steps_at,
)

Statistic = Callable[[Any], Any]

TASKS = [[0.1, 0.93, 0.42, 0.77], [0.5, 0.24, 0.31]]


def trimmed_mean(scores: list[float]) -> float:
    """As scipy.stats.trim_mean with 0.25, in plain Python."""
    cut = int(0.25 * len(scores))
    return statistics.fmean(sorted(scores)[cut : len(scores) - cut])


def all_resamples(tasks: list[list[float]]) -> list[list[float]]:
    """Every way to draw each task's runs with replacement: the distribution that is sampled."""
    each = [list(itertools.product(task, repeat=len(task))) for task in tasks]
    return [list(itertools.chain(*parts)) for parts in itertools.product(*each)]


def is_percentile(value: float, percent: float, exact: list[float]) -> bool:
    """Whether a value may be this percentile of a sample of 2000.

    Its standard error is 0.35 percent, of which it may be off by 3.4; values repeat in `exact`.
    """
    below = np.percentile(exact, percent - 1.2, method="lower")
    above = np.percentile(exact, percent + 1.2, method="higher")
    return bool(below - 1e-9 <= value <= above + 1e-9)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 20])
def test_the_interquartile_mean_is_that_of_the_middle_half(count: int) -> None:
    scores = np.random.default_rng(count).normal(size=(3, count))
    for row, found in zip(scores, interquartile_mean(scores), strict=True):
        assert found == pytest.approx(trimmed_mean(row.tolist()), rel=1e-12)


def test_outliers_do_not_move_the_interquartile_mean() -> None:
    assert interquartile_mean(np.array([1.0, 2.0, 3.0, 1e9])) == 2.5


@pytest.mark.parametrize(
    "ours, theirs", [(mean, statistics.fmean), (interquartile_mean, trimmed_mean)]
)
def test_an_interval_is_that_of_all_resamples(ours: Statistic, theirs: Statistic) -> None:
    exact = [theirs(scores) for scores in all_resamples(TASKS)]
    found = bootstrap(TASKS, ours)
    assert found.value == pytest.approx(theirs([score for task in TASKS for score in task]))
    assert is_percentile(found.low, 2.5, exact)
    assert is_percentile(found.high, 97.5, exact)
    assert found.low < found.value < found.high


def test_resampling_stays_within_a_task() -> None:
    # Each task's runs are alike, so that there is nothing to draw: the tasks are kept apart.
    found = bootstrap([[0.0, 0.0, 0.0], [1.0, 1.0]], mean)
    assert (found.low, found.high) == (found.value, found.value) == pytest.approx((0.4, 0.4))


def test_one_run_has_no_spread() -> None:
    found = mean_interval([3.0])
    assert (found.value, found.low, found.high) == (3.0, 3.0, 3.0)


def test_intervals_are_the_same_each_time() -> None:
    assert bootstrap(TASKS, mean) == bootstrap(TASKS, mean)


def test_a_profile_counts_runs_above_each_threshold() -> None:
    thresholds = np.array([0.0, 0.2, 0.5, 0.9])
    share, low, high = performance_profile(TASKS, thresholds)
    scores = [score for task in TASKS for score in task]
    assert share.tolist() == [sum(s > t for s in scores) / 7 for t in thresholds]
    resamples = all_resamples(TASKS)
    for index, threshold in enumerate(thresholds):
        exact = [sum(s > threshold for s in scores) / 7 for scores in resamples]
        assert is_percentile(low[index], 2.5, exact)
        assert is_percentile(high[index], 97.5, exact)


def test_a_mean_curve_has_at_each_point_the_interval_of_its_values() -> None:
    curves = np.array([[4.0, 3.0, 1.0], [4.0, 2.0, 1.5], [4.0, 3.6, 0.5], [4.0, 3.1, 0.2]])
    y, low, high = mean_curve(curves)
    assert y == pytest.approx(curves.mean(axis=0))
    for index in range(3):
        exact = [statistics.fmean(drawn) for drawn in all_resamples([curves[:, index].tolist()])]
        assert is_percentile(low[index], 2.5, exact)
        assert is_percentile(high[index], 97.5, exact)
    assert [low[0], high[0]] == pytest.approx([4.0, 4.0])


def test_a_step_holds_until_the_next() -> None:
    grid = np.array([0.5, 1.0, 1.9, 2.0, 9.0])
    assert steps_at([1.0, 2.0, 2.0], [5.0, 4.0, 3.0], grid).tolist() == [5.0, 5.0, 5.0, 3.0, 3.0]


def test_the_front_is_what_nothing_dominates() -> None:
    generator = np.random.default_rng(0)
    points = [(float(x), float(y)) for x, y in generator.integers(0, 8, size=(40, 2))]
    front = pareto_front(points)
    undominated = {
        p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)
    }
    assert {points[index] for index in front} == undominated
    assert front == sorted(front, key=lambda index: points[index])


def nested_resamples(tasks: list[list[float]]) -> list[list[tuple[float, ...]]]:
    """Every way to draw tasks with replacement, and then runs of each, as many as most have."""
    num_runs = max(map(len, tasks))
    found = []
    for chosen in itertools.product(tasks, repeat=len(tasks)):
        runs = [[*itertools.product(task, repeat=num_runs)] for task in chosen]
        # The same number of each choice, however many runs its tasks have.
        weight = 4 ** len(tasks) // math.prod(map(len, runs))
        found += [list(each) for each in itertools.product(*runs)] * weight
    return found


def test_a_nested_interval_is_that_of_all_draws_of_tasks_and_runs() -> None:
    tasks = [[0.1, 0.9], [0.5, 0.3], [0.7]]
    exact = [statistics.fmean(itertools.chain(*drawn)) for drawn in nested_resamples(tasks)]
    found = nested_bootstrap(tasks, mean)
    assert found.value == pytest.approx(0.5)
    assert is_percentile(found.low, 2.5, exact)
    assert is_percentile(found.high, 97.5, exact)
    fixed = bootstrap([[0.2], [0.6]], mean)
    assert fixed.low == fixed.high == pytest.approx(0.4), "of one run each nothing is drawn"
    drawn = nested_bootstrap([[0.2], [0.6]], mean)
    assert (drawn.low, drawn.high) == pytest.approx((0.2, 0.6))


def test_what_tasks_differ_in_is_in_no_difference() -> None:
    found = mean_difference([[0.2], [0.9]], [[0.1], [0.8]])
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    found = mean_difference([[0.3, 0.5], [0.9]], [[0.1], [0.8]])
    assert found.value == pytest.approx(0.2)
    # 0.1: the second task twice, 1 of 4. 0.4: the first twice, and 0.5 four times, 1 of 64.
    assert (found.low, found.high) == pytest.approx((0.1, 0.35))


def test_the_probability_of_improvement_counts_pairs_by_hand() -> None:
    # First task: 2 beats 1 and 1 equals 1, so 1.5 of 2. Second: 5 beats 4 and not 6: 1 of 2.
    found = probability_of_improvement([[1.0, 2.0], [5.0]], [[1.0], [4.0, 6.0]])
    assert found.value == pytest.approx((0.75 + 0.5) / 2)
    assert 0 <= found.low < found.value < found.high <= 1
    turned = probability_of_improvement([[1.0], [4.0, 6.0]], [[1.0, 2.0], [5.0]])
    assert turned.value == pytest.approx(1 - found.value)
    sure = probability_of_improvement([[2.0], [3.0]], [[1.0], [2.5]])
    assert (sure.value, sure.low, sure.high) == (1, 1, 1)
