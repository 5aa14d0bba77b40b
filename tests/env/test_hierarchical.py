"""Actions as (rule, location)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from xflowrl.env import HierarchicalRewriteEnv, RewriteEnv
from xflowrl.measurement import estimated
from xflowrl.problem import Problem

MakeProblem = Callable[..., Problem]


def test_masks_name_the_matches_of_each_rule(tiny_problem: Problem) -> None:
    env = HierarchicalRewriteEnv(tiny_problem)
    observation, info = env.reset()
    rules, counts = np.unique(observation["match_rule"], return_counts=True)
    num_rules = len(tiny_problem.rules)
    assert np.flatnonzero(info["rule_mask"]).tolist() == [*rules, num_rules]
    assert info["location_mask"].shape == (num_rules + 1, counts.max())
    assert info["location_mask"].sum(axis=1)[rules].tolist() == counts.tolist()
    assert info["location_mask"].sum() == counts.sum() + 1


def test_every_pair_is_the_flat_action_it_names(tiny_problem: Problem) -> None:
    env = HierarchicalRewriteEnv(tiny_problem)
    observation, info = env.reset()
    pairs = np.argwhere(info["location_mask"])
    assert [env.flat_action(pair) for pair in pairs] == list(range(len(pairs)))
    rule, location = pairs[1]
    flat = RewriteEnv(tiny_problem)
    flat.reset()
    flat.step(1)
    _, _, _, _, info = env.step((rule, location))
    assert env.flat.state.hash == flat.state.hash
    assert info["rule"] == tiny_problem.rules.names[rule]
    assert observation["match_rule"][1] == rule


def test_stop_is_the_last_rule(tiny_problem: Problem) -> None:
    env = HierarchicalRewriteEnv(tiny_problem)
    env.reset()
    _, reward, terminated, *_ = env.step((len(tiny_problem.rules), 0))
    assert (reward, terminated) == (0.0, True)


@pytest.mark.parametrize("action", [(0, 4), (1, 1), (2, 0), (-1, 0), (0, -1)])
def test_what_the_masks_exclude_is_refused(
    relu_problem: MakeProblem, action: tuple[int, int]
) -> None:
    env = HierarchicalRewriteEnv(relu_problem(5))  # one rule, four locations
    env.reset()
    with pytest.raises(ValueError, match="is invalid: choose a rule of rule_mask"):
        env.step(action)


def test_spaces_follow_the_state(relu_problem: MakeProblem) -> None:
    env = HierarchicalRewriteEnv(relu_problem(5))
    env.reset()
    assert env.action_space.nvec.tolist() == [2, 4]
    env.step((0, 3))
    assert env.action_space.nvec.tolist() == [2, 3]


def test_real_measurements_execute_the_graphs(relu_problem: MakeProblem) -> None:
    env = HierarchicalRewriteEnv(relu_problem(40), real_measurements=True)
    env.reset()
    priced_reward = 1 / 40
    rewards = [env.step((0, 0))[1] for _ in range(39)]
    # Latency of a forty-fold relu against one: much is saved, and not what the prices say.
    assert sum(rewards) > 0.3
    assert rewards != pytest.approx([priced_reward] * 39)


def test_real_measurements_are_those_of_the_objectives_runtime(relu_problem: MakeProblem) -> None:
    guide = estimated(runtime="onnxruntime_plain", database=None, max_ms_per_op=2.0)
    for objective, runtime in ((guide, "onnxruntime_plain"), (None, "onnxruntime")):
        problem = relu_problem(3, objective=objective)
        env = HierarchicalRewriteEnv([problem, problem], real_measurements=True)
        first, second = (problem.objective for problem in env.flat.problems)
        assert first is second, "what one has executed the other knows"
        assert (first.is_real, first.runtime) == (True, runtime)
        assert not problem.objective.is_real
