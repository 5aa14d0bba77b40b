"""The environment for libraries that want arrays of one size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from xflowrl.env.rewrite import RewriteEnv

_PER_MATCH = 4  # offered, rule, cost difference, size difference
_PER_GRAPH = 3  # cost, nodes, matches


class FixedSizeEnv(gymnasium.Wrapper[np.ndarray, int, dict[str, np.ndarray], int]):
    """`RewriteEnv` with a vector as observation and `Discrete(max_matches + 1)` as actions.

    Observation: f32[4 max_matches + 3] between -1 and 1: for each place of the list whether a match
    is there, its rule's index / number of rules, tanh(50 cost difference / initial cost) and
    tanh(size difference / 4); then cost and nodes, as halves of the initial graph's, and matches /
    max_matches. Graph structure is left out.

    Action: the index of a match, or `max_matches` for STOP, whatever the number of matches now;
    `action_masks()` says what is valid, as sb3-contrib's MaskablePPO asks for it.

    Raises:
        ValueError: the environment offers more matches than fit; make it with the same
            `max_matches`.
    """

    def __init__(self, env: RewriteEnv, *, max_matches: int) -> None:
        super().__init__(env)
        self.flat = env
        self._max_matches = max_matches
        size = _PER_MATCH * max_matches + _PER_GRAPH
        self.observation_space = spaces.Box(-1.0, 1.0, (size,), np.float32)
        self.action_space = spaces.Discrete(max_matches + 1)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode."""
        _, info = self.flat.reset(seed=seed, options=options)
        return self._vector(), info | {"action_mask": self.action_masks()}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Applies a match, or stops.

        Raises:
            ValueError: the mask excludes the action.
        """
        if not self.action_masks()[action]:
            raise ValueError(f"action {action} is invalid: choose one of action_masks()")
        inner = self.flat.num_matches if action == self._max_matches else int(action)
        _, reward, terminated, truncated, info = self.flat.step(inner)
        info |= {"action_mask": self.action_masks()}
        return self._vector(), reward, terminated, truncated, info

    def action_masks(self) -> np.ndarray:
        """bool[max_matches + 1]."""
        mask = np.arange(self._max_matches + 1) < self.flat.num_matches
        mask[self._max_matches] = True
        return mask

    def _vector(self) -> np.ndarray:
        observation, count = self.flat.observation, self.flat.num_matches
        if count > self._max_matches:
            raise ValueError(
                f"{count} matches do not fit: give RewriteEnv max_matches={self._max_matches} too"
            )
        cost_ms, initial_ms, nodes, initial_nodes = observation["graph"]
        rows = np.zeros((self._max_matches, _PER_MATCH), np.float32)
        rows[:count, 0] = 1.0
        rows[:count, 1] = observation["match_rule"] / len(self.flat.problem.rules)
        rows[:count, 2] = np.tanh(50.0 * observation["match_cost_ms"] / initial_ms)
        rows[:count, 3] = np.tanh(observation["match_size"] / 4.0)
        shares = [cost_ms / initial_ms / 2, nodes / initial_nodes / 2, count / self._max_matches]
        return np.concatenate([rows.ravel(), np.clip(shares, -1.0, 1.0)]).astype(np.float32)
