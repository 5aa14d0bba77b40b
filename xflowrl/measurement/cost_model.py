"""What agents see of cost: a price for every graph, on a named device."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from xflowrl.measurement.device import DeviceLock, device_lock

if TYPE_CHECKING:
    from xflowrl._engine import Cost, CostTable, Graph, OpSignature


class OperatorPricer(Protocol):
    """Finds out what operators cost, by timing them or from what was timed before."""

    num_timed: int

    def price_ms(self, signatures: Sequence[OpSignature]) -> list[float]:
        """Milliseconds, one for each signature, in order."""


class CostModel:
    """Prices graphs with a table of operator costs, and fills the table when it lacks some.

    Attributes:
        name: where costs come from: "roofline", "taso", "estimated".
        table: the engine's table; share it between all states of a search.
        device: the device the costs speak of.
        runtime: the runtime operators are timed in; None for a price list.
        measure_s: seconds spent timing so far, or waiting while another run did; shown apart from
            a search's own time.
    """

    def __init__(
        self,
        name: str,
        table: CostTable,
        *,
        device: str,
        runtime: str | None = None,
        pricer: OperatorPricer | None = None,
        lock: DeviceLock | None = None,
    ) -> None:
        self.name = name
        self.table = table
        self.device = device
        self.runtime = runtime
        self.measure_s = 0.0
        self._pricer = pricer
        self._lock = lock or device_lock()

    @property
    def num_measured(self) -> int:
        """Operators timed so far; those read from a database are not counted."""
        return self._pricer.num_timed if self._pricer is not None else 0

    def fill(self) -> int:
        """Prices every operator the table was asked for and lacks, in one batch; their number.

        Call it once an iteration, before the costs are read: it is also where a run that holds
        the device lock lets others time.
        """
        self.measure_s += self._lock.give_way()
        unknown = self.table.unknown()
        if not unknown:
            return 0
        assert self._pricer is not None, "a price list knows every signature"
        started = time.perf_counter()
        costs_ms = self._pricer.price_ms(unknown)
        for signature, cost_ms in zip(unknown, costs_ms, strict=True):
            self.table.set(signature.key, cost_ms)
        self.measure_s += time.perf_counter() - started
        return len(unknown)

    def price(self, graph: Graph) -> Cost:
        """The cost of a graph, every operator known; times those that are not."""
        cost = self.table.price(graph)
        if self.fill():
            cost = self.table.price(graph)
        return cost

    def decides(self, *, device: str, runtime: str) -> bool:
        """Whether a real measurement there judges what this model guided.

        It does on the device and in the runtime the costs were timed in, nowhere else.
        """
        return self.runtime is not None and (self.device, self.runtime) == (device, runtime)
