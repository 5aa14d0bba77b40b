"""Means, interquartile means and performance profiles, with bootstrap intervals.

After Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice"
(the package `rliable`): runs are resampled within each task (stratified), and an interval is that
between the percentiles 2.5 and 97.5 of the statistic. Departures from the paper: tasks may have
different numbers of runs. All is deterministic: the resampling has a seed of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 2000
_SEED = 0
_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Interval:
    """A statistic and its 95% interval."""

    value: float
    low: float
    high: float


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """The mean of the middle half along the last axis, as `scipy.stats.trim_mean(scores, 0.25)`.

    A quarter, rounded down, is cut off each end.
    """
    cut = scores.shape[-1] // 4
    middle: np.ndarray = np.sort(scores, axis=-1)[..., cut : scores.shape[-1] - cut]
    return np.asarray(middle.mean(axis=-1))


def mean(scores: np.ndarray) -> np.ndarray:
    """Along the last axis."""
    return np.asarray(scores.mean(axis=-1))


def bootstrap(
    tasks: Sequence[Sequence[float]], statistic: Callable[[np.ndarray], np.ndarray]
) -> Interval:
    """A statistic of all runs of all tasks, and its stratified bootstrap interval.

    Args:
        tasks: the scores of each task's runs.
        statistic: takes scores along the last axis.
    """
    samples = statistic(_resampled(tasks))
    low, high = np.percentile(samples, _PERCENTILES)
    value = statistic(np.concatenate([np.asarray(task, float) for task in tasks]))
    return Interval(float(value), float(low), float(high))


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of repetitions, and its bootstrap interval; of one run the value itself."""
    return bootstrap([values], mean)


def nested_bootstrap(
    tasks: Sequence[Sequence[float]], statistic: Callable[[np.ndarray], np.ndarray]
) -> Interval:
    """As `bootstrap`, but tasks are drawn, too, and then runs of each that was drawn.

    The interval says what other tasks of the kind would give.
    """
    chosen = _chosen(len(tasks))
    samples = statistic(_runs_of(tasks, chosen, _SEED).reshape(len(chosen), -1))
    value = statistic(np.concatenate([np.asarray(task, float) for task in tasks]))
    return Interval(float(value), *map(float, np.percentile(samples, _PERCENTILES)))


def mean_difference(
    tasks: Sequence[Sequence[float]], others: Sequence[Sequence[float]]
) -> Interval:
    """How much more the first score than the others on the same tasks, and its nested interval.

    In each resample both have the same tasks, so that what tasks differ in is not in the interval.
    """
    chosen = _chosen(len(tasks))
    ours, theirs = _runs_of(tasks, chosen, _SEED), _runs_of(others, chosen, _SEED + 1)
    samples = ours.mean(axis=(1, 2)) - theirs.mean(axis=(1, 2))
    pairs = zip(tasks, others, strict=True)
    value = np.mean([np.mean(ours) - np.mean(theirs) for ours, theirs in pairs])
    return Interval(float(value), *map(float, np.percentile(samples, _PERCENTILES)))


def probability_of_improvement(
    tasks: Sequence[Sequence[float]], others: Sequence[Sequence[float]]
) -> Interval:
    """How likely the first score more than the others on a task, and its nested interval.

    Equal scores count half (Agarwal et al. 2021, eq. 2); tasks are drawn, too, as above.
    """
    chosen = _chosen(len(tasks))
    ours, theirs = _runs_of(tasks, chosen, _SEED), _runs_of(others, chosen, _SEED + 1)
    samples = _wins(ours[..., :, None], theirs[..., None, :]).mean(axis=(1, 2, 3))
    pairs = zip(tasks, others, strict=True)
    value = np.mean([_wins(np.array(x)[:, None], np.array(y)).mean() for x, y in pairs])
    return Interval(float(value), *map(float, np.percentile(samples, _PERCENTILES)))


def performance_profile(
    tasks: Sequence[Sequence[float]], thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The share of runs above each threshold, and its pointwise interval: value, low, high."""
    scores = np.concatenate([np.asarray(task, float) for task in tasks])
    samples = _resampled(tasks)
    shares = np.stack([(samples > threshold).mean(axis=-1) for threshold in thresholds], axis=-1)
    low, high = np.percentile(shares, _PERCENTILES, axis=0)
    return (scores[:, None] > thresholds).mean(axis=0), low, high


def mean_curve(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pointwise mean of curves (a row each) and its bootstrap interval: value, low, high."""
    if len(curves) == 1:
        return curves[0], curves[0], curves[0]
    drawn = np.random.default_rng(_SEED).integers(len(curves), size=(_RESAMPLES, len(curves)))
    # How often each curve is drawn, so that no copy of the curves is made.
    weights = np.stack([(drawn == index).mean(axis=1) for index in range(len(curves))], axis=1)
    low, high = np.percentile(weights @ curves, _PERCENTILES, axis=0)
    return curves.mean(axis=0), low, high


def steps_at(times: Sequence[float], values: Sequence[float], grid: np.ndarray) -> np.ndarray:
    """A step function at the points of a grid: the last value at or before each; the first before.

    Args:
        times: in ascending order.
    """
    indices = np.searchsorted(np.asarray(times, float), grid, side="right") - 1
    return np.asarray(values, float)[np.maximum(indices, 0)]


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The indices of the points that no other beats in one and equals or beats in the other."""
    front: list[int] = []
    best = float("inf")
    for index in sorted(range(len(points)), key=lambda i: points[i]):
        if points[index][1] < best:
            best = points[index][1]
            front.append(index)
    return front


def _resampled(tasks: Sequence[Sequence[float]]) -> np.ndarray:
    """Scores of all runs, drawn with replacement within each task: a row a resample."""
    generator = np.random.default_rng(_SEED)
    parts = []
    for task in tasks:
        scores = np.asarray(task, float)
        parts.append(scores[generator.integers(len(scores), size=(_RESAMPLES, len(scores)))])
    return np.concatenate(parts, axis=1)


def _wins(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return np.asarray((np.sign(ours - theirs) + 1) / 2)


def _chosen(num_tasks: int) -> np.ndarray:
    """Tasks, drawn with replacement: a row a resample."""
    return np.random.default_rng(_SEED).integers(num_tasks, size=(_RESAMPLES, num_tasks))


def _runs_of(tasks: Sequence[Sequence[float]], chosen: np.ndarray, seed: int) -> np.ndarray:
    """Scores of runs of the chosen tasks, drawn with replacement: resamples, tasks, runs.

    Of each task as many as the task with most has, so that every task counts as much.
    """
    counts = np.array([len(task) for task in tasks])
    table = np.stack([np.resize(np.asarray(task, float), max(counts)) for task in tasks])
    shares = np.random.default_rng(seed + 1).random((*chosen.shape, max(counts)))
    runs = (shares * counts[chosen][..., None]).astype(int)
    return np.asarray(table[chosen[..., None], runs])
