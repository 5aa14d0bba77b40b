"""Repeated timing: samples, the interval of their median, and what is reported of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Run = Callable[[], float]
"""Executes the thing under test and returns the milliseconds that one execution took."""

_Z_95 = 1.959964


@dataclass(frozen=True)
class Measurement:
    """A repeated timing of one thing on one device in one runtime."""

    median_ms: float
    q1_ms: float
    q3_ms: float
    num_repeats: int
    device: str
    runtime: str

    @staticmethod
    def of(samples_ms: np.ndarray, *, device: str, runtime: str) -> Measurement:
        q1, median, q3 = np.percentile(samples_ms, [25.0, 50.0, 75.0])
        return Measurement(
            float(median), float(q1), float(q3), int(samples_ms.size), device, runtime
        )

    def quartiles(self) -> dict[str, float]:
        """The form in which result.json keeps a measurement, milliseconds."""
        return {"median": self.median_ms, "q1": self.q1_ms, "q3": self.q3_ms}


def median_interval(samples: np.ndarray) -> tuple[float, float]:
    """The 95% confidence interval of the median, from order statistics.

    Free of any assumption about the distribution, which timings need: theirs has a long tail.
    Fewer than six samples cannot give 95%; their minimum and maximum are returned.
    Source: Conover, Practical Nonparametric Statistics, section 3.2 (normal approximation).
    """
    ordered = np.sort(samples)
    half_width = _Z_95 * math.sqrt(ordered.size) / 2
    low = max(0, math.floor(ordered.size / 2 - half_width))
    high = min(ordered.size - 1, math.ceil(ordered.size / 2 + half_width))
    return float(ordered[low]), float(ordered[high])


def is_narrow(samples: np.ndarray, precision: float) -> bool:
    """Whether the median is known to within plus or minus `precision` of itself."""
    low, high = median_interval(samples)
    return (high - low) / 2 <= precision * float(np.median(samples))


def sample_ms(
    runs: Sequence[Run],
    *,
    max_ms: float,
    precision: float,
    min_rounds: int = 1,
    settled_after: int = 10,
    max_rounds: int = 10_000,
    min_warmup_ms: float = 0.0,
    min_ms: float = 0.0,
    settled: Callable[[np.ndarray], bool] | None = None,
) -> np.ndarray:
    """Times `runs` in turn, round after round; milliseconds, shape [rounds, len(runs)].

    Every run is executed at least once before its first timed execution. Each round starts one
    run later than the last, so that none always follows the same neighbour. Rounds end when the
    samples are settled (by default: every median known to within `precision`), asked from
    `settled_after` rounds and `min_ms` on (a short moment may be a quiet one, or a loud one); at
    `max_rounds`; or when one more round would pass `max_ms`, but not before `min_rounds`.
    Both limits of time include the warm-up, and mean time on the wall.
    """
    settled = settled or (
        lambda samples: all(is_narrow(samples[:, i], precision) for i in range(len(runs)))
    )
    started_s = time.perf_counter()
    round_ms = _warm_up(runs, min_warmup_ms)
    rows: list[list[float]] = []
    check_at = settled_after
    while len(rows) < max_rounds:
        elapsed_ms = _ms_since(started_s)
        if len(rows) >= min_rounds and elapsed_ms + round_ms > max_ms:
            break
        rows.append(_timed_round(runs, len(rows)))
        round_ms = _ms_since(started_s) - elapsed_ms
        if len(rows) >= check_at and elapsed_ms >= min_ms:
            if settled(np.asarray(rows)):
                break
            check_at = math.ceil(check_at * 1.3)
    return np.asarray(rows)


def _warm_up(runs: Sequence[Run], min_warmup_ms: float) -> float:
    """Executes every run, again and again for `min_warmup_ms`; the last round's milliseconds."""
    started_s = time.perf_counter()
    spent_ms = 0.0
    while True:
        for run in runs:
            run()
        before_ms, spent_ms = spent_ms, _ms_since(started_s)
        if spent_ms >= min_warmup_ms:
            return spent_ms - before_ms


def _timed_round(runs: Sequence[Run], round_index: int) -> list[float]:
    row = [0.0] * len(runs)
    for offset in range(len(runs)):
        index = (round_index + offset) % len(runs)
        row[index] = runs[index]()
    return row


def _ms_since(started_s: float) -> float:
    return 1000.0 * (time.perf_counter() - started_s)
