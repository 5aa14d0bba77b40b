"""One agent's attempt at one problem: the bookkeeping that all agents share.

The attempt lists matches, spends the budget through the meter, keeps the best state seen and the
trace that leads there, logs, and becomes a result. Every agent goes through this one code path, so
that their figures can be compared.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from xflowrl.problem import Improvement, Log, Meter, Problem, Result, Step, StopReason, Trace

if TYPE_CHECKING:
    from xflowrl._engine import Match, State

logger = logging.getLogger(__name__)

# A cost counts as lower only beyond what rounding can do to a sum of operator costs; without it
# two rewrites that undo each other could take turns at "improving" the graph for ever.
_ROUNDING = 1e-9


class Attempt:
    """One agent's attempt at one problem: spends the budget, keeps the best, logs.

    An iteration is: `matches`, or whatever else lists the matches of one state; `reached` for each
    state taken from it; `over`, which logs the iteration and says whether a limit is reached.
    """

    def __init__(self, problem: Problem, log: Log, *, initial: State | None = None) -> None:
        self.problem = problem
        self.meter = Meter(problem.budget)
        with self.meter.measuring(problem.objective):
            self.initial = problem.initial_state() if initial is None else initial
        self.best = self.initial
        self.origin = Trace(problem.model.graph.hash)
        self.best_trace = self.origin
        self.current_cost_ms = self.initial.cost.ms
        self.improvements = [Improvement(0, 0.0, self.initial.cost.ms)]
        self.num_unexpanded: int | None = None
        self.num_dropped = 0
        self.logged_at = 0  # iteration
        self._log = log
        self._stop_reason: StopReason | None = None

    @property
    def rounding_ms(self) -> float:
        """A difference of costs that may be rounding alone."""
        return _ROUNDING * self.initial.cost.ms

    def matches(self, state: State) -> list[Match]:
        """The matches of `state`, counted as one iteration and so many candidates."""
        objective = self.problem.objective
        with self.meter.measuring(objective):
            matches = objective.matches(state)
        self.meter.spend(iterations=1, candidates=len(matches))
        return matches

    def step(self, state: State, trace: Trace, match: Match) -> tuple[State, Trace]:
        """The state after `match`, with its trace; it is the new best if cheaper, or smaller."""
        after = state.apply(match)
        trace = trace.extended(Step(match.rule, tuple(match.tensors), after.cost.ms))
        self.reached(after, trace)
        return after, trace

    def reached(self, state: State, trace: Trace) -> bool:
        """Notes a state that the agent came to; True if it is the new best."""
        self.current_cost_ms = state.cost.ms
        saved_ms = self.best.cost.ms - state.cost.ms
        is_cheaper = saved_ms > self.rounding_ms
        is_smaller = saved_ms >= -self.rounding_ms and state.num_nodes < self.best.num_nodes
        if not is_cheaper and not is_smaller:
            return False
        self.best, self.best_trace = state, trace
        if not is_cheaper:
            return True
        self.improved(Improvement(self.meter.iterations, self.meter.seconds, state.cost.ms))
        return True

    def improved(self, improvement: Improvement) -> None:
        """Notes when a new best was found."""
        self.meter.improved(improvement.iteration)
        self.improvements.append(improvement)

    def over(self, **metrics: float) -> bool:
        """Logs the iteration, `metrics` with it; True if a limit of the budget is reached."""
        self.log(**metrics)
        return self.is_over()

    def is_over(self) -> bool:
        """True if a limit of the budget is reached."""
        self._stop_reason = self._stop_reason or self.meter.exceeded()
        return self._stop_reason is not None

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
            cost_initial_ms=self.initial.cost.ms,
            cost_best_ms=best.cost.ms,
            num_nodes_initial=self.initial.num_nodes,
            num_nodes_best=best.num_nodes,
            num_kernels_initial=self.initial.cost.num_kernels,
            num_kernels_best=best.cost.num_kernels,
            iterations=meter.iterations,
            candidates=meter.candidates,
            measurements=meter.measurements,
            best_iteration=meter.best_iteration,
            best_seconds=self.improvements[-1].seconds,
            optimisation_s=meter.seconds,
            measure_s=meter.measure_s,
            memory_mb=meter.memory_mb,
            num_unexpanded=self.num_unexpanded,
            num_dropped=self.num_dropped,
        )

    def _metrics(self) -> dict[str, float]:
        meter = self.meter
        return {
            "iteration": meter.iterations,
            "seconds": meter.seconds,
            "current_cost_ms": self.current_cost_ms,
            "best_cost_ms": self.best.cost.ms,
            "candidates": meter.candidates,
            "measurements": meter.measurements,
            "measure_s": meter.measure_s,
            "memory_mb": meter.memory_mb,
        }


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
            attempt = Attempt(problem, log)
            if not attempt.over():
                attempt_fn(attempt)
            results.append(attempt.result())
    except KeyboardInterrupt:
        logger.warning("interrupted: %d of %d graphs are finished", len(results), len(problems))
    for problem in problems[len(results) :]:
        if attempt is None or attempt.problem is not problem:
            attempt = Attempt(problem, log, initial=problem.unpriced_state())
        recall_fn(attempt)
        results.append(attempt.result(StopReason.INTERRUPTED))
    return results
