"""Observations as tensors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from xflowrl.agents.ppo.features import (
    EDGE_FEATURES,
    GRAPH_FEATURES,
    MATCH_FEATURES,
    NODE_FEATURES,
    GraphBatch,
    make_batch,
    num_features,
)
from xflowrl.env import Observation, RewriteEnv
from xflowrl.problem import Problem

MakeProblem = Callable[..., Problem]


@pytest.fixture
def observations(relu_problem: MakeProblem) -> list[Observation]:
    """Of 5 relus with 4 matches, of 2 with one, of 1 with none, and of 3 with 2."""
    return [RewriteEnv(relu_problem(n)).reset()[0] for n in (5, 2, 1, 3)]


def column(table: tuple, matrix: torch.Tensor, name: str) -> torch.Tensor:
    names = [f.name for f in table for _ in range(f.width)]
    return matrix[:, names.index(name)]


def test_a_batch_is_the_disjoint_union(observations: list[Observation]) -> None:
    batch = make_batch(observations)
    assert batch.num_graphs == 4
    assert batch.num_matches.tolist() == [4, 1, 0, 2]
    assert batch.node_graph.bincount().tolist() == [6, 3, 2, 4]  # relus and the input
    assert batch.match_graph.tolist() == [0] * 4 + [1] + [3] * 2
    producers, consumers = batch.edge_index
    assert (batch.node_graph[producers] == batch.node_graph[consumers]).all()
    assert (batch.node_graph[batch.pair_node] == batch.match_graph[batch.pair_match]).all()
    assert batch.pair_match.bincount().tolist() == [2] * 7  # two relus each
    assert batch.group_graph.tolist() == [0, 1, 3]
    assert batch.match_group.tolist() == [0] * 4 + [1] + [2] * 2


def test_batching_changes_no_row(observations: list[Observation]) -> None:
    batch = make_batch(observations)
    for index, observation in enumerate(observations):
        alone = make_batch([observation])
        for of in ("node", "match"):
            rows = getattr(batch, f"{of}_graph") == index
            together = getattr(batch, f"{of}_features")[rows]
            assert torch.equal(together, getattr(alone, f"{of}_features"))
        assert torch.equal(batch.graph_features[index], alone.graph_features[0])


def test_tables_describe_the_matrices(observations: list[Observation]) -> None:
    batch = make_batch(observations)
    tables = {
        "node": NODE_FEATURES,
        "edge": EDGE_FEATURES,
        "match": MATCH_FEATURES,
        "graph": GRAPH_FEATURES,
    }
    for of, table in tables.items():
        matrix = getattr(batch, f"{of}_features")
        assert matrix.dtype == torch.float32
        assert matrix.shape[1] == num_features(table)
        assert matrix.isfinite().all()
        assert all(feature.unit for feature in table)


def test_values_are_in_the_stated_units(observations: list[Observation]) -> None:
    batch = make_batch(observations[:1])
    # Every relu costs the mean of the initial graph's six nodes times 6 / 5... the input is free
    # and counts as no operator, so the mean is a relu's cost, and a match saves one of them.
    assert column(MATCH_FEATURES, batch.match_features, "cost").tolist() == [-1.0] * 4
    assert column(MATCH_FEATURES, batch.match_features, "size").tolist() == [-0.25] * 4
    assert column(NODE_FEATURES, batch.node_features, "cost").tolist() == [0.0] + [1.0] * 5
    assert column(NODE_FEATURES, batch.node_features, "output").tolist() == [0.0] * 5 + [1.0]
    assert column(GRAPH_FEATURES, batch.graph_features, "cost").tolist() == [1.0]
    saving = column(GRAPH_FEATURES, batch.graph_features, "offered saving")
    assert saving.tolist() == pytest.approx([0.8])
    assert column(GRAPH_FEATURES, batch.graph_features, "saving matches").tolist() == [1.0]


def test_features_do_not_depend_on_the_unit_of_cost(tiny_observation: Observation) -> None:
    scaled = dict(tiny_observation)
    for name in ("node_cost_ms", "match_cost_ms"):
        scaled[name] = 1000 * scaled[name]
    scaled["graph"] = scaled["graph"] * np.array([1000, 1000, 1, 1])
    ours, theirs = make_batch([tiny_observation]), make_batch([scaled])
    for name in ("node_features", "match_features", "graph_features"):
        # f32 of numbers near 1
        assert torch.allclose(getattr(ours, name), getattr(theirs, name), atol=1e-6)


def test_indices_are_integers(observations: list[Observation]) -> None:
    batch = make_batch(observations)
    moved = batch.to(torch.device("cpu"))
    assert isinstance(moved, GraphBatch)
    for name, tensor in vars(batch).items():
        assert tensor.dtype == (torch.float32 if name.endswith("features") else torch.int64), name


@pytest.fixture
def tiny_observation() -> Observation:
    from xflowrl.graphs.tiny import tiny
    from xflowrl.measurement import roofline
    from xflowrl.rules import load_core

    problem = Problem(model=tiny(), rules=load_core(), objective=roofline())
    return RewriteEnv(problem).reset()[0]
