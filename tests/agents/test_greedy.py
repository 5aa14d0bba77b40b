"""Steepest descent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace

import pytest

from xflowrl._engine import CostTable, GraphBuilder, OpSignature, RuleSet, TensorType
from xflowrl.agents.attempt import Attempt
from xflowrl.agents.greedy import Greedy
from xflowrl.measurement import Objective
from xflowrl.onnx_io import Model
from xflowrl.problem import Budget, Problem, StopReason
from xflowrl.weights import DrawnWeights

MakeProblem = Callable[..., Problem]


def no_log(metrics: Mapping[str, float], step: int) -> None:
    pass


def test_reaches_the_optimum_of_a_chain(relu_problem: MakeProblem) -> None:
    (result,) = Greedy().optimize([relu_problem(6)], no_log)
    assert result.num_nodes_best == 1
    assert result.stop_reason is StopReason.EXHAUSTED


def test_the_steepest_step_is_taken_first(relu_problem: MakeProblem) -> None:
    rules = RuleSet.parse(
        "(rules toy)\n(rule two (Relu (Relu ?x)) => (Relu ?x))"
        "\n(rule three (Relu (Relu (Relu ?x))) => (Relu ?x))"
        "\n(rule four (Relu (Relu (Relu (Relu ?x)))) => (Tanh (Tanh ?x)))"
    )
    (result,) = Greedy().optimize([replace(relu_problem(6), rules=rules)], no_log)
    # Two of six are saved by "three" and, of another kind, by "four": the first is taken.
    assert [step.rule for step in result.trace.steps] == ["three", "three", "two"]


def test_no_match_gives_the_original_back(relu_problem: MakeProblem) -> None:
    problem = relu_problem(1)
    (result,) = Greedy().optimize([problem], no_log)
    assert result.stop_reason is StopReason.NO_MATCH
    assert result.model.graph.hash == problem.model.graph.hash
    assert result.trace.steps == ()
    assert result.iterations == 1


def test_stops_at_its_budget(relu_problem: MakeProblem) -> None:
    (result,) = Greedy().optimize([relu_problem(6, max_iterations=2)], no_log)
    assert result.stop_reason is StopReason.ITERATIONS
    assert result.iterations == 2
    assert result.num_nodes_best == 4


def test_budget_of_nothing_gives_the_original_back(relu_problem: MakeProblem) -> None:
    (result,) = Greedy().optimize([relu_problem(6, max_iterations=0)], no_log)
    assert (result.iterations, result.num_nodes_best) == (0, 6)


def test_interrupt_returns_the_best_so_far(relu_problem: MakeProblem) -> None:
    def interrupt_at_two(metrics: Mapping[str, float], step: int) -> None:
        if step == 2:
            raise KeyboardInterrupt

    problems = [relu_problem(6), relu_problem(5)]
    first, second = Greedy().optimize(problems, interrupt_at_two)
    assert first.stop_reason is StopReason.INTERRUPTED
    assert first.num_nodes_best == 4
    assert second.stop_reason is StopReason.INTERRUPTED
    assert second.num_nodes_best == 5


def test_several_problems_give_results_in_their_order(relu_problem: MakeProblem) -> None:
    results = Greedy().optimize([relu_problem(n) for n in (2, 3, 4)], no_log)
    assert [result.num_nodes_initial for result in results] == [2, 3, 4]
    assert [result.cost_best_ms for result in results] == pytest.approx(
        [results[0].cost_best_ms] * 3
    )


# The sums 0.84 + 0.76 + 0.42 and 0.42 + 0.76 + 0.84 differ in floating point, so that each of two
# rewrites that undo each other seems to save 1e-16 ms.
UNDOING = """(rules toy)
(rule there (Relu (Tanh (Sigmoid ?x))) => (Sigmoid (Tanh (Relu ?x))))
(rule back (Sigmoid (Tanh (Relu ?x))) => (Relu (Tanh (Sigmoid ?x))))"""
PRICES_MS = {"Sigmoid": 0.84, "Tanh": 0.76, "Relu": 0.42}


class Listed:
    num_timed = 0

    def price_ms(self, signatures: Sequence[OpSignature]) -> list[float]:
        return [PRICES_MS[signature.op_type] for signature in signatures]


def test_rounding_is_no_progress() -> None:
    builder = GraphBuilder("chain")
    tensor = builder.add_input("x", TensorType("float32", [4]))
    for op_type in PRICES_MS:
        (tensor,) = builder.add_node(op_type, [tensor], [op_type.lower()])
    builder.set_outputs([tensor])
    graph = builder.build()
    objective = Objective(CostTable.measured(), device="none", pricer=Listed())
    problem = Problem(
        model=Model(graph, DrawnWeights(graph, 0)),
        rules=RuleSet.parse(UNDOING),
        objective=objective,
        budget=Budget(max_iterations=20),
    )
    state = problem.initial_state()
    for _ in range(2):
        (match,) = objective.matches(state)
        assert -1e-15 < match.cost_difference_ms < 0  # there, and back
        state = state.apply(match)
    (result,) = Greedy().optimize([problem], no_log)
    assert (result.iterations, result.trace.steps) == (1, ())
    assert result.stop_reason is StopReason.EXHAUSTED


def test_a_best_is_better_by_more_than_rounding(relu_problem: MakeProblem) -> None:
    attempt = Attempt(relu_problem(2), no_log)
    initial_ms = attempt.initial.cost.ms
    for saved, is_best in ((1e-12, False), (1e-6, True)):
        cost = SimpleNamespace(ms=initial_ms * (1 - saved))
        state = SimpleNamespace(cost=cost, num_nodes=attempt.initial.num_nodes)
        assert attempt.reached(state, attempt.origin) is is_best  # type: ignore[arg-type]


def test_at_equal_cost_fewer_nodes_win() -> None:
    """An Identity costs nothing, and hides what is behind it."""
    builder = GraphBuilder("hidden")
    tensor = builder.add_input("x", TensorType("float32", [8, 8]))
    for op_type in ("Relu", "Identity", "Relu", "Identity"):
        (tensor,) = builder.add_node(op_type, [tensor], [f"{op_type}{tensor}"])
    builder.set_outputs([tensor])
    rules = RuleSet.parse(
        "(rules toy)\n(rule relu-of-relu (Relu (Relu ?x)) => (Relu ?x))"
        "\n(rule identity (Identity ?x) => ?x)"
    )
    graph = builder.build()
    problem = Problem(
        model=Model(graph, DrawnWeights(graph, 0)),
        rules=rules,
        objective=Objective(CostTable.roofline(1e12, 1e12, 0.005), device="toy"),
    )
    (result,) = Greedy().optimize([problem], no_log)
    assert [node.op_type for node in result.model.graph.nodes()] == ["Relu"]
    assert result.num_nodes_best == 1
