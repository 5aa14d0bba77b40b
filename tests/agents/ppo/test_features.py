"""Observations as numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from xflowrl.agents.ppo.features import (
    EDGE_FEATURES,
    GRAPH_FEATURES,
    MATCH_FEATURES,
    NODE_FEATURES,
    matrix,
    merge,
    num_features,
)
from xflowrl.env import Observation, RewriteEnv
from xflowrl.problem import Problem

MakeProblem = Callable[..., Problem]


@pytest.fixture
def observations(relu_problem: MakeProblem) -> list[Observation]:
    """Of 5 relus with 4 matches, of 2 with one, of 1 with none, and of 3 with 2."""
    return [RewriteEnv(relu_problem(n)).reset()[0] for n in (5, 2, 1, 3)]


def column(table: tuple, features: np.ndarray, name: str) -> np.ndarray:
    names = [f.name for f in table for _ in range(f.width)]
    return features[:, names.index(name)]


def test_merging_shifts_rows(observations: list[Observation]) -> None:
    columns = merge(observations)
    assert columns["num_matches"].tolist() == [4, 1, 0, 2]
    assert np.bincount(columns["node_graph"]).tolist() == [6, 3, 2, 4]  # relus and the input
    assert columns["match_graph"].tolist() == [0] * 4 + [1] + [3] * 2
    graph = columns["node_graph"]
    assert (graph[columns["edge_src"]] == graph[columns["edge_dst"]]).all()
    matched = np.repeat(columns["match_graph"], columns["match_num_nodes"])
    assert (graph[columns["match_node"]] == matched).all()
    assert columns["match_num_nodes"].tolist() == [2] * 7  # two relus each


def test_merging_changes_no_row(observations: list[Observation]) -> None:
    together = merge(observations)
    for index, observation in enumerate(observations):
        alone = merge([observation])
        for of, table in (("node", NODE_FEATURES), ("match", MATCH_FEATURES)):
            rows = together[f"{of}_graph"] == index
            assert np.array_equal(matrix(table, together)[rows], matrix(table, alone))
        graph = matrix(GRAPH_FEATURES, together)[index]
        assert np.array_equal(graph, matrix(GRAPH_FEATURES, alone)[0])


def test_tables_describe_the_matrices(observations: list[Observation]) -> None:
    for table in (NODE_FEATURES, EDGE_FEATURES, MATCH_FEATURES, GRAPH_FEATURES):
        features = matrix(table, merge(observations))
        assert features.dtype == np.float32
        assert features.shape[1] == num_features(table)
        assert np.isfinite(features).all()
        assert all(feature.unit for feature in table)


def test_values_are_in_the_stated_units(observations: list[Observation]) -> None:
    columns = merge(observations[:1])
    node, match, graph = (
        matrix(table, columns) for table in (NODE_FEATURES, MATCH_FEATURES, GRAPH_FEATURES)
    )
    # Every relu costs the mean of the initial graph's six nodes times 6 / 5... the input is free
    # and counts as no operator, so the mean is a relu's cost, and a match saves one of them.
    assert column(MATCH_FEATURES, match, "cost").tolist() == [-1.0] * 4
    assert column(MATCH_FEATURES, match, "size").tolist() == [-0.25] * 4
    assert column(NODE_FEATURES, node, "cost").tolist() == [0.0] + [1.0] * 5
    assert column(NODE_FEATURES, node, "output").tolist() == [0.0] * 5 + [1.0]
    assert column(GRAPH_FEATURES, graph, "cost").tolist() == [1.0]
    saving = column(GRAPH_FEATURES, graph, "offered saving")
    assert saving.tolist() == pytest.approx([0.8])
    assert column(GRAPH_FEATURES, graph, "saving matches").tolist() == [1.0]


def test_features_do_not_depend_on_the_unit_of_cost(tiny_observation: Observation) -> None:
    scaled = dict(tiny_observation)
    for name in ("node_cost_ms", "match_cost_ms"):
        scaled[name] = 1000 * scaled[name]
    scaled["graph"] = scaled["graph"] * np.array([1000, 1000, 1, 1])
    ours, theirs = merge([tiny_observation]), merge([scaled])
    for table in (NODE_FEATURES, MATCH_FEATURES, GRAPH_FEATURES):
        # f32 of numbers near 1
        assert np.allclose(matrix(table, ours), matrix(table, theirs), atol=1e-6)


@pytest.fixture
def tiny_observation() -> Observation:
    from xflowrl.graphs.tiny import tiny
    from xflowrl.measurement import roofline
    from xflowrl.rules import load_core

    problem = Problem(model=tiny(), rules=load_core(), objective=roofline())
    return RewriteEnv(problem).reset()[0]
