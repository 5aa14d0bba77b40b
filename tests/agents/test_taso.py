"""TASO's backtracking search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from xflowrl.agents.taso import Taso
from xflowrl.problem import Problem, StopReason, replay

MakeProblem = Callable[..., Problem]


def no_log(metrics: Mapping[str, float], step: int) -> None:
    pass


def test_exhausts_the_space_of_a_chain(relu_problem: MakeProblem) -> None:
    (result,) = Taso().optimize([relu_problem(5)], no_log)
    assert result.stop_reason is StopReason.EXHAUSTED
    assert result.num_nodes_best == 1
    assert result.candidates > 0
    assert [len(result.trace.steps), result.trace.steps[-1].cost_ms] == [4, result.cost_best_ms]


def test_budget_counts_expansions(relu_problem: MakeProblem) -> None:
    (result,) = Taso().optimize([relu_problem(8, max_iterations=3)], no_log)
    assert result.stop_reason is StopReason.ITERATIONS
    assert result.iterations == 3


def test_its_trace_replays(relu_problem: MakeProblem) -> None:
    (result,) = Taso(alpha=1.0).optimize([relu_problem(6)], no_log)
    state = replay(relu_problem(6), result.trace)
    assert state.graph.hash == result.model.graph.hash


def test_no_match_gives_the_original_back(relu_problem: MakeProblem) -> None:
    (result,) = Taso().optimize([relu_problem(1)], no_log)
    assert result.stop_reason is StopReason.NO_MATCH
    assert result.trace.steps == ()


def test_operators_of_a_measured_table_are_timed(relu_problem: MakeProblem) -> None:
    from xflowrl._engine import CostTable

    class OneMillisecondEach:
        table, measure_s, num_measured = CostTable.measured(), 0.0, 0

        def fill(self) -> int:
            unknown = self.table.unknown()
            for signature in unknown:
                self.table.set(signature.key, 1.0)
            return len(unknown)

    (result,) = Taso().optimize([relu_problem(4, cost_model=OneMillisecondEach())], no_log)
    assert (result.cost_initial_ms, result.cost_best_ms) == (4.0, 1.0)


@pytest.mark.parametrize("options", [{"alpha": 0.9}, {"size_limit": 0.0}])
def test_refuses_options_without_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give a factor"):
        Taso(**options)
