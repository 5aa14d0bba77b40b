"""Budgets, meters, attempts and replay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from xflowrl.problem import Budget, Meter, Problem, Step, StopReason, Trace, replay

MakeProblem = Callable[..., Problem]


class Clock:
    """A clock that goes only when told to."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def make_meter(**limits: Any) -> tuple[Meter, Clock, SimpleNamespace]:
    clock, memory = Clock(), SimpleNamespace(bytes=100 * 2**20)
    meter = Meter(Budget(**limits), clock_fn=clock, memory_fn=lambda: memory.bytes)
    return meter, clock, memory


def test_budget_refuses_negative_limits() -> None:
    with pytest.raises(ValueError, match=r"budget\.patience is -1: give a number >= 0"):
        Budget(patience=-1)


def test_default_budget_limits_iterations_only() -> None:
    limits = {name: limit for name, limit in Budget().limits().items() if limit is not None}
    assert limits == {"max_iterations": 1000}


def test_meter_stops_at_iterations() -> None:
    meter, _, _ = make_meter(max_iterations=2)
    meter.spend(iterations=1)
    assert meter.exceeded() is None
    meter.spend(iterations=1)
    assert meter.exceeded() is StopReason.ITERATIONS


def test_meter_stops_at_candidates() -> None:
    meter, _, _ = make_meter(max_candidates=10)
    meter.spend(iterations=1, candidates=9)
    assert meter.exceeded() is None
    meter.spend(candidates=1)
    assert meter.exceeded() is StopReason.CANDIDATES


def test_meter_counts_neither_measuring_nor_pauses_as_searching() -> None:
    meter, clock, _ = make_meter(max_seconds=5.0)
    clock.now_s = 2.0
    with meter.paused():
        clock.now_s = 102.0
    meter.measurements, meter.measure_s = 3, 50.0
    clock.now_s = 152.0  # of which 2 searching before the pause, 50 measuring, 0 after
    assert meter.seconds == pytest.approx(2.0)
    assert meter.exceeded() is None
    clock.now_s = 155.0
    assert meter.exceeded() is StopReason.SECONDS


def test_meter_stops_at_measurements() -> None:
    meter, _, _ = make_meter(max_measurements=3)
    meter.measurements = 3
    assert meter.exceeded() is StopReason.MEASUREMENTS


def test_meter_keeps_the_peak_growth_of_memory() -> None:
    meter, _, memory = make_meter(max_memory_mb=30.0)
    memory.bytes += 20 * 2**20
    meter.spend(iterations=1)
    assert meter.exceeded() is None
    memory.bytes += 20 * 2**20
    meter.spend(iterations=1)
    assert meter.exceeded() is StopReason.MEMORY
    assert meter.is_short_of_memory()
    memory.bytes -= 40 * 2**20
    meter.weigh()
    assert meter.exceeded() is None
    assert not meter.is_short_of_memory()
    assert meter.memory_mb == pytest.approx(40.0)


def test_patience_counts_from_the_last_best() -> None:
    meter, _, _ = make_meter(patience=2)
    meter.spend(iterations=2)
    meter.improved()
    meter.spend(iterations=1)
    assert meter.exceeded() is None
    meter.spend(iterations=1)
    assert meter.exceeded() is StopReason.PATIENCE


class OneMillisecondEach:
    """Knows every operator at once, and counts those it was asked for."""

    num_timed = 0

    def price_ms(self, signatures: Sequence[object]) -> list[float]:
        self.num_timed += len(signatures)
        return [1.0] * len(signatures)


def test_what_an_objective_measures_is_counted_and_timed_apart(relu_problem: MakeProblem) -> None:
    from xflowrl._engine import CostTable
    from xflowrl.measurement import Objective

    pricer = OneMillisecondEach()
    objective = Objective(CostTable.measured(), device="d", pricer=pricer)
    problem = relu_problem(3, objective=objective)
    meter, _, _ = make_meter()
    with meter.measuring(objective):
        state = problem.initial_state()
    assert state.cost.ms == pytest.approx(3.0)
    assert meter.measurements == 1  # three equal operators: one timing
    assert meter.measure_s == objective.measure_s > 0
    assert [match.cost_difference_ms for match in objective.matches(state)] == [-1.0, -1.0]


