"""Training as Lightning sees it: one training step is one iteration of the algorithm."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from xflowrl.agents.ppo import algorithm
from xflowrl.agents.ppo.checkpoint import describe_training
from xflowrl.agents.ppo.distribution import ActionDistribution
from xflowrl.agents.ppo.eyes import Eyes
from xflowrl.agents.ppo.gallery import Sight
from xflowrl.agents.ppo.policy import Policy
from xflowrl.agents.ppo.settings import LearningSettings
from xflowrl.env import Position, VectorRewriteEnv, observe
from xflowrl.problem import Log

# A mean return or a cost counts as better from this share of the initial cost on: progress that
# noise makes must not keep a training alive.
_PROGRESS = 1e-3

# Between the seeds of two processes of a training: no other run's seed is likely to be there.
_SEEDS_APART = 1_000_003

_POLL_S = 0.001  # between looks at whether the others have arrived

# What a resume needs beside weights, optimiser, environments and random numbers.
_RESUMED = (
    *("iteration", "num_env_steps", "seconds", "measure_s"),
    *("best_return", "improved_at", "recent_returns", "best_weights"),
)


@dataclass
class Best:
    """The cheapest graph of a problem seen so far, and the matches that lead there by index."""

    cost_ms: float
    actions: tuple[int, ...] = ()


@dataclass(frozen=True)
class Findings:
    """What one process brings to an iteration that all must judge alike."""

    rules: list[str]  # of the actions taken, "" for STOP
    ended: list[tuple[str, float, int]]  # last rule, return and length of each ended episode
    explained_variance: float
    best: list[Best]
    improved_at: int
    seconds: float
    measure_s: float


T = TypeVar("T")


class PPOModule(pl.LightningModule):
    """One training step is one iteration: a rollout, then several epochs of updates on it.

    Several processes each roll out environments of their own, with seeds of their own. Minibatches,
    advantages normalised within each, are as large as with one process; their gradients are
    averaged. Whatever decides how training goes on is exchanged, so that all decide alike and have
    the same weights; the clock is that of the first.

    Attributes:
        seconds: of training so far, without `measure_s`, those that timing operators took.
        best_weights: of the policy that had the best mean return; `is_best` if it is the last.
        improved_at: the last iteration with a better mean return or a cheaper graph.
    """

    def __init__(
        self,
        policy: Policy,
        envs: VectorRewriteEnv,
        settings: LearningSettings,
        *,
        num_iterations: int,
        bootstraps: bool = True,
        log_fn: Log,
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
        self.problems = envs.envs[0].problems
        self._references = [
            problem.objective.reference(problem.model, problem.initial_state())
            for problem in self.problems
        ]
        self.best = [Best(reference.cost_ms) for reference in self._references]
        self._bootstraps = bootstraps
        self._log_fn = log_fn
        self._generator = torch.Generator()
        self._envs_snapshot: dict[str, Any] | None = None
        self._look_anew()

    def forward(self, positions: Sequence[Position]) -> tuple[ActionDistribution, torch.Tensor]:
        """The policy at some positions, on this module's device."""
        if new := list(dict.fromkeys(p for p in positions if p not in self._sights)):
            known = {env.position: env.observation for env in self.envs.envs}
            observations = [known.get(position) or observe(position) for position in new]
            self._sights |= zip(new, self._eyes.gallery.add(observations), strict=True)
        sights = [self._sights[position] for position in positions]
        if not torch.is_grad_enabled():  # a rollout, whose weights stay
            return self._eyes.answer(sights)
        batch = self._eyes.gallery.batch(sights)
        answer: tuple[ActionDistribution, torch.Tensor] = self.policy(batch.to(self.device))
        return answer

    def _look_anew(self) -> None:
        """Forgets what positions looked like."""
        self._eyes = Eyes(self.policy)
        self._sights: dict[Position, Sight] = {}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with epsilon 1e-5 (Huang et al. 2022, core detail 3)."""
        return torch.optim.Adam(
            self.policy.parameters(), lr=self.settings.learning_rate, eps=1e-5, fused=True
        )

    def train_dataloader(self) -> DataLoader[int]:
        """One batch an epoch: an epoch is an iteration, so that checkpoints fall between them."""
        return DataLoader(range(1), batch_size=None)  # type: ignore[arg-type]

    def on_train_start(self) -> None:
        """Begins the episodes, or takes them up where a checkpoint left them."""
        if self._envs_snapshot is None:
            seed = self.problems[0].seed + _SEEDS_APART * self.global_rank
            self._generator.manual_seed(seed)
            self.envs.reset(seed=seed)
            start = {"train/env_steps": 0, "train/seconds": 0.0, **self._best_costs()}
            self._log_fn(start, 0)
        else:
            self.envs.restore(self._envs_snapshot)

    def on_train_end(self) -> None:
        """Processes that drifted apart would have learned less than they say."""
        weights = b"".join(w.cpu().numpy().tobytes() for w in self.policy.state_dict().values())
        digests = self._of_all(hashlib.sha256(weights).hexdigest())
        assert len(set(digests)) == 1, f"{len(digests)} processes with different weights"

    def training_step(self, batch: int, batch_idx: int) -> None:
        """One iteration."""
        began_s, measured_s = time.perf_counter(), self._measured_s()
        self._look_anew()
        settings, generator = self.settings, self._generator
        progress = self.iteration / self.num_iterations
        rollout = algorithm.collect(
            self, self.envs, settings=settings, generator=generator, note_fn=self._note_cheapest
        )
        self._await_others()
        collect_s = time.perf_counter() - began_s
        next_values_TB = algorithm.next_values(self, rollout, bootstraps=self._bootstraps)
        advantages_TB = algorithm.advantages(
            rollout, next_values_TB, gamma=settings.gamma, lambda_=settings.gae_lambda
        )
        optimizer: Any = self.optimizers()
        for group in optimizer.param_groups:
            group["lr"] = algorithm.learning_rate(settings, progress)
        updates = algorithm.update(
            self,
            optimizer,
            rollout=rollout,
            advantages_TB=advantages_TB,
            settings=settings,
            generator=generator,
            entropy_weight=algorithm.entropy_weight(settings, progress),
            backward_fn=self.manual_backward,
            mean_fn=self._mean,
        )
        self.iteration += 1
        values_TB, returns_TB = rollout.values_TB, rollout.values_TB + advantages_TB
        # Timing operators is not counted, so that training ends at the same place with a warm and
        # with a cold op-cost database.
        measured_s = self._measured_s() - measured_s
        findings = self._of_all(
            Findings(
                *_episodes(rollout.infos),
                algorithm.explained_variance(values_TB, returns_TB),
                best=self.best,
                improved_at=self.improved_at,
                seconds=time.perf_counter() - began_s - measured_s,
                measure_s=measured_s,
            )
        )
        seconds = findings[0].seconds
        self.seconds += seconds
        self.measure_s += findings[0].measure_s
        self.best = [
            min(each, key=lambda best: best.cost_ms)
            for each in zip(*[f.best for f in findings], strict=True)
        ]
        self.improved_at = max(each.improved_at for each in findings)
        num_steps = advantages_TB.size * len(findings)
        self.num_env_steps += num_steps
        metrics = _update_metrics(updates) | self._note_episodes(findings)
        variances = [each.explained_variance for each in findings]
        metrics |= {
            "train/explained_variance": float(np.mean(variances)),
            "train/iteration": self.iteration,
            "train/max_iterations": self.num_iterations,
            "train/env_steps": self.num_env_steps,
            "train/seconds": self.seconds,
            "train/measure_s": self.measure_s,
            "train/steps_per_s": num_steps / seconds,
            "train/rollout_steps_per_s": num_steps / collect_s,
            "train/learning_rate": optimizer.param_groups[0]["lr"],
        }
        self._log_fn(metrics | self._best_costs(), self.iteration)
        self.log_dict(self.spent(), on_step=False, on_epoch=True, batch_size=1, sync_dist=True)

    def _of_all(self, value: T) -> list[T]:
        """What every process has for a value, by rank."""
        values: list[Any] = [value] * self.trainer.world_size
        if len(values) > 1:
            torch.distributed.all_gather_object(values, value)
        return values

    def _mean(self, numbers: torch.Tensor) -> torch.Tensor:
        """The mean over all processes."""
        mean: torch.Tensor = self.trainer.strategy.reduce(numbers, reduce_op="mean")
        return mean

    def _await_others(self) -> None:
        """Waits for the rollouts of all, and lets those who time operators have the device."""
        if self.trainer.world_size == 1:
            return
        arrived = torch.distributed.barrier(async_op=True)
        while not arrived.is_completed():
            for problem in self.problems:
                problem.objective.answer()
            time.sleep(_POLL_S)
        arrived.wait()

    def spent(self) -> dict[str, float]:
        """What limits may end: seconds without and with timing, iterations without progress."""
        return {
            "seconds": self.seconds,
            "wall_s": self.seconds + self.measure_s,
            "idle_iterations": self.iteration - self.improved_at,
        }

    def _best_costs(self) -> dict[str, float]:
        is_one = len(self.best) == 1
        return {
            "train/best_cost_ms" if is_one else f"train/{problem.name}/best_cost_ms": best.cost_ms
            for problem, best in zip(self.problems, self.best, strict=True)
        }

    def _measured_s(self) -> float:
        objectives = {id(problem.objective): problem.objective for problem in self.problems}
        return sum(objective.measure_s for objective in objectives.values())

    def _note_cheapest(self, infos: dict[str, Any]) -> None:
        for env, info, final in zip(self.envs.envs, infos["env"], infos["final"], strict=True):
            best = self.best[info["problem"]]
            saved_ms = best.cost_ms - info["cost_ms"]
            if saved_ms > self._references[info["problem"]].noise_ms:
                best.cost_ms = info["cost_ms"]
                best.actions = env.actions if final is None else final["actions"]
                if saved_ms > _PROGRESS * best.cost_ms:
                    self.improved_at = self.iteration + 1

    def _note_episodes(self, findings: Sequence[Findings]) -> dict[str, float]:
        """Metrics of a rollout's actions and ended episodes.

        The weights are kept where the last episodes, two an environment, had the best mean return.
        """
        taken = [rule for each in findings for rule in each.rules]
        ended = [episode for each in findings for episode in each.ended]
        metrics = {f"rules/{rule}": n / len(taken) for rule, n in sorted(Counter(taken).items())}
        metrics["train/share_stop"] = metrics.pop("rules/", 0.0)
        returns = [episode_return for _, episode_return, _ in ended]
        if ended:
            metrics |= {
                "train/episode_return": float(np.mean(returns)),
                "train/episode_length": float(np.mean([length for _, _, length in ended])),
                "train/episodes_stopped": float(np.mean([rule == "" for rule, _, _ in ended])),
                "train/episodes": len(ended),
            }
        window = 2 * self.envs.num_envs * len(findings)
        self.recent_returns = (self.recent_returns + returns)[-window:]
        full = bool(ended) and len(self.recent_returns) == window
        mean = float(np.mean(self.recent_returns)) if full else -float("inf")
        self.is_best = mean > self.best_return + _PROGRESS
        if self.is_best:
            self.best_return, self.improved_at = mean, self.iteration
            self.best_weights = {k: v.clone() for k, v in self.policy.state_dict().items()}
        return metrics

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what a resume needs, as plain data."""
        mine = {"generator": self._generator.get_state(), "envs": self.envs.snapshot()}
        first, *others = self._of_all(mine)
        checkpoint["ppo"] = {
            **describe_training(self.policy, self.problems[0].rules),
            **{name: getattr(self, name) for name in _RESUMED},
            "best": [(best.cost_ms, list(best.actions)) for best in self.best],
            **first,
        }
        if others:
            checkpoint["ppo"]["others"] = others

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes that up again; the environments follow in `on_train_start`."""
        saved = checkpoint["ppo"]
        for name in _RESUMED:
            setattr(self, name, saved[name])
        self.best = [Best(cost_ms, tuple(actions)) for cost_ms, actions in saved["best"]]
        mine = [saved, *saved.get("others", [])][self.global_rank]
        self._generator.set_state(mine["generator"])
        self._envs_snapshot = mine["envs"]


def _episodes(infos_T: list[dict[str, Any]]) -> tuple[list[str], list[tuple[str, float, int]]]:
    """The rules taken in a rollout, and of its ended episodes last rule, return and length."""
    taken = [info["rule"] for infos in infos_T for info in infos["env"]]
    finals = [final for infos in infos_T for final in infos["final"]]
    ended = [
        (rule, final["episode_return"], final["episode_length"])
        for rule, final in zip(taken, finals, strict=True)
        if final
    ]
    return taken, ended


def _update_metrics(updates: list[dict[str, float]]) -> dict[str, float]:
    """Means over the updates of an iteration; of the divergence the last."""
    mean = {name: float(np.mean([each[name] for each in updates])) for name in updates[0]}
    metrics = {f"loss/{name}": mean[name] for name in ("policy", "value", "total")}
    metrics |= {f"train/{name}": mean[name] for name in ("entropy", "clipfrac", "gradient_norm")}
    last = {"train/approx_kl": updates[-1]["approx_kl"], "train/num_updates": len(updates)}
    return metrics | last
