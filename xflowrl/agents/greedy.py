"""Steepest descent: the cheapest neighbour, as long as it is cheaper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from xflowrl.agents.attempt import Attempt, attempt_each
from xflowrl.problem import Log, Problem, Result, Trace

if TYPE_CHECKING:
    from xflowrl._engine import Match, State

    Place: TypeAlias = tuple[State, Trace]
    NextFn: TypeAlias = Callable[[Attempt, State, Trace], Place | None]


class Greedy:
    """Takes the match that lowers the cost most, or at equal cost the nodes, until none does.

    Deterministic: of equal matches the one that leaves fewest nodes is taken, then the first.

    Where costs are latencies, the matches are tried in the order of their prices, and the first
    that is really faster is taken, or as fast with fewer nodes.
    """

    def optimize(self, problems: Sequence[Problem], log: Log) -> list[Result]:
        """One descent a problem."""
        return attempt_each(problems, log, self.search)

    def search(self, attempt: Attempt) -> None:
        """Descends until nothing is cheaper or the attempt is over."""
        is_real = attempt.problem.objective.is_real
        descend(attempt, attempt.initial, attempt.origin, _first_faster if is_real else _cheapest)


def descend(attempt: Attempt, state: State, trace: Trace, next_fn: NextFn) -> bool:
    """Goes from a state to the next until there is none; True if the attempt is over."""
    here: Place | None = (state, trace)
    while here is not None:
        here = next_fn(attempt, *here)
        if attempt.over():
            return True
    return False


def most_saving(attempt: Attempt, state: State) -> Match | None:
    """The match that lowers the cost most, as far as its price tells; None if none does."""
    best = next(attempt.ranked(state, rounding_ms=attempt.noise_ms), None)
    return best if best is not None and best.cost_difference_ms < -attempt.noise_ms else None


def _cheapest(attempt: Attempt, state: State, trace: Trace) -> Place | None:
    best = next(attempt.ranked(state, rounding_ms=attempt.noise_ms), None)
    if best is None or not _lowers(best, attempt.noise_ms):
        return None
    return attempt.step(state, trace, best)


def _first_faster(attempt: Attempt, state: State, trace: Trace) -> Place | None:
    cost_ms = attempt.cost_ms(state)
    for match in attempt.ranked(state):
        after = attempt.step(state, trace, match)
        saved_ms = cost_ms - attempt.cost_ms(after[0])
        if saved_ms > attempt.noise_ms or (saved_ms >= 0 and match.size_difference < 0):
            return after
    return None


def _lowers(match: Match, rounding_ms: float) -> bool:
    """The cost, or without raising it, but for rounding, the nodes."""
    difference_ms = match.cost_difference_ms
    return difference_ms < -rounding_ms or (
        difference_ms <= rounding_ms and match.size_difference < 0
    )
