"""What one attempt at a problem may spend, and the meter that counts what it has."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xflowrl.measurement import Objective


class StopReason(StrEnum):
    """What ended an attempt: the agent itself, or the limit of the budget that was reached."""

    EXHAUSTED = "exhausted"  # the agent has nothing left to try
    NO_MATCH = "no_match"  # no rule matches the original graph
    ITERATIONS = "iterations"
    CANDIDATES = "candidates"
    SECONDS = "seconds"
    WALL = "wall_s"
    MEASUREMENTS = "measurements"
    REAL_MEASUREMENTS = "real_measurements"
    MEMORY = "memory"
    PATIENCE = "patience"
    INTERRUPTED = "interrupted"  # Ctrl-C


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The limits of one attempt at one problem; None means no limit.

    Attributes:
        max_iterations: states whose matches are listed.
        max_candidates: matches whose cost is asked for.
        max_seconds: time spent searching. Timing operators and logging are not counted, so that a
            search stops at the same place whether or not the op-cost database is warm.
        max_wall_s: time spent searching and timing, on the clock on the wall; logging is not
            counted. Compiling and timing one graph, or one batch of operators, is not cut short.
        max_measurements: operators timed.
        max_real_measurements: whole graphs executed to be timed. The original is, twice, whatever
            the limit, where that is what graphs cost.
        max_memory_mb: growth of the resident memory since the attempt began. `taso` drops the worst
            of its queue to stay below.
        patience: iterations without a new best.
    """

    max_iterations: int | None = 1000
    max_candidates: int | None = None
    max_seconds: float | None = None
    max_wall_s: float | None = None
    max_measurements: int | None = None
    max_real_measurements: int | None = None
    max_memory_mb: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        for name, limit in self.limits().items():
            if limit is not None and limit < 0:
                raise ValueError(f"budget.{name} is {limit}: give a number >= 0, or null for none")

    def part(self, share: float) -> Budget:
        """A share (0 to 1) of all that is counted; memory and patience as they are."""

        def of(limit: float | None) -> float | None:
            return None if limit is None else limit * share

        def count(limit: int | None) -> int | None:
            return None if limit is None else math.ceil(limit * share)

        return replace(
            self,
            max_iterations=count(self.max_iterations),
            max_candidates=count(self.max_candidates),
            max_seconds=of(self.max_seconds),
            max_wall_s=of(self.max_wall_s),
            max_measurements=count(self.max_measurements),
            max_real_measurements=count(self.max_real_measurements),
        )

    def limits(self) -> dict[str, float | None]:
        """Every limit by name."""
        return dict(vars(self))


