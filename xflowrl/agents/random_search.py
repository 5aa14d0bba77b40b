"""Random search: the baseline every other agent has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xflowrl.agents.attempt import Attempt, attempt_each, seeded
from xflowrl.problem import Log, Problem, Result


class RandomSearch:
    """Walks at random from the original graph, again and again, and keeps the best graph seen.

    Each action is drawn uniformly from the matches and STOP; STOP, or a state without matches,
    sends the walk back to the original. Deterministic in the seed.

    Args:
        seed: of what is drawn; None: the problem's.
    """

    def __init__(self, *, seed: int | None = None) -> None:
        self._seed = seed

    def optimize(self, problems: Sequence[Problem], log: Log) -> list[Result]:
        """Random walks in each problem until its budget is spent."""
        return attempt_each(seeded(problems, self._seed), log, _walk)


def _walk(attempt: Attempt) -> None:
    generator = np.random.default_rng(attempt.problem.seed)
    state, trace = attempt.initial, attempt.origin
    num_walks = 1
    while True:
        matches = attempt.matches(state)
        action = int(generator.integers(len(matches) + 1))
        if not matches and not trace.steps:
            attempt.over(num_walks=num_walks)
            return
        if action < len(matches):
            state, trace = attempt.step(state, trace, matches[action])
        else:
            state, trace = attempt.initial, attempt.origin
            attempt.reached(state, trace)
            num_walks += 1
        if attempt.over(num_walks=num_walks):
            return
