"""Beam search: the cheapest few graphs of each depth, whether or not they are cheaper."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import TypeAlias

from xflowrl._engine import Match, State
from xflowrl.agents.attempt import Attempt, attempt_each
from xflowrl.problem import Log, Problem, Result, Trace


class Beam:
    """From `width` graphs to the `width` cheapest of all their neighbours, again and again.

    No two graphs of all beams have one value-id hash. Rewrites of independent places in either
    order lead to one graph, with which a beam would fill. Nor is a graph gone back to, so a beam
    leaves a local minimum over the cheapest graphs around it.

    One iteration lists the matches of one graph. Deterministic: equal costs are told apart by size,
    then by the order of the beam and of `State.best`. The search ends when no new graph is left, or
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
            neighbours: list[Iterator[_Neighbour]] = []
            is_over = False
            for state, trace in beam:
                neighbours.append(_neighbours(attempt, state, trace, attempt.ranked(state)))
                attempt.current_cost_ms = attempt.cost_ms(state)
                is_over = attempt.over(beam_depth=depth, num_states=len(seen))
                if is_over:
                    break
            # What the last listing found counts even where the budget ends in the middle of it.
            beam = []
            for _, state, trace, match in heapq.merge(*neighbours, key=itemgetter(0)):
                if match.hash not in seen:
                    seen.add(match.hash)
                    beam.append(attempt.step(state, trace, match))
                if len(beam) == self._width:
                    break
            depth += 1
            if is_over:
                attempt.log(beam_depth=depth, num_states=len(seen))
                return


_Neighbour: TypeAlias = tuple[tuple[float, int], State, Trace, Match]


def _neighbours(
    attempt: Attempt, state: State, trace: Trace, matches: Iterator[Match]
) -> Iterator[_Neighbour]:
    """The matches of a state in their order, with what they are ranked by among those of others."""
    for match in matches:
        yield (attempt.expected_ms(state, match), match.size_difference), state, trace, match
