"""One agent's attempt at one problem: the bookkeeping that all agents share.

The attempt lists matches, spends the budget through the meter, keeps the best state seen and the
trace that leads there, logs, and becomes a result. Every agent goes through this one code path, so
that their figures can be compared.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from xflowrl.problem import (
    Budget,
    Improvement,
    Log,
    Meter,
    Problem,
    Progress,
    Result,
    Step,
    StopReason,
    Tally,
    Trace,
)

if TYPE_CHECKING:
    from xflowrl._engine import EGraph, Match, State, Taken

logger = logging.getLogger(__name__)


class Spent(Exception):
    """A graph was to be executed, and the budget lets none be executed any more."""


class Attempt:
    """One agent's attempt at one problem: spends the budget, keeps the best, logs.

    An iteration is: `matches`, `ranked` or `look`, for the matches of one state; `reached`
    for each state taken from it; `over`, which logs the iteration and says whether a limit is
    reached.

    Costs are asked for here: where they are latencies, a state's own cost is a guide alone, and
    asking may raise `Spent`, which ends the attempt.

    One that is resumed makes the iterations again that were made before; see `Meter`.

    Attributes:
        noise_ms: a difference of costs that may be chance, or rounding alone.
        before: how far it was when an earlier process ended.
        drops, explored: of the progress.
        egraph: if not None, every state whose matches are listed is shown to it.
        bound_ms, extracted_ms: of the result.
    """

    def __init__(self, problem: Problem, log: Log, *, initial: State | None = None) -> None:
        self.problem = problem
        self.before = problem.checkpoint.before if problem.checkpoint else None
        self.meter = Meter(problem.budget, before=self.before.spent if self.before else Tally())
        objective, model = problem.objective, problem.model
        with self.meter.measuring(objective):
            if initial is None:
                self.initial = problem.initial_state()
                reference = objective.reference(model, self.initial)
            else:
                self.initial = initial
                reference = objective.known_reference(model, initial)
        self.initial_cost_ms, self.noise_ms = reference.cost_ms, reference.noise_ms
        if self.before:
            self.noise_ms = self.before.noise_ms
        self.best, self.best_cost_ms = self.initial, self.initial_cost_ms
        self.origin = Trace(problem.model.graph.hash)
        self.best_trace = self.origin
        self.current_cost_ms = self.initial_cost_ms
        self.improvements = [Improvement(0, 0.0, self.initial_cost_ms)]
        self.num_unexpanded: int | None = None
        self.num_dropped = 0
        self.drops: list[tuple[int, int]] = []
        self.explored: list[int] = []
        self.egraph: EGraph | None = None
        self.bound_ms: float | None = None
        self.extracted_ms: float | None = None
        self.logged_at = 0  # iteration
        self._log = log
        self._stop_reason: StopReason | None = None

    def cost_ms(self, state: State) -> float:
        """What a state costs; infinite where its graph cannot be executed.

        Raises:
            Spent: its graph would have to be executed, and the budget does not let it.
        """
        objective = self.problem.objective
        if not objective.is_real:
            return float(state.cost.ms)
        if not self.meter.may_execute():
            raise Spent
        with self.meter.measuring(objective):
            return objective.cost_ms(self.problem.model, state)

    def expected_ms(self, state: State, match: Match) -> float:
        """What a state costs after a match, as far as its price tells: in proportion."""
        cost_ms, price_ms = self.cost_ms(state), state.cost.ms
        if not self.problem.objective.is_real or not math.isfinite(cost_ms) or price_ms == 0:
            return cost_ms + match.cost_difference_ms
        return cost_ms * (1 + match.cost_difference_ms / price_ms)

    def matches(self, state: State) -> list[Match]:
        """The matches of `state`, counted as one iteration and so many candidates."""
        return self.look(state).matches()

    def ranked(self, state: State, *, rounding_ms: float = 0.0) -> Iterator[Match]:
        """The matches of `state`, the cheapest first; counted as `matches`.

        In the order of `State.best`: by cost, then by nodes, then as they are listed. What is not
        looked at costs nothing.
        """
        return _ranked(self.look(state), rounding_ms)

    def look(self, state: State) -> State:
        """The state with what its matches cost; counted as `matches`."""
        objective = self.problem.objective
        with self.meter.measuring(objective):
            state = objective.complete(state)
        self.meter.spend(iterations=1, candidates=len(state))
        if self.egraph is not None:
            self.egraph.add(state)
        return state

    def step(self, state: State, trace: Trace, match: Match) -> tuple[State, Trace]:
        """The state after `match`, with its trace; it is the new best if cheaper, or smaller."""
        after = state.apply(match)
        cost_ms = self.cost_ms(after)
        trace = trace.extended(Step(match.rule, tuple(match.tensors), cost_ms))
        self.reached(after, trace, cost_ms=cost_ms)
        return after, trace

    def step_each(
        self, state: State, trace: Trace, matches: Sequence[Match]
    ) -> tuple[State, Trace, list[Taken]]:
        """The state after several matches, one after the other, with its trace; and those taken.

        They are of `state`, or of states that it was made of, and taken if they are still there.
        The cheapest on the way is the new best if it is cheaper, or the last if it is smaller.
        """
        objective = self.problem.objective
        taken: list[Taken] = []
        while matches:
            with self.meter.measuring(objective):
                before = objective.complete(state)
            given = matches[:1] if objective.is_real else matches  # each graph is executed
            state, some = before.apply_each(given)
            matches = matches[some[-1].index + 1 if some else len(given) :]
            if not some:
                continue
            costs = [self.cost_ms(state)] if objective.is_real else [one.cost_ms for one in some]
            steps = [
                Step(one.rule, tuple(one.tensors), cost_ms)
                for one, cost_ms in zip(some, costs, strict=True)
            ]
            least = min(costs)
            if least < min(costs[-1], self.best_cost_ms) - self.noise_ms:
                count = costs.index(least) + 1
                on_the_way, _ = before.apply_each(given[: some[count - 1].index + 1])
                self.reached(on_the_way, trace.extended(*steps[:count]), cost_ms=least)
            trace = trace.extended(*steps)
            self.reached(state, trace, cost_ms=costs[-1])
            taken += some
        return state, trace, taken

    def reached(self, state: State, trace: Trace, *, cost_ms: float | None = None) -> bool:
        """Notes a state that the agent came to, and what it costs; True if it is the new best."""
        cost_ms = self.cost_ms(state) if cost_ms is None else cost_ms
        if math.isfinite(cost_ms):
            self.current_cost_ms = cost_ms
        saved_ms = self.best_cost_ms - cost_ms
        is_cheaper = saved_ms > self.noise_ms
        # A smaller one may be dearer by a rounding, but not by noise, which would add up.
        tolerated_ms = 0.0 if self.problem.objective.is_real else self.noise_ms
        is_smaller = saved_ms >= -tolerated_ms and state.num_nodes < self.best.num_nodes
        if not is_cheaper and not is_smaller:
            return False
        self.best, self.best_trace, self.best_cost_ms = state, trace, cost_ms
        if is_cheaper:
            self.improved(Improvement(self.meter.iterations, self.meter.seconds, cost_ms))
        return True

    def improved(self, improvement: Improvement) -> None:
        """Notes when a new best was found; one that was found before, when it was then."""
        known = self.before.improvements[len(self.improvements) :] if self.before else ()
        improvement = known[0] if known else improvement
        self.meter.improved(improvement.iteration)
        self.improvements.append(improvement)

    def over(self, **metrics: float) -> bool:
        """Logs the iteration, `metrics` with it; True if a limit of the budget is reached."""
        self.log(**metrics)
        return self.is_over()

    def is_over(self) -> bool:
        """True if a limit of the budget is reached. Between iterations: keeps the progress."""
        if self.problem.checkpoint is not None and self.problem.checkpoint.is_due():
            self.keep()
        self._stop_reason = self._stop_reason or self.meter.exceeded()
        return self._stop_reason is not None

    @contextmanager
    def within(self, budget: Budget, *, from_best: bool = False) -> Iterator[None]:
        """Other limits hold within, and that one of them is reached does not end the attempt.

        Args:
            from_best: a search begins at the best state, not at the original.
        """
        problem, start = self.problem, (self.initial, self.origin)
        self.problem, self.meter.budget = replace(problem, budget=budget), budget
        if from_best:
            self.initial, self.origin = self.best, self.best_trace
        try:
            yield
        finally:
            self.problem, self.meter.budget = problem, problem.budget
            self.initial, self.origin = start
            self._stop_reason = None

    def keep(self) -> None:
        """Keeps the progress, if there is a place for it and it is more than was kept before."""
        if self.problem.checkpoint is None or self.meter.num_to_repeat:
            return
        with self.meter.paused():
            progress = Progress(
                spent=self.meter.spent,
                noise_ms=self.noise_ms,
                best_cost_ms=self.best_cost_ms,
                improvements=tuple(self.improvements),
                drops=tuple(self.drops),
                explored=tuple(self.explored),
            )
            self.problem.checkpoint.save(progress)

    def log(self, **metrics: float) -> None:
        """Logs what was spent and found so far; `metrics` come on top, or in its place."""
        with self.meter.paused():
            row = self._metrics() | metrics
            named = {f"{self.problem.log_as}/{name}": value for name, value in row.items()}
            self.logged_at = int(row["iteration"])
            self._log(named, self.logged_at)

    def result(self, stop_reason: StopReason | None = None) -> Result:
        """The result so far.

        Args:
            stop_reason: if None, the limit that was reached, or that nothing was left to try.
        """
        meter, best = self.meter, self.best
        done = StopReason.EXHAUSTED if meter.candidates else StopReason.NO_MATCH
        return Result(
            graph=self.problem.name,
            original=self.problem.model,
            model=self.problem.model.with_graph(best.graph),
            trace=self.best_trace,
            improvements=tuple(self.improvements),
            stop_reason=stop_reason or self._stop_reason or done,
            cost_initial_ms=self.initial_cost_ms,
            cost_best_ms=self.best_cost_ms,
            num_nodes_initial=self.initial.num_nodes,
            num_nodes_best=best.num_nodes,
            num_kernels_initial=self.initial.cost.num_kernels,
            num_kernels_best=best.cost.num_kernels,
            iterations=meter.iterations,
            candidates=meter.candidates,
            measurements=meter.measurements,
            real_measurements=meter.real_measurements,
            best_iteration=meter.best_iteration,
            best_seconds=self.improvements[-1].seconds,
            optimisation_s=meter.seconds,
            measure_s=meter.measure_s,
            memory_mb=meter.memory_mb,
            num_unexpanded=self.num_unexpanded,
            num_dropped=self.num_dropped,
            bound_ms=self.bound_ms,
            extracted_ms=self.extracted_ms,
        )

    def _metrics(self) -> dict[str, float]:
        meter = self.meter
        found = {"bound_ms": self.bound_ms, "extracted_ms": self.extracted_ms}
        return {name: ms for name, ms in found.items() if ms is not None} | {
            "iteration": meter.iterations,
            "seconds": meter.seconds,
            "current_cost_ms": self.current_cost_ms,
            "best_cost_ms": self.best_cost_ms,
            "candidates": meter.candidates,
            "measurements": meter.measurements,
            "real_measurements": meter.real_measurements,
            "measure_s": meter.measure_s,
            "memory_mb": meter.memory_mb,
        }


def seeded(problems: Sequence[Problem], seed: int | None) -> Sequence[Problem]:
    """The problems with another seed of what an agent draws; as they are if it is None."""
    return problems if seed is None else [replace(problem, seed=seed) for problem in problems]


def _ranked(state: State, rounding_ms: float) -> Iterator[Match]:
    num_given = 0
    while num_given < len(state):
        best = state.best(max(1, 2 * num_given), rounding_ms=rounding_ms)
        yield from best[num_given:]
        num_given = len(best)


def attempt_each(
    problems: Sequence[Problem],
    log: Log,
    attempt_fn: Callable[[Attempt], None],
    *,
    recall_fn: Callable[[Attempt], None] = lambda attempt: None,
    is_interrupted: bool = False,
) -> list[Result]:
    """Makes one attempt at each problem.

    Ctrl-C ends the attempt it falls into with its best so far, and the problems after it with what
    was known of them before: their originals, whose cost is NaN where it is not known, for nothing
    is timed any more; or what `recall_fn` comes to.

    Args:
        recall_fn: takes an interrupted attempt to the best that the agent has seen elsewhere.
        is_interrupted: Ctrl-C fell into what went before.
    """
    results: list[Result] = []
    attempt: Attempt | None = None
    try:
        for problem in () if is_interrupted else problems:
            checkpoint = problem.checkpoint
            finished = checkpoint.result(problem) if checkpoint is not None else None
            if finished is not None:
                results.append(finished)
                continue
            attempt = Attempt(problem, log)
            if not attempt.over():
                try:
                    attempt_fn(attempt)
                except Spent:
                    attempt.over()
            result = attempt.result()
            if checkpoint is not None:
                checkpoint.finish(result)
            results.append(result)
    except KeyboardInterrupt:
        logger.warning("interrupted: %d of %d graphs are finished", len(results), len(problems))
    for problem in problems[len(results) :]:
        if attempt is None or attempt.problem is not problem:
            attempt = Attempt(problem, log, initial=problem.unpriced_state())
        else:
            attempt.keep()
        recall_fn(attempt)
        results.append(attempt.result(StopReason.INTERRUPTED))
    return results
