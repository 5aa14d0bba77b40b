"""What is optimised, what it may cost, and what came out.

A `Problem` is a model with the rules that may rewrite it, the objective that prices it, and a
`Budget`. What an agent spends is counted by a `Meter`; what it finds is a `Result`, with the
`Trace` of steps that leads there and can be replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from xflowrl.budget import Budget as Budget
from xflowrl.budget import Meter as Meter
from xflowrl.budget import StopReason as StopReason
from xflowrl.budget import Tally as Tally
from xflowrl.budget import peak_resident_bytes as peak_resident_bytes
from xflowrl.budget import resident_bytes as resident_bytes

if TYPE_CHECKING:
    from xflowrl._engine import RuleSet, State
    from xflowrl.measurement import Objective
    from xflowrl.onnx_io import Model

Log = Callable[[Mapping[str, float], int], None]
"""Takes metrics by name and the iteration they belong to."""


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

    def extended(self, *steps: Step) -> Trace:
        """This trace with further steps."""
        return Trace(self.graph_hash, self.steps + steps)


@dataclass(frozen=True)
class Improvement:
    """A new best: when it was found and what it costs."""

    iteration: int
    seconds: float
    cost_ms: float


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far an attempt has come: with its problem, all that it takes to come there again.

    An attempt is deterministic in its problem and in the costs, which are kept where they are
    measured. So this is what it has spent, and what the clock and the memory have decided.

    Attributes:
        noise_ms: of the costs.
        drops: `taso`: in which iterations it dropped half of its queue, and how often.
        explored: `egraph`: in which iterations it stopped exploring.
    """

    spent: Tally
    noise_ms: float
    best_cost_ms: float
    improvements: tuple[Improvement, ...]
    drops: tuple[tuple[int, int], ...] = ()
    explored: tuple[int, ...] = ()


class Checkpoint(Protocol):
    """Where the attempt at one problem is kept, so that another process can go on with it."""

    before: Progress | None
    """How far it was when this process began."""

    def is_due(self) -> bool:
        """Whether it was kept long enough ago."""
        ...

    def save(self, progress: Progress) -> None:
        """Keeps how far it is."""
        ...

    def finish(self, result: Result) -> None:
        """Keeps its result."""
        ...

    def result(self, problem: Problem) -> Result | None:
        """Its result, if it was finished before."""
        ...


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A model to make cheaper, and everything an agent may know about the task.

    Attributes:
        label: what results call it, if not by the graph's name.
        log_as: the first part of the names of the metrics logged about this problem.
        checkpoint: where an attempt at it is kept; None: nowhere.
    """

    model: Model
    rules: RuleSet
    objective: Objective
    budget: Budget = field(default_factory=Budget)
    seed: int = 0
    label: str = ""
    log_as: str = "search"
    checkpoint: Checkpoint | None = None

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
        num_unexpanded: graphs reached whose matches were not listed when the search ended, `taso`
            counting each way to them; None if the agent does not keep them.
        num_dropped: such graphs given up on the way, to stay below `budget.max_memory_mb`.
        bound_ms: no graph of the explored e-graph costs less; None if the agent keeps none.
        extracted_ms: what the cheapest graph found in it costs, whether or not rewrites lead there.
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
    bound_ms: float | None = None
    extracted_ms: float | None = None


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
