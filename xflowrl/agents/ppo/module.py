"""PPO as one LightningModule: roll out, estimate advantages, improve the policy, log.

Legend: T steps, B environments, S = T * B samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from xflowrl.agents.ppo.checkpoint import describe_training
from xflowrl.agents.ppo.features import GraphBatch, make_batch
from xflowrl.agents.ppo.policy import Policy
from xflowrl.agents.ppo.rollout import (
    Episode,
    Rollout,
    explained_variance,
    generalised_advantages,
)
from xflowrl.agents.ppo.settings import LearningSettings
from xflowrl.env import Position, VectorRewriteEnv, observe
from xflowrl.problem import Log

# A mean return or a cost counts as better from this share of the initial cost on: progress that
# noise makes must not keep a training alive.
_PROGRESS = 1e-3


@dataclass
class Best:
    """The cheapest graph of a problem seen so far, and the matches that lead there by index."""

    cost_ms: float
    actions: tuple[int, ...] = ()


class PPOModule(pl.LightningModule):
    """One training step is one iteration: a rollout, then several epochs of updates on it.

    Departures from the paper: the value loss is not clipped (Andrychowicz et al. 2021 found that
    to hurt), episodes cut off by the budget are bootstrapped, and an update stops early by KL.
    """

    def __init__(
        self,
        policy: Policy,
        envs: VectorRewriteEnv,
        settings: LearningSettings,
        *,
        num_iterations: int,
        seed: int,
        bootstraps: bool = True,
        log_fn: Log,
        over_fn: Callable[[PPOModule], bool] = lambda module: False,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.policy = policy
        self.envs = envs
        self.settings = settings
        self.num_iterations = num_iterations
        self.iteration = 0
        self.num_env_steps = 0
        self.seconds = 0.0
        self.measure_s = 0.0
        self.best_return = -float("inf")
        self.recent_returns: list[float] = []
        self.best_weights: dict[str, torch.Tensor] = {}
        self.improved_at = 0
        problems = envs.envs[0].problems
        self.best = [Best(problem.initial_state().cost.ms) for problem in problems]
        self._bootstraps = bootstraps
        self._log_fn = log_fn
        self._over_fn = over_fn
        self._seed = seed
        self._generator = torch.Generator().manual_seed(seed)
        self._envs_snapshot: dict[str, Any] | None = None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with epsilon 1e-5 (Huang et al. 2022, core detail 3)."""
        return torch.optim.Adam(self.policy.parameters(), lr=self.settings.learning_rate, eps=1e-5)

    def train_dataloader(self) -> DataLoader[int]:
        """One batch an epoch: an epoch is an iteration, so that checkpoints fall between them."""
        return DataLoader(range(1), batch_size=None)  # type: ignore[arg-type]

    def on_train_start(self) -> None:
        """Begins the episodes, or takes them up where a checkpoint left them."""
        if self._envs_snapshot is None:
            self.envs.reset(seed=self._seed)
        else:
            self.envs.restore(self._envs_snapshot)

    def training_step(self, batch: int, batch_idx: int) -> None:
        """One iteration."""
        began_s, measured_s = time.perf_counter(), self._measure_s()
        progress = self.iteration / max(self.num_iterations, 1)
        rollout = self.collect()
        collect_s = time.perf_counter() - began_s
        metrics = self.improve(rollout, progress)
        self.iteration += 1
        self.is_best = self._note_returns(rollout)
        self.num_env_steps += rollout.num_steps
        # Timing operators is not counted, so that training ends at the same place with a warm and
        # with a cold op-cost database.
        measured_s = self._measure_s() - measured_s
        seconds = time.perf_counter() - began_s - measured_s
        self.seconds += seconds
        self.measure_s += measured_s
        metrics |= _episode_metrics(rollout) | {
            "train/iteration": self.iteration,
            "train/max_iterations": self.num_iterations,
            "train/env_steps": self.num_env_steps,
            "train/seconds": self.seconds,
            "train/measure_s": self.measure_s,
            "train/steps_per_s": rollout.num_steps / seconds,
            "train/rollout_steps_per_s": rollout.num_steps / collect_s,
            "train/learning_rate": self.settings.rate(progress),
        }
        problems = self.envs.envs[0].problems
        for problem, best in zip(problems, self.best, strict=True):
            name = "best_cost_ms" if len(problems) == 1 else f"{problem.name}/best_cost_ms"
            metrics[f"train/{name}"] = best.cost_ms
        self.last_metrics = metrics
        self._log_fn(metrics, self.iteration)
        if self._over_fn(self):
            self.trainer.should_stop = True

    def _note_returns(self, rollout: Rollout) -> bool:
        """Whether the mean return of the last episodes, two for each environment, is a new best."""
        returns = [episode.episode_return for episode in rollout.episodes]
        window = 2 * self.envs.num_envs
        self.recent_returns = (self.recent_returns + returns)[-window:]
        mean = float(np.mean(self.recent_returns)) if self.recent_returns else -float("inf")
        full = len(self.recent_returns) == window
        if not full or not returns or mean <= self.best_return + _PROGRESS:
            return False
        self.best_return, self.improved_at = mean, self.iteration
        self.best_weights = {k: v.clone() for k, v in self.policy.state_dict().items()}
        return True

    def _measure_s(self) -> float:
        objectives = {id(p.objective): p.objective for p in self.envs.envs[0].problems}
        return sum(objective.measure_s for objective in objectives.values())

    # Roll out ---------------------------------------------------------------------------------

    @torch.no_grad()
    def collect(self) -> Rollout:
        """T steps in each of B environments, with the policy as it is."""
        rollout = Rollout(self.envs.num_envs)
        for t in range(self.settings.num_steps):
            positions = self.envs.positions
            distribution, values = self.policy(self.batch(positions))
            actions = distribution.sample(self._generator)
            log_probs = distribution.log_prob(actions.to(values.device))
            _, rewards, terminated, truncated, infos = self.envs.step(actions.tolist())
            rollout.positions.append(positions)
            rollout.actions.append(actions.numpy())
            rollout.log_probs.append(log_probs.cpu().numpy())
            rollout.values.append(values.cpu().numpy())
            rollout.rewards.append(rewards - self._step_costs(positions, infos))
            rollout.terminated.append(terminated)
            rollout.truncated.append(truncated)
            self._note(rollout, t, infos)
        return rollout

    def _step_costs(self, positions: tuple[Position, ...], infos: dict[str, Any]) -> np.ndarray:
        """What taking a match costs beside its reward, f64[B].

        Without it, going in circles where nothing is left to save would be as good as STOP, and
        policies that had learned to stop drift into it.
        """
        applied = np.array([info["rule"] != "" for info in infos["env"]])
        nodes = np.array([position.initial.num_nodes for position in positions])
        costs: np.ndarray = applied * self.settings.step_cost / nodes
        return costs

    def batch(self, positions: tuple[Position, ...] | list[Position]) -> GraphBatch:
        """The tensors of some positions, on this module's device."""
        return make_batch([observe(position) for position in positions]).to(self.device)

    def _note(self, rollout: Rollout, t: int, infos: dict[str, Any]) -> None:
        for b, (info, final) in enumerate(zip(infos["env"], infos["final"], strict=True)):
            if info["rule"]:
                rollout.rules[info["rule"]] = rollout.rules.get(info["rule"], 0) + 1
            best = self.best[info["problem"]]
            saved_ms = best.cost_ms - info["cost_ms"]
            if saved_ms > 1e-9 * best.cost_ms:
                best.cost_ms = info["cost_ms"]
                best.actions = self.envs.envs[b].actions if final is None else final["actions"]
                if saved_ms > _PROGRESS * best.cost_ms:
                    self.improved_at = self.iteration + 1
            if final is not None:
                stopped = info["rule"] == ""
                rollout.episodes.append(
                    Episode(final["episode_return"], final["episode_length"], stopped)
                )
                if rollout.truncated[t][b]:
                    rollout.cut_off[t, b] = final["position"]

    # Learn ------------------------------------------------------------------------------------

    @torch.no_grad()
    def _next_values(self, rollout: Rollout) -> np.ndarray:
        """Value of the state that each step led to, [T, B]: bootstrapped, 0 where terminated."""
        cut_off = list(rollout.cut_off.items()) if self._bootstraps else []
        ahead = [*self.envs.positions, *(position for _, position in cut_off)]
        values = self.policy(self.batch(ahead))[1].cpu().numpy()
        next_TB = np.stack([*rollout.values[1:], values[: rollout.num_envs]])
        next_TB[np.stack(rollout.terminated) | np.stack(rollout.truncated)] = 0.0
        for ((t, b), _), value in zip(cut_off, values[rollout.num_envs :], strict=True):
            next_TB[t, b] = value
        return next_TB

    def improve(self, rollout: Rollout, progress: float) -> dict[str, float]:
        """Several epochs over the rollout in random minibatches; returns metrics."""
        settings = self.settings
        entropy_weight = settings.entropy_weight(progress)
        values_TB = np.stack(rollout.values)
        advantages_TB = generalised_advantages(
            np.stack(rollout.rewards),
            values_TB,
            self._next_values(rollout),
            np.stack(rollout.terminated) | np.stack(rollout.truncated),
            gamma=settings.gamma,
            lambda_=settings.gae_lambda,
        )
        returns_TB = advantages_TB + values_TB
        positions = [position for row in rollout.positions for position in row]
        samples = {
            "actions": torch.from_numpy(np.concatenate(rollout.actions)),
            "log_probs": torch.from_numpy(np.concatenate(rollout.log_probs)),
            "advantages": torch.from_numpy(advantages_TB.ravel().astype(np.float32)),
            "returns": torch.from_numpy(returns_TB.ravel().astype(np.float32)),
        }
        optimizer: Any = self.optimizers()
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(progress)
        updates: list[dict[str, float]] = []
        for chosen in self._minibatches(len(positions)):
            batch = self.batch([positions[i] for i in chosen.tolist()])
            chosen_samples = {name: v[chosen].to(self.device) for name, v in samples.items()}
            updates.append(self._update(optimizer, batch, chosen_samples, entropy_weight))
            # Early stopping by KL, as in OpenAI Spinning Up's PPO.
            if settings.max_kl is not None and updates[-1]["approx_kl"] > settings.max_kl:
                break
        mean = {name: float(np.mean([u[name] for u in updates])) for name in updates[0]}
        return {
            "loss/policy": mean["policy"],
            "loss/value": mean["value"],
            "loss/total": mean["total"],
            "train/entropy": mean["entropy"],
            "train/approx_kl": updates[-1]["approx_kl"],
            "train/clipfrac": mean["clipfrac"],
            "train/gradient_norm": mean["gradient_norm"],
            "train/num_updates": len(updates),
            "train/explained_variance": explained_variance(values_TB, returns_TB),
        }

    def _minibatches(self, num_samples: int) -> Iterator[torch.Tensor]:
        """Indices of samples: every epoch all of them, in an order of its own."""
        for _ in range(self.settings.num_epochs):
            order = torch.randperm(num_samples, generator=self._generator)
            yield from torch.split(order, self.settings.minibatch_size)

    def _update(
        self,
        optimizer: Any,
        batch: GraphBatch,
        samples: dict[str, torch.Tensor],
        entropy_weight: float,
    ) -> dict[str, float]:
        """One gradient step on one minibatch."""
        settings = self.settings
        distribution, values = self.policy(batch)
        log_ratio = distribution.log_prob(samples["actions"]) - samples["log_probs"]
        ratio = log_ratio.exp()
        advantages = samples["advantages"]
        # Normalised by minibatch (Huang et al. 2022, core detail 7).
        advantages = (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)
        # The clipped surrogate (Schulman et al. 2017, eq. 7).
        clipped = ratio.clamp(1 - settings.clip, 1 + settings.clip)
        policy_loss = -torch.min(ratio * advantages, clipped * advantages).mean()
        value_loss = (values - samples["returns"]).square().mean()
        entropy = distribution.entropy().mean()
        loss = policy_loss + settings.value_coefficient * value_loss - entropy_weight * entropy
        optimizer.zero_grad()
        self.manual_backward(loss)
        norm = nn.utils.clip_grad_norm_(self.policy.parameters(), settings.max_gradient_norm)
        optimizer.step()
        with torch.no_grad():
            # Estimator k3 of http://joschu.net/blog/kl-approx.html.
            approx_kl = (ratio - 1 - log_ratio).mean()
            clipfrac = ((ratio - 1).abs() > settings.clip).float().mean()
        parts = (policy_loss, value_loss, loss, entropy, approx_kl, clipfrac, norm)
        names = ("policy", "value", "total", "entropy", "approx_kl", "clipfrac", "gradient_norm")
        return dict(zip(names, torch.stack([p.detach() for p in parts]).tolist(), strict=True))

    # Resume -----------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what a resume needs beside weights and optimiser, as plain data."""
        rules = self.envs.envs[0].problem.rules
        checkpoint["ppo"] = describe_training(self.policy, rules) | {
            "iteration": self.iteration,
            "num_env_steps": self.num_env_steps,
            "seconds": self.seconds,
            "measure_s": self.measure_s,
            "best_return": self.best_return,
            "improved_at": self.improved_at,
            "recent_returns": self.recent_returns,
            "best_weights": self.best_weights,
            "best": [(best.cost_ms, list(best.actions)) for best in self.best],
            "generator": self._generator.get_state(),
            "envs": self.envs.snapshot(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes that up again; the environments follow in `on_train_start`."""
        saved = checkpoint["ppo"]
        self.iteration = saved["iteration"]
        self.num_env_steps = saved["num_env_steps"]
        self.seconds = saved["seconds"]
        self.measure_s = saved["measure_s"]
        self.best_return = saved["best_return"]
        self.improved_at = saved["improved_at"]
        self.recent_returns = saved["recent_returns"]
        self.best_weights = saved["best_weights"]
        self.best = [Best(cost_ms, tuple(actions)) for cost_ms, actions in saved["best"]]
        self._generator.set_state(saved["generator"])
        self._envs_snapshot = saved["envs"]


def _episode_metrics(rollout: Rollout) -> dict[str, float]:
    """Means over the episodes that ended in the rollout; share of steps for each rule."""
    metrics = {
        f"rules/{rule}": count / rollout.num_steps for rule, count in sorted(rollout.rules.items())
    }
    metrics["train/share_stop"] = 1.0 - sum(rollout.rules.values()) / rollout.num_steps
    if rollout.episodes:
        metrics |= {
            "train/episode_return": float(np.mean([e.episode_return for e in rollout.episodes])),
            "train/episode_length": float(np.mean([e.length for e in rollout.episodes])),
            "train/episodes_stopped": float(np.mean([e.stopped for e in rollout.episodes])),
            "train/episodes": len(rollout.episodes),
        }
    return metrics
