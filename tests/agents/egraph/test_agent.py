"""The agent that recombines: what it finds, what it bounds, and what it cannot reach."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xflowrl._engine import EGraph as Egraph
from xflowrl._engine import GraphBuilder, RuleSet, TensorType
from xflowrl.agents.attempt import Attempt
from xflowrl.agents.beam import Beam
from xflowrl.agents.egraph.agent import EGraph, Explorer
from xflowrl.agents.egraph.saturation import Saturation
from xflowrl.agents.exhaustive import Exhaustive
from xflowrl.agents.greedy import Greedy
from xflowrl.agents.taso import Taso
from xflowrl.graphs.random_networks import random_network
from xflowrl.graphs.tiny import tiny
from xflowrl.measurement import roofline
from xflowrl.onnx_io import Model
from xflowrl.problem import Budget, Problem, Result, replay
from xflowrl.rules import load_core
from xflowrl.weights import DrawnWeights

MakeProblem = Callable[..., Problem]


def no_log(metrics: Mapping[str, float], step: int) -> None:
    pass


def run(problem: Problem, **options: Any) -> Result:
    (result,) = EGraph(**options).optimize([problem], no_log)
    assert replay(problem, result.trace).graph.hash == result.model.graph.hash
    return result


def toy(rules: str, nodes: list[tuple[str, str, str]], outputs: list[str]) -> Problem:
    """A graph of (operator, operands, output) over one input x, under rules of its own."""
    builder = GraphBuilder("toy")
    builder.add_input("x", TensorType("float32", [64, 64]))
    for op_type, operands, output in nodes:
        builder.add_node(op_type, operands.split(), [output])
    builder.set_outputs(outputs)
    graph = builder.build()
    model = Model(graph, DrawnWeights(graph, 0))
    return Problem(model=model, rules=RuleSet.parse(rules), objective=roofline())


def test_finds_and_proves_the_optimum_of_tiny() -> None:
    problem = Problem(model=tiny(), rules=load_core(), objective=roofline())
    (best,) = Exhaustive().optimize([problem], no_log)
    found = run(problem, explorer=Beam())
    assert found.cost_best_ms == pytest.approx(best.cost_best_ms)
    assert found.bound_ms == pytest.approx(best.cost_best_ms)
    assert found.extracted_ms == pytest.approx(best.cost_best_ms)


def test_one_look_at_a_chain_is_enough_to_halve_it(relu_problem: MakeProblem) -> None:
    # Each of seven matches joins two relus; four of them, taken together, leave four of eight.
    problem = relu_problem(8, max_iterations=2)
    (explored,) = Taso().optimize([relu_problem(8, max_iterations=1)], no_log)
    found = run(problem, rounds=1, explore=0.5)
    assert (explored.num_nodes_best, found.num_nodes_best) == (8, 4)
    assert found.iterations == 2
    # That a relu of any of them is the same again follows from equal operators on equal values.
    assert found.bound_ms == pytest.approx(found.cost_best_ms / 4)


def test_what_is_put_together_may_take_several_iterations(relu_problem: MakeProblem) -> None:
    found = run(relu_problem(16, max_iterations=5), rounds=1, explore=0.1)
    assert (found.num_nodes_best, found.iterations) == (1, 5)  # 16, 8, 4, 2, 1
    assert [step.rule for step in found.trace.steps] == ["relu-of-relu"] * 15


def test_rounds_go_on_from_what_was_put_together(relu_problem: MakeProblem) -> None:
    starts = []

    class Looker:
        """Lists the matches of one state."""

        def search(self, attempt: Attempt) -> None:
            starts.append((attempt.initial.num_nodes, attempt.meter.budget.max_iterations))
            attempt.matches(attempt.initial)

    found = run(relu_problem(64, max_iterations=8), explorer=Looker(), rounds=2, explore=0.5)
    assert starts == [(64, 2), (1, 8)]
    assert found.num_nodes_initial == 64


LOOP = """(rules loop)
(rule left-from-right (Relu (Relu ?x)) (Tanh@b (Tanh@a ?x)) => (Neg (Tanh@d (Tanh ?x))) @d)
(rule right-from-left (Relu@b (Relu@a ?x)) (Tanh (Tanh ?x)) => (Relu@d (Relu ?x)) (Neg @d))
"""
LOOP_NODES = [("Relu", "x", "a"), ("Relu", "a", "left"), ("Tanh", "x", "b"), ("Tanh", "b", "right")]


@pytest.mark.parametrize("explorer", [Taso(), Beam(), Greedy(), Saturation()])
def test_two_rewrites_that_would_make_a_cycle_are_not_put_together(explorer: Explorer) -> None:
    problem = toy(LOOP, LOOP_NODES, ["left", "right"])
    (best,) = Exhaustive().optimize([problem], no_log)
    found = run(problem, explorer=explorer)
    assert found.num_nodes_best == 3
    assert found.cost_best_ms == pytest.approx(best.cost_best_ms)
    assert found.bound_ms == pytest.approx(best.cost_best_ms)


def test_what_no_rewrite_leads_to_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Two equal nodes count once in the e-graph; no rule here makes one of them."""
    rules = "(rules toy)\n(rule tanhs (Tanh (Tanh ?x)) => (Tanh ?x))"
    nodes = [("Relu", "x", "a"), ("Relu", "x", "b"), ("Add", "a b", "sum"), ("Tanh", "sum", "y")]
    problem = toy(rules, nodes, ["y"])
    with caplog.at_level(logging.WARNING):
        found = run(problem)
    assert (found.num_nodes_best, found.trace.steps) == (4, ())
    assert found.extracted_ms == pytest.approx(found.bound_ms)
    assert found.cost_best_ms > 1.2 * found.bound_ms
    assert "no rewrites to it were found" in caplog.text
    assert f"{found.cost_best_ms:.6g} ms is the cheapest that was reached" in caplog.text


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 1000),
    trap=st.sampled_from([0.0, 0.5]),
    explorer=st.sampled_from([Taso(), Beam(width=3), Greedy(), Saturation()]),
    rounds=st.integers(1, 3),
)
def test_bound_cost_and_exploration_are_in_order(
    seed: int, trap: float, explorer: Explorer, rounds: int
) -> None:
    model = random_network(num_nodes=40, trap=trap, channels=8, image_size=8, seed=seed)
    budget = Budget(max_iterations=24)
    problem = Problem(model=model, rules=load_core(), objective=roofline(), budget=budget)
    explored = Attempt(problem, no_log)
    explored.egraph = Egraph()
    with explored.within(budget.part(0.8 / rounds)):
        explorer.search(explored)
    found = run(problem, explorer=explorer, rounds=rounds)
    rounding = 1 + 1e-9
    assert found.bound_ms is not None and found.extracted_ms is not None
    assert found.bound_ms <= found.extracted_ms * rounding
    assert found.bound_ms <= found.cost_best_ms <= explored.best_cost_ms * rounding
    assert found.iterations <= 24


