"""The agent: trains a policy on the problems, or takes a trained one, and decodes with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from xflowrl.agents.attempt import Attempt, attempt_each, seeded
from xflowrl.agents.ppo.checkpoint import check_resumable, load_policy, new_policy, save_policy
from xflowrl.agents.ppo.decoding import DecodingSettings, decode, take_again
from xflowrl.agents.ppo.policy import Policy, PolicySettings
from xflowrl.agents.ppo.settings import MIN_EPISODE_STEPS, LearningSettings
from xflowrl.env import VectorRewriteEnv, reward_from_name
from xflowrl.problem import Budget, Log, Problem, Result

if TYPE_CHECKING:
    from xflowrl.agents.ppo.ranks import Seat
    from xflowrl.agents.ppo.training import Best, PPOModule

logger = logging.getLogger(__name__)

_ONE_PROCESS: Mapping[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "strategy": "auto",
    "precision": "32-true",
}


class PPO:
    """Proximal policy optimisation with a graph neural network, trained on all problems at once.

    Training has limits of its own, apart from the budget of the problems, which covers inference:
    a greedy episode and sampled ones. The answer is the best graph seen in either;
    Ctrl-C ends both. With several devices several processes train together (`PPOModule`).
    Deterministic in the seed, as long as `train_iterations` ends training and not `train_s`, and
    costs are prices.

    Args:
        seed: of the first weights and all that is drawn; None: the problems'.

    Attributes:
        train_s: seconds that training took; timing is not counted.
        train_wall_s: the same with timing.
    """

    def __init__(
        self,
        *,
        train: bool = True,
        train_iterations: int = 40,
        train_s: float | None = 240.0,
        train_wall_s: float | None = None,
        train_patience: int | None = 15,
        num_samples: int = 4,
        side_by_side: int = 8,
        matches_at_once: int | None = None,
        likely_share: float = 1e-5,
        temperature: float = 5.0,
        patience: int | None = 10,
        descends: bool = True,
        recombines: bool = True,
        branch_share: float = 0.75,
        checkpoint: str | None = None,
        resume: str | None = None,
        folder: str | None = None,
        checkpoint_every: int = 1,
        reward: str = "incremental",
        reward_weights: dict[str, float] | None = None,
        policy: PolicySettings | None = None,
        learning: LearningSettings | None = None,
        trainer: Mapping[str, Any] = _ONE_PROCESS,
        num_threads: int = 1,
        seed: int | None = None,
    ) -> None:
        if not train and checkpoint is None and resume is None:
            logger.warning("agent.train=false without agent.checkpoint: the policy is untrained")
        if train_iterations < 0 or min(checkpoint_every, num_threads) < 1:
            raise ValueError(
                f"agent: train_iterations {train_iterations}, checkpoint_every {checkpoint_every}, "
                f"num_threads {num_threads}: give at least 0, 1 and 1"
            )
        self.train_s = self.train_wall_s = 0.0
        self._train = train
        self._train_iterations = train_iterations
        self._max_train_s = train_s
        self._max_train_wall_s = train_wall_s
        self._train_patience = train_patience
        self._decoding = DecodingSettings(
            num_samples=num_samples,
            side_by_side=side_by_side,
            matches_at_once=matches_at_once,
            likely_share=likely_share,
            temperature=temperature,
            patience=patience,
            descends=descends,
            recombines=recombines,
            branch_share=branch_share,
        )
        self._checkpoint = checkpoint
        self._resume = resume
        self._folder = Path(folder) / "checkpoints" if folder else None
        self._checkpoint_every = checkpoint_every
        self._reward_fn = reward_from_name(reward, reward_weights)
        self._policy_settings = policy or PolicySettings()
        self._learning = learning or LearningSettings()
        self._trainer = {**_ONE_PROCESS, **trainer}
        self._num_threads = num_threads
        self._seed = seed

    def optimize(self, problems: Sequence[Problem], log: Log) -> list[Result]:
        """Trains, unless told not to, and decodes; one result a problem."""
        if not problems:
            return []
        problems = seeded(problems, self._seed)
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
            decode(attempt, policy, self._decoding)

        return attempt_each(
            problems, log, attempt_fn, recall_fn=recall, is_interrupted=is_interrupted
        )

    def train_beside(self, problems: Sequence[Problem], seat: Seat) -> None:
        """Takes part in the training of another process, which logs and keeps what is found."""
        torch.set_num_threads(self._num_threads)
        module = self._module(self._initial_policy(problems[0]), problems, lambda *_: None)
        self._train_module(module, seat, keep_best_fn=lambda: None)

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
        from xflowrl.agents.ppo.ranks import FirstSeat  # Lightning takes seconds

        module = self._module(policy, problems, log)
        seat = FirstSeat(self, [replace(problem, checkpoint=None) for problem in problems])
        if self._resume is not None:
            check_resumable(self._resume, policy, problems[0].rules)
        is_interrupted = False
        try:
            self._train_module(module, seat, keep_best_fn=lambda: self._save(module, "best.pt"))
        except (KeyboardInterrupt, SystemExit):
            is_interrupted = True
            logger.warning("training interrupted after %d iterations", module.iteration)
        self.train_s, self.train_wall_s = module.seconds, module.seconds + module.measure_s
        self._save(module, "last.pt")
        if not module.best_weights:  # no episode has ended yet
            self._save(module, "best.pt")
        else:
            policy.load_state_dict(module.best_weights)
        best = {id(problem): best for problem, best in zip(problems, module.best, strict=True)}
        return best, is_interrupted

    def _module(self, policy: Policy, problems: Sequence[Problem], log: Log) -> PPOModule:
        from xflowrl.agents.ppo.training import PPOModule

        learning, cut = self._learning, []
        for problem in problems:
            nodes = max(len(problem.model.graph), MIN_EPISODE_STEPS)
            budget = Budget(max_iterations=learning.max_episode_steps or nodes)
            cut.append(replace(problem, budget=budget))
        envs = VectorRewriteEnv(cut, learning.num_envs, reward_fn=self._reward_fn)
        return PPOModule(
            policy,
            envs,
            learning,
            num_iterations=self._train_iterations,
            bootstraps=not getattr(self._reward_fn, "pays_at_end", False),
            log_fn=log,
        )

    def _train_module(
        self, module: PPOModule, seat: Seat, *, keep_best_fn: Callable[[], None]
    ) -> None:
        from xflowrl.agents.ppo.trainer import train

        train(
            module,
            self._trainer,
            seat,
            max_s=self._max_train_s,
            max_wall_s=self._max_train_wall_s,
            patience=self._train_patience,
            folder=self._folder,
            checkpoint_every=self._checkpoint_every,
            resume=self._resume,
            keep_best_fn=keep_best_fn,
        )

    def _save(self, module: PPOModule, name: str) -> None:
        if self._folder is not None:
            save_policy(module.policy, module.problems[0].rules, self._folder / name)
