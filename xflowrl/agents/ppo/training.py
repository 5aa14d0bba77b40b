"""Training as Lightning sees it: one training step is one iteration of the algorithm."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, LambdaCallback, ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader

from xflowrl.agents.ppo import algorithm
from xflowrl.agents.ppo.checkpoint import describe_training, save_whole
from xflowrl.agents.ppo.distribution import ActionDistribution
from xflowrl.agents.ppo.features import make_batch
from xflowrl.agents.ppo.policy import Policy
from xflowrl.agents.ppo.settings import LearningSettings
from xflowrl.env import Position, VectorRewriteEnv, observe
from xflowrl.problem import Log
from xflowrl.shortage import space_for

# A mean return or a cost counts as better from this share of the initial cost on: progress that
# noise makes must not keep a training alive.
_PROGRESS = 1e-3

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


class PPOModule(pl.LightningModule):
    """One training step is one iteration: a rollout, then several epochs of updates on it.

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
        self._generator = torch.Generator().manual_seed(self.problems[0].seed)
        self._envs_snapshot: dict[str, Any] | None = None

    def forward(self, positions: Sequence[Position]) -> tuple[ActionDistribution, torch.Tensor]:
        """The policy at some positions, on this module's device."""
        batch = make_batch([observe(position) for position in positions]).to(self.device)
        answer: tuple[ActionDistribution, torch.Tensor] = self.policy(batch)
        return answer

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with epsilon 1e-5 (Huang et al. 2022, core detail 3)."""
        return torch.optim.Adam(self.policy.parameters(), lr=self.settings.learning_rate, eps=1e-5)

    def train_dataloader(self) -> DataLoader[int]:
        """One batch an epoch: an epoch is an iteration, so that checkpoints fall between them."""
        return DataLoader(range(1), batch_size=None)  # type: ignore[arg-type]

    def on_train_start(self) -> None:
        """Begins the episodes, or takes them up where a checkpoint left them."""
        if self._envs_snapshot is None:
            self.envs.reset(seed=self.problems[0].seed)
            start = {"train/env_steps": 0, "train/seconds": 0.0, **self._best_costs()}
            self._log_fn(start, 0)
        else:
            self.envs.restore(self._envs_snapshot)

    def training_step(self, batch: int, batch_idx: int) -> None:
        """One iteration."""
        began_s, measured_s = time.perf_counter(), self._measured_s()
        settings, generator = self.settings, self._generator
        progress = self.iteration / self.num_iterations
        rollout = algorithm.collect(
            self, self.envs, settings=settings, generator=generator, note_fn=self._note_cheapest
        )
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
        )
        self.iteration += 1
        self.num_env_steps += advantages_TB.size
        metrics = _update_metrics(updates) | self._note_episodes(rollout.infos)
        # Timing operators is not counted, so that training ends at the same place with a warm and
        # with a cold op-cost database.
        measured_s = self._measured_s() - measured_s
        seconds = time.perf_counter() - began_s - measured_s
        self.seconds += seconds
        self.measure_s += measured_s
        values_TB, returns_TB = rollout.values_TB, rollout.values_TB + advantages_TB
        metrics |= {
            "train/explained_variance": algorithm.explained_variance(values_TB, returns_TB),
            "train/iteration": self.iteration,
            "train/max_iterations": self.num_iterations,
            "train/env_steps": self.num_env_steps,
            "train/seconds": self.seconds,
            "train/measure_s": self.measure_s,
            "train/steps_per_s": advantages_TB.size / seconds,
            "train/rollout_steps_per_s": advantages_TB.size / collect_s,
            "train/learning_rate": optimizer.param_groups[0]["lr"],
        }
        self._log_fn(metrics | self._best_costs(), self.iteration)
        self.log_dict(self.spent(), on_step=False, on_epoch=True, batch_size=1)

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

    def _note_episodes(self, infos_T: list[dict[str, Any]]) -> dict[str, float]:
        """Metrics of a rollout's actions and ended episodes.

        The weights are kept where the last episodes, two an environment, had the best mean return.
        """
        taken = [info["rule"] for infos in infos_T for info in infos["env"]]
        finals = [final for infos in infos_T for final in infos["final"]]
        metrics = {f"rules/{rule}": n / len(taken) for rule, n in sorted(Counter(taken).items())}
        metrics["train/share_stop"] = metrics.pop("rules/", 0.0)
        ended = [(rule, final) for rule, final in zip(taken, finals, strict=True) if final]
        returns = [final["episode_return"] for _, final in ended]
        if ended:
            metrics |= {
                "train/episode_return": float(np.mean(returns)),
                "train/episode_length": float(np.mean([f["episode_length"] for _, f in ended])),
                "train/episodes_stopped": float(np.mean([rule == "" for rule, _ in ended])),
                "train/episodes": len(ended),
            }
        window = 2 * self.envs.num_envs
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
        checkpoint["ppo"] = {
            **describe_training(self.policy, self.problems[0].rules),
            **{name: getattr(self, name) for name in _RESUMED},
            "best": [(best.cost_ms, list(best.actions)) for best in self.best],
            "generator": self._generator.get_state(),
            "envs": self.envs.snapshot(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes that up again; the environments follow in `on_train_start`."""
        saved = checkpoint["ppo"]
        for name in _RESUMED:
            setattr(self, name, saved[name])
        self.best = [Best(cost_ms, tuple(actions)) for cost_ms, actions in saved["best"]]
        self._generator.set_state(saved["generator"])
        self._envs_snapshot = saved["envs"]


