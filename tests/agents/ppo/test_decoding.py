"""Using a policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xflowrl._engine import RuleSet
from xflowrl.agents.attempt import Attempt
from xflowrl.agents.ppo import decoding
from xflowrl.agents.ppo.agent import PPO
from xflowrl.agents.ppo.checkpoint import new_policy
from xflowrl.agents.ppo.choosing import apart, likely_matches
from xflowrl.agents.ppo.decoding import DecodingSettings
from xflowrl.agents.ppo.episode import Episode, Waypoint, to_cheapest
from xflowrl.agents.ppo.policy import PolicySettings
from xflowrl.env import RewriteEnv
from xflowrl.graphs.random_networks import random_network
from xflowrl.measurement import roofline
from xflowrl.problem import Budget, Problem, Result, replay
from xflowrl.rules import load_core

UNTRAINED = PolicySettings(hidden_size=8)


@pytest.fixture(scope="module")
def problem() -> Problem:
    model = random_network(num_nodes=100, trap=0.5, seed=3)
    budget = Budget(max_iterations=400)
    return Problem(model=model, rules=load_core(), objective=roofline(), budget=budget)


def decoded(problem: Problem, **options: Any) -> Result:
    agent = PPO(train=False, policy=UNTRAINED, **options)
    (result,) = agent.optimize([problem], lambda *_: None)
    return result


def test_what_is_taken_at_once_can_be_replayed(problem: Problem) -> None:
    result = decoded(problem, num_samples=2)
    assert replay(problem, result.trace).graph.hash == result.model.graph.hash
    assert result.trace.steps[-1].cost_ms == pytest.approx(result.cost_best_ms)
    assert len(result.trace.steps) > 10


def test_many_at_once_need_fewer_looks(problem: Problem) -> None:
    one = decoded(problem, num_samples=0, matches_at_once=1, descends=False)
    many = decoded(problem, num_samples=0, likely_share=0.01, descends=False)
    assert len(one.trace.steps) <= one.best_iteration
    assert len(many.trace.steps) > 3 * many.best_iteration


@pytest.mark.parametrize("patience", [1, 3])
def test_an_episode_ends_when_it_has_lowered_the_cost_in_none_of_its_last_looks(
    problem: Problem, patience: int
) -> None:
    options: dict[str, Any] = {"matches_at_once": 1, "descends": False, "num_samples": 0}
    result = decoded(problem, patience=patience, **options)
    assert result.best_iteration > 0
    assert result.iterations == result.best_iteration + patience


@pytest.mark.parametrize("draws", [False, True])
def test_an_episode_that_draws_nothing_ends_where_it_has_been(
    relu_problem: Callable[..., Problem], draws: bool
) -> None:
    """The policy would go on as it did then, there and back without end."""
    there_and_back = "(rule there (Relu ?x) => (Neg ?x))\n(rule back (Neg ?x) => (Relu ?x))"
    rules = RuleSet.parse(f"(rules flip)\n{there_and_back}")
    attempt = Attempt(replace(relu_problem(1), rules=rules), lambda *_: None)
    episode = Episode(Waypoint.start(attempt), 1.0, torch.Generator() if draws else None)
    ended = []
    for _ in range(3):
        episode.go_on(attempt, (0,), None)
        ended.append(episode.is_over)
    assert ended == [False, not draws, not draws]


def test_a_descent_follows(problem: Problem) -> None:
    """The untrained policy alone ends anywhere; after a descent nothing saves any more."""
    options: dict[str, Any] = {"num_samples": 0, "matches_at_once": 3}
    alone = decoded(problem, descends=False, **options)
    result = decoded(problem, descends=True, **options)
    assert result.cost_best_ms < alone.cost_best_ms
    best = replay(problem, result.trace)
    assert best.best(1)[0].cost_difference_ms >= -1e-9


def test_episodes_side_by_side_are_deterministic_and_count_every_look(problem: Problem) -> None:
    first, second = (decoded(problem, num_samples=5, side_by_side=3) for _ in range(2))
    assert first.trace == second.trace
    assert first.iterations == second.iterations
    alone = decoded(problem, num_samples=0)
    assert first.iterations > 2 * alone.iterations


def test_a_budget_ends_all_episodes(problem: Problem) -> None:
    model, rules, objective = problem.model, problem.rules, problem.objective
    budget = Budget(max_iterations=7)
    small = Problem(model=model, rules=rules, objective=objective, budget=budget)
    assert decoded(small, num_samples=50).iterations == 7


def test_the_best_regions_are_put_together() -> None:
    model, budget = random_network(num_nodes=300, trap=0.5, seed=3), Budget(max_iterations=120)
    problem = Problem(model=model, rules=load_core(), objective=roofline(), budget=budget)
    options: dict[str, Any] = {
        "num_samples": 12,
        "patience": 2,
        "descends": False,
        "branch_share": 0.0,
    }
    best_episode = decoded(problem, recombines=False, **options)
    recombined = decoded(problem, recombines=True, **options)
    assert recombined.iterations == best_episode.iterations, "it needs no looks"
    assert recombined.cost_best_ms < 0.98 * best_episode.cost_best_ms
    end = replay(problem, recombined.trace)
    assert end.graph.hash == recombined.model.graph.hash
    assert end.cost.ms == pytest.approx(recombined.cost_best_ms)


def test_nothing_is_put_together_once_a_limit_is_reached(problem: Problem) -> None:
    spent = replace(problem, budget=Budget(max_iterations=1))
    attempt = Attempt(spent, lambda *_: None)
    attempt.look(attempt.initial)
    nowhere: Any = SimpleNamespace(rewrites=[SimpleNamespace(place=None)])
    mosaic: Any = SimpleNamespace(regions=[nowhere], add=lambda regions: 1.0)
    episode: Any = SimpleNamespace(here=SimpleNamespace(rewrites=()))
    decoding._recombine(attempt, mosaic, episode)
    assert attempt.best is attempt.initial


def test_the_way_ends_at_its_cheapest_state_the_first_of_several() -> None:
    costs = (5.0, 3.0, 4.0, 3.0, 6.0)
    way: Any = [SimpleNamespace(cost_ms=cost_ms) for cost_ms in costs]
    assert to_cheapest(way) == way[:2]
    assert to_cheapest(way[:1]) == way[:1]


def test_branches_begin_on_the_way_to_the_cheapest_so_far(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each begins on the way to the best that there is by then."""
    starts: list[Waypoint] = []
    best_ms: list[float] = []

    class Watched(Episode):
        def __init__(self, start: Waypoint, *options: Any) -> None:
            super().__init__(start, *options)
            starts.append(start)
            best_ms.append(attempt.best_cost_ms)

    monkeypatch.setattr(decoding, "Episode", Watched)
    attempt = Attempt(problem, lambda *_: None)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = new_policy(UNTRAINED, problem.rules)
    settings = DecodingSettings(num_samples=200, branch_share=1.0, side_by_side=1, patience=3)
    with torch.no_grad():
        decoding.decode(attempt, policy, settings)
    assert not starts[0].rewrites and not starts[1].rewrites, (
        "the greedy ones begin at the original"
    )
    assert len(starts) > 10
    branches = list(zip(starts, best_ms, strict=True))[2:]
    assert len({start.trace.steps for start, _ in branches}) > 5, "early and late"
    # Of a way to the cheapest no state is cheaper than its last, and some branch begins there.
    assert all(start.cost_ms >= best - attempt.noise_ms for start, best in branches)
    assert any(start.cost_ms == pytest.approx(best) for start, best in branches)
    for start in starts:
        assert len(start.rewrites) == len(start.trace.steps)
        assert replay(problem, start.trace).graph.hash == start.state.graph.hash


