"""What is optimised, what it may cost, and what came out.

A `Problem` is a model with the rules that may rewrite it, the objective that prices it, and a
`Budget`. What an agent spends is counted by a `Meter`; what it finds is a `Result`, with the
`Trace` of steps that leads there and can be replayed.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from xflowrl._engine import RuleSet, State
    from xflowrl.measurement import Objective
    from xflowrl.onnx_io import Model

Log = Callable[[Mapping[str, float], int], None]
"""Takes metrics by name and the iteration they belong to."""


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


class Meter:
    """What has been spent of a budget, and which limit ended it. The clock starts at once."""

    def __init__(
        self,
        budget: Budget,
        *,
        clock_fn: Callable[[], float] = time.perf_counter,
        memory_fn: Callable[[], int] = resident_bytes,
    ) -> None:
        self.budget = budget
        self.iterations = 0
        self.candidates = 0
        self.measurements = 0
        self.real_measurements = 0
        self.measure_s = 0.0
        self.memory_mb = 0.0  # the peak
        self.best_iteration = 0
        self._memory_now_mb = 0.0
        self._clock_fn = clock_fn
        self._memory_fn = memory_fn
        self._paused_s = 0.0
        self._started_s = clock_fn()
        self._initial_bytes = memory_fn()

    @property
    def seconds(self) -> float:
        """Time spent searching: measuring and pauses are not counted."""
        return self.wall_s - self.measure_s

    @property
    def wall_s(self) -> float:
        """Time spent searching and measuring; pauses are not counted."""
        return self._clock_fn() - self._started_s - self._paused_s

    def spend(self, *, iterations: int = 0, candidates: int = 0) -> None:
        """Counts iterations and candidates."""
        # Asking the system takes as long as a small iteration: without a limit, every 16 of them.
        sixteens_before = (self.iterations + 15) // 16
        self.iterations += iterations
        self.candidates += candidates
        if self.budget.max_memory_mb is not None or (self.iterations + 15) // 16 > sixteens_before:
            self.weigh()

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
        try:
            yield
        finally:
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
        limits = (
            (self.real_measurements, self.budget.max_real_measurements),
            (self.wall_s, self.budget.max_wall_s),
        )
        return all(limit is None or spent < limit for spent, limit in limits)

    def exceeded(self) -> StopReason | None:
        """The first limit that is reached, in the order of `StopReason`, or None."""
        budget = self.budget
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


@dataclass(frozen=True)
class Step:
    """One applied match: the rule's name, the tensors it binds, the graph's cost after it."""

    rule: str
    tensors: tuple[str, ...]
    cost_ms: float


@dataclass(frozen=True)
class Trace:
    """The steps from the graph whose hash is `graph_hash`. `replay` takes it there again."""

    graph_hash: str
    steps: tuple[Step, ...] = ()

    def extended(self, step: Step) -> Trace:
        """This trace with one more step."""
        return Trace(self.graph_hash, (*self.steps, step))


@dataclass(frozen=True)
class Improvement:
    """A new best: when it was found and what it costs."""

    iteration: int
    seconds: float
    cost_ms: float


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A model to make cheaper, and everything an agent may know about the task.

    Attributes:
        label: what results call it, if not by the graph's name.
        log_as: the first part of the names of the metrics logged about this problem.
    """

    model: Model
    rules: RuleSet
    objective: Objective
    budget: Budget = field(default_factory=Budget)
    seed: int = 0
    label: str = ""
    log_as: str = "search"

    @property
    def name(self) -> str:
        """What results call it."""
        return self.label or self.model.graph.name

    def initial_state(self) -> State:
        """The original graph under this problem's rules, its prices complete."""
        return self.objective.state(self.model.graph, self.rules)

    def unpriced_state(self) -> State:
        """The same with the prices known so far: where one lacks, its cost is NaN."""
        return self.objective.unpriced(self.model.graph, self.rules)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What an attempt found. Costs are those of the problem's objective, in milliseconds.

    Attributes:
        num_unexpanded: graphs reached whose matches were not listed when the search ended; None if
            the agent does not keep them.
        num_dropped: graphs given up, unexpanded, to stay below `budget.max_memory_mb`.
    """

    graph: str
    original: Model
    model: Model
    trace: Trace
    improvements: tuple[Improvement, ...]
    stop_reason: StopReason
    cost_initial_ms: float
    cost_best_ms: float
    num_nodes_initial: int
    num_nodes_best: int
    num_kernels_initial: int
    num_kernels_best: int
    iterations: int
    candidates: int
    measurements: int
    real_measurements: int
    best_iteration: int
    best_seconds: float
    optimisation_s: float
    measure_s: float
    memory_mb: float
    num_unexpanded: int | None = None
    num_dropped: int = 0


class Agent(Protocol):
    """Anything that optimises problems."""

    def optimize(self, problems: Sequence[Problem], log: Log) -> list[Result]:
        """One result a problem, in their order. Ctrl-C ends it early with the best so far."""
        ...


def replay(problem: Problem, trace: Trace) -> State:
    """The state that `trace` leads to from the problem's graph.

    Raises:
        ValueError: the trace belongs to another graph, or a step's match does not exist.
    """
    state = problem.initial_state()
    if problem.model.graph.hash != trace.graph_hash:
        raise ValueError(
            f"trace of graph {trace.graph_hash}: the graph {problem.name!r} is "
            f"{problem.model.graph.hash}; replay it on the graph it was recorded on"
        )
    for index, step in enumerate(trace.steps):
        match = problem.objective.complete(state).find(step.rule, step.tensors)
        if match is None:
            raise ValueError(
                f"trace step {index}: rule {step.rule!r} does not match at "
                f"{', '.join(step.tensors)}; replay it with the rules it was recorded with"
            )
        state = state.apply(match)
    return state
