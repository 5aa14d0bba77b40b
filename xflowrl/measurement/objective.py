"""What agents make smaller: a price for every graph, complete, on a named device."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from xflowrl._engine import State
from xflowrl.measurement.device import DeviceLock, device_lock

if TYPE_CHECKING:
    from xflowrl._engine import Cost, CostTable, Graph, Match, OpSignature, RuleSet


class OperatorPricer(Protocol):
    """Finds out what operators cost, by timing them or from what was timed before."""

    num_timed: int

    def price_ms(self, signatures: Sequence[OpSignature]) -> list[float]:
        """Milliseconds, one for each signature, in order."""


class Objective:
    """Prices states with a table of operator costs, and finds out what the table lacks.

    The engine notes what it was asked for and does not know. Whoever asks here gets an answer
    without gaps: what is missing is priced in one batch, and the state is priced anew.

    Attributes:
        device: the device the costs speak of.
        runtime: the runtime operators are timed in; None for a price list.
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
    ) -> None:
        self.device = device
        self.runtime = runtime
        self.measure_s = 0.0
        self._table = table
        self._pricer = pricer
        self._lock = lock or device_lock()

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
        started_s = time.perf_counter()
        try:
            costs_ms = self._pricer.price_ms(unknown)
        finally:
            self.measure_s += time.perf_counter() - started_s
        for signature, cost_ms in zip(unknown, costs_ms, strict=True):
            self._table.set(signature.key, cost_ms)
