"""What all agents go through."""

from __future__ import annotations

from collections.abc import Sequence

from xflowrl._engine import Cost, Match, State, Taken
from xflowrl.agents.attempt import Attempt
from xflowrl.graphs.squeezenet import squeezenet
from xflowrl.measurement import roofline
from xflowrl.problem import Problem
from xflowrl.rules import load_core


def test_ranked_matches_are_all_of_them_once_and_counted_before_they_are_looked_at() -> None:
    problem = Problem(model=squeezenet(), rules=load_core(), objective=roofline())
    attempt = Attempt(problem, lambda metrics, step: None)
    ranked = attempt.ranked(attempt.initial)
    num_matches = len(attempt.initial)
    assert num_matches > 30
    assert (attempt.meter.iterations, attempt.meter.candidates) == (1, num_matches)
    indices = [match.index for match in ranked]
    assert indices == [match.index for match in attempt.initial.best(num_matches)]
    assert sorted(indices) == list(range(num_matches)) != indices


def test_the_cheapest_on_the_way_through_several_matches_is_kept() -> None:
    problem = Problem(model=squeezenet(), rules=load_core(), objective=roofline())
    attempt = Attempt(problem, lambda metrics, step: None)
    down = attempt.initial.best(1)[0]
    up = max(attempt.initial.matches(), key=lambda match: match.cost_difference_ms)
    assert down.cost_difference_ms < 0 < up.cost_difference_ms
    state, trace, taken = attempt.step_each(attempt.initial, attempt.origin, [down, up])
    assert [(one.index, one.rule) for one in taken] == [(0, down.rule), (1, up.rule)]
    assert [step.cost_ms for step in trace.steps] == [one.cost_ms for one in taken]
    assert state.cost.ms == trace.steps[-1].cost_ms > attempt.best_cost_ms
    assert attempt.best_cost_ms == attempt.best.cost.ms == trace.steps[0].cost_ms
    assert attempt.best_trace.steps == trace.steps[:1]


class EndsEarly:
    """A state of which not more than one match is taken before prices are asked for."""

    is_priced = True

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def cost(self) -> Cost:
        return self._state.cost

    @property
    def num_nodes(self) -> int:
        return self._state.num_nodes

    def apply_each(self, matches: Sequence[Match]) -> tuple[EndsEarly, list[Taken]]:
        state, taken = self._state.apply_each(matches)
        if taken:
            state, taken = self._state.apply_each(matches[: taken[0].index + 1])
        return EndsEarly(state), taken


def test_matches_that_wait_for_a_price_are_taken_once_it_is_known() -> None:
    problem = Problem(model=squeezenet(), rules=load_core(), objective=roofline())
    attempt = Attempt(problem, lambda metrics, step: None)
    other = Attempt(problem, lambda metrics, step: None, initial=attempt.initial)
    matches = attempt.initial.matches()[::3]
    _, trace, taken = attempt.step_each(attempt.initial, attempt.origin, matches)
    assert 5 < len(taken) == len(trace.steps) < len(matches)
    early: State = EndsEarly(other.initial)  # type: ignore[assignment]
    _, same, one_by_one = other.step_each(early, other.origin, matches)
    assert same == trace
    assert [one.rule for one in one_by_one] == [one.rule for one in taken]
    assert other.best_trace == attempt.best_trace
