"""The agent: trains a policy on the problems, or takes a trained one, and decodes with it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch

from xflowrl.agents.attempt import Attempt, attempt_each
from xflowrl.agents.ppo.checkpoint import (
    check_resumable,
    load_policy,
    new_policy,
    save_policy,
)
from xflowrl.agents.ppo.decoding import decode, take_again
from xflowrl.agents.ppo.module import Best, PPOModule
from xflowrl.agents.ppo.policy import Policy, PolicySettings
from xflowrl.agents.ppo.settings import MIN_EPISODE_STEPS, LearningSettings
from xflowrl.env import VectorRewriteEnv, reward_from_name
from xflowrl.problem import Budget, Log, Problem, Result

logger = logging.getLogger(__name__)


class PPO:
    """Proximal policy optimisation with a graph neural network, trained on all problems at once.

    Training has limits of its own, apart from the budget of the problems, which covers inference:
    a greedy episode and `num_samples` sampled ones. The answer is the best graph seen in either;
    Ctrl-C ends both.
    Deterministic in the seed, as long as `train_iterations` ends training and not `train_s`.

    Attributes:
        train_s: seconds that training took; timing operators is not counted.
    """

    def __init__(
        self,
        *,
        train: bool = True,
        train_iterations: int = 40,
        train_s: float | None = 240.0,
        train_patience: int | None = 15,
        num_samples: int = 4,
        checkpoint: str | None = None,
        resume: str | None = None,
        folder: str | None = None,
        checkpoint_every: int = 10,
        reward: str = "incremental",
        reward_weights: dict[str, float] | None = None,
        policy: PolicySettings | None = None,
        learning: LearningSettings | None = None,
        accelerator: Literal["cpu", "gpu", "auto"] = "cpu",
        num_threads: int = 1,
    ) -> None:
        if not train and checkpoint is None and resume is None:
            logger.warning("agent.train=false without agent.checkpoint: the policy is untrained")
        if train_iterations < 0 or num_samples < 0 or min(checkpoint_every, num_threads) < 1:
            raise ValueError(
                f"agent: train_iterations {train_iterations}, num_samples {num_samples}, "
                f"checkpoint_every {checkpoint_every}, num_threads {num_threads}: give at least "
                f"0, 0, 1 and 1"
            )
        self.train_s = 0.0
        self._train = train
        self._train_iterations = train_iterations
        self._max_train_s = train_s
        self._train_patience = train_patience
        self._num_samples = num_samples
        self._checkpoint = checkpoint
        self._resume = resume
        self._folder = Path(folder) / "checkpoints" if folder else None
        self._checkpoint_every = checkpoint_every
        self._reward_fn = reward_from_name(reward, reward_weights)
        self._policy_settings = policy or PolicySettings()
        self._learning = learning or LearningSettings()
        self._accelerator = accelerator
        self._num_threads = num_threads

    def optimize(self, problems: Sequence[Problem], log: Log) -> list[Result]:
        """Trains, unless told not to, and decodes; one result a problem."""
        if not problems:
            return []
        torch.set_num_threads(self._num_threads)
        policy = self._initial_policy(problems[0])
        best: dict[int, Best] = {}
        is_interrupted = False
        if self._train and self._train_iterations > 0:
            best, is_interrupted = self._learn(policy, problems, log)
        policy.eval()

        def recall(attempt: Attempt) -> None:
            found = best.get(id(attempt.problem))
            if found is not None:
                take_again(attempt, found.actions)

        def attempt_fn(attempt: Attempt) -> None:
            recall(attempt)
            decode(attempt, policy, num_samples=self._num_samples, seed=attempt.problem.seed)

        return attempt_each(
            problems, log, attempt_fn, recall_fn=recall, is_interrupted=is_interrupted
        )

    def _initial_policy(self, problem: Problem) -> Policy:
        if self._checkpoint is not None:
            return load_policy(self._checkpoint, problem.rules)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(problem.seed)
            return new_policy(self._policy_settings, problem.rules)

    def _learn(
        self, policy: Policy, problems: Sequence[Problem], log: Log
    ) -> tuple[dict[int, Best], bool]:
        """Trains `policy` in place, to the weights that had the best mean return.

        Returns the best graph seen by id of problem, and whether Ctrl-C ended it.
        """
        learning = self._learning
        envs = VectorRewriteEnv(
            [replace(problem, budget=_episode_budget(problem, learning)) for problem in problems],
            learning.num_envs,
            reward_fn=self._reward_fn,
        )
        module = PPOModule(
            policy,
            envs,
            learning,
            num_iterations=self._train_iterations,
            seed=problems[0].seed,
            bootstraps=not getattr(self._reward_fn, "pays_at_end", False),
            log_fn=log,
            over_fn=self._after_iteration,
        )
        if self._resume is not None:
            check_resumable(self._resume, policy, problems[0].rules)
        trainer = self._trainer()
        is_interrupted = False
        try:
            trainer.fit(module, ckpt_path=self._resume, weights_only=True)
        except (KeyboardInterrupt, SystemExit):
            is_interrupted = True
            logger.warning("training interrupted after %d iterations", module.iteration)
        self.train_s = module.seconds
        self._save(module, "last.pt")
        if module.best_weights:
            policy.load_state_dict(module.best_weights)
        best = {id(problem): best for problem, best in zip(problems, module.best, strict=True)}
        return best, is_interrupted

    def _after_iteration(self, module: PPOModule) -> bool:
        """Saves what is due; True if training is to end."""
        if module.is_best:
            self._save(module, "best.pt")
        out_of_time = self._max_train_s is not None and module.seconds >= self._max_train_s
        idle = module.iteration - module.improved_at
        out_of_patience = self._train_patience is not None and idle >= self._train_patience
        return out_of_time or out_of_patience

    def _save(self, module: PPOModule, name: str) -> None:
        if self._folder is not None:
            rules = module.envs.envs[0].problem.rules
            save_policy(module.policy, rules, self._folder / name)

    def _trainer(self) -> pl.Trainer:
        logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists.*")
        callbacks: list[Any] = []
        if self._folder is not None:
            callbacks.append(_KeepResumable(self._folder / "resume.ckpt", self._checkpoint_every))
        return pl.Trainer(
            accelerator=self._accelerator,
            devices=1,
            max_epochs=self._train_iterations,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=callbacks,
        )


class _KeepResumable(pl.Callback):
    """Saves all of the training's state every so many iterations, to go on from there exactly."""

    def __init__(self, path: Path, every: int) -> None:
        self._path = path
        self._every = every

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Between two iterations."""
        if (trainer.current_epoch + 1) % self._every == 0:
            trainer.save_checkpoint(self._path)


def _episode_budget(problem: Problem, learning: LearningSettings) -> Budget:
    steps = learning.max_episode_steps
    return Budget(max_iterations=steps or max(len(problem.model.graph), MIN_EPISODE_STEPS))
