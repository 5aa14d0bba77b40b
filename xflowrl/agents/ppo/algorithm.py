"""PPO on one page: collect, next values, advantages, loss, update, schedules.

Plain functions; what acts is a `PolicyFn`, what is random comes from a generator that is given.

Sources: Schulman et al. 2017, https://arxiv.org/abs/1707.06347; Schulman et al. 2016 (GAE),
https://arxiv.org/abs/1506.02438; "detail n" is a core detail of Huang et al. 2022, "The 37
implementation details of PPO", https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/.

Departures from the paper: the loss of values is not clipped (Andrychowicz et al. 2021 found that to
hurt), episodes cut off by the budget are bootstrapped, an update stops early by KL, and in training
a rewrite costs a little.

Legend: T steps, B environments, S samples: the T * B of a rollout, or those of a minibatch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from xflowrl.agents.ppo.distribution import ActionDistribution
from xflowrl.agents.ppo.settings import LearningSettings
from xflowrl.env import Position, VectorRewriteEnv

PolicyFn = Callable[[Sequence[Position]], tuple[ActionDistribution, torch.Tensor]]
"""Positions -> the distribution over the actions of each, and their values [S]."""


@dataclass(frozen=True)
class Rollout:
    """T steps in B environments. Keeps graphs (they share structure), never feature tensors."""

    positions: list[tuple[Position, ...]]  # T of B, where the actions were taken
    infos: list[dict[str, Any]]  # T, of the environments
    ahead: tuple[Position, ...]  # B, where the last step led to
    cut_off: dict[tuple[int, int], Position]  # (t, b) -> last position of a truncated episode
    actions_TB: np.ndarray  # i64
    log_probs_TB: np.ndarray  # f32
    values_TB: np.ndarray  # f32
    rewards_TB: np.ndarray  # f64, charged with what rewrites cost in training
    terminated_TB: np.ndarray  # bool
    truncated_TB: np.ndarray  # bool


@torch.no_grad()
def collect(
    policy_fn: PolicyFn,
    envs: VectorRewriteEnv,
    *,
    settings: LearningSettings,
    generator: torch.Generator,
    note_fn: Callable[[dict[str, Any]], None] = lambda infos: None,
) -> Rollout:
    """T steps in each of B environments, with the policy as it is (detail 1).

    Args:
        note_fn: called with the infos of every step, while the environments are still there.
    """
    steps, positions, infos_T, cut_off = [], [], [], {}
    for t in range(settings.num_steps):
        here_B = envs.positions
        distribution, values_B = policy_fn(here_B)
        actions_B = distribution.sample(generator)
        log_probs_B = distribution.log_prob(actions_B.to(values_B.device))
        _, rewards_B, terminated_B, truncated_B, infos = envs.step(actions_B.tolist())
        # A match costs a share of the mean node. Without that, going in circles where nothing is
        # left to save would be as good as STOP, and policies that had learned to stop drift there.
        applied_B = np.array([info["rule"] != "" for info in infos["env"]])
        nodes_B = np.array([position.initial.num_nodes for position in here_B])
        charged_B = rewards_B - applied_B * settings.step_cost / nodes_B
        chosen = (x.cpu().numpy() for x in (actions_B, log_probs_B, values_B))
        steps.append((*chosen, charged_B, terminated_B, truncated_B))
        positions.append(here_B)
        infos_T.append(infos)
        for b in np.flatnonzero(truncated_B).tolist():
            cut_off[t, b] = infos["final"][b]["position"]
        note_fn(infos)
    columns = [np.stack(column) for column in zip(*steps, strict=True)]
    return Rollout(positions, infos_T, envs.positions, cut_off, *columns)


@torch.no_grad()
def next_values(policy_fn: PolicyFn, rollout: Rollout, *, bootstraps: bool = True) -> np.ndarray:
    """V' of the state that each step led to, f32[T, B]: 0 where the episode terminated.

    Where it was truncated, it is the value of the episode's own last state (Pardo et al. 2018),
    never that of the next episode's first one.

    Args:
        bootstraps: False where a truncated episode has been paid in full; V' is 0 there too.
    """
    cut_off = rollout.cut_off if bootstraps else {}
    values = policy_fn([*rollout.ahead, *cut_off.values()])[1].cpu().numpy()
    ahead_B, last = np.split(values, [len(rollout.ahead)])
    next_values_TB = np.concatenate([rollout.values_TB[1:], ahead_B[None]])
    next_values_TB[rollout.terminated_TB | rollout.truncated_TB] = 0.0
    for place, value in zip(cut_off, last, strict=True):
        next_values_TB[place] = value
    return next_values_TB


def advantages(
    rollout: Rollout, next_values_TB: np.ndarray, *, gamma: float, lambda_: float
) -> np.ndarray:
    """GAE (Schulman et al. 2016, eq. 16; detail 5), f64[T, B].

    A_t = delta_t + gamma lambda A_{t+1}, delta_t = r_t + gamma V'_t - V_t; nothing of the next
    episode flows back over an end.
    """
    delta_TB: np.ndarray = rollout.rewards_TB + gamma * next_values_TB - rollout.values_TB
    goes_on_TB = ~(rollout.terminated_TB | rollout.truncated_TB)
    advantages_TB = np.zeros_like(delta_TB)
    following_B = np.zeros(delta_TB.shape[1])
    for t in reversed(range(len(delta_TB))):
        following_B = delta_TB[t] + gamma * lambda_ * following_B * goes_on_TB[t]
        advantages_TB[t] = following_B
    return advantages_TB


def loss(
    log_probs_S: torch.Tensor,
    values_S: torch.Tensor,
    *,
    entropies_S: torch.Tensor,
    old_log_probs_S: torch.Tensor,
    advantages_S: torch.Tensor,
    returns_S: torch.Tensor,
    settings: LearningSettings,
    entropy_weight: float,
) -> dict[str, torch.Tensor]:
    """`total`, to be minimised, with its parts; `approx_kl` and `clipfrac`, to be watched.

    Args:
        log_probs_S: of the actions taken, under the policy that learns.
        old_log_probs_S: of the same, under the policy that acted.
    """
    log_ratio_S = log_probs_S - old_log_probs_S
    ratio_S = log_ratio_S.exp()
    # Normalised by minibatch (detail 7).
    scale = advantages_S.std(correction=0) + 1e-8
    advantages_S = (advantages_S - advantages_S.mean()) / scale
    # The clipped surrogate (Schulman et al. 2017, eq. 7; detail 8).
    clipped_S = ratio_S.clamp(1 - settings.clip, 1 + settings.clip)
    policy = -torch.min(ratio_S * advantages_S, clipped_S * advantages_S).mean()
    value = (values_S - returns_S).square().mean()
    entropy = entropies_S.mean()
    # Schulman et al. 2017, eq. 9, to be minimised (detail 10).
    total = policy + settings.value_coefficient * value - entropy_weight * entropy
    with torch.no_grad():
        # Estimator k3 of http://joschu.net/blog/kl-approx.html.
        approx_kl = (ratio_S - 1 - log_ratio_S).mean()
        clipfrac = ((ratio_S - 1).abs() > settings.clip).float().mean()
    parts = {"policy": policy, "value": value, "total": total, "entropy": entropy}
    return parts | {"approx_kl": approx_kl, "clipfrac": clipfrac}


def update(
    policy_fn: PolicyFn,
    optimizer: Any,
    *,
    rollout: Rollout,
    advantages_TB: np.ndarray,
    settings: LearningSettings,
    generator: torch.Generator,
    entropy_weight: float,
    backward_fn: Callable[[torch.Tensor], None] = torch.Tensor.backward,
    mean_fn: Callable[[torch.Tensor], torch.Tensor] = lambda numbers: numbers,
) -> list[dict[str, float]]:
    """Epochs over the rollout in random minibatches (detail 6).

    Args:
        mean_fn: over all processes that learn together, of numbers that each has its own of.

    Returns:
        For each minibatch what `loss` gave, and `gradient_norm`, that before clipping.
    """
    positions = [position for row in rollout.positions for position in row]
    returns_TB = advantages_TB + rollout.values_TB  # TD(lambda)
    learned = (rollout.log_probs_TB, advantages_TB, returns_TB)
    actions_S = torch.from_numpy(rollout.actions_TB.ravel())
    log_probs_S, advantages_S, returns_S = (torch.from_numpy(x.ravel()) for x in learned)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    updates: list[dict[str, float]] = []
    for _ in range(settings.num_epochs):
        for chosen in _minibatches(rollout.actions_TB.shape, settings, generator):
            distribution, values_S = policy_fn([positions[i] for i in chosen.tolist()])
            parts = loss(
                distribution.log_prob(actions_S[chosen].to(values_S.device)),
                values_S,
                entropies_S=distribution.entropy(),
                old_log_probs_S=log_probs_S[chosen].to(values_S),
                advantages_S=advantages_S[chosen].to(values_S),
                returns_S=returns_S[chosen].to(values_S),
                settings=settings,
                entropy_weight=entropy_weight,
            )
            optimizer.zero_grad()
            backward_fn(parts["total"])
            # The norm of all weights together (detail 11).
            parts["gradient_norm"] = nn.utils.clip_grad_norm_(weights, settings.max_gradient_norm)
            optimizer.step()
            numbers = mean_fn(torch.stack([part.detach() for part in parts.values()])).tolist()
            updates.append(dict(zip(parts, numbers, strict=True)))
            # Early stopping by KL, as in OpenAI Spinning Up's PPO.
            if settings.max_kl is not None and updates[-1]["approx_kl"] > settings.max_kl:
                return updates
    return updates


def _minibatches(
    shape: tuple[int, int], settings: LearningSettings, generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """Random indices [S] into the T * B samples of a rollout, each sample once."""
    samples_TB = torch.arange(math.prod(shape)).view(shape)
    groups = [samples_TB]
    if settings.envs_at_once is not None:
        order_B = torch.randperm(shape[1], generator=generator)
        groups = samples_TB[:, order_B].split(settings.envs_at_once, dim=1)
    for group in groups:
        samples_S = group.flatten()
        order_S = torch.randperm(len(samples_S), generator=generator)
        yield from samples_S[order_S].split(settings.minibatch_size)


def learning_rate(settings: LearningSettings, progress: float) -> float:
    """The learning rate (detail 4); progress goes from 0 to 1."""
    share = {
        "constant": 1.0,
        "linear": 1.0 - progress,
        "cosine": 0.5 + 0.5 * math.cos(math.pi * progress),
    }[settings.schedule]
    first, last = settings.learning_rate, settings.final_learning_rate
    return last + share * (first - last)


def entropy_weight(settings: LearningSettings, progress: float) -> float:
    """The weight of the entropy bonus, which falls linearly; progress goes from 0 to 1."""
    first, last = settings.entropy_coefficient, settings.final_entropy_coefficient
    return first + progress * (last - first)


def explained_variance(values: np.ndarray, returns: np.ndarray) -> float:
    """1 - Var[returns - values] / Var[returns]; 1: perfect, 0: no better than a constant."""
    variance = float(np.var(returns))
    return 1.0 - float(np.var(returns - values)) / variance if variance > 0 else 0.0
