"""TASO's backtracking search."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from xflowrl.agents.taso import Taso
from xflowrl.graphs.squeezenet import squeezenet
from xflowrl.measurement import roofline
from xflowrl.problem import Budget, Problem, StopReason, replay
from xflowrl.rules import load_core

MakeProblem = Callable[..., Problem]


@pytest.fixture
def squeezenet_problem() -> MakeProblem:
    """SqueezeNet under the built-in rules; the arguments are limits of the budget."""

    def make(**limits: Any) -> Problem:
        return Problem(
            model=squeezenet(),
            rules=load_core(),
            objective=roofline(),
            budget=Budget(**({"max_iterations": None} | limits)),
        )

    return make


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
    from xflowrl.measurement import Objective

    class OneMillisecondEach:
        num_timed = 0

        def price_ms(self, signatures: Sequence[object]) -> list[float]:
            return [1.0] * len(signatures)

    table = CostTable.measured()
    objective = Objective(table, device="d", pricer=OneMillisecondEach())
    (result,) = Taso().optimize([relu_problem(4, objective=objective)], no_log)
    assert (result.cost_initial_ms, result.cost_best_ms) == (4.0, 1.0)


# In a process of its own, whose memory no other test has left behind.
SHORT_OF_MEMORY = """
from xflowrl.agents.taso import Taso
from xflowrl.graphs.bert import build_graph_bert
from xflowrl.measurement import roofline
from xflowrl.problem import Budget, Problem
from xflowrl.rules import load_core

budget = Budget(max_iterations=3_000, max_memory_mb=15.0)
problem = Problem(
    model=build_graph_bert(), rules=load_core(), objective=roofline(), budget=budget
)
(result,) = Taso(alpha=1.3).optimize([problem], lambda metrics, step: None)
print(result.stop_reason, result.num_dropped, result.memory_mb, result.cost_best_ms)
"""


def test_short_of_memory_it_drops_the_worst_and_goes_on() -> None:
    """Without the limit this search holds 28 MB."""
    done = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY], capture_output=True, text=True, check=True
    )
    stop_reason, num_dropped, memory_mb, cost_best_ms = done.stdout.split()
    assert stop_reason == "iterations"
    assert int(num_dropped) > 100
    assert float(memory_mb) < 25  # what a moment allocates may come on top
    assert float(cost_best_ms) == pytest.approx(0.57526, abs=1e-5)
    assert done.stderr.startswith("bert: iteration ")
    assert "raise budget.max_memory_mb to keep them" in done.stderr.splitlines()[0]


def test_a_memory_limit_that_dropping_cannot_meet_ends_it(relu_problem: MakeProblem) -> None:
    (result,) = Taso().optimize([relu_problem(6, max_memory_mb=0.0)], no_log)
    assert result.stop_reason is StopReason.MEMORY
    assert result.cost_best_ms <= result.cost_initial_ms


def test_every_new_best_is_noted_with_its_iteration(squeezenet_problem: MakeProblem) -> None:
    rows: list[tuple[int, float]] = []

    def log(metrics: Mapping[str, float], step: int) -> None:
        rows.append((step, metrics["search/best_cost_ms"]))

    (result,) = Taso().optimize([squeezenet_problem(max_iterations=100)], log)
    assert [step for step, _ in rows] == list(range(101))
    first_seen: dict[float, int] = {}
    for step, best_ms in rows:
        first_seen.setdefault(best_ms, step)
    for improvement in result.improvements[1:]:
        assert first_seen[improvement.cost_ms] == improvement.iteration
    assert result.best_iteration == result.improvements[-1].iteration
    assert result.cost_best_ms == pytest.approx(rows[-1][1])


def test_patience_and_candidates_end_it_where_they_should(squeezenet_problem: MakeProblem) -> None:
    (patient,) = Taso().optimize([squeezenet_problem(patience=20)], no_log)
    assert patient.stop_reason is StopReason.PATIENCE
    assert patient.iterations == patient.best_iteration + 20
    (short,) = Taso().optimize([squeezenet_problem(max_candidates=500)], no_log)
    assert short.stop_reason is StopReason.CANDIDATES
    assert 500 <= short.candidates < 600


@pytest.mark.parametrize("options", [{"alpha": 0.9}, {"size_limit": 0.0}])
def test_refuses_options_without_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give a"):
        Taso(**options)
