"""Random walks from the original."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from xflowrl.agents.random_search import RandomSearch
from xflowrl.problem import Problem, StopReason, replay

MakeProblem = Callable[..., Problem]


def no_log(metrics: Mapping[str, float], step: int) -> None:
    pass


def test_finds_the_optimum_of_a_chain_and_spends_its_budget(relu_problem: MakeProblem) -> None:
    (result,) = RandomSearch().optimize([relu_problem(4, max_iterations=200)], no_log)
    assert result.num_nodes_best == 1
    assert result.stop_reason is StopReason.ITERATIONS
    assert result.iterations == 200


def test_restarts_from_the_original(relu_problem: MakeProblem) -> None:
    costs, walks = [], []

    def log(metrics: Mapping[str, float], step: int) -> None:
        costs.append(metrics["search/current_cost_ms"])
        walks.append(metrics.get("search/num_walks", 0))

    (result,) = RandomSearch().optimize([relu_problem(4, max_iterations=50)], log)
    assert costs[1:].count(result.cost_initial_ms) >= 5
    assert walks[-1] > 5


def test_same_seed_same_walk(relu_problem: MakeProblem) -> None:
    def run(seed: int) -> list[float]:
        costs = []
        problem = relu_problem(8, max_iterations=30, seed=seed)
        RandomSearch().optimize([problem], lambda m, _: costs.append(m["search/current_cost_ms"]))
        return costs

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_no_match_gives_the_original_back(relu_problem: MakeProblem) -> None:
    (result,) = RandomSearch().optimize([relu_problem(1)], no_log)
    assert result.stop_reason is StopReason.NO_MATCH
    assert result.num_nodes_best == 1


def test_its_trace_replays(relu_problem: MakeProblem) -> None:
    (result,) = RandomSearch().optimize([relu_problem(7, max_iterations=60)], no_log)
    state = replay(relu_problem(7), result.trace)
    assert state.graph.hash == result.model.graph.hash
