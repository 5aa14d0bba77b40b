"""Ways through the graphs that rules reach: down to where greedy ends, and over the lowest pass."""

from __future__ import annotations

import heapq

from xflowrl._engine import State


def descended(state: State) -> State:
    """Greedy's end."""
    while True:
        best = min(state.matches(), key=lambda match: match.cost_difference_ms, default=None)
        if best is None or best.cost_difference_ms > -1e-9:
            return state
        state = state.apply(best)


def lowest_pass(start: State, max_states: int = 500) -> tuple[float, State]:
    """The height above `start`, in ms, of the lowest way to a cheaper graph, and that graph.

    Graphs are expanded in the order of the highest cost on the way to them, as by Dijkstra, so
    that the first cheaper one to be taken is reached by the lowest way there is.
    """
    start_ms, seen = start.cost.ms, {start.graph.merkle_hash}
    waiting = [(start_ms, start_ms, 0, start)]
    for _ in range(max_states):
        height_ms, cost_ms, _, state = heapq.heappop(waiting)
        if cost_ms < start_ms - 1e-5:
            return height_ms - start_ms, state
        for match in state.matches():
            after = state.apply(match)
            if after.graph.merkle_hash not in seen:
                seen.add(after.graph.merkle_hash)
                cost_ms = after.cost.ms
                entry = (max(height_ms, cost_ms), cost_ms, len(seen), after)
                heapq.heappush(waiting, entry)
    raise AssertionError("no way was found")
