"""`RewriteEnv`: every sentence of its docstring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from xflowrl.env import RewriteEnv
from xflowrl.graphs.random_networks import random_network
from xflowrl.measurement import roofline
from xflowrl.problem import Problem, Trace
from xflowrl.rules import load_core

MakeProblem = Callable[..., Problem]


@pytest.fixture
def env(relu_problem: MakeProblem) -> RewriteEnv:
    """Five relus in a row: four matches, each saving a fifth of the cost."""
    env = RewriteEnv(relu_problem(5))
    env.reset(seed=0)
    return env


def test_return_is_the_fraction_saved(env: RewriteEnv) -> None:
    rewards = []
    terminated = False
    while not terminated:
        _, reward, terminated, truncated, _ = env.step(0)
        assert not truncated
        rewards.append(reward)
    assert rewards == pytest.approx([0.2] * 4)  # sums of equal costs: rounding alone
    assert env.state.num_nodes == 1


def test_reward_is_negative_where_the_graph_becomes_dearer(tiny_problem: Problem) -> None:
    env = RewriteEnv(tiny_problem)
    observation, _ = env.reset()
    dearer = int(np.argmax(observation["match_cost_ms"]))
    before_ms = env.state.cost.ms
    _, reward, *_ = env.step(dearer)
    assert env.state.cost.ms > before_ms
    assert reward == pytest.approx((before_ms - env.state.cost.ms) / before_ms)
    assert reward < 0


def test_observed_cost_differences_come_true(tiny_problem: Problem) -> None:
    env = RewriteEnv(tiny_problem)
    rng = np.random.default_rng(0)
    observation, _ = env.reset()
    for _ in range(20):
        action = int(rng.integers(env.num_matches))
        expected_ms = env.state.cost.ms + observation["match_cost_ms"][action]
        observation, _, terminated, _, info = env.step(action)
        # Costs are in the order of 1e-2 ms; differences are sums of a few of them.
        assert info["cost_ms"] == pytest.approx(expected_ms, rel=1e-9)
        assert not terminated


def test_actions_are_the_matches_and_stop(env: RewriteEnv) -> None:
    assert env.action_space.n == 5
    env.step(1)
    assert env.action_space.n == 4
    assert env.action_masks().tolist() == [True] * 4


def test_stop_ends_the_episode_and_changes_nothing(env: RewriteEnv) -> None:
    before = env.state
    _, reward, terminated, truncated, info = env.step(4)
    assert (reward, terminated, truncated, info["rule"]) == (0.0, True, False, "")
    assert env.state.hash == before.hash


@pytest.mark.parametrize("action", [-1, 5, 100])
def test_invalid_action_is_refused(env: RewriteEnv, action: int) -> None:
    before = env.state.hash
    with pytest.raises(ValueError, match=f"action {action} is invalid: this state has 4 matches"):
        env.step(action)
    assert env.state.hash == before


def test_step_after_the_end_is_refused(env: RewriteEnv) -> None:
    env.step(4)
    with pytest.raises(ValueError, match="episode is over"):
        env.step(0)


def test_the_budget_truncates(relu_problem: MakeProblem) -> None:
    env = RewriteEnv(relu_problem(5, max_iterations=2))
    env.reset()
    assert env.step(0)[2:4] == (False, False)
    *_, terminated, truncated, info = env.step(0)
    assert (terminated, truncated, info["stop_reason"]) == (False, True, "iterations")
    env.reset()
    assert env.step(0)[2:4] == (False, False), "a new episode has a new budget"


def test_an_end_at_the_budget_is_a_termination(relu_problem: MakeProblem) -> None:
    env = RewriteEnv(relu_problem(2, max_iterations=1))
    env.reset()
    *_, terminated, truncated, info = env.step(0)
    assert (terminated, truncated) == (True, False)
    assert "stop_reason" not in info


def test_no_match_at_all_leaves_stop(relu_problem: MakeProblem) -> None:
    env = RewriteEnv(relu_problem(1))
    observation, _ = env.reset()
    assert (env.action_space.n, len(observation["match_rule"])) == (1, 0)
    assert env.step(0)[2] is True


def test_max_matches_keeps_the_cheapest_and_counts_the_others(tiny_problem: Problem) -> None:
    everything, _ = RewriteEnv(tiny_problem).reset()
    env = RewriteEnv(tiny_problem, max_matches=2)
    observation, info = env.reset()
    kept = np.sort(np.argsort(everything["match_cost_ms"])[:2])
    assert info["num_dropped_matches"] == len(everything["match_rule"]) - 2 == 1
    assert observation["match_cost_ms"].tolist() == everything["match_cost_ms"][kept].tolist()
    for row, match in enumerate(kept):
        begin, end = observation["match_node_ptr"][row : row + 2]
        full_begin, full_end = everything["match_node_ptr"][match : match + 2]
        assert (
            observation["match_node"][begin:end].tolist()
            == everything["match_node"][full_begin:full_end].tolist()
        )
    difference_ms, before_ms = observation["match_cost_ms"][1], env.state.cost.ms
    env.step(1)
    assert env.state.cost.ms == pytest.approx(before_ms + difference_ms)
    assert env.actions == (kept[1],)


@pytest.mark.parametrize("seed", range(3))
def test_what_max_matches_keeps_comes_first_where_all_are_sorted(seed: int) -> None:
    model = random_network(num_nodes=60, trap=0.5, channels=16, image_size=16, seed=seed)
    problem = Problem(model=model, rules=load_core(), objective=roofline())
    rng, num_ties = np.random.default_rng(seed), 0
    for max_matches in (1, 4, 9):
        env = RewriteEnv(problem, max_matches=max_matches)
        observation, _ = env.reset()
        for _ in range(10):
            everything = env.state.observe()
            cost_ms, size = everything["match_cost_ms"], everything["match_size"]
            by_rank = np.lexsort((size, cost_ms))
            kept = np.sort(by_rank[:max_matches])
            for name in ("match_rule", "match_cost_ms", "match_size"):
                np.testing.assert_array_equal(observation[name], everything[name][kept])
            num_ties += cost_ms[by_rank[max_matches - 1]] == cost_ms[by_rank[max_matches]]
            action = int(rng.integers(max_matches))
            observation, *_ = env.step(action)
            assert env.actions[-1] == kept[action]
    assert num_ties > 0


def test_problems_are_drawn_or_chosen(relu_problem: MakeProblem) -> None:
    env = RewriteEnv([relu_problem(n) for n in (2, 3, 4)])
    drawn = {env.reset(seed=seed)[1]["problem"] for seed in range(20)}
    assert drawn == {0, 1, 2}
    env.reset(options={"problem": 2})
    assert env.num_matches == 3
    with pytest.raises(ValueError, match="problem 3: there are 3"):
        env.reset(options={"problem": 3})


def test_a_fork_goes_its_own_way(env: RewriteEnv) -> None:
    env.step(0)
    twin = env.fork()
    twin.step(1)
    twin.step(0)
    assert (len(env.actions), len(twin.actions)) == (1, 3)
    assert (env.num_matches, twin.num_matches) == (3, 1)
    env.step(0)
    assert env.trace.steps[0] == twin.trace.steps[0]


def test_a_fork_has_its_own_budget(relu_problem: MakeProblem) -> None:
    env = RewriteEnv(relu_problem(5, max_iterations=2))
    env.reset()
    twin = env.fork()
    env.step(0)
    assert env.step(0)[3] is True
    assert twin.step(0)[3] is False


def test_a_trace_replays(env: RewriteEnv) -> None:
    for action in (2, 0, 1):
        env.step(action)
    trace, hash_ = env.trace, env.state.hash
    assert [step.rule for step in trace.steps] == ["relu-of-relu"] * 3
    env.reset()
    env.replay(trace)
    assert (env.state.hash, env.trace) == (hash_, trace)
    env.validate()


def test_a_wrong_trace_is_refused(env: RewriteEnv) -> None:
    env.step(0)
    (step,) = env.trace.steps
    with pytest.raises(ValueError, match="no problem has that graph"):
        env.replay(replace(env.trace, graph_hash="0" * 32))
    with pytest.raises(ValueError, match="trace step 0: rule 'relu-of-relu' does not match at x"):
        env.replay(Trace(env.trace.graph_hash, (replace(step, tensors=("x",)),)))


def test_validate_notices_another_graph(env: RewriteEnv, relu_problem: MakeProblem) -> None:
    env.step(0)
    env.validate()
    other = relu_problem(3)
    state = other.initial_state()
    env.position = replace(env.position, state=state)
    with pytest.raises(ValueError, match="the trace leads to graph"):
        env.validate()


def test_a_snapshot_restores(relu_problem: MakeProblem) -> None:
    problems = [relu_problem(n, max_iterations=4) for n in (4, 6)]
    env = RewriteEnv(problems)
    env.reset(seed=3)
    env.step(1)
    env.step(0)
    saved = env.snapshot()
    twin = RewriteEnv(problems)
    twin.restore(saved)
    for _ in range(3):
        assert twin.state.hash == env.state.hash
        assert twin.step(0)[1:4] == env.step(0)[1:4]
        assert twin.reset()[1]["problem"] == env.reset()[1]["problem"]


def test_gymnasiums_checker_passes(tiny_problem: Problem) -> None:
    check_env(RewriteEnv(tiny_problem), skip_render_check=True)


def test_gymnasium_makes_it(tiny_problem: Problem) -> None:
    env = gymnasium.make("xflowrl.env:xflowrl/Rewrite-v0", problems=tiny_problem)
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space
    *_, terminated, _, _ = env.step(len(observation["match_rule"]))
    assert terminated


def test_observations_are_in_their_space(env: RewriteEnv, tiny_problem: Problem) -> None:
    for each in (env, RewriteEnv(tiny_problem)):
        observation, _ = each.reset()
        assert observation in each.observation_space
        assert {**observation, "node_op": observation["edge_shape"]} not in each.observation_space
        assert each.observation_space.sample() in each.observation_space


def test_options_are_checked(relu_problem: MakeProblem) -> None:
    with pytest.raises(ValueError, match="needs a problem"):
        RewriteEnv([])
    with pytest.raises(ValueError, match="max_matches is 0"):
        RewriteEnv(relu_problem(2), max_matches=0)
