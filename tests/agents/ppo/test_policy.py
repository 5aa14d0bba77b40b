"""The policy network."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from xflowrl._engine import activation_names, operator_names
from xflowrl.agents.ppo import gallery
from xflowrl.agents.ppo.batch import GraphBatch
from xflowrl.agents.ppo.policy import Policy, PolicySettings
from xflowrl.agents.ppo.rule_features import rule_features
from xflowrl.env import Observation, RewriteEnv
from xflowrl.problem import Problem

MakeProblem = Callable[..., Problem]


@pytest.fixture(scope="module")
def problem(squeezenet: Problem) -> Problem:
    return squeezenet


@pytest.fixture(scope="module")
def observations(walk: list[Observation]) -> list[Observation]:
    return walk[:6]


def make_batch(observations: list[Observation]) -> GraphBatch:
    return gallery.make_batch(observations, num_layers=2)


def policy(problem: Problem, *, untrained: bool = False, **settings: object) -> Policy:
    torch.manual_seed(0)
    made = Policy(
        PolicySettings(hidden_size=16, **settings),  # type: ignore[arg-type]
        num_operators=len(operator_names()) + 1,
        num_activations=len(activation_names()),
        rule_features=rule_features(problem.rules),
    )
    if not untrained:  # heads that tell matches apart
        with torch.no_grad():
            for name, weight in made.named_parameters():
                if name.endswith("2.weight"):
                    weight.normal_()
    return made


HEADS = pytest.mark.parametrize("head", ["flat", "hierarchical"])


@HEADS
def test_batching_changes_nothing(
    problem: Problem, observations: list[Observation], head: str
) -> None:
    net = policy(problem, head=head)
    actions, values = net(make_batch(observations))
    together = actions.log_probs_A.split(actions.num_actions)
    for index, observation in enumerate(observations):
        alone, value = net(make_batch([observation]))
        # f32 sums in another order
        assert torch.allclose(together[index], alone.log_probs_A, atol=1e-4)
        assert torch.allclose(values[index], value, atol=1e-4)


@HEADS
def test_order_of_nodes_does_not_matter(
    problem: Problem, observations: list[Observation], head: str
) -> None:
    net = policy(problem, head=head)
    observation = dict(observations[2])
    order = np.random.default_rng(1).permutation(len(observation["node_op"]))
    row_of = np.argsort(order)
    shuffled = {
        name: array[order] if name.startswith("node_") else array
        for name, array in observation.items()
    }
    for name in ("edge_src", "edge_dst", "match_node"):
        shuffled[name] = row_of[observation[name]].astype(np.int32)
    ours, value = net(make_batch([observation]))
    theirs, other_value = net(make_batch([shuffled]))
    assert torch.allclose(ours.log_probs_A, theirs.log_probs_A, atol=1e-4)
    assert torch.allclose(value, other_value, atol=1e-4)
    wrong, _ = net(make_batch([shuffled | {"match_node": observation["match_node"]}]))
    assert not torch.allclose(ours.log_probs_A, wrong.log_probs_A, atol=1e-2)


def test_direction_of_edges_matters(problem: Problem, observations: list[Observation]) -> None:
    net, observation = policy(problem), observations[0]
    turned = observation | {
        "edge_src": observation["edge_dst"],
        "edge_dst": observation["edge_src"],
    }
    ours, _ = net(make_batch([observation]))
    theirs, _ = net(make_batch([turned]))
    assert not torch.allclose(ours.log_probs_A, theirs.log_probs_A, atol=1e-2)


def test_untrained_rules_are_equally_likely(
    problem: Problem, observations: list[Observation]
) -> None:
    net = policy(problem, untrained=True, head="hierarchical", initial_stop=2.0)
    batch = make_batch(observations[:1])
    actions, _ = net(batch)
    probabilities = actions.log_probs_A.exp().detach()
    stop = 2.0 / (2.0 + int(batch.graphs.num_matches[0]))  # as likely as two matches
    assert float(probabilities[-1]) == pytest.approx(stop, rel=0.1)
    group_M = batch.graphs.choice_group[batch.graphs.match_choice]
    by_rule = torch.zeros(len(batch.graphs.group_rule)).index_add(0, group_M, probabilities[:-1])
    # The last layers are scaled by 0.01, not 0.
    assert by_rule.tolist() == pytest.approx([(1 - stop) / len(by_rule)] * len(by_rule), rel=0.1)


def test_untrained_policy_is_not_greedy(problem: Problem, observations: list[Observation]) -> None:
    net = policy(problem, untrained=True, head="flat")
    actions, _ = net(make_batch(observations[:1]))
    probabilities = actions.log_probs_A.exp()[:-1].detach()
    assert float(probabilities.max() / probabilities.min()) < 1.2


@HEADS
def test_a_graph_without_matches_stops(relu_problem: MakeProblem, head: str) -> None:
    problem = relu_problem(1)
    actions, values = policy(problem, head=head)(make_batch([RewriteEnv(problem).reset()[0]]))
    assert actions.mode().tolist() == [0]
    assert actions.log_probs_A.tolist() == [0.0]
    assert values.isfinite().all()


def test_gradients_reach_every_weight(problem: Problem, observations: list[Observation]) -> None:
    net = policy(problem, head="hierarchical")
    actions, values = net(make_batch(observations))
    (actions.entropy().sum() + values.sum()).backward()
    without = [name for name, weight in net.named_parameters() if weight.grad is None]
    assert without == []


def test_a_policy_leaves_no_file_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    made = "from xflowrl.agents.ppo.policy import EdgeConvolution as E; E(4), E(4)"
    subprocess.run([sys.executable, "-c", made], check=True, timeout=300)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="initial_stop is 0"):
        PolicySettings(initial_stop=0.0)
    with pytest.raises(ValueError, match="hidden_size 0"):
        PolicySettings(hidden_size=0)
