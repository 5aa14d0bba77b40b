"""The agent that recombines what another search has found."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Protocol

from xflowrl._engine import EGraph as Egraph
from xflowrl._engine import State
from xflowrl.agents.attempt import Attempt, Spent, attempt_each
from xflowrl.agents.egraph.extraction import Extraction, extract
from xflowrl.agents.egraph.realising import realise
from xflowrl.agents.egraph.space import Quotient
from xflowrl.agents.taso import Taso
from xflowrl.problem import Log, Problem, Result

logger = logging.getLogger(__name__)


class Explorer(Protocol):
    """An agent that can search within the attempt of another one."""

    def search(self, attempt: Attempt) -> None:
        """Searches until the attempt is over, or nothing is left to try."""
        ...


class EGraph:
    """Recombines what a search has seen: the best of different states, in one graph.

    A rewrite hands the value ids of what it replaces on, so all states of a search speak of the
    same values: together they are an e-graph, of each value all nodes that compute it in any of
    them. Into it go the states that `explorer` expands and what their matches would make. The
    cheapest graph in it is found by integer programming (`extraction`), with a bound on the cost of
    every graph in it, and reached by the rewrites that made its nodes, in another selection and
    order (`realising`). Then exploration goes on from there: rounds, with one e-graph for all. What
    is delivered is always a state that the trace leads to.

    The bound is one on the e-graph explored when the last extraction began, and on the result. It
    is none on all that the rules reach: a longer search sees more, and may find what is cheaper.

    Deterministic, unless `time_limit_s` or a limit of time ends something. Where costs are
    latencies, prices guide the extraction, as they guide the search, and there is no bound.

    Args:
        explorer: `Taso`, `Beam`, `Greedy` or `Saturation`; None is the first as it is by default.
        rounds: so many times the budget is divided; what is left of it then is explored too.
        explore: share of each round that the exploration may spend; the rest is for the rewrites to
            what was extracted.
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
        return attempt_each(problems, log, self.search)

    def search(self, attempt: Attempt) -> None:
        """Explores and recombines until the attempt is over, or nothing is left to try."""
        egraph = attempt.egraph = Egraph() if attempt.egraph is None else attempt.egraph
        for number in count():
            is_exhausted = self._explore_from_best(attempt, number)
            explored = attempt.best
            time_limit_s = attempt.meter.left_s(self._time_limit_s)
            quotient, extraction = extract_from(egraph, explored, time_limit_s=time_limit_s)
            if not attempt.problem.objective.is_real:
                attempt.bound_ms, attempt.extracted_ms = extraction.bound_ms, extraction.cost_ms
            with attempt.within(replace(attempt.problem.budget, patience=None)):
                is_realised = realise(attempt, egraph, quotient, extraction)
            if attempt.over() or (is_exhausted and attempt.best is explored):
                break
        if attempt.bound_ms is None or attempt.extracted_ms is None:
            return
        # The rewrites to what was extracted may have offered more than was seen before.
        attempt.bound_ms = min(attempt.bound_ms, attempt.best_cost_ms)
        if not is_realised:
            logger.warning(
                "%s: the cheapest graph extracted costs %.6g ms, and no rewrites to it were found; "
                "%.6g ms is the cheapest that was reached",
                *(attempt.problem.name, attempt.extracted_ms, attempt.best_cost_ms),
            )

    def _explore_from_best(self, attempt: Attempt, number: int) -> bool:
        """Whether nothing was left to try."""
        share = min(1.0, (number + self._explore) / self._rounds)
        part = attempt.problem.budget.part(share)
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


def extract_from(
    egraph: Egraph, state: State, *, time_limit_s: float
) -> tuple[Quotient, Extraction]:
    """The cheapest graph of an e-graph, with the bound, found from a state on.

    Args:
        state: a priced one; it is shown to the e-graph.
        time_limit_s: as for `extract`.
    """
    known, _, roots = egraph.add(state)
    quotient = Quotient(egraph, roots)
    nodes = quotient.nodes(known)
    return quotient, extract(quotient.space, nodes, time_limit_s=time_limit_s)
