"""Arrays of one size, and a library that wants them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from xflowrl.env import FixedSizeEnv, RewriteEnv
from xflowrl.problem import Problem

MakeProblem = Callable[..., Problem]


def test_vectors_and_masks(relu_problem: MakeProblem) -> None:
    env = FixedSizeEnv(RewriteEnv(relu_problem(4)), max_matches=5)
    vector, _ = env.reset()
    assert vector in env.observation_space
    assert vector[:20].reshape(5, 4)[:, 0].tolist() == [1, 1, 1, 0, 0]
    assert env.action_masks().tolist() == [True, True, True, False, False, True]
    assert vector[20:] == pytest.approx([0.5, 0.5, 0.6])
    with pytest.raises(ValueError, match="action 3 is invalid"):
        env.step(3)
    env.step(0)
    assert env.action_masks().tolist() == [True, True, False, False, False, True]
    _, reward, terminated, *_ = env.step(5)
    assert (reward, terminated) == (0.0, True)


def test_what_does_not_fit_is_refused(relu_problem: MakeProblem) -> None:
    with pytest.raises(ValueError, match="3 matches do not fit"):
        FixedSizeEnv(RewriteEnv(relu_problem(4)), max_matches=2).reset()
    FixedSizeEnv(RewriteEnv(relu_problem(4), max_matches=2), max_matches=2).reset()


def test_gymnasiums_checker_passes(tiny_problem: Problem) -> None:
    # The checker draws actions without a mask: with as many places as matches all are valid.
    env = FixedSizeEnv(RewriteEnv(tiny_problem, max_matches=2), max_matches=2)
    check_env(env, skip_render_check=True)


def test_maskable_ppo_trains_on_tiny(tiny_problem: Problem) -> None:
    sb3_contrib = pytest.importorskip("sb3_contrib", reason="needs the test extra sb3")
    from dataclasses import replace

    from xflowrl.problem import Budget

    problem = replace(tiny_problem, budget=Budget(max_iterations=12))
    env = FixedSizeEnv(RewriteEnv(problem, max_matches=8), max_matches=8)
    model = sb3_contrib.MaskablePPO(
        "MlpPolicy",
        env,
        n_steps=256,
        batch_size=256,
        n_epochs=4,
        gamma=1.0,
        seed=0,
        device="cpu",
        learning_rate=3e-3,
    )

    def mean_return(episodes: int = 40) -> float:
        returns = []
        for _ in range(episodes):
            vector, _ = env.reset()
            total, over = 0.0, False
            while not over:
                action, _ = model.predict(vector, action_masks=env.action_masks())
                vector, reward, terminated, truncated, _ = env.step(int(action))
                total, over = total + reward, terminated or truncated
            returns.append(total)
        return float(np.mean(returns))

    untrained = mean_return()
    model.learn(1536)
    # The optimum is 0.235, a random walk gets about 0.11.
    assert mean_return() > untrained + 0.03
