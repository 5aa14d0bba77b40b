from __future__ import annotations

import math

from xflowrl._engine import CostTable, GraphBuilder, TensorType
from xflowrl.measurement import CostModel


class FakePricer:
    """Charges 1 ms for each operator, and remembers the batches it was given."""

    def __init__(self) -> None:
        self.num_timed = 0
        self.batches: list[list[str]] = []

    def price_ms(self, signatures) -> list[float]:
        self.batches.append([signature.op_type for signature in signatures])
        self.num_timed += len(signatures)
        return [float(i + 1) for i in range(len(signatures))]


def graph_of(*op_types: str):
    builder = GraphBuilder()
    last = builder.add_input("x", TensorType("float32", [4]))
    for i, op_type in enumerate(op_types):
        last = builder.add_node(op_type, [last], [f"t{i}"])[0]
    builder.set_outputs([last])
    return builder.build()


def cost_model(pricer: FakePricer) -> CostModel:
    return CostModel("fake", CostTable.measured(), device="d", runtime="r", pricer=pricer)


def test_missing_operators_are_priced_in_one_batch() -> None:
    pricer = FakePricer()
    model = cost_model(pricer)
    assert model.price(graph_of("Relu", "Tanh", "Relu")).ms == 1.0 + 2.0 + 1.0
    assert pricer.batches == [["Relu", "Tanh"]]
    assert model.num_measured == 2
    assert model.measure_s > 0


def test_known_operators_are_not_asked_for_again() -> None:
    pricer = FakePricer()
    model = cost_model(pricer)
    model.price(graph_of("Relu"))
    spent_s = model.measure_s
    assert model.fill() == 0
    assert model.price(graph_of("Relu", "Relu")).ms == 2.0
    assert len(pricer.batches) == 1
    assert model.measure_s == spent_s


def test_the_table_is_what_states_share() -> None:
    model = cost_model(FakePricer())
    graph = graph_of("Relu", "Sigmoid")
    assert math.isnan(model.table.price(graph).ms)
    assert model.fill() == 2
    assert model.table.price(graph).ms == 3.0


def test_it_decides_where_it_was_timed() -> None:
    model = cost_model(FakePricer())
    assert model.decides(device="d", runtime="r")
    assert not model.decides(device="d", runtime="other")
    assert not model.decides(device="other", runtime="r")


def test_a_run_gives_way_once_an_iteration() -> None:
    class Lock:
        given = 0

        def give_way(self) -> float:
            self.given += 1
            return 0.25

    lock = Lock()
    model = CostModel("fake", CostTable.measured(), device="d", lock=lock)  # type: ignore[arg-type]
    model.fill()
    model.fill()
    assert lock.given == 2
    assert model.measure_s == 0.5  # waiting is no part of the search's own time
