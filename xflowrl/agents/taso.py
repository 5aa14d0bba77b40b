"""TASO's cost-based backtracking search (Jia et al. 2019, algorithm 2)."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Sequence
from operator import attrgetter
from typing import Literal

from xflowrl._engine import BacktrackingSearch, Match, State
from xflowrl.agents.attempt import Attempt, attempt_each
from xflowrl.problem import Improvement, Log, Problem, Result, Step, Trace

logger = logging.getLogger(__name__)

# The engine searches this long before Ctrl-C, the budget and the log are looked after again. It may
# take up 100 MB in that time, so where memory is limited the time is shorter.
_SLICE_S, _SHORT_SLICE_S = 0.05, 0.005


class Taso:
    """Expands the cheapest candidate of all expanded graphs that is not much dearer than the best.

    A candidate waits if it costs less than `alpha` times the best known when its parent was
    expanded, and is taken if it has fewer nodes (inputs and weights included) than `size_limit`
    times the original, and its hash is new. Of equal cost, those of the graph expanded first come
    first, and among them the first by `State.best`. `hash="taso"` uses TASO's own hash, which takes
    equal-shaped places for one another: needed to retrace TASO's steps, worse for the result.

    `budget.max_memory_mb` does not end the search: the half of the waiting graphs whose candidates
    are dearest is dropped, as often as needed. Logged are the first iterations and then about 128
    in every doubling.

    Departures from the paper: those of TASO's code, whose rules are followed where the two differ;
    one iteration is one expansion, so TASO's budget b is `budget.max_iterations` = b + 1.

    Where costs are latencies, candidates are queued by what they are expected to cost (the latency
    of their parent, changed in proportion to the prices), executed when they are taken from the
    queue, and expanded if they then cost less than `alpha` times the best.
    """

    def __init__(
        self,
        *,
        alpha: float = 1.05,
        size_limit: float = 2.0,
        hash: Literal["exact", "taso"] = "exact",  # the name of the option on the command line
    ) -> None:
        if alpha < 1:
            raise ValueError(f"agent.alpha is {alpha}: give a factor >= 1")
        if size_limit <= 1:
            raise ValueError(f"agent.size_limit is {size_limit}: give a factor > 1")
        self._alpha = alpha
        self._size_limit = size_limit
        self._hash = hash

    def optimize(self, problems: Sequence[Problem], log: Log) -> list[Result]:
        """One search a problem, until its queue is empty or its budget is spent."""
        return attempt_each(problems, log, self.search)

    def search(self, attempt: Attempt) -> None:
        """Searches until the queue is empty or the attempt is over."""
        problem, initial = attempt.problem, attempt.initial
        if problem.objective.is_real:
            self._search_executing(attempt)
            return
        if self._hash == "taso":
            initial = problem.objective.state(initial.graph, problem.rules, taso_hash=True)
        search = BacktrackingSearch(
            initial,
            alpha=self._alpha,
            size_limit=self._size_limit,
            hash=self._hash,
            rounding_ms=attempt.noise_ms,
        )
        spent = attempt.meter.iterations, attempt.meter.candidates
        if attempt.egraph is not None:
            search.record(attempt.egraph)
        try:
            while _run_slice(attempt, search):
                with attempt.meter.measuring(problem.objective):
                    problem.objective.answer()
                _note(attempt, search, spent)
                _relieve(attempt, search)
                if attempt.is_over():
                    break
        finally:
            _note(attempt, search, spent)
            attempt.num_unexpanded = search.queue_length
            if attempt.logged_at < attempt.meter.iterations:
                attempt.log(queue_length=search.queue_length)

    def _search_executing(self, attempt: Attempt) -> None:
        hash_of = attrgetter("taso_hash" if self._hash == "taso" else "hash")
        initial = attempt.problem.objective.state(
            attempt.initial.graph, attempt.problem.rules, taso_hash=self._hash == "taso"
        )
        max_nodes = self._size_limit * initial.graph.num_nodes
        seen = {hash_of(initial)}
        # A number, unique, keeps heapq from comparing states.
        queue: list[tuple[float, int, State, Trace, Match | None]] = []
        heapq.heappush(queue, (attempt.initial_cost_ms, 0, initial, attempt.origin, None))
        try:
            while queue and not attempt.is_over():
                _, _, state, trace, match = heapq.heappop(queue)
                if match is not None:
                    state, trace = attempt.step(state, trace, match)
                limit_ms = self._alpha * attempt.best_cost_ms
                if attempt.cost_ms(state) >= limit_ms or state.graph.num_nodes >= max_nodes:
                    continue
                for candidate in attempt.ranked(state):
                    expected_ms = attempt.expected_ms(state, candidate)
                    if not expected_ms < limit_ms:
                        break
                    if hash_of(candidate) not in seen:
                        seen.add(hash_of(candidate))
                        heapq.heappush(queue, (expected_ms, len(seen), state, trace, candidate))
                attempt.log(queue_length=len(queue))
        finally:
            attempt.num_unexpanded = len(queue)


def _run_slice(attempt: Attempt, search: BacktrackingSearch) -> bool:
    """Searches for a moment, within the budget; False if the queue is empty."""
    budget, meter = attempt.problem.budget, attempt.meter
    search.seconds = meter.seconds  # the clock of a resumed attempt goes on
    # What was dropped before is dropped again in the same iterations.
    drops = _left_to_drop(attempt)[:1]
    stops = [
        budget.max_iterations,
        meter.iterations + meter.num_to_repeat,
        *(at for at, _ in drops),
    ]
    ahead = (stop - meter.iterations for stop in stops if stop is not None)
    seconds = _SLICE_S if budget.max_memory_mb is None else _SHORT_SLICE_S
    if budget.max_seconds is not None:
        seconds = min(seconds, budget.max_seconds - meter.seconds)
    if budget.max_wall_s is not None:
        seconds = min(seconds, budget.max_wall_s - meter.wall_s)
    return search.run(
        iterations=min((left for left in ahead if left > 0), default=None),
        candidates=_left(budget.max_candidates, meter.candidates),
        idle_iterations=budget.patience,
        seconds=seconds,
    )


def _left(limit: int | None, spent: int) -> int | None:
    return None if limit is None else limit - spent


def _note(attempt: Attempt, search: BacktrackingSearch, spent: tuple[int, int]) -> None:
    """Takes over what the engine has spent and found since the last time.

    Args:
        spent: iterations and candidates before the search began.
    """
    meter, (iterations, candidates) = attempt.meter, spent
    meter.spend(
        iterations=iterations + search.num_expanded - meter.iterations,
        candidates=candidates + search.num_candidates - meter.candidates,
    )
    attempt.current_cost_ms = search.current_cost_ms
    improvements = [
        Improvement(iterations + iteration, seconds, best_ms)
        for iteration, seconds, _, best_ms, _, _ in search.take_improvements()
    ]
    if improvements:
        attempt.best, attempt.best_trace = search.best, _trace(attempt.origin, search)
        attempt.best_cost_ms = attempt.best.cost.ms
        for improvement in improvements:
            attempt.improved(improvement)
    for iteration, seconds, current_ms, best_ms, listed, queue_length in search.take_history():
        attempt.log(
            iteration=iterations + iteration,
            seconds=seconds,
            current_cost_ms=current_ms,
            best_cost_ms=best_ms,
            candidates=candidates + listed,
            queue_length=queue_length,
        )


def _left_to_drop(attempt: Attempt) -> tuple[tuple[int, int], ...]:
    """The drops of an earlier process that are not made again yet."""
    return attempt.before.drops[len(attempt.drops) :] if attempt.before else ()


def _trace(origin: Trace, search: BacktrackingSearch) -> Trace:
    steps = (Step(rule, tuple(tensors), cost_ms) for rule, tensors, cost_ms in search.best_steps())
    return Trace(origin.graph_hash, (*origin.steps, *steps))


def _relieve(attempt: Attempt, search: BacktrackingSearch) -> None:
    """Drops the worst of the queue while too much memory is held, and where it was before."""
    meter, length, num_dropped, times = attempt.meter, search.queue_length, 0, 0
    for iteration, times_before in _left_to_drop(attempt)[:1]:
        if iteration == meter.iterations:
            times = times_before
            num_dropped = sum(search.drop_dearest(0.5) for _ in range(times))
    while not meter.num_to_repeat and meter.is_short_of_memory():
        dropped_now = search.drop_dearest(0.5)
        if not dropped_now:  # the last graph's are never dropped
            break
        num_dropped, times = num_dropped + dropped_now, times + 1
        meter.weigh()
    if num_dropped:
        attempt.num_dropped += num_dropped
        attempt.drops.append((meter.iterations, times))
        logger.warning(
            "%s: iteration %d: more than %g MB held; %d of %d waiting candidates, those of the "
            "dearest graphs, are dropped; raise budget.max_memory_mb to keep them",
            *(attempt.problem.name, meter.iterations, attempt.problem.budget.max_memory_mb),
            *(num_dropped, length),
        )
