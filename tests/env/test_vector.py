"""Environments side by side."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from xflowrl.env import VectorRewriteEnv
from xflowrl.problem import Problem

MakeProblem = Callable[..., Problem]


def test_environments_are_independent(relu_problem: MakeProblem) -> None:
    envs = VectorRewriteEnv(relu_problem(5), 3)
    envs.reset(seed=0)
    observations, rewards, terminated, truncated, infos = envs.step([0, 4, 1])
    assert rewards == pytest.approx([0.2, 0.0, 0.2])
    assert terminated.tolist() == [False, True, False]
    assert truncated.tolist() == [False] * 3
    assert [len(o["match_rule"]) for o in observations] == [3, 4, 3]
    assert observations in envs.observation_space
    assert [info["rule"] for info in infos["env"]] == ["relu-of-relu", "", "relu-of-relu"]


def test_an_ended_episode_is_reset_in_the_same_step(relu_problem: MakeProblem) -> None:
    envs = VectorRewriteEnv(relu_problem(4, max_iterations=2), 2)
    envs.reset(seed=0)
    envs.step([2, 0])
    last = envs.positions[0]
    observations, _, terminated, truncated, infos = envs.step([1, 2])
    assert (terminated.tolist(), truncated.tolist()) == ([False, True], [True, False])
    ended = infos["final"][0]
    assert ended["episode_return"] == pytest.approx(0.5)
    assert ended["episode_length"] == 2
    assert ended["actions"] == (2, 1)
    assert ended["position"].state.num_nodes == last.state.num_nodes - 1
    assert [len(o["match_rule"]) for o in observations] == [3, 3]
    assert infos["final"][1]["episode_return"] == pytest.approx(0.25)
    *_, infos = envs.step([0, 0])
    assert infos["final"] == [None, None]


def test_seeds_differ_between_environments(relu_problem: MakeProblem) -> None:
    problems = [relu_problem(n) for n in range(2, 8)]
    first, second = VectorRewriteEnv(problems, 6), VectorRewriteEnv(problems, 6)
    drawn = [info["problem"] for info in first.reset(seed=1)[1]["env"]]
    assert drawn == [info["problem"] for info in second.reset(seed=1)[1]["env"]]
    assert len(set(drawn)) > 1


def test_a_snapshot_restores(relu_problem: MakeProblem) -> None:
    problems = [relu_problem(n, max_iterations=3) for n in (4, 6)]
    envs = VectorRewriteEnv(problems, 2)
    envs.reset(seed=1)
    envs.step([0, 1])
    twin = VectorRewriteEnv(problems, 2)
    twin.restore(envs.snapshot())
    for _ in range(6):
        ours, theirs = envs.step([0, 0]), twin.step([0, 0])
        for index in (1, 2, 3):
            assert ours[index].tolist() == theirs[index].tolist()
        assert [p.state.hash for p in envs.positions] == [p.state.hash for p in twin.positions]


def test_at_least_one(relu_problem: MakeProblem) -> None:
    with pytest.raises(ValueError, match="num_envs is 0"):
        VectorRewriteEnv(relu_problem(2), 0)
