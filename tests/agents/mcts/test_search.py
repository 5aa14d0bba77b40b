"""Search by the pretrained policy."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from xflowrl.agents.attempt import Attempt
from xflowrl.agents.exhaustive import Exhaustive
from xflowrl.agents.greedy import Greedy
from xflowrl.agents.mcts.agent import MCTS
from xflowrl.agents.mcts.search import Search, SearchSettings
from xflowrl.agents.ppo.checkpoint import load_policy
from xflowrl.graphs.random_networks import random_network
from xflowrl.graphs.tiny import tiny
from xflowrl.measurement import roofline
from xflowrl.problem import Budget, Problem, Result, StopReason, replay
from xflowrl.rules import load_core


def no_log(*_: Any) -> None:
    pass


def make_problem(num_nodes: int = 60, **limits: Any) -> Problem:
    model = random_network(num_nodes=num_nodes, trap=0.5, channels=16, image_size=16, seed=7)
    return Problem(
        model=model, rules=load_core(), objective=roofline(), budget=Budget(**limits), seed=1
    )


def tiny_problem(**limits: Any) -> Problem:
    return Problem(model=tiny(), rules=load_core(), objective=roofline(), budget=Budget(**limits))


def searched(problem: Problem, **options: Any) -> Result:
    (result,) = MCTS(**options).optimize([problem], no_log)
    return result


def make_search(problem: Problem, **options: Any) -> Search:
    policy = load_policy("pretrained", problem.rules).eval()
    return Search(Attempt(problem, no_log), policy, SearchSettings(**options))


@pytest.mark.parametrize("matches_at_once", [None, 1])
@pytest.mark.parametrize("value", ["head", "saved", "descent"])
def test_finds_the_proven_optimum(matches_at_once: int | None, value: str) -> None:
    (optimum,) = Exhaustive().optimize([tiny_problem()], no_log)
    result = searched(tiny_problem(), matches_at_once=matches_at_once, value=value, descends=False)
    assert optimum.stop_reason is StopReason.EXHAUSTED
    assert result.cost_best_ms == pytest.approx(optimum.cost_best_ms)
    assert result.stop_reason is StopReason.EXHAUSTED
    assert replay(tiny_problem(), result.trace).graph.hash == result.model.graph.hash


def test_a_seed_of_its_own_draws_other_edges() -> None:
    problem = make_problem(max_iterations=80)
    rows: list[list[float]] = []
    for seed in (0, 1, 0):
        costs_ms: list[float] = []
        MCTS().optimize(
            [replace(problem, seed=seed)],
            lambda metrics, _, c=costs_ms: c.append(metrics["search/current_cost_ms"]),
        )
        rows.append(costs_ms)
    assert rows[0] == rows[2] != rows[1]


def test_an_edge_of_one_match_is_as_likely_as_its_match() -> None:
    search = make_search(make_problem(), matches_at_once=1)
    attempt = search._attempt
    (root,) = search._look([(attempt.initial, attempt.origin, 0)])
    edges = []
    while (edge := root.propose_fn()) is not None:
        edges.append(edge)
    weights = [edge.weight for edge in edges]
    assert sorted(edge.matches for edge in edges) == [(m,) for m in range(len(attempt.initial))]
    assert weights == sorted(weights, reverse=True)
    assert 0.5 < sum(weights) < 1 + 1e-6  # the rest is STOP's


def test_gains_are_in_the_units_of_the_value_head() -> None:
    gamma, step_cost = 0.9, 0.5
    search = make_search(make_problem(), gamma=gamma, step_cost=step_cost)
    attempt = search._attempt
    (root,) = search._look([(attempt.initial, attempt.origin, 0)])
    edge = root.propose_fn()
    assert edge is not None
    _, trace, gain = search._take(root, edge)
    costs_ms = [attempt.initial_cost_ms, *(step.cost_ms for step in trace.steps)]
    assert len(edge.matches) == len(trace.steps) > 1
    charge = step_cost / attempt.initial.num_nodes
    expected = sum(
        gamma**count * ((before - after) / attempt.initial_cost_ms - charge)
        for count, (before, after) in enumerate(pairwise(costs_ms))
    )
    assert gain == pytest.approx(expected)


@pytest.mark.parametrize("value", ["saved", "descent"])
def test_without_the_head_a_gain_is_what_is_saved(value: str) -> None:
    search = make_search(make_problem(), value=value, gamma=0.9, step_cost=0.5)
    attempt = search._attempt
    (root,) = search._look([(attempt.initial, attempt.origin, 0)])
    edge = root.propose_fn()
    assert edge is not None
    state, _, gain = search._take(root, edge)
    assert gain == pytest.approx(1 - state.cost.ms / attempt.initial_cost_ms)


def test_a_leaf_is_worth_what_is_said() -> None:
    problem = tiny_problem()
    (greedy,) = Greedy().optimize([problem], no_log)
    worth = {}
    for value in ("head", "saved", "descent"):
        search = make_search(problem, value=value)
        attempt = search._attempt
        (root,) = search._look([(attempt.initial, attempt.origin, 0)])
        worth[value] = root.worth
    assert worth["saved"] == 0.0
    assert worth["descent"] == pytest.approx(1 - greedy.cost_best_ms / greedy.cost_initial_ms)
    assert 0 < worth["head"] < 1
    assert worth["head"] != worth["descent"]


def test_the_first_episode_looks_once_a_move() -> None:
    """And goes where greedy decoding goes, so that something good is there soon."""
    once = searched(make_problem(max_iterations=8), descends=False, simulations=1)
    several = searched(make_problem(max_iterations=8), descends=False, simulations=16)
    assert len(once.trace.steps) > 10
    assert once.trace == several.trace


def test_more_simulations_find_more() -> None:
    few = searched(make_problem(num_nodes=150, max_iterations=10))
    many = searched(make_problem(num_nodes=150, max_iterations=150))
    assert many.cost_best_ms < few.cost_best_ms


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("c", -1.0),
        ("simulations", 0),
        ("side_by_side", 0),
        ("matches_at_once", 0),
        ("widening", 0.0),
        ("likely_share", 1.5),
        ("gamma", 0.0),
        ("step_cost", -0.1),
        ("temperature", 0.0),
        ("num_threads", 0),
    ],
)
def test_options_are_checked(option: str, value: float) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(ValueError, match=rf"agent\.{option} is {value}: give"):
        MCTS(**options)


def test_a_missing_policy_is_named() -> None:
    with pytest.raises(ValueError, match=r"agent\.checkpoint=none\.pt: no such file; give a run's"):
        searched(tiny_problem(), checkpoint="none.pt")