def resident_bytes() -> int:
    """Memory this process holds now, in bytes; its peak where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return peak_resident_bytes()
    return pages * resource.getpagesize()


def peak_resident_bytes() -> int:
    """The most memory this process ever held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What an attempt has spent, as far as a repetition does not count it again."""

    iterations: int = 0
    seconds: float = 0.0
    measure_s: float = 0.0
    measurements: int = 0
    real_measurements: int = 0


_NOTHING = Tally()


class Meter:
    """What has been spent of a budget, and which limit ended it. The clock starts at once.

    An attempt that is resumed makes its iterations again, with the prices that are known by now.
    Meanwhile the clock stands at what was spent `before`, nothing measured is counted again, and no
    limit but that of iterations is reached: the attempt was not ended there.
    """

    def __init__(
        self,
        budget: Budget,
        *,
        before: Tally = _NOTHING,
        clock_fn: Callable[[], float] = time.perf_counter,
        memory_fn: Callable[[], int] = resident_bytes,
    ) -> None:
        self.budget = budget
        self.iterations = 0
        self.candidates = 0
        self.measurements = before.measurements
        self.real_measurements = before.real_measurements
        self.measure_s = before.measure_s
        self.memory_mb = 0.0  # the peak
        self.best_iteration = 0
        self._memory_now_mb = 0.0
        self._clock_fn = clock_fn
        self._memory_fn = memory_fn
        self._before = before
        self._start_clock()
        self._initial_bytes = memory_fn()

    @property
    def num_to_repeat(self) -> int:
        """Iterations that were made before and are not made again yet."""
        return max(0, self._before.iterations - self.iterations)

    @property
    def spent(self) -> Tally:
        """What is spent now."""
        return Tally(
            iterations=self.iterations,
            seconds=self.seconds,
            measure_s=self.measure_s,
            measurements=self.measurements,
            real_measurements=self.real_measurements,
        )

    @property
    def seconds(self) -> float:
        """Time spent searching: measuring and pauses are not counted."""
        return self.wall_s - self.measure_s

    @property
    def wall_s(self) -> float:
        """Time spent searching and measuring; pauses are not counted."""
        if self.num_to_repeat:
            return self._before.seconds + self._before.measure_s
        return self._clock_fn() - self._started_s - self._paused_s

    def spend(self, *, iterations: int = 0, candidates: int = 0) -> None:
        """Counts iterations and candidates."""
        # Asking the system takes as long as a small iteration: without a limit, every 16 of them.
        sixteens_before, repeated = (self.iterations + 15) // 16, self.num_to_repeat > 0
        self.iterations += iterations
        self.candidates += candidates
        if repeated and not self.num_to_repeat:
            self._start_clock()
        if self.budget.max_memory_mb is not None or (self.iterations + 15) // 16 > sixteens_before:
            self.weigh()

    def _start_clock(self) -> None:
        """Goes on where it stood before."""
        self._started_s = self._clock_fn() - self._before.seconds - self._before.measure_s
        self._paused_s = 0.0

    def weigh(self) -> None:
        """Asks how much memory is held now."""
        self._memory_now_mb = (self._memory_fn() - self._initial_bytes) / 2**20
        self.memory_mb = max(self.memory_mb, self._memory_now_mb)

    def is_short_of_memory(self) -> bool:
        """Is more memory held than the budget allows?"""
        limit = self.budget.max_memory_mb
        return limit is not None and self._memory_now_mb >= limit

    @contextmanager
    def measuring(self, objective: Objective) -> Iterator[None]:
        """What the objective measures within is counted, and its time taken off the searching."""
        measurements, seconds = objective.num_measured, objective.measure_s
        executed = objective.num_executed
        is_counted = not self.num_to_repeat
        try:
            yield
        finally:
            if is_counted:
                self.measurements += objective.num_measured - measurements
                self.real_measurements += objective.num_executed - executed
                self.measure_s += objective.measure_s - seconds

    @contextmanager
    def measuring_graph(self) -> Iterator[None]:
        """A whole graph is executed within: it is counted, and its time taken off the searching."""
        began_s = self._clock_fn()
        self.real_measurements += 1
        try:
            yield
        finally:
            self.measure_s += self._clock_fn() - began_s

    def left_s(self, most_s: float) -> float:
        """Seconds that may still be spent, at most `most_s`; all of these while repeating."""
        if self.num_to_repeat:
            return most_s
        limits = (
            (self.seconds, self.budget.max_seconds),
            (self.wall_s, self.budget.max_wall_s),
        )
        return max(0.0, min([most_s, *(at - s for s, at in limits if at is not None)]))

    def improved(self, iteration: int | None = None) -> None:
        """Notes that an iteration, or the current one, found a new best. Patience counts on."""
        self.best_iteration = self.iterations if iteration is None else iteration

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time within is not counted."""
        began_s = self._clock_fn()
        try:
            yield
        finally:
            self._paused_s += self._clock_fn() - began_s

    def may_execute(self) -> bool:
        """Whether the budget lets one more graph be executed."""
        if self.num_to_repeat:
            return True
        limits = (
            (self.real_measurements, self.budget.max_real_measurements),
            (self.wall_s, self.budget.max_wall_s),
        )
        return all(limit is None or spent < limit for spent, limit in limits)

    def exceeded(self) -> StopReason | None:
        """The first limit that is reached, in the order of `StopReason`, or None."""
        budget = self.budget
        if self.num_to_repeat:
            # Only a part of the attempt has a limit below what was spent: it ends there again.
            most = budget.max_iterations
            return StopReason.ITERATIONS if most is not None and self.iterations >= most else None
        spent_and_limit = (
            (StopReason.ITERATIONS, self.iterations, budget.max_iterations),
            (StopReason.CANDIDATES, self.candidates, budget.max_candidates),
            (StopReason.SECONDS, self.seconds, budget.max_seconds),
            (StopReason.WALL, self.wall_s, budget.max_wall_s),
            (StopReason.MEASUREMENTS, self.measurements, budget.max_measurements),
            (
                StopReason.REAL_MEASUREMENTS,
                self.real_measurements,
                budget.max_real_measurements,
            ),
            (StopReason.MEMORY, self._memory_now_mb, budget.max_memory_mb),
            (StopReason.PATIENCE, self.iterations - self.best_iteration, budget.patience),
        )
        for reason, spent, limit in spent_and_limit:
            if limit is not None and spent >= limit:
                return reason
        return None
