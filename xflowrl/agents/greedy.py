"""Steepest descent: the cheapest neighbour, as long as it is cheaper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xflowrl.agents.attempt import Attempt, attempt_each
from xflowrl.problem import Log, Problem, Result

if TYPE_CHECKING:
    from xflowrl._engine import Match


class Greedy:
    """Takes the match that lowers the cost most, or at equal cost the nodes, until none does.

    Deterministic: of equal matches the one that leaves fewest nodes is taken, then the first.
    """

    def optimize(self, problems: Sequence[Problem], log: Log) -> list[Result]:
        """One descent a problem."""
        return attempt_each(problems, log, _descend)


def _descend(attempt: Attempt) -> None:
    state, trace = attempt.initial, attempt.origin
    while True:
        matches = attempt.matches(state)
        best = min(matches, key=lambda match: _rank(match, attempt.rounding_ms), default=None)
        if best is None or not _is_better(best, attempt.rounding_ms):
            attempt.over()
            return
        state, trace = attempt.step(state, trace, best)
        if attempt.over():
            return


def _rank(match: Match, rounding_ms: float) -> tuple[float, int]:
    """Cost, then nodes; differences that rounding may have made count as none."""
    difference_ms = match.cost_difference_ms
    return (difference_ms if abs(difference_ms) > rounding_ms else 0.0, match.size_difference)


def _is_better(match: Match, rounding_ms: float) -> bool:
    return _rank(match, rounding_ms) < (0.0, 0)
