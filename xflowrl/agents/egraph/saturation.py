"""Exploration for the sake of the e-graph: every rewrite once, whatever it costs."""

from __future__ import annotations

from xflowrl._engine import State
from xflowrl.agents.attempt import Attempt


class Saturation:
    """Takes every rewrite that it meets once, in one iteration all that a state offers.

    The e-graph keeps what a rewrite replaces, and the extraction chooses. So nothing is lost by
    what is dearer, and detours at many places are seen at once, where a search that follows costs
    takes one after another. After `depth` iterations, or where nothing new is offered, it begins
    again, so that of rewrites in each other's way the others are taken. `passes` are made, since an
    e-graph grows faster than integer programs can be solved. Deterministic.

    It keeps no best state, so it is of use only within an agent that keeps an e-graph.

    Args:
        size_limit: a graph with so many times the operators it began with is rewritten no more.
    """

    def __init__(self, *, depth: int = 8, passes: int = 2, size_limit: float = 2.0) -> None:
        if min(depth, passes) < 1:
            raise ValueError(f"depth is {depth}, passes {passes}: give at least 1")
        if size_limit <= 1:
            raise ValueError(f"size_limit is {size_limit}: give a factor > 1")
        self._depth = depth
        self._passes = passes
        self._size_limit = size_limit

    def search(self, attempt: Attempt) -> None:
        """Searches until all passes are made or the attempt is over."""
        taken = set[int]()
        for _ in range(self._passes):
            state = attempt.initial
            for _ in range(self._depth):
                after = self._take_all(attempt, state, taken)
                attempt.current_cost_ms = state.cost.ms
                if attempt.over():
                    return
                if after is state:
                    break
                state = after

    def _take_all(self, attempt: Attempt, state: State, taken: set[int]) -> State:
        """The state after all matches not taken before, as far as they leave each other be."""
        assert attempt.egraph is not None, "kept by the agent that explores so"
        objective = attempt.problem.objective
        max_nodes = self._size_limit * attempt.initial.num_nodes
        matches = attempt.matches(state)
        after = state
        for match, rewrite in zip(matches, attempt.egraph.add(state)[1], strict=True):
            if rewrite in taken or after.num_nodes >= max_nodes:
                continue
            here = match if after is state else after.find(match.rule, match.tensors)
            if here is not None:
                taken.add(rewrite)
                with attempt.meter.measuring(objective):
                    after = objective.complete(after.apply(here))
        return after