def test_the_clock_on_the_wall_counts_measuring_and_no_pause() -> None:
    meter, clock, _ = make_meter(max_wall_s=10.0, max_real_measurements=5)
    with meter.measuring_graph():
        clock.now_s += 4.0
    with meter.paused():
        clock.now_s += 100.0
    clock.now_s += 5.0
    assert (meter.seconds, meter.wall_s) == (5.0, 9.0)
    assert meter.may_execute()
    clock.now_s += 1.0
    assert not meter.may_execute()
    assert meter.exceeded() is StopReason.WALL


def test_executed_graphs_have_a_limit_of_their_own() -> None:
    meter, _, _ = make_meter(max_real_measurements=3)
    objective = SimpleNamespace(num_measured=0, num_executed=0, measure_s=0.0)
    with meter.measuring(objective):  # type: ignore[arg-type]
        objective.num_executed = 2
    assert meter.may_execute()
    with meter.measuring_graph():
        pass
    assert not meter.may_execute()
    assert meter.exceeded() is StopReason.REAL_MEASUREMENTS


def test_an_interrupt_while_measuring_is_still_counted() -> None:
    meter, clock, _ = make_meter(max_real_measurements=1)
    objective = SimpleNamespace(num_measured=2, num_executed=1, measure_s=1.0)
    with pytest.raises(KeyboardInterrupt), meter.measuring(objective):  # type: ignore[arg-type]
        objective.num_measured, objective.measure_s = 5, 4.0
        raise KeyboardInterrupt
    assert (meter.measurements, meter.measure_s) == (3, 3.0)
    assert meter.exceeded() is None
    with pytest.raises(KeyboardInterrupt), meter.measuring_graph():
        clock.now_s = 10.0
        raise KeyboardInterrupt
    assert (meter.real_measurements, meter.measure_s) == (1, 13.0)
    assert meter.exceeded() is StopReason.REAL_MEASUREMENTS


def test_attempt_logs_every_iteration(relu_problem: MakeProblem) -> None:
    from xflowrl.agents.greedy import Greedy

    rows: list[tuple[int, dict[str, float]]] = []

    def log(metrics: Mapping[str, float], step: int) -> None:
        rows.append((step, dict(metrics)))

    (result,) = Greedy().optimize([relu_problem(4)], log)
    assert [step for step, _ in rows] == [0, 1, 2, 3, 4]
    best = [metrics["search/best_cost_ms"] for _, metrics in rows]
    assert best == sorted(best, reverse=True)
    assert best[0] == result.cost_initial_ms
    assert best[-1] == result.cost_best_ms


def test_result_tells_what_was_spent(relu_problem: MakeProblem) -> None:
    from xflowrl.agents.greedy import Greedy

    (result,) = Greedy().optimize([relu_problem(4)], lambda metrics, step: None)
    assert result.stop_reason is StopReason.EXHAUSTED
    assert (result.num_nodes_initial, result.num_nodes_best) == (4, 1)
    assert (result.num_kernels_initial, result.num_kernels_best) == (4, 1)
    assert result.cost_best_ms == pytest.approx(result.cost_initial_ms / 4)
    assert (result.iterations, result.best_iteration) == (4, 3)
    assert result.candidates == 3 + 2 + 1 + 0
    assert len(result.trace.steps) == 3
    assert result.trace.steps[-1].cost_ms == result.cost_best_ms
    assert [found.iteration for found in result.improvements] == [0, 1, 2, 3]
    assert [len(model.graph) for model in (result.original, result.model)] == [4, 1]


def test_traces_replay(relu_problem: MakeProblem) -> None:
    from xflowrl.agents.greedy import Greedy

    (result,) = Greedy().optimize([relu_problem(5)], lambda metrics, step: None)
    state = replay(relu_problem(5), result.trace)
    assert state.graph.hash == result.model.graph.hash
    assert state.cost.ms == pytest.approx(result.cost_best_ms)


def test_replay_refuses_the_trace_of_another_graph(relu_problem: MakeProblem) -> None:
    from xflowrl.agents.greedy import Greedy

    (result,) = Greedy().optimize([relu_problem(5)], lambda metrics, step: None)
    with pytest.raises(ValueError, match="replay it on the graph it was recorded on"):
        replay(relu_problem(4), result.trace)


def test_replay_names_the_step_that_fails(relu_problem: MakeProblem) -> None:
    problem = relu_problem(3)
    trace = Trace(problem.model.graph.hash, (Step("no-such-rule", ("relu0",), 1.0),))
    with pytest.raises(ValueError, match=r"trace step 0: rule 'no-such-rule' does not match"):
        replay(problem, trace)