def test_with_branches_it_is_deterministic_and_the_trace_whole(problem: Problem) -> None:
    first, second = (decoded(problem, num_samples=20, branch_share=1.0) for _ in range(2))
    assert first.trace == second.trace
    assert replay(problem, first.trace).graph.hash == first.model.graph.hash
    assert decoded(problem, num_samples=20, branch_share=0.0).trace != first.trace


@given(seed=st.integers(0, 1000), most=st.sampled_from([None, 1, 2, 5]))
def test_matches_apart_bind_no_node_twice(problem: Problem, seed: int, most: int | None) -> None:
    observation = RewriteEnv(problem).observation
    order = np.random.default_rng(seed).permutation(len(observation["match_rule"])).tolist()
    chosen = list(apart(observation, order, most))
    ptr, nodes = observation["match_node_ptr"], observation["match_node"]
    bound = [set(nodes[ptr[m] : ptr[m + 1]].tolist()) for m in chosen]
    assert sum(len(each) for each in bound) == len(set().union(*bound))
    assert chosen[0] == order[0]
    if most is not None:
        assert len(chosen) <= most
        return
    for match in order:  # and none is left out without a reason
        touches = set(nodes[ptr[match] : ptr[match + 1]].tolist()) & set().union(*bound)
        assert match in chosen or touches


def test_likely_rules_come_first_and_then_their_likely_matches() -> None:
    rules = np.array([0, 0, 0, 1, 2])
    log_probs = np.log(np.array([0.2, 0.19, 0.01, 0.3, 0.04]))
    assert likely_matches(rules, log_probs, 1.0) == [0]
    assert likely_matches(rules, log_probs, 0.7) == [0, 1, 3]
    assert likely_matches(rules, log_probs, 0.05) == [0, 1, 2, 3, 4]
    alike = np.log(np.array([0.25, 0.25, 0.1, 0.3, 0.1]))
    assert likely_matches(rules, alike, 1.0) == [0, 1], "what is exactly as likely is taken along"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("num_samples", -1),
        ("side_by_side", 0),
        ("matches_at_once", 0),
        ("likely_share", 0.0),
        ("temperature", 0.0),
        ("patience", 0),
        ("branch_share", 1.5),
    ],
)
def test_settings_are_checked(option: str, value: float) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(ValueError, match=f"agent.{option} is {value}"):
        DecodingSettings(**options)
