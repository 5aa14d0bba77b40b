"""What the policy did: positions, actions, rewards; and how good it was.

Legend: T steps, B environments.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from xflowrl.env import Position


@dataclass(frozen=True)
class Episode:
    """An episode that ended during a rollout."""

    episode_return: float
    length: int
    stopped: bool  # by STOP


@dataclass
class Rollout:
    """T steps in B environments. Keeps graphs (they share structure), never feature tensors."""

    num_envs: int
    positions: list[tuple[Position, ...]] = field(default_factory=list)  # T of B
    actions: list[np.ndarray] = field(default_factory=list)  # T of i64[B]
    log_probs: list[np.ndarray] = field(default_factory=list)  # T of f32[B]
    values: list[np.ndarray] = field(default_factory=list)  # T of f32[B]
    rewards: list[np.ndarray] = field(default_factory=list)  # T of f64[B]
    terminated: list[np.ndarray] = field(default_factory=list)  # T of bool[B]
    truncated: list[np.ndarray] = field(default_factory=list)  # T of bool[B]
    cut_off: dict[tuple[int, int], Position] = field(
        default_factory=dict
    )  # where truncated: (t, b)
    episodes: list[Episode] = field(default_factory=list)
    rules: dict[str, int] = field(default_factory=dict)  # times each rule was applied

    @property
    def num_steps(self) -> int:
        """T * B."""
        return len(self.positions) * self.num_envs


def generalised_advantages(
    rewards_TB: np.ndarray,
    values_TB: np.ndarray,
    next_values_TB: np.ndarray,
    ended_TB: np.ndarray,
    *,
    gamma: float,
    lambda_: float,
) -> np.ndarray:
    """GAE (Schulman et al. 2016, eq. 16), [T, B].

    A_t = delta_t + gamma lambda A_{t+1}, delta_t = r_t + gamma V'_t - V_t; nothing of the next
    episode flows back over an end.

    Args:
        next_values_TB: V' of the state each step led to: 0 where it terminated, and the value of
            the episode's own last state where it was truncated (Pardo et al. 2018).
        ended_TB: terminated or truncated.

    Departures from the paper: none.
    """
    delta_TB: np.ndarray = rewards_TB + gamma * next_values_TB - values_TB
    advantages_TB: np.ndarray = np.zeros_like(delta_TB)
    following_B = np.zeros(delta_TB.shape[1])
    for t in reversed(range(len(delta_TB))):
        following_B = delta_TB[t] + gamma * lambda_ * following_B * ~ended_TB[t]
        advantages_TB[t] = following_B
    return advantages_TB


def explained_variance(values: np.ndarray, returns: np.ndarray) -> float:
    """1 - Var[returns - values] / Var[returns]; 1: perfect, 0: no better than a constant."""
    variance = float(np.var(returns))
    return 1.0 - float(np.var(returns - values)) / variance if variance > 0 else 0.0
