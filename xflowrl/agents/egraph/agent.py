"""The agent that recombines what another search has found."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from xflowrl._engine import EGraph as Egraph
from xflowrl.agents.attempt import Attempt, Spent, attempt_each
from xflowrl.agents.egraph.extraction import Extraction, extract
from xflowrl.agents.egraph.realising import realise
from xflowrl.agents.egraph.space import Space
from xflowrl.agents.taso import Taso
from xflowrl.problem import Log, Problem, Result

logger = logging.getLogger(__name__)


class Explorer(Protocol):
    """An agent that can search within the attempt of another one."""

    def search(self, attempt: Attempt) -> None:
        """Searches until the attempt is over, or nothing is left to try."""
        ...


class EGraph:
    """Recombines the finds of a search: the best of different states, in one graph.

    A rewrite hands the value ids of what it replaces on, so all states of a search speak of the
    same values: together they are an e-graph, of each value all nodes that compute it in any of
    them. Into it go the states that `explorer` expands and what their matches would make. The
    cheapest graph in it is found by integer programming (`extraction`), with a bound on the cost of
    every graph in it, and reached by the rewrites that made its nodes, in another selection and
    order (`realising`). Then exploration goes on from there: in each of `rounds` rounds, with one
    e-graph for all. What is delivered is always a state that the trace leads to.

    The bound is one on the explored e-graph, not on all that the rules reach: a longer search sees
    more, and may find what is cheaper. It holds for every state whose matches were listed and for
    the result, as they are graphs of it.

    Deterministic, unless `time_limit_s` or a limit of time ends something. Where costs are
    latencies, prices guide the extraction, as they guide the search, and there is no bound.

    Args:
        explorer: `taso`, `beam` or `greedy`; None is `taso` as it is by default.
        explore: share of each round's budget that the exploration may spend; the rest is for the
            rewrites to what was extracted.
        time_limit_s: of each integer program; its seconds are seconds of searching.
    """

    def __init__(
        self,
        *,
        explorer: Explorer | None = None,
        rounds: int = 4,
        explore: float = 0.8,
        time_limit_s: float = 10.0,
    ) -> None:
        if rounds < 1:
            raise ValueError(f"agent.rounds is {rounds}: give at least 1")
        if not 0 < explore <= 1:
            raise ValueError(f"agent.explore is {explore}: give a share above 0, at most 1")
        if time_limit_s < 0:
            raise ValueError(f"agent.time_limit_s is {time_limit_s}: give at least 0")
        self._explorer = explorer or Taso()
        self._rounds = rounds
        self._explore = explore
        self._time_limit_s = time_limit_s

    def optimize(self, problems: Sequence[Problem], log: Log) -> list[Result]:
        """Rounds of exploration and extraction in each problem."""
        return attempt_each(problems, log, self._search)

    def _search(self, attempt: Attempt) -> None:
        egraph = attempt.egraph = Egraph()
        for number in range(self._rounds):
            is_exhausted = self._explore_from_best(attempt, number)
            explored = attempt.best
            extraction, space = self._extract(attempt, egraph)
            with attempt.within(replace(attempt.problem.budget, patience=None)):
                is_realised = realise(attempt, egraph, space, extraction)
            if attempt.over() or (is_exhausted and attempt.best is explored):
                break
        if attempt.bound_ms is not None:
            # The last rewrites may have led to what no exploration had seen.
            attempt.bound_ms = min(attempt.bound_ms, attempt.best_cost_ms)
            _report(attempt, is_realised=is_realised)

    def _explore_from_best(self, attempt: Attempt, number: int) -> bool:
        """Whether nothing was left to try."""
        part = attempt.problem.budget.part((number + self._explore) / self._rounds)
        before = attempt.before.explored[number:] if attempt.before else ()
        if before:
            part = replace(part, max_iterations=before[0])
        with attempt.within(part, from_best=True):
            with suppress(Spent):
                if not attempt.is_over():
                    self._explorer.search(attempt)
            is_exhausted = attempt.meter.exceeded() is None
        attempt.explored.append(attempt.meter.iterations)
        return is_exhausted

    def _extract(self, attempt: Attempt, egraph: Egraph) -> tuple[Extraction, Space]:
        known, _, roots = egraph.add(attempt.best)
        space = Space.of(egraph, roots)
        extraction = extract(
            space,
            [space.node_of[node] for node in known],
            time_limit_s=attempt.meter.left_s(self._time_limit_s),
        )
        if not attempt.problem.objective.is_real:
            attempt.bound_ms, attempt.extracted_ms = extraction.bound_ms, extraction.cost_ms
        return extraction, space


def _report(attempt: Attempt, *, is_realised: bool) -> None:
    best_ms, bound_ms, extracted_ms = attempt.best_cost_ms, attempt.bound_ms, attempt.extracted_ms
    assert bound_ms is not None and extracted_ms is not None
    gap = f"{max(0.0, best_ms / bound_ms - 1):.2%} above" if bound_ms else "above"
    logger.info(
        "%s: %.6g ms is %s the bound of the explored e-graph, %.6g ms",
        *(attempt.problem.name, best_ms, gap, bound_ms),
    )
    if not is_realised:
        logger.warning(
            "%s: the cheapest graph extracted costs %.6g ms, and no rewrites to it were found; "
            "%.6g ms is the cheapest that was reached",
            *(attempt.problem.name, extracted_ms, best_ms),
        )
