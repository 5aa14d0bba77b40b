"""Nodes and matches that look alike, seen once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from xflowrl.agents.ppo.batch import GraphBatch
from xflowrl.agents.ppo.checkpoint import new_policy
from xflowrl.agents.ppo.gallery import Gallery, make_batch
from xflowrl.agents.ppo.policy import PolicySettings
from xflowrl.env import Observation, RewriteEnv
from xflowrl.problem import Problem

MakeProblem = Callable[..., Problem]


@pytest.fixture
def relus(relu_problem: MakeProblem) -> list[Observation]:
    """Of 9 relus with 8 matches, of 2 with one, of 1 with none, and of 4 with 3."""
    return [RewriteEnv(relu_problem(n)).reset()[0] for n in (9, 2, 1, 4)]


@pytest.fixture(scope="module")
def walk(walk: list[Observation]) -> list[Observation]:
    """Its beginning."""
    return walk[:12]


def test_what_looks_alike_is_there_once(relus: list[Observation]) -> None:
    batch = make_batch(relus[:1], num_layers=2)
    # By themselves there are the input, relus, and the output; one edge away, the relus next to
    # input and output are told apart, then those next to these.
    assert len(batch.kinds.node_op) == 3
    assert [len(level.own) for level in batch.kinds.levels] == [5, 7]
    shares = sorted(round(10 * share) for share in batch.graphs.kind_share.flatten().tolist())
    assert shares == [1, 1, 1, 1, 1, 1, 4]
    # Pairs of neighbours, of which those three that lie within are alike.
    counts = batch.graphs.choice_count.flatten().tolist()
    assert sorted(counts) == [1, 1, 1, 1, 1, 3]
    assert batch.graphs.match_choice.bincount().tolist() == counts


def test_deeper_encoders_see_more(relus: list[Observation]) -> None:
    kinds = [len(make_batch(relus[:1], num_layers=n).graphs.kind_node) for n in (0, 1, 2, 3, 9)]
    assert kinds == [3, 5, 7, 9, 10]


def test_graphs_stay_apart(relus: list[Observation]) -> None:
    graphs = make_batch(relus, num_layers=2).graphs
    assert graphs.num_graphs == 4
    assert graphs.num_matches.tolist() == [8, 1, 0, 3]
    assert graphs.match_graph.tolist() == [0] * 8 + [1] + [3] * 3
    assert (graphs.choice_graph[graphs.match_choice] == graphs.match_graph).all()
    assert graphs.group_graph.tolist() == [0, 1, 3]
    assert graphs.group_graph[graphs.choice_group].equal(graphs.choice_graph)
    assert graphs.group_count.flatten().tolist() == [8, 1, 3]
    total = torch.zeros(4, 1).index_add(0, graphs.kind_graph, graphs.kind_share)
    torch.testing.assert_close(total, torch.ones(4, 1))


def test_rows_are_those_of_the_matches(squeezenet: Problem, walk: list[Observation]) -> None:
    batch = make_batch(walk, num_layers=2)
    rules = torch.from_numpy(np.concatenate([o["match_rule"] for o in walk]).astype(np.int64))
    graphs, kinds = batch.graphs, batch.kinds
    match_M = graphs.choice_match[graphs.match_choice]
    assert kinds.match_rule[match_M].equal(rules)
    assert graphs.group_rule[graphs.choice_group[graphs.match_choice]].equal(rules)
    sizes = torch.from_numpy(np.concatenate([np.diff(o["match_node_ptr"]) for o in walk]))
    assert kinds.pair_match.bincount()[match_M].equal(sizes.long())


def all_different(observation: Observation) -> Observation:
    """No two nodes and no two matches alike, by differences that no f32 feature shows."""
    changed = dict(observation)
    for name in ("node_bytes", "match_bytes"):
        changed[name] = observation[name] + 1e-8 * np.arange(len(observation[name]))
        assert len(np.unique(changed[name])) == len(changed[name])
    return changed


@pytest.mark.parametrize("network", ["squeezenet", "relus"])
def test_alike_or_apart_the_policy_answers_the_same(
    network: str,
    squeezenet: Problem,
    walk: list[Observation],
    relu_problem: MakeProblem,
    relus: list[Observation],
) -> None:
    """Compared with graphs in which every node and match is a kind of its own."""
    problem, seen = {"squeezenet": (squeezenet, walk), "relus": (relu_problem(9), relus)}[network]
    net = new_policy(PolicySettings(hidden_size=16), problem.rules)
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if name.endswith("2.weight"):  # heads that tell matches apart
                weight.normal_()

    def answer(batch: GraphBatch) -> list[torch.Tensor]:
        net.zero_grad()
        actions, values = net(batch)
        (actions.entropy().sum() + values.square().sum()).backward()
        gradients = [weight.grad for weight in net.parameters()]
        return [actions.log_probs_A, values, *(g.clone() for g in gradients if g is not None)]

    batch = make_batch(seen, num_layers=2)
    folded = answer(batch)
    unfolded = make_batch([all_different(observation) for observation in seen], num_layers=2)
    assert len(unfolded.kinds.node_op) > 2 * len(batch.kinds.node_op)
    # f32 sums in another order
    torch.testing.assert_close(answer(unfolded), folded, rtol=1e-3, atol=1e-4)


def test_a_rewrite_adds_what_is_new_around_it(walk: list[Observation]) -> None:
    seen = Gallery(2)
    first = seen.add(walk[:1])
    before = seen.num_kinds[0]
    assert seen.add(walk[:1])[0]["kind_node"].tolist() == first[0]["kind_node"].tolist()
    assert seen.num_kinds[0] == before
    seen.add(walk[1:2])
    assert before < seen.num_kinds[0] < before + before // 2


def test_what_was_seen_before_does_not_matter(squeezenet: Problem, walk: list[Observation]) -> None:
    net = new_policy(PolicySettings(hidden_size=16), squeezenet.rules)
    seen = Gallery(2)
    sights = [seen.add([observation])[0] for observation in walk]
    one_by_one, _ = net(seen.batch(sights[7:9]))
    alone, _ = net(make_batch(walk[7:9], num_layers=2))
    torch.testing.assert_close(one_by_one.log_probs_A, alone.log_probs_A, rtol=1e-4, atol=1e-5)


def test_indices_are_integers(relus: list[Observation]) -> None:
    batch = make_batch(relus, num_layers=2).to(torch.device("cpu"))
    assert isinstance(batch, GraphBatch)
    levels = enumerate(vars(batch.kinds.levels[0]).values())
    tensors = vars(batch.kinds) | vars(batch.graphs) | {f"level {i}": t for i, t in levels}
    del tensors["levels"]
    floats = ("features", "share", "count")
    for name, tensor in tensors.items():
        assert tensor.dtype == (torch.float32 if name.endswith(floats) else torch.int64), name
