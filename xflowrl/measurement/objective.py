"""What agents make smaller: a cost for every graph, complete, on a named device."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from xflowrl._engine import State
from xflowrl.measurement.device import DeviceLock, device_lock

if TYPE_CHECKING:
    from xflowrl._engine import Cost, CostTable, Graph, Match, OpSignature, RuleSet
    from xflowrl.measurement.runtimes import Runtime
    from xflowrl.onnx_io import Model

# Two prices are equal if they differ by no more than what rounding can do to a sum of operator
# costs; without it two rewrites that undo each other could take turns at "improving" a graph.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Reference:
    """An original's cost, and what another must differ from it to count as cheaper or dearer."""

    cost_ms: float
    noise_ms: float


class OperatorPricer(Protocol):
    """Finds out what operators cost, by timing them or from what was timed before."""

    num_timed: int

    def price_ms(self, signatures: Sequence[OpSignature]) -> list[float]:
        """Milliseconds, one for each signature, in order."""


class WholeGraphTimer(Protocol):
    """Finds out what whole graphs take, by executing them or from what was executed before."""

    num_timed: int

    def latency_ms(self, model: Model) -> float:
        """Of the model's graph, milliseconds; infinite where it cannot be executed."""

    def reference(self, model: Model) -> Reference:
        """The latency of an original, and the noise."""

    def known_reference(self, model: Model) -> Reference | None:
        """The same, if it is known already."""


class Objective:
    """Prices states with a table of operator costs, and finds out what the table lacks.

    The engine notes what it was asked for and does not know. Whoever asks here gets an answer
    without gaps: what is missing is priced in one batch, and the state is priced anew.

    The cost of a graph is its price; with a timer it is its latency as a whole, and the prices are
    a guide (`measurement.real`).

    Attributes:
        device: the device the costs speak of.
        runtime: the runtime operators or graphs are timed in; None for a price list.
        executor: that runtime itself, where it is here.
        num_real: so many states are measured for real before one is delivered.
        measure_s: seconds spent timing so far, or waiting while another run did; shown apart from
            a search's own time.
    """

    def __init__(
        self,
        table: CostTable,
        *,
        device: str,
        runtime: str | None = None,
        pricer: OperatorPricer | None = None,
        lock: DeviceLock | None = None,
        executor: Runtime | None = None,
    ) -> None:
        self.device = device
        self.runtime = runtime
        self.executor = executor
        self.num_real = 1
        self.measure_s = 0.0
        self._table = table
        self._pricer = pricer
        self._lock = lock or device_lock()
        self._timer: WholeGraphTimer | None = None

    def with_timer(self, timer: WholeGraphTimer, executor: Runtime) -> Objective:
        """The objective whose costs are latencies, with the prices of this one as a guide."""
        twin = copy.copy(self)
        twin._timer = timer
        twin.device, twin.runtime, twin.executor = executor.device, executor.name, executor
        return twin

    @property
    def is_real(self) -> bool:
        """Whether costs are latencies of whole graphs."""
        return self._timer is not None

    @property
    def num_executed(self) -> int:
        """Whole graphs executed so far; those read from a database are not counted."""
        return self._timer.num_timed if self._timer is not None else 0

    @property
    def num_measured(self) -> int:
        """Operators timed so far; those read from a database are not counted."""
        return self._pricer.num_timed if self._pricer is not None else 0

    def state(self, graph: Graph, rules: RuleSet, *, taso_hash: bool = False) -> State:
        """A graph under rules and these costs, complete."""
        return self.complete(State(graph, rules, self._table, taso_hash=taso_hash))

    def unpriced(self, graph: Graph, rules: RuleSet) -> State:
        """The same with the prices known so far; nothing is timed."""
        return State(graph, rules, self._table)

    def complete(self, state: State) -> State:
        """The state with every price known, of its graph and of what its matches would add.

        Call it once an iteration: it is also where a run that holds the device lock lets others
        time.
        """
        self.answer()
        return state if state.is_priced else state.repriced()

    def matches(self, state: State) -> list[Match]:
        """Every match in `state`, in a deterministic order, with known costs."""
        return self.complete(state).matches()

    def price(self, state: State) -> Cost:
        """The cost of a state; most are known, and nobody is given way for those."""
        cost = state.cost
        return self.complete(state).cost if math.isnan(cost.ms) else cost

    def cost_ms(self, model: Model, state: State) -> float:
        """What agents make smaller: the price of a state, or the latency of its graph.

        Args:
            model: the original, whose weights the graph has.

        Infinite where the runtime refuses the graph.
        """
        if self._timer is None:
            return float(self.price(state).ms)
        with self._measuring():
            return self._timer.latency_ms(model.with_graph(state.graph))

    def reference(self, model: Model, initial: State) -> Reference:
        """The cost of the original, and from which difference on another is cheaper.

        Args:
            initial: the state of the original.

        Raises:
            ValueError: the runtime cannot run it.
        """
        if self._timer is None:
            return self.known_reference(model, initial)
        with self._measuring():
            return self._timer.reference(model.with_graph(initial.graph))

    def known_reference(self, model: Model, initial: State) -> Reference:
        """The same as far as it is known; nothing is timed, and what is unknown is NaN."""
        if self._timer is None:
            return Reference(initial.cost.ms, _ROUNDING * initial.cost.ms)
        known = self._timer.known_reference(model.with_graph(initial.graph))
        return known or Reference(math.nan, math.nan)

    def ms_by_class(self, graph: Graph) -> dict[str, float]:
        """What the operators of each class cost, without any correction; see `CostTable`."""
        return self._table.ms_by_class(graph)

    def answer(self) -> None:
        """Prices every operator that the engine has asked for and does not know, in one batch.

        For the engine's own searches, which stop before a graph that asks and then go on.
        """
        self.measure_s += self._lock.give_way()
        unknown = self._table.unknown()
        if not unknown:
            return
        assert self._pricer is not None, "a price list knows every signature"
        with self._measuring():
            costs_ms = self._pricer.price_ms(unknown)
        for signature, cost_ms in zip(unknown, costs_ms, strict=True):
            self._table.set(signature.key, cost_ms)

    @contextmanager
    def _measuring(self) -> Iterator[None]:
        started_s = time.perf_counter()
        try:
            yield
        finally:
            self.measure_s += time.perf_counter() - started_s
