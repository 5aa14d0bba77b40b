"""Beam search: the cheapest few graphs of each depth, whether or not they are cheaper."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from xflowrl._engine import Match, State
from xflowrl.attempt import Attempt, attempt_each
from xflowrl.problem import Log, Problem, Result, Trace


class Beam:
    """From `width` graphs to the `width` cheapest of all their neighbours, again and again.

    No two graphs of the search have one value-id hash: rewrites of independent places in either
    order lead to one graph, and without this rule a beam fills with it. A graph met before is never
    gone back to, so a beam leaves a local minimum over the cheapest graphs around it.

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
        return attempt_each(problems, log, self._search)

    def _search(self, attempt: Attempt) -> None:
        seen = {attempt.initial.graph.hash}
        beam = [(attempt.initial, attempt.origin)]
        depth = 0
        while beam:
            neighbours: list[tuple[float, int, int, State, Trace, Match]] = []
            is_over = False
            for state, trace in beam:
                for match in attempt.matches(state):
                    if match.hash in seen:
                        continue
                    seen.add(match.hash)
                    rank = (state.cost.ms + match.cost_difference_ms, match.size_difference)
                    neighbours.append((*rank, len(neighbours), state, trace, match))
                attempt.current_cost_ms = state.cost.ms
                is_over = attempt.over(beam_depth=depth, num_states=len(seen))
                if is_over:
                    break
            best = heapq.nsmallest(self._width, neighbours)
            # What the last listing found counts even where the budget ends in the middle of it.
            beam = [attempt.step(state, trace, match) for *_, state, trace, match in best]
            depth += 1
            if is_over:
                return
