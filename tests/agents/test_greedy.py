"""Steepest descent."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from xflowrl.agents.greedy import Greedy
from xflowrl.problem import Problem, StopReason

MakeProblem = Callable[..., Problem]


def no_log(metrics: Mapping[str, float], step: int) -> None:
    pass


def test_reaches_the_optimum_of_a_chain(relu_problem: MakeProblem) -> None:
    (result,) = Greedy().optimize([relu_problem(6)], no_log)
    assert result.num_nodes_best == 1
    assert result.stop_reason is StopReason.EXHAUSTED


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
