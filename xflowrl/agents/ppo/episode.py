"""An episode of decoding: a walk from one state to the next, many matches at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch

from xflowrl._engine import Match, State
from xflowrl.agents.attempt import Attempt
from xflowrl.agents.greedy import descend, most_saving
from xflowrl.agents.ppo.regions import Rewrite
from xflowrl.env import Observation, Position, observe
from xflowrl.problem import Trace


@dataclass(frozen=True)
class Waypoint:
    """A state on the way to another.

    Attributes:
        rewrites: those of `trace`.
    """

    state: State
    trace: Trace
    rewrites: tuple[Rewrite, ...]
    cost_ms: float

    @staticmethod
    def start(attempt: Attempt) -> Waypoint:
        """The original."""
        return Waypoint(attempt.initial, attempt.origin, (), attempt.initial_cost_ms)

    def then(self, attempt: Attempt, matches: Sequence[Match]) -> Waypoint:
        """The state after some matches, those that are still there."""
        state, trace, taken = attempt.step_each(self.state, self.trace, matches)
        if not taken:
            return self
        rewrites = (*self.rewrites, *map(Rewrite.of, taken))
        return Waypoint(state, trace, rewrites, trace.steps[-1].cost_ms)


def to_cheapest(way: Sequence[Waypoint]) -> list[Waypoint]:
    """The way as far as its cheapest state, the first of several."""
    costs_ms = [waypoint.cost_ms for waypoint in way]
    return list(way[: costs_ms.index(min(costs_ms)) + 1])


class Episode:
    """A walk of a policy; a greedy one without a generator.

    Args:
        start: where it begins.

    Attributes:
        here: where it is.
        way: where it has been after each look, from the start on.
        is_over: it has stopped, found nothing cheaper for too long, or, as nothing is drawn, would
            go in circles.
    """

    def __init__(
        self, start: Waypoint, likely_share: float, generator: torch.Generator | None = None
    ) -> None:
        self.is_over = False
        self.likely_share = likely_share
        self.generator = generator
        self.here = start
        self.way = [start]
        self._best_cost_ms, self._num_idle = start.cost_ms, 0
        self._been = {start.state.hash}

    def observe(self, attempt: Attempt) -> Observation:
        """What the policy sees here."""
        objective = attempt.problem.objective
        with attempt.meter.measuring(objective):
            priced = objective.complete(self.here.state)
        return observe(Position(priced, attempt.initial))

    def go_on(self, attempt: Attempt, actions: Sequence[int], patience: int | None) -> None:
        """Takes some matches of the state, by index, those that are still there; ends for none."""
        before, num_steps = attempt.look(self.here.state), len(self.here.trace.steps)
        self.here = self.here.then(attempt, [before.match(action) for action in actions])
        self.way.append(self.here)
        self._num_idle += 1
        least_ms = min((step.cost_ms for step in self.here.trace.steps[num_steps:]), default=inf)
        if least_ms < self._best_cost_ms - attempt.noise_ms:
            self._best_cost_ms, self._num_idle = least_ms, 0
        goes_in_circles = self.generator is None and self.here.state.hash in self._been
        self._been.add(self.here.state.hash)
        self.is_over = not actions or self._num_idle == patience or goes_in_circles

    def descend(self, attempt: Attempt) -> bool:
        """Takes the match that saves most until none does; True if a limit is reached."""

        def cheaper(attempt: Attempt, state: State, trace: Trace) -> tuple[State, Trace] | None:
            match = most_saving(attempt, state)
            if match is None:
                return None
            self.here = self.here.then(attempt, [match])
            return self.here.state, self.here.trace

        is_over = descend(attempt, self.here.state, self.here.trace, cheaper)
        self.way.append(self.here)
        return is_over