def test_other_agents_have_no_bound(relu_problem: MakeProblem) -> None:
    (result,) = Taso().optimize([relu_problem(4)], no_log)
    assert (result.bound_ms, result.extracted_ms) == (None, None)


@pytest.mark.parametrize(
    ("option", "value", "remedy"),
    [
        ("rounds", 0, "give at least 1"),
        ("explore", 0.0, "give a share above 0, at most 1"),
        ("explore", 1.5, "give a share above 0, at most 1"),
        ("time_limit_s", -1.0, "give at least 0"),
    ],
)
def test_refuses_options_without_meaning(option: str, value: float, remedy: str) -> None:
    with pytest.raises(ValueError, match=rf"agent\.{option} is {value}: {remedy}"):
        EGraph(**{option: value})


def test_saturation_sees_the_detours_of_all_traps_at_once() -> None:
    """Where searches that follow costs stop, with a tenth of their iterations."""
    model = random_network(num_nodes=120, trap=0.5, channels=16, image_size=16, seed=1)
    problems = [
        Problem(
            model=model,
            rules=load_core(),
            objective=roofline(),
            budget=Budget(max_iterations=iterations),
        )
        for iterations in (1000, 100)
    ]
    (searched,) = Taso().optimize(problems[:1], no_log)
    found = run(problems[1], explorer=Saturation(), explore=0.5)
    assert found.cost_best_ms < 0.97 * searched.cost_best_ms


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"depth": 0}, "depth is 0, passes 2: give at least 1"),
        ({"passes": 0}, "depth is 8, passes 0: give at least 1"),
        ({"size_limit": 1.0}, r"size_limit is 1\.0: give a factor > 1"),
    ],
)
def test_saturation_refuses_options_without_meaning(options: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Saturation(**options)
