"""Rewrites that lead to a graph of which only the nodes are known."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from xflowrl._engine import EGraph, Match, State
from xflowrl.agents.attempt import Attempt
from xflowrl.agents.egraph.extraction import Extraction
from xflowrl.agents.egraph.space import Quotient, Rewrite
from xflowrl.problem import Step

_MAX_IDLE = 10  # iterations
_ROUNDING = 1e-9  # of prices that are followed difference by difference

Plan = frozenset[int]
"""Numbers of rewrites."""


class Planner:
    """Which rewrites are still to be done, if none took away what another one needs.

    This is the relaxed plan of the planning system FF (Hoffmann and Nebel 2001, section 4), whose
    length guides the search for a real one.

    Args:
        goal: nodes that the graph sought has.
    """

    def __init__(self, rewrites: Sequence[Rewrite], goal: Collection[int]) -> None:
        self._rewrites = rewrites
        self._goal = sorted(goal)
        self._finders: dict[int, list[int]] = defaultdict(list)
        for index, (sources, _) in enumerate(rewrites):
            for node in sources:
                self._finders[node].append(index)

    def plan(self, nodes: Collection[int]) -> Plan | None:
        """For a graph with some nodes; None if its rewrites do not lead to all of the goal.

        Breadth first, linear in the number of rewrites.
        """
        missing = [len(sources) for sources, _ in self._rewrites]
        made_by: dict[int, int | None] = dict.fromkeys(nodes)
        waiting = deque(made_by)
        while waiting:
            for index in self._finders[waiting.popleft()]:
                missing[index] -= 1
                if missing[index]:
                    continue
                for node in self._rewrites[index][1]:
                    if node not in made_by:
                        made_by[node] = index
                        waiting.append(node)
        plan, wanted = set[int](), [*self._goal]
        while wanted:
            node = wanted.pop()
            if node not in made_by:
                return None
            made = made_by[node]
            if made is not None and made not in plan:
                plan.add(made)
                wanted.extend(self._rewrites[made][0])
        return frozenset(plan)


Way = tuple[tuple[Match, State], ...]
"""Matches taken one after another, each with the state after it."""


@dataclass(order=True)
class _Place:
    """A state that was come to; the fewer rewrites are to go the smaller."""

    num_to_go: int
    cost_ms: float
    order: int
    state: State = field(compare=False)
    plan: Plan = field(compare=False)
    parent: _Place | None = field(compare=False)
    way: Way = field(compare=False)  # from the parent
    moves: Iterator[list[Match]] | None = field(compare=False, default=None)  # not tried yet


def realise(attempt: Attempt, egraph: EGraph, quotient: Quotient, extraction: Extraction) -> bool:
    """Looks for rewrites that lead to an extracted graph, and takes those to the cheapest found.

    Best first, from the best state and from the original: on goes the state whose relaxed plan is
    shortest, by all rewrites of this plan that it offers or, where that leads astray, by one of
    them. Every state whose matches are listed is one iteration; it is given up when ten of them
    have come no closer, neither in rewrites nor in cost.

    Returns:
        Whether a state is reached that costs no more than the extraction.
    """
    search = _Search(attempt, egraph, quotient, extraction)
    is_reached = search.run()
    search.take()
    return is_reached


class _Search:
    def __init__(
        self, attempt: Attempt, egraph: EGraph, quotient: Quotient, extraction: Extraction
    ) -> None:
        self._attempt, self._egraph, self._quotient = attempt, egraph, quotient
        self._planner = Planner(quotient.rewrites, extraction.nodes)
        self._enough_ms = extraction.cost_ms * (1 + _ROUNDING)
        self._seen: set[str] = set()
        self._num_places = 0
        self._starts = [(attempt.best, attempt.best_trace), (attempt.initial, attempt.origin)]
        places = [place for state, _ in self._starts if (place := self._place(state))]
        self._queue = sorted(places)
        self._cheapest = min(places, key=lambda place: place.cost_ms, default=None)
        self._num_to_go = min((place.num_to_go for place in places), default=0)
        self._num_idle = 0

    def run(self) -> bool:
        """Whether it comes to a state that is cheap enough."""
        while self._queue and not self._is_there():
            place = heapq.heappop(self._queue)
            if place.moves is None:
                if self._num_idle == _MAX_IDLE or self._attempt.is_over():
                    break
                self._num_idle += 1
                place.moves = self._moves(place)
                self._attempt.current_cost_ms = place.cost_ms
                self._attempt.log()
            move = next(place.moves, None)
            if move is None:
                continue
            heapq.heappush(self._queue, place)
            way = self._follow(place.state, move)
            after = self._place(way[-1][1], place, way)
            if after is not None:
                heapq.heappush(self._queue, after)
                self._note(after)
        return self._is_there()

    def _note(self, place: _Place) -> None:
        if self._cheapest is None or place.cost_ms < self._cheapest.cost_ms:
            self._cheapest, self._num_idle = place, 0
        if place.num_to_go < self._num_to_go:
            self._num_to_go, self._num_idle = place.num_to_go, 0

    def take(self) -> None:
        """Goes to the cheapest state found; the attempt notes every state on the way."""
        attempt, place, way = self._attempt, self._cheapest, list[tuple[Match, State]]()
        while place is not None and place.parent is not None:
            way[:0] = place.way
            place = place.parent
        if place is None:
            return
        trace = next(trace for state, trace in self._starts if state.hash == place.state.hash)
        for match, state in way:
            cost_ms = attempt.cost_ms(state)
            trace = trace.extended(Step(match.rule, tuple(match.tensors), cost_ms))
            attempt.reached(state, trace, cost_ms=cost_ms)

    def _is_there(self) -> bool:
        return self._cheapest is not None and self._cheapest.cost_ms <= self._enough_ms

    def _place(self, state: State, parent: _Place | None = None, way: Way = ()) -> _Place | None:
        """None if it was come to before, or no rewrites known lead on to all that is sought."""
        if state.hash in self._seen:
            return None
        self._seen.add(state.hash)
        plan = self._planner.plan(self._quotient.nodes(self._egraph.add(state)[0]))
        if plan is None:
            return None
        self._num_places += 1
        return _Place(len(plan), state.cost.ms, self._num_places, state, plan, parent, way)

    def _moves(self, place: _Place) -> Iterator[list[Match]]:
        """All matches of the plan, then each; if all nodes are there, those that save something."""
        matches = self._attempt.matches(place.state)
        rewrites = self._quotient.rewrites_of(self._egraph.add(place.state)[1])
        helpful = [
            match
            for match, rewrite in zip(matches, rewrites, strict=True)
            if rewrite in place.plan or (not place.plan and match.cost_difference_ms < 0)
        ]
        if len(helpful) > 1:
            yield helpful
        for match in helpful:
            yield [match]

    def _follow(self, state: State, matches: list[Match]) -> Way:
        """Takes the first of some matches of a state, and of the others those that are left."""
        way = list[tuple[Match, State]]()
        for match in matches:
            here = state.find(match.rule, match.tensors) if way else match
            if here is not None:
                state = self._complete(state.apply(here))
                way.append((here, state))
        return tuple(way)

    def _complete(self, state: State) -> State:
        objective = self._attempt.problem.objective
        with self._attempt.meter.measuring(objective):
            return objective.complete(state)
