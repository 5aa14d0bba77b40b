"""The same agent with its policy on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from xflowrl.agents.ppo.agent import PPO
from xflowrl.agents.ppo.policy import PolicySettings
from xflowrl.agents.ppo.settings import LearningSettings
from xflowrl.problem import Problem

MakeProblem = Callable[..., Problem]

SMALL = PolicySettings(hidden_size=16, initial_stop=0.5)
LEARNING = LearningSettings(num_envs=4, num_steps=8, max_episode_steps=8, minibatch_size=16)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA"),
]


def no_log(metrics: Mapping[str, float], step: int) -> None:
    pass


def ppo(**options: Any) -> PPO:
    return PPO(trainer={"accelerator": "gpu"}, policy=SMALL, learning=LEARNING, **options)


def test_trains_and_decodes(relu_problem: MakeProblem) -> None:
    (result,) = ppo(train_iterations=8).optimize([relu_problem(6)], no_log)
    assert result.num_nodes_best == 1


def test_a_checkpoint_is_of_no_device(relu_problem: MakeProblem, tmp_path: Path) -> None:
    """What was trained on a GPU decodes on the CPU, and a training is taken up there again."""
    problem = relu_problem(6)
    ppo(train_iterations=4, checkpoint_every=2, folder=str(tmp_path)).optimize([problem], no_log)
    folder = tmp_path / "checkpoints"
    trained = PPO(train=False, num_samples=8, checkpoint=str(folder / "last.pt"))
    (result,) = trained.optimize([problem], no_log)
    assert result.cost_best_ms < result.cost_initial_ms
    rows: list[Mapping[str, float]] = []
    resumed = ppo(train_iterations=6, resume=str(folder / "resume.ckpt"))
    resumed.optimize([problem], lambda metrics, step: rows.append(metrics))
    assert [row["train/iteration"] for row in rows if "train/iteration" in row] == [5, 6]


def test_the_same_distribution_as_on_the_cpu(relu_problem: MakeProblem) -> None:
    from xflowrl.agents.ppo.checkpoint import new_policy
    from xflowrl.agents.ppo.gallery import make_batch
    from xflowrl.env import Position, observe

    problem = relu_problem(6)
    state = problem.initial_state()
    policy = new_policy(SMALL, problem.rules)
    batch = make_batch([observe(Position(state, state))], num_layers=2)
    actions = torch.arange(len(state) + 1)
    with torch.no_grad():
        on_cpu = torch.stack([policy(batch)[0].log_prob(action.view(1)) for action in actions])
        policy.to("cuda")
        moved = batch.to(torch.device("cuda"))
        on_gpu = torch.stack(
            [policy(moved)[0].log_prob(action.view(1).to("cuda")) for action in actions]
        )
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=1e-4, atol=1e-4)


def test_trains_in_bfloat16(relu_problem: MakeProblem) -> None:
    agent = PPO(
        train_iterations=8,
        trainer={"accelerator": "gpu", "precision": "bf16-mixed"},
        policy=SMALL,
        learning=LEARNING,
    )
    (result,) = agent.optimize([relu_problem(6)], no_log)
    assert result.num_nodes_best == 1
