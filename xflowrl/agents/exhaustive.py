"""Exhaustive search: every graph that the rules reach, so that the best is proven optimal."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Sequence

from xflowrl._engine import State
from xflowrl.agents.attempt import Attempt, Spent, attempt_each
from xflowrl.problem import Log, Problem, Result, Trace

logger = logging.getLogger(__name__)


class Exhaustive:
    """Expands every reachable graph once, the cheapest first. Deterministic.

    If nothing is left, which is `StopReason.EXHAUSTED`, the best graph is optimal: no sequence of
    rewrites by these rules leads to a cheaper one under these costs. If the budget ends it first,
    `num_unexpanded` graphs remain that were reached and not expanded; the result and a line of the
    log say how many. That many states are held in memory. Where costs are latencies every graph
    is executed, and optimal means within the noise.

    Two graphs are the same if their structural (Merkle) hashes agree, and their sizes, kernels,
    FLOPs and bytes: the Merkle hash alone does not tell one node with two readers from two equal
    nodes with one reader each.
    """

    def optimize(self, problems: Sequence[Problem], log: Log) -> list[Result]:
        """One enumeration a problem."""
        return attempt_each(problems, log, _enumerate)


_Key = tuple[bytes, int, int, float, float]


def _key(state: State) -> _Key:
    cost = state.cost
    digest = bytes.fromhex(state.graph.merkle_hash)
    return digest, state.num_nodes, cost.num_kernels, cost.flops, cost.bytes


def _enumerate(attempt: Attempt) -> None:
    seen = {_key(attempt.initial)}
    # The number of a state, unique, keeps heapq from comparing states.
    waiting: list[tuple[float, int, State, Trace]] = []
    heapq.heappush(waiting, (attempt.initial_cost_ms, 0, attempt.initial, attempt.origin))
    try:
        while waiting:
            _, _, state, trace = heapq.heappop(waiting)
            for match in attempt.matches(state):
                after, trace_after = attempt.step(state, trace, match)
                key = _key(after)
                if key not in seen:
                    seen.add(key)
                    heapq.heappush(waiting, (attempt.cost_ms(after), len(seen), after, trace_after))
            attempt.current_cost_ms = attempt.cost_ms(state)
            if attempt.over(num_states=len(seen), num_unexpanded=len(waiting)):
                break
    except (KeyboardInterrupt, Spent):
        _report(attempt, len(seen), len(waiting) + 1)  # the one in work is not finished either
        raise
    _report(attempt, len(seen), len(waiting))


def _report(attempt: Attempt, num_states: int, num_unexpanded: int) -> None:
    name, best_ms = attempt.problem.name, attempt.best_cost_ms
    attempt.num_unexpanded = num_unexpanded
    if num_unexpanded:
        logger.warning(
            "%s: %d graphs reached, %d of them not expanded when the search was ended; %.6g ms is "
            "the best so far, not proven optimal",
            *(name, num_states, num_unexpanded, best_ms),
        )
    else:
        logger.info(
            "%s: all %d reachable graphs seen, %.6g ms is optimal", name, num_states, best_ms
        )
