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
    columns_of,
    graph_columns,
    matrix,
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


TABLES = {"node": NODE_FEATURES, "edge": EDGE_FEATURES, "match": MATCH_FEATURES}


def matrices(observations: list[Observation]) -> dict[str, np.ndarray]:
    """The features of everything in them."""
    features = {"graph": matrix(GRAPH_FEATURES, graph_columns(observations))}
    for of, name in (("node", "node_op"), ("edge", "edge_src"), ("match", "match_rule")):
        rows = [np.arange(len(o[name])) for o in observations]
        features[of] = matrix(TABLES[of], columns_of(of, observations, rows))
    return features


def test_rows_of_several_graphs(observations: list[Observation]) -> None:
    rows = [np.array(at, np.int64) for at in ([3, 0], [], [], [1])]
    columns = columns_of("match", observations, rows)
    taken = [observations[0]["match_cost_ms"][[3, 0]], observations[3]["match_cost_ms"][[1]]]
    assert columns["match_cost_ms"].tolist() == np.concatenate(taken).tolist()
    assert columns["match_num_nodes"].tolist() == [2] * 3  # two relus each
    scales = [o["graph"][1] / o["graph"][3] for o in observations]
    assert columns["scale_ms"].tolist() == [scales[0], scales[0], scales[3]]
    graphs = graph_columns(observations)
    assert graphs["num_matches"].tolist() == [4, 1, 0, 2]
    assert graphs["match_graph"].tolist() == [0] * 4 + [1] + [3] * 2


def test_merging_changes_no_row(observations: list[Observation]) -> None:
    together = matrices(observations)
    alone = [matrices([observation]) for observation in observations]
    for of, features in together.items():
        assert np.array_equal(features, np.concatenate([each[of] for each in alone]))


def test_tables_describe_the_matrices(observations: list[Observation]) -> None:
    features = matrices(observations)
    for of, table in (TABLES | {"graph": GRAPH_FEATURES}).items():
        assert features[of].dtype == np.float32
        assert features[of].shape[1] == num_features(table)
        assert np.isfinite(features[of]).all()
        assert all(feature.unit for feature in table)


def test_values_are_in_the_stated_units(observations: list[Observation]) -> None:
    features = matrices(observations[:1])
    node, match, graph = (features[of] for of in ("node", "match", "graph"))
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
    ours, theirs = matrices([tiny_observation]), matrices([scaled])
    for of in ours:
        # f32 of numbers near 1
        assert np.allclose(ours[of], theirs[of], atol=1e-6)


@pytest.fixture
def tiny_observation() -> Observation:
    from xflowrl.graphs.tiny import tiny
    from xflowrl.measurement import roofline
    from xflowrl.rules import load_core

    problem = Problem(model=tiny(), rules=load_core(), objective=roofline())
    return RewriteEnv(problem).reset()[0]
