"""Beam search."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from xflowrl.agents.beam import Beam
from xflowrl.agents.greedy import Greedy
from xflowrl.graphs.random_networks import random_network
from xflowrl.graphs.tiny import tiny
from xflowrl.measurement import roofline
from xflowrl.problem import Budget, Problem, Result, StopReason, replay
from xflowrl.rules import load_core

MakeProblem = Callable[..., Problem]


def no_log(metrics: Mapping[str, float], step: int) -> None:
    pass


def test_leaves_the_minimum_in_which_greedy_is_stuck() -> None:
    problem = Problem(model=tiny(), rules=load_core(), objective=roofline())
    (stuck,) = Greedy().optimize([problem], no_log)
    (result,) = Beam(width=2).optimize([problem], no_log)
    assert 1000 * stuck.cost_best_ms == pytest.approx(24.236, abs=6e-4)  # as in tiny's docstring
    assert 1000 * result.cost_best_ms == pytest.approx(22.421, abs=6e-4)
    assert replay(problem, result.trace).graph.hash == result.model.graph.hash


def test_a_beam_of_one_walks_on_from_a_minimum() -> None:
    problem = Problem(model=tiny(), rules=load_core(), objective=roofline())
    (result,) = Beam(width=1).optimize([problem], no_log)
    assert 1000 * result.cost_best_ms == pytest.approx(22.421, abs=6e-4)


def test_meets_no_graph_twice(relu_problem: MakeProblem) -> None:
    depths: list[float] = []

    def log(metrics: Mapping[str, float], step: int) -> None:
        if "search/num_states" in metrics:
            depths.append(metrics["search/num_states"])

    (result,) = Beam(width=100).optimize([relu_problem(5)], log)
    assert result.stop_reason is StopReason.EXHAUSTED
    assert result.num_nodes_best == 1
    # at each depth the chains of that length that keep different relus: binomials, not factorials
    assert result.iterations == depths[-1] <= 2**5


def random_problem(seed: int) -> Problem:
    model = random_network(num_nodes=60, trap=0.5, channels=16, image_size=16, seed=seed)
    budget = Budget(max_iterations=60)
    return Problem(model=model, rules=load_core(), objective=roofline(), budget=budget)


def run_on_random_network(width: int) -> Result:
    (result,) = Beam(width=width).optimize([random_problem(3)], no_log)
    return result


def plain_beams(problem: Problem, width: int) -> list[float]:
    """The cost of each graph whose matches are listed, where all neighbours are, and sorted."""
    start = problem.initial_state()
    beam, seen, costs_ms = [start], {start.hash}, []
    while beam:
        neighbours = []
        for state in beam:
            costs_ms.append(state.cost.ms)
            for match in state.matches():
                expected_ms = state.cost.ms + match.cost_difference_ms
                rank = (expected_ms, match.size_difference, len(neighbours))
                neighbours.append((*rank, state, match))
            if len(costs_ms) == problem.budget.max_iterations:
                return costs_ms
        beam = []
        for *_, state, match in sorted(neighbours):
            if len(beam) < width and match.hash not in seen:
                seen.add(match.hash)
                beam.append(state.apply(match))
    return costs_ms


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("width", [1, 3, 8])
def test_takes_what_sorting_all_neighbours_would(width: int, seed: int) -> None:
    costs_ms: dict[int, float] = {}

    def log(metrics: Mapping[str, float], step: int) -> None:
        costs_ms.setdefault(step, metrics["search/current_cost_ms"])

    problem = random_problem(seed)
    Beam(width=width).optimize([problem], log)
    assert [costs_ms[step] for step in sorted(costs_ms) if step] == plain_beams(problem, width)


def test_is_deterministic() -> None:
    first, second = run_on_random_network(3), run_on_random_network(3)
    assert first.trace == second.trace
    assert first.model.graph.hash == second.model.graph.hash
    assert first.cost_best_ms < first.cost_initial_ms


def test_budget_counts_listed_graphs(relu_problem: MakeProblem) -> None:
    (result,) = Beam(width=4).optimize([relu_problem(8, max_iterations=3)], no_log)
    assert (result.stop_reason, result.iterations) == (StopReason.ITERATIONS, 3)
    assert result.cost_best_ms < result.cost_initial_ms


def test_no_match_gives_the_original_back(relu_problem: MakeProblem) -> None:
    (result,) = Beam().optimize([relu_problem(1)], no_log)
    assert (result.stop_reason, result.trace.steps) == (StopReason.NO_MATCH, ())


def test_refuses_a_beam_without_width() -> None:
    with pytest.raises(ValueError, match=r"agent\.width is 0: give at least 1"):
        Beam(width=0)


def test_what_the_budget_lets_it_find_is_logged(relu_problem: MakeProblem) -> None:
    costs: list[float] = []

    def log(metrics: Mapping[str, float], step: int) -> None:
        costs.append(metrics["search/best_cost_ms"])

    (result,) = Beam().optimize([relu_problem(4, max_iterations=1)], log)
    assert costs[-1] == result.cost_best_ms < costs[0]
