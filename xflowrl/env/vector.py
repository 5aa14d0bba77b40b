"""Several rewriting environments side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from xflowrl.env.observation import Position, observation_space
from xflowrl.env.rewrite import RewriteEnv
from xflowrl.problem import Problem

Observations = tuple[dict[str, np.ndarray], ...]


class VectorRewriteEnv(VectorEnv[Observations, Sequence[int], np.ndarray]):
    """B environments that are stepped together; graphs differ in size, so nothing is padded.

    Observations are a tuple of B observations. An environment whose episode ends is reset in the
    same step: the observation is the new episode's first, and `infos["final"]` holds, for each
    environment, None or the facts of the episode that ended: `position` (its last), `actions`,
    `episode_return`, `episode_length`.

    Args:
        problems: each environment draws from all of them.
        options: of `RewriteEnv`.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self, problems: Problem | Sequence[Problem], num_envs: int, **options: Any
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs is {num_envs}: give a number >= 1")
        first = RewriteEnv(problems, **options)
        self.envs = [first, *(first.fork() for _ in range(num_envs - 1))]
        self.num_envs = num_envs
        self.single_observation_space = observation_space()
        self.observation_space = spaces.Tuple([self.single_observation_space] * num_envs)
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, np.int64)

    @property
    def action_space(self) -> spaces.Tuple:
        """The current action spaces."""
        return spaces.Tuple([env.action_space for env in self.envs])

    @property
    def positions(self) -> tuple[Position, ...]:
        """Where each episode is."""
        return tuple(env.position for env in self.envs)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[Observations, dict[str, Any]]:
        """Begins B episodes; environment i is seeded with `seed + i`."""
        seeds: Sequence[int | None]
        if seed is None or isinstance(seed, int):
            seeds = [None if seed is None else seed + i for i in range(self.num_envs)]
        else:
            seeds = seed
        started = [
            env.reset(seed=s, options=options) for env, s in zip(self.envs, seeds, strict=True)
        ]
        self._returns[:] = 0
        self._lengths[:] = 0
        return tuple(o for o, _ in started), {"env": [info for _, info in started]}

    def step(
        self, actions: Sequence[int]
    ) -> tuple[Observations, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Steps all: observations, rewards f64[B], terminated bool[B], truncated bool[B], infos."""
        rewards = np.zeros(self.num_envs)
        terminated, truncated = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)
        observations, infos = [], []
        final: list[dict[str, Any] | None] = [None] * self.num_envs
        for i, (env, action) in enumerate(zip(self.envs, actions, strict=True)):
            observation, rewards[i], terminated[i], truncated[i], info = env.step(int(action))
            self._returns[i] += rewards[i]
            self._lengths[i] += 1
            infos.append(info)
            if terminated[i] or truncated[i]:
                final[i] = {
                    "position": env.position,
                    "actions": env.actions,
                    "episode_return": float(self._returns[i]),
                    "episode_length": int(self._lengths[i]),
                }
                self._returns[i], self._lengths[i] = 0, 0
                observation, _ = env.reset()
            observations.append(observation)
        return tuple(observations), rewards, terminated, truncated, {"env": infos, "final": final}

    def snapshot(self) -> dict[str, Any]:
        """All environments as plain data."""
        return {
            "envs": [env.snapshot() for env in self.envs],
            "returns": self._returns.tolist(),
            "lengths": self._lengths.tolist(),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Goes to where `snapshot` was taken."""
        for env, saved in zip(self.envs, snapshot["envs"], strict=True):
            env.restore(saved)
        self._returns[:] = snapshot["returns"]
        self._lengths[:] = snapshot["lengths"]
