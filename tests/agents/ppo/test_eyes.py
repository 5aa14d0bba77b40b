"""Looks that keep what they have encoded."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import pytest
import torch

from xflowrl.agents.ppo.checkpoint import new_policy
from xflowrl.agents.ppo.eyes import Eyes
from xflowrl.agents.ppo.gallery import make_batch
from xflowrl.agents.ppo.policy import Policy, PolicySettings
from xflowrl.env import Observation
from xflowrl.problem import Problem


def policy_of(problem: Problem, head: Literal["flat", "hierarchical"], num_layers: int) -> Policy:
    torch.manual_seed(0)
    policy = new_policy(
        PolicySettings(hidden_size=16, head=head, num_layers=num_layers), problem.rules
    )
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if name.endswith("2.weight"):  # heads that tell matches apart
                weight.normal_()
    return policy


@pytest.mark.parametrize(("head", "num_layers"), [("flat", 2), ("hierarchical", 2), ("flat", 0)])
def test_answers_are_those_of_the_policy(
    squeezenet: Problem,
    walk: list[Observation],
    head: Literal["flat", "hierarchical"],
    num_layers: int,
) -> None:
    """Whatever was seen before: one state, some new ones together, one again."""
    policy = policy_of(squeezenet, head, num_layers)
    eyes = Eyes(policy)
    looks = [walk[:1], *([one] for one in walk[1:20]), walk[20:], walk[5:6], walk[:20:4]]
    for observations in looks:
        ours, our_values = eyes.look(observations)
        theirs, their_values = policy(make_batch(observations, num_layers=num_layers))
        assert ours.num_actions == theirs.num_actions
        # f32 sums in another order
        torch.testing.assert_close(ours.log_probs_A, theirs.log_probs_A, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(our_values, their_values, rtol=1e-4, atol=1e-4)


def test_what_was_encoded_is_not_encoded_again(
    squeezenet: Problem, walk: list[Observation], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = policy_of(squeezenet, "flat", 2)
    encoded: list[int] = []
    encode = policy.encode
    monkeypatch.setattr(
        policy, "encode", lambda kinds: encoded.append(len(kinds.node_op)) or encode(kinds)
    )
    eyes = Eyes(policy)
    for before, after in pairwise(walk[:4]):
        eyes.look([before, after])
    first, *later = encoded
    assert max(later) < first / 2
    eyes.look(walk[:4])
    assert len(encoded) == 1 + len(later)
