"""The masked distribution over matches and STOP."""

from __future__ import annotations

import math

import pytest
import torch

from xflowrl.agents.ppo.distribution import (
    ActionDistribution,
    action_distribution,
    flat,
    hierarchical,
    segment_log_softmax,
)

# Three states: 3 matches of two rules, none, 2 matches of one rule.
NUM_MATCHES = torch.tensor([3, 0, 2])
MATCH_GRAPH = torch.tensor([0, 0, 0, 2, 2])
MATCH_GROUP = torch.tensor([0, 0, 1, 2, 2])
GROUP_GRAPH = torch.tensor([0, 0, 2])


def make(
    scores: torch.Tensor, stop_logits: torch.Tensor, rule_logits: torch.Tensor | None = None
) -> ActionDistribution:
    if rule_logits is None:
        log_go_on, rank = flat(scores, MATCH_GRAPH, 3)
    else:
        log_go_on, rank = hierarchical(
            rule_logits,
            scores,
            group_graph_K=GROUP_GRAPH,
            match_group_M=MATCH_GROUP,
            num_graphs=3,
        )
    return action_distribution(
        stop_logits_G=stop_logits,
        log_go_on_M=log_go_on,
        rank_M=rank,
        match_graph_M=MATCH_GRAPH,
        num_matches_G=NUM_MATCHES,
    )


@pytest.fixture(params=["flat", "hierarchical"])
def distribution(request: pytest.FixtureRequest) -> ActionDistribution:
    torch.manual_seed(0)
    rules = torch.randn(3) if request.param == "hierarchical" else None
    return make(torch.randn(5), torch.randn(3), rules)


def test_probabilities_of_each_state_sum_to_one(distribution: ActionDistribution) -> None:
    parts = distribution.log_probs_A.exp().split(distribution.num_actions)
    assert [len(part) for part in parts] == [4, 1, 3]
    for part in parts:
        assert float(part.sum()) == pytest.approx(1.0, abs=1e-6)  # f32


def test_flat_is_a_softmax_behind_a_gate() -> None:
    scores, stop = torch.tensor([0.0, 1.0, 2.0, 0.5, 0.5]), torch.tensor([-1.0, 3.0, 0.0])
    made = make(scores, stop)
    go_on = 1 - torch.sigmoid(stop)
    first = torch.softmax(scores[:3], 0) * go_on[0]
    assert torch.allclose(made.log_probs_A[:3].exp(), first)
    assert made.log_prob(torch.tensor([0, 0, 0])).exp().tolist() == pytest.approx(
        [float(first[0]), 1.0, 0.25]
    )


def test_hierarchical_is_rule_times_match() -> None:
    scores = torch.tensor([0.0, 1.0, 5.0, 0.0, 0.0])
    rules = torch.tensor([0.3, -0.2, 7.0])
    made = make(scores, torch.tensor([-1.0, 0.0, 0.0]), rules)
    p_rule = torch.softmax(rules[:2], 0)
    within = torch.softmax(scores[:2], 0)
    go_on = 1 - torch.sigmoid(torch.tensor(-1.0))
    expected = [*(go_on * p_rule[0] * within), go_on * p_rule[1]]
    assert made.log_probs_A[:3].exp().tolist() == pytest.approx([float(p) for p in expected])


def test_entropy_is_that_of_the_probabilities(distribution: ActionDistribution) -> None:
    parts = distribution.log_probs_A.split(distribution.num_actions)
    expected = [float(-(part.exp() * part).sum()) for part in parts]
    assert distribution.entropy().tolist() == pytest.approx(expected, abs=1e-6)
    assert distribution.entropy()[1] == 0.0


def test_samples_follow_the_probabilities(distribution: ActionDistribution) -> None:
    generator = torch.Generator().manual_seed(0)
    num_samples = 4000
    samples = torch.stack([distribution.sample(generator) for _ in range(num_samples)])
    for state, part in enumerate(distribution.log_probs_A.exp().split(distribution.num_actions)):
        share = samples[:, state].bincount(minlength=len(part)) / num_samples
        # Five standard deviations of a share are at most 5 * 0.5 / sqrt(4000) = 0.04.
        assert torch.allclose(share, part, atol=0.04)


def test_an_action_beyond_stop_has_no_probability(distribution: ActionDistribution) -> None:
    with pytest.raises(AssertionError):
        distribution.log_prob(torch.tensor([4, 0, 0]))


def test_greedy_decoding_is_not_the_likeliest_single_action() -> None:
    # Three equal matches have 0.2 each, STOP 0.4: going on is likelier than stopping.
    stop = math.log(0.4 / 0.6)
    made = make(torch.zeros(5), torch.tensor([stop, 0.0, 1.0]))
    assert int(made.log_probs_A[:4].argmax()) == 3
    assert made.mode().tolist()[0] != 3
    assert made.mode().tolist()[1:] == [0, 2], "no match: STOP; STOP likelier than not: STOP"


def test_greedy_decoding_takes_the_likeliest_rule_first() -> None:
    # Rule 0 (0.6) has two matches of 0.3 each; rule 1 has one of 0.4.
    rules = torch.tensor([math.log(0.6), math.log(0.4), 0.0])
    scores = torch.tensor([0.0, 0.1, 9.0, 0.0, 1.0])
    made = make(scores, torch.tensor([-9.0, 0.0, -9.0]), rules)
    assert made.mode().tolist() == [1, 0, 1]


def test_gradients_are_finite_even_without_matches(distribution: ActionDistribution) -> None:
    scores, stop = torch.randn(5, requires_grad=True), torch.randn(3, requires_grad=True)
    made = make(scores, stop)
    (made.entropy().sum() + made.log_prob(torch.tensor([1, 0, 2])).sum()).backward()
    assert scores.grad is not None and scores.grad.isfinite().all()
    assert stop.grad is not None and stop.grad.isfinite().all()
    assert stop.grad[1] == 0


def test_segment_softmax_is_stable() -> None:
    logits = torch.tensor([1e4, 1e4 + 1, -1e4])
    log = segment_log_softmax(logits, torch.tensor([0, 0, 2]), 3)
    assert log.exp().tolist() == pytest.approx([1 / (1 + math.e), math.e / (1 + math.e), 1.0])
