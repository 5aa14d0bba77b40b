"""Beam search: the cheapest few graphs of each depth, whether or not they are cheaper."""

from __future__ import annotations

from collections.abc import Sequence

from xflowrl._engine import Match, State
from xflowrl.agents.attempt import Attempt, attempt_each
from xflowrl.problem import Log, Problem, Result, Trace


class Beam:
    """From `width` graphs to the `width` cheapest of all their neighbours, again and again.

    No two graphs of all beams have one value-id hash. Rewrites of independent places in either
    order lead to one graph, with which a beam would fill. Nor is a graph gone back to, so a beam
    leaves a local minimum over the cheapest graphs around it.

    One iteration lists the matches of one graph. Deterministic: equal costs are told apart by size,
    then by the order of the beam and of the matches. The search ends when no new graph is left, or
    with the budget; `budget.patience` ends it where it finds nothing better any more.
    """

    def __init__(self, *, width: int = 8) -> None:
        if width < 1:
            raise ValueError(f"agent.width is {width}: give at least 1")
        self._width = width

    def optimize(self, problems: Sequence[Problem], log: Log) -> list[Result]:
        """One beam search a problem."""
        return attempt_each(problems, log, self.search)

    def search(self, attempt: Attempt) -> None:
        """Searches until no new graph is left or the attempt is over."""
        seen = {attempt.initial.graph.hash}
        beam = [(attempt.initial, attempt.origin)]
        depth = 0
        while beam:
            neighbours: list[tuple[float, int, int, State, Trace, Match]] = []
            is_over = False
            for state, trace in beam:
                for match in attempt.matches(state):
                    expected_ms = attempt.expected_ms(state, match)
                    rank = (expected_ms, match.size_difference, len(neighbours))
                    neighbours.append((*rank, state, trace, match))
                attempt.current_cost_ms = attempt.cost_ms(state)
                is_over = attempt.over(beam_depth=depth, num_states=len(seen))
                if is_over:
                    break
            # What the last listing found counts even where the budget ends in the middle of it.
            beam = []
            for *_, state, trace, match in sorted(neighbours):
                if len(beam) == self._width:
                    break
                if match.hash not in seen:
                    seen.add(match.hash)
                    beam.append(attempt.step(state, trace, match))
            depth += 1
            if is_over:
                attempt.log(beam_depth=depth, num_states=len(seen))
                return
