"""The agent: a trained policy as the prior of a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from xflowrl.agents.attempt import attempt_each, seeded
from xflowrl.agents.mcts.search import Search, SearchSettings
from xflowrl.agents.ppo.checkpoint import load_policy
from xflowrl.problem import Log, Problem, Result


class MCTS:
    """Monte Carlo tree search by a trained policy, which is used as it is.

    What the policy would do is the prior of PUCT, what it expects to save is the value of a leaf;
    see `SearchSettings`. In an iteration the matches of one state are listed, for the network or in
    a descent. Deterministic in the problem's seed. The search ends with the budget, or where
    nothing new is left.

    Args:
        checkpoint: `pretrained`, or a policy of a run folder: checkpoints/best.pt or last.pt.
        num_threads: of torch.
        seed: of what is drawn; None: the problem's.
    """

    def __init__(
        self,
        *,
        checkpoint: str = "pretrained",
        c: float = 1.0,
        simulations: int = 2,
        side_by_side: int = 4,
        widening: float = 0.5,
        matches_at_once: int | None = None,
        likely_share: float = 1e-5,
        temperature: float = 2.0,
        value: Literal["head", "saved", "descent"] = "head",
        gamma: float = 0.995,
        step_cost: float = 0.02,
        descends: bool = True,
        num_threads: int = 1,
        seed: int | None = None,
    ) -> None:
        if num_threads < 1:
            raise ValueError(f"agent.num_threads is {num_threads}: give at least 1")
        self._checkpoint = checkpoint
        self._num_threads = num_threads
        self._seed = seed
        self._settings = SearchSettings(
            c=c,
            simulations=simulations,
            side_by_side=side_by_side,
            widening=widening,
            matches_at_once=matches_at_once,
            likely_share=likely_share,
            temperature=temperature,
            value=value,
            gamma=gamma,
            step_cost=step_cost,
            descends=descends,
        )

    def optimize(self, problems: Sequence[Problem], log: Log) -> list[Result]:
        """One search a problem."""
        if not problems:
            return []
        torch.set_num_threads(self._num_threads)
        policy = load_policy(self._checkpoint, problems[0].rules).eval()
        return attempt_each(
            seeded(problems, self._seed),
            log,
            lambda attempt: Search(attempt, policy, self._settings).run(),
        )
