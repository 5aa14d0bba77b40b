"""Rules first, then places: the action space of the original study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from xflowrl.env.rewrite import RewriteEnv
from xflowrl.measurement import as_real
from xflowrl.problem import Problem


class HierarchicalRewriteEnv(gymnasium.Wrapper[dict[str, np.ndarray], Any, Any, int]):
    """`RewriteEnv` with actions (rule, location).

    Action: `MultiDiscrete([num_rules + 1, max_locations])`, renewed at reset and step. The rule
    `num_rules` is STOP, its only location 0. Location l of rule r is the l-th match of r in the
    observation's order; `max_locations` is the largest number of matches that one rule has.

    Info, beside that of `RewriteEnv`: `rule_mask` bool[num_rules + 1] and `location_mask`
    bool[num_rules + 1, max_locations]. What a mask excludes raises ValueError.

    Args:
        real_measurements: costs are latencies of whole graphs, executed in the objective's runtime
            (`measurement.as_real`), and its prices a guide. Takes about a second for every graph
            that is new.
        options: of `RewriteEnv`.
    """

    def __init__(
        self,
        problems: Problem | Sequence[Problem],
        *,
        real_measurements: bool = False,
        **options: Any,
    ) -> None:
        if real_measurements:
            problems = _executed([problems] if isinstance(problems, Problem) else problems)
        super().__init__(RewriteEnv(problems, **options))
        self.flat: RewriteEnv = self.env
        self._num_rules = len(self.flat.problem.rules)
        self._locate()

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins an episode."""
        observation, info = self.flat.reset(seed=seed, options=options)
        self._locate()
        return observation, info | self.action_masks()

    def step(
        self, action: Sequence[int] | np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Applies the match that rule and location name, or stops.

        Raises:
            ValueError: the masks exclude the action.
        """
        observation, reward, terminated, truncated, info = self.flat.step(self.flat_action(action))
        self._locate()
        return observation, reward, terminated, truncated, info | self.action_masks()

    def flat_action(self, action: Sequence[int] | np.ndarray) -> int:
        """The action of `RewriteEnv` that (rule, location) names."""
        rule, location = int(action[0]), int(action[1])
        if not (0 <= rule <= self._num_rules and 0 <= location < self._counts[rule]):
            raise ValueError(
                f"action ({rule}, {location}) is invalid: choose a rule of rule_mask and a "
                f"location of its row of location_mask"
            )
        return self.flat.num_matches if rule == self._num_rules else self._first[rule] + location

    def action_masks(self) -> dict[str, np.ndarray]:
        """`rule_mask` and `location_mask`, as in info."""
        locations = np.arange(self.action_space.nvec[1])
        return {
            "rule_mask": self._counts > 0,
            "location_mask": locations[None, :] < self._counts[:, None],
        }

    def _locate(self) -> None:
        # Matches come ordered by rule, so that a rule's are one run.
        rules = self.flat.observation["match_rule"]
        counts = np.bincount(rules, minlength=self._num_rules)
        self._first = [int(first) for first in np.cumsum(counts) - counts]
        self._counts = np.append(counts, 1)
        self.action_space = spaces.MultiDiscrete([self._num_rules + 1, int(self._counts.max())])


def _executed(problems: Sequence[Problem]) -> list[Problem]:
    """The problems with latencies for costs; those that shared an objective share one still."""
    guides = {id(problem.objective): problem.objective for problem in problems}
    real = {key: g if g.is_real else as_real(g) for key, g in guides.items()}
    return [replace(problem, objective=real[id(problem.objective)]) for problem in problems]
