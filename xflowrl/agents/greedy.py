"""Steepest descent: the cheapest neighbour, as long as it is cheaper."""

from __future__ import annotations

from collections.abc import Sequence

from xflowrl.agents.attempt import Attempt, attempt_each
from xflowrl.problem import Log, Problem, Result


class Greedy:
    """Takes the match that lowers the cost most, until none does.

    Deterministic: of equal matches the one that leaves fewest nodes is taken, then the first.
    """

    def optimize(self, problems: Sequence[Problem], log: Log) -> list[Result]:
        """One descent a problem."""
        return attempt_each(problems, log, _descend)


def _descend(attempt: Attempt) -> None:
    state, trace = attempt.initial, attempt.origin
    while True:
        matches = attempt.matches(state)
        best = min(
            matches,
            key=lambda match: (match.cost_difference_ms, match.size_difference),
            default=None,
        )
        if best is None or best.cost_difference_ms >= -attempt.rounding_ms:
            attempt.over()
            return
        state, trace = attempt.step(state, trace, best)
        if attempt.over():
            return
