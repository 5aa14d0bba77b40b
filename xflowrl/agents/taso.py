"""TASO's cost-based backtracking search (Jia et al. 2019, algorithm 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from xflowrl._engine import BacktrackingSearch, State
from xflowrl.attempt import Attempt, attempt_each
from xflowrl.problem import Log, Problem, Result, Step, Trace


class Taso:
    """Expands the cheapest graph of a queue; queues every new graph not much dearer than the best.

    A candidate is queued if it costs less than `alpha` times the best known when its parent was
    taken from the queue, has fewer nodes (inputs and weights included) than `size_limit` times the
    original, and its hash is new. `hash="taso"` uses TASO's own hash, which takes equal-shaped
    places for one another: needed to retrace TASO's steps, worse for the result.

    Departures from the paper: those of TASO's code, whose rules are followed where the two differ;
    one iteration is one expansion, so TASO's budget b is `budget.max_iterations` = b + 1.
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
        if size_limit <= 0:
            raise ValueError(f"agent.size_limit is {size_limit}: give a factor > 0")
        self._alpha = alpha
        self._size_limit = size_limit
        self._hash = hash

    def optimize(self, problems: Sequence[Problem], log: Log) -> list[Result]:
        """One search a problem, until its queue is empty or its budget is spent."""
        return attempt_each(problems, log, self._search)

    def _search(self, attempt: Attempt) -> None:
        problem, meter = attempt.problem, attempt.meter
        initial = attempt.initial
        if self._hash == "taso":
            initial = State(initial.graph, problem.rules, problem.cost_model.table, taso_hash=True)
        search = BacktrackingSearch(
            initial, alpha=self._alpha, size_limit=self._size_limit, hash=self._hash
        )
        num_candidates = 0
        while True:
            search.prepare()
            problem.fill(meter)
            if not search.expand():
                return
            meter.spend(iterations=1, candidates=search.num_candidates - num_candidates)
            num_candidates = search.num_candidates
            attempt.current_cost_ms = search.current_cost_ms
            if search.best_cost_ms < attempt.best.cost.ms - attempt.rounding_ms:
                attempt.reached(search.best, _trace(attempt.origin, search))
            if attempt.over(queue_length=search.queue_length):
                return


def _trace(origin: Trace, search: BacktrackingSearch) -> Trace:
    steps = (Step(rule, tuple(tensors), cost_ms) for rule, tensors, cost_ms in search.best_steps())
    return Trace(origin.graph_hash, tuple(steps))
