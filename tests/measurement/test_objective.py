from __future__ import annotations

import math

import pytest

from xflowrl._engine import CostTable, GraphBuilder, RuleSet, State, TensorType
from xflowrl.measurement import Objective

NO_RULES = RuleSet.parse("(rules none)")
TO_TANH = RuleSet.parse("(rules toy)\n(rule to-tanh (Relu ?x) => (Tanh ?x))")


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


def objective_with(pricer: FakePricer) -> Objective:
    return Objective(CostTable.measured(), device="d", runtime="r", pricer=pricer)


def test_missing_operators_are_priced_in_one_batch() -> None:
    pricer = FakePricer()
    objective = objective_with(pricer)
    assert objective.state(graph_of("Relu", "Tanh", "Relu"), NO_RULES).cost.ms == 1.0 + 2.0 + 1.0
    assert pricer.batches == [["Relu", "Tanh"]]
    assert objective.num_measured == 2
    assert objective.measure_s > 0


def test_known_operators_are_not_asked_for_again() -> None:
    pricer = FakePricer()
    objective = objective_with(pricer)
    objective.state(graph_of("Relu"), NO_RULES)
    spent_s = objective.measure_s
    objective.answer()
    assert objective.state(graph_of("Relu", "Relu"), NO_RULES).cost.ms == 2.0
    assert len(pricer.batches) == 1
    assert objective.measure_s == spent_s


def test_a_state_is_complete_with_what_its_matches_would_add() -> None:
    objective = objective_with(FakePricer())
    (match,) = objective.matches(objective.state(graph_of("Relu"), TO_TANH))
    assert match.cost_difference_ms == 1.0


def test_a_gap_is_filled_wherever_it_is_asked_for() -> None:
    table = CostTable.measured()
    objective = Objective(table, device="d", pricer=FakePricer())
    for graph, ask in (
        (graph_of("Relu"), lambda state: objective.price(state).ms),
        (graph_of("Sigmoid"), lambda state: objective.complete(state).cost.ms),
        (graph_of("Exp"), lambda state: objective.complete(state).observe()["node_cost_ms"][-1]),
    ):
        state = State(graph, NO_RULES, table)
        assert math.isnan(state.cost.ms)
        assert ask(state) == 1.0


def test_states_made_before_their_prices_came_are_priced_all_the_same() -> None:
    table = CostTable.measured()
    objective = Objective(table, device="d", pricer=FakePricer())
    first, second = (State(graph_of("Relu"), TO_TANH, table) for _ in range(2))
    objective.complete(first)
    assert math.isnan(second.cost.ms)
    (match,) = objective.matches(second)  # nothing is left to ask for
    assert match.cost_difference_ms == 1.0
    assert second.apply(match).cost.ms == 2.0


def test_a_known_price_gives_nobody_way() -> None:
    lock = Lock()
    table = CostTable.roofline(1e12, 1e12, 0.005)
    objective = Objective(table, device="d", lock=lock)  # type: ignore[arg-type]
    state = objective.state(graph_of("Relu"), NO_RULES)
    assert lock.given == 1
    assert objective.price(state).ms == state.cost.ms
    assert lock.given == 1


class Lock:
    """Somebody always waits, for a quarter of a second."""

    given = 0

    def give_way(self) -> float:
        self.given += 1
        return 0.25


def test_a_run_gives_way_once_an_iteration() -> None:
    lock = Lock()
    table = CostTable.roofline(1e12, 1e12, 0.005)
    objective = Objective(table, device="d", lock=lock)  # type: ignore[arg-type]
    state = objective.state(graph_of("Relu"), TO_TANH)
    objective.matches(state)
    objective.matches(state)
    assert lock.given == 3
    assert objective.measure_s == 0.75  # waiting is no part of the search's own time


def test_an_interrupt_while_timing_leaves_its_seconds_and_no_price() -> None:
    class Interrupted(FakePricer):
        def price_ms(self, signatures) -> list[float]:
            raise KeyboardInterrupt

    table = CostTable.measured()
    objective = Objective(table, device="d", pricer=Interrupted())
    with pytest.raises(KeyboardInterrupt):
        objective.state(graph_of("Relu"), NO_RULES)
    assert objective.measure_s > 0
    assert len(table.unknown()) == 1