class _WholeFiles(TorchCheckpointIO):
    """Writes checkpoints beside their place: Lightning may write to another file system first."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Writes one, whole or not at all."""
        save_whole(checkpoint, Path(path))


def train(
    module: PPOModule,
    options: Mapping[str, Any],
    *,
    max_s: float | None,
    max_wall_s: float | None,
    patience: int | None,
    folder: Path | None,
    checkpoint_every: int,
    resume: str | None,
    keep_best_fn: Callable[[], None],
) -> None:
    """Trains until a limit is reached: iterations, seconds, or iterations without progress.

    Args:
        options: of Lightning's Trainer.
        folder: where `resume.ckpt` is kept, every so many iterations; None: nowhere.
        resume: such a file, of the training to go on with.
        keep_best_fn: called after an iteration whose policy is the best so far.

    Raises:
        ValueError: an option that does not exist, or does not fit this training.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    expected = ".*(many workers|Checkpoint directory|dirpath has changed|callbacks used to).*"
    warnings.filterwarnings("ignore", expected)

    def keep_best(trainer: pl.Trainer, module: PPOModule) -> None:
        if module.is_best:
            keep_best_fn()

    limits = {
        "seconds": max_s,
        "wall_s": max_wall_s,
        "idle_iterations": None if patience is None else patience - 1,
    }

    def stay_ended(trainer: pl.Trainer, module: PPOModule) -> None:
        """A training that a limit ended does not make one more iteration."""
        spent = module.spent()
        trainer.should_stop = any(m is not None and spent[name] > m for name, m in limits.items())

    callbacks: list[pl.Callback] = [LambdaCallback(on_train_epoch_end=keep_best)]
    if resume is not None:
        callbacks.append(LambdaCallback(on_train_start=stay_ended))
    callbacks += [end_above(name, limit) for name, limit in limits.items() if limit is not None]
    if folder is not None:
        every = {"every_n_epochs": checkpoint_every, "enable_version_counter": False}
        callbacks.append(ModelCheckpoint(folder, "resume", **every))
    given = f"agent.trainer {dict(options)}"
    try:
        trainer = pl.Trainer(
            **options,
            max_epochs=module.num_iterations,
            logger=False,
            enable_checkpointing=folder is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=callbacks,
            plugins=[_WholeFiles()],
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise ValueError(f"{given}: {' '.join(str(error).split())}") from None
    if trainer.strategy.launcher is not None:
        # Processes of its own would roll out, count and stop each for itself.
        raise ValueError(
            f"{given}: training is one process on one device; give devices=1 strategy=auto, "
            f"and use further devices for further runs"
        )
    if trainer.precision not in ("32-true", "bf16-mixed"):
        # Gradients would be clipped while they are scaled, or inputs not be of weights' type.
        raise ValueError(f"{given}: precision is 32-true or bf16-mixed here")
    try:
        with space_for((folder or Path()) / "resume.ckpt"):
            trainer.fit(module, ckpt_path=resume, weights_only=True)
    except MisconfigurationException as error:  # an option that fits no manual optimisation
        raise ValueError(f"{given}: {error}") from None


def end_above(name: str, limit: float) -> EarlyStopping:
    """Ends training after the iteration in which a number that the module logs exceeds `limit`.

    Lightning's `Timer` counts the timing of operators too; `EarlyStopping`'s own patience knows one
    quantity, and a resume takes the saved patience for the given one. So the module counts, and of
    `EarlyStopping` only the threshold is used.
    """
    return EarlyStopping(name, mode="max", stopping_threshold=limit, patience=sys.maxsize)


def _update_metrics(updates: list[dict[str, float]]) -> dict[str, float]:
    """Means over the updates of an iteration; of the divergence the last."""
    mean = {name: float(np.mean([each[name] for each in updates])) for name in updates[0]}
    metrics = {f"loss/{name}": mean[name] for name in ("policy", "value", "total")}
    metrics |= {f"train/{name}": mean[name] for name in ("entropy", "clipfrac", "gradient_norm")}
    last = {"train/approx_kl": updates[-1]["approx_kl"], "train/num_updates": len(updates)}
    return metrics | last
