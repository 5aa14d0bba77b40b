"""How PPO learns: the options of `agent.learning`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MIN_EPISODE_STEPS = 16


@dataclass(frozen=True, kw_only=True)
class LearningSettings:
    """How PPO learns; sources stand at each trick in `algorithm.py`.

    Attributes:
        num_envs: environments stepped together.
        num_steps: steps of each in one rollout.
        max_episode_steps: where an episode is truncated; None: as many steps as the initial graph
            has nodes, at least `MIN_EPISODE_STEPS`.
        envs_at_once: a minibatch has steps of so many environments, chosen at random in each epoch;
            None: of any. Of few networks less has to be encoded.
        max_kl: an update ends when the policy is so far from the one that acted; None: never.
        gamma: below 1, or values that are bootstrapped where episodes are cut off keep themselves
            up, and going in circles looks as good as saving.
        step_cost: what a rewrite costs in training, in units of the initial graph's mean node.
        schedule: of the learning rate over the iterations, down to `final_learning_rate`.
    """

    num_envs: int = 8
    num_steps: int = 64
    max_episode_steps: int | None = None
    num_epochs: int = 3
    minibatch_size: int = 64
    envs_at_once: int | None = None
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-4
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    gamma: float = 0.99
    gae_lambda: float = 0.8
    clip: float = 0.2
    value_coefficient: float = 0.5
    entropy_coefficient: float = 0.01
    final_entropy_coefficient: float = 0.0
    step_cost: float = 0.02
    max_gradient_norm: float = 0.5
    max_kl: float | None = 0.05

    def __post_init__(self) -> None:
        for name in (
            "num_envs",
            "num_steps",
            "max_episode_steps",
            "num_epochs",
            "minibatch_size",
            "envs_at_once",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"agent.learning.{name} is {value}: give at least 1")
        if not (0 <= self.gamma <= 1 and 0 <= self.gae_lambda <= 1):
            raise ValueError(
                f"agent.learning: gamma {self.gamma}, gae_lambda {self.gae_lambda}: give 0 to 1"
            )
