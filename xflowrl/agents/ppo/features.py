"""Observations -> numbers: what the policy reads, one table with units.

Legend: N nodes, E edges, M matches, G graphs, F features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from xflowrl.env import GRAPH_COLUMNS, OBSERVATION_COLUMNS, Observation

Columns = dict[str, np.ndarray]

Thing = Literal["node", "edge", "match"]

MAX_OPERANDS = 8
"""Operand positions from here on look alike."""


@dataclass(frozen=True)
class Feature:
    """One or more columns of a feature matrix.

    Attributes:
        unit: what a value of 1 means.
        column_fn: columns of observations -> [rows] or [rows, width].
    """

    name: str
    unit: str
    column_fn: Callable[[Columns], np.ndarray]
    width: int = 1


_LOG_2 = math.log(2.0)


def _log(values: np.ndarray, scale: float) -> np.ndarray:
    """The order of magnitude of what is not negative: 1 where value is 2**scale - 1."""
    logarithm: np.ndarray = np.log1p(values) / (scale * _LOG_2)
    return logarithm


def _signed_log(values: np.ndarray, scale: float) -> np.ndarray:
    """Sign and order of magnitude: 1 where |value| is 2**scale - 1."""
    signed: np.ndarray = np.copysign(_log(np.abs(values), scale), values)
    return signed


NODE_FEATURES = (
    Feature(
        "cost",
        "doublings of 1 + cost / mean cost of the initial graph's nodes",
        lambda c: _log(c["node_cost_ms"] / c["scale_ms"], 1.0),
    ),
    Feature("flops", "20 doublings of 1 + operations", lambda c: _log(c["node_flops"], 20.0)),
    Feature("bytes", "20 doublings of 1 + bytes moved", lambda c: _log(c["node_bytes"], 20.0)),
    Feature("shape", "10 doublings of 1 + elements", lambda c: _log(c["node_shape"], 10.0), 4),
    Feature("constants", "4 constant operands", lambda c: c["node_num_constants"] / 4.0),
    Feature("output", "is an output of the graph", lambda c: c["node_is_output"].astype(float)),
)

EDGE_FEATURES = (
    Feature("shape", "10 doublings of 1 + elements", lambda c: _log(c["edge_shape"], 10.0), 4),
)

MATCH_FEATURES = (
    Feature(
        "cost",
        "mean cost of the initial graph's nodes, clipped at 4",
        lambda c: np.clip(c["match_cost_ms"] / c["scale_ms"], -4.0, 4.0),
    ),
    Feature(
        "cost magnitude",
        "6 doublings of 1 + 100 * cost / mean cost of the initial graph's nodes",
        lambda c: _signed_log(100.0 * c["match_cost_ms"] / c["scale_ms"], 6.0),
    ),
    Feature("size", "4 nodes", lambda c: c["match_size"] / 4.0),
    Feature("kernels", "4 kernels", lambda c: c["match_kernels"] / 4.0),
    Feature(
        "flops", "20 doublings of 1 + operations", lambda c: _signed_log(c["match_flops"], 20.0)
    ),
    Feature(
        "bytes", "20 doublings of 1 + bytes moved", lambda c: _signed_log(c["match_bytes"], 20.0)
    ),
    Feature("matched nodes", "4 nodes", lambda c: c["match_num_nodes"] / 4.0),
)

GRAPH_FEATURES = (
    Feature("cost", "initial cost", lambda c: c["cost_ms"] / c["initial_cost_ms"]),
    Feature("nodes", "initial nodes", lambda c: c["num_nodes"] / c["initial_num_nodes"]),
    Feature("size", "10 doublings of 1 + nodes", lambda c: _log(c["num_nodes"], 10.0)),
    Feature("matches", "10 doublings of 1 + matches", lambda c: _log(c["num_matches"], 10.0)),
    Feature(
        "offered saving",
        "initial cost, clipped at 2; savings of all matches that save, as if they did not overlap",
        lambda c: np.minimum(_sum_by_graph(c, -np.minimum(c["match_cost_ms"], 0.0)), 2.0),
    ),
    Feature(
        "saving matches",
        "share of the matches",
        lambda c: (
            np.bincount(c["match_graph"], c["match_cost_ms"] < 0.0, len(c["cost_ms"]))
            / np.maximum(c["num_matches"], 1)
        ),
    ),
)


def _sum_by_graph(columns: Columns, values_ms: np.ndarray) -> np.ndarray:
    initial_ms = columns["initial_cost_ms"]
    return np.bincount(columns["match_graph"], values_ms, len(initial_ms)) / initial_ms


def num_features(table: Sequence[Feature]) -> int:
    """Width of the matrix that the table describes."""
    return sum(feature.width for feature in table)


def scale_ms(observation: Observation) -> float:
    """What an average node of the initial graph costs.

    The unit of costs, so that devices and graphs look alike.
    """
    _, initial_cost_ms, _, initial_num_nodes = map(float, observation["graph"])
    return initial_cost_ms / initial_num_nodes


def columns_of(
    of: Thing,
    observations: Sequence[Observation],
    rows: Sequence[np.ndarray],
) -> Columns:
    """Some rows of each observation, below one another."""
    chosen = [each for each in zip(observations, rows, strict=True) if len(each[1])]
    chosen = chosen or [(observations[0], rows[0])]
    columns = {name: _concatenate([o[name][at] for o, at in chosen]) for name in _NAMES[of]}
    columns["scale_ms"] = _concatenate([np.full(len(at), scale_ms(o)) for o, at in chosen])
    if of == "match":
        sizes = [np.diff(o["match_node_ptr"])[at] for o, at in chosen]
        columns["match_num_nodes"] = _concatenate(sizes)
    return columns


_NAMES = {
    "node": [name for name in OBSERVATION_COLUMNS if name.startswith("node_")],
    "edge": ["edge_operand", "edge_shape"],
    "match": [
        *("match_rule", "match_cost_ms", "match_size"),
        *("match_flops", "match_bytes", "match_kernels"),
    ],
}


def graph_columns(observations: Sequence[Observation]) -> Columns:
    """One row a graph, and the costs of all matches with the graph of each."""
    num_matches = np.array([len(o["match_rule"]) for o in observations])
    graph = np.stack([o["graph"] for o in observations])
    return {
        **dict(zip(GRAPH_COLUMNS, graph.T, strict=True)),
        "num_matches": num_matches,
        "match_cost_ms": _concatenate([o["match_cost_ms"] for o in observations]),
        "match_graph": np.repeat(np.arange(len(observations)), num_matches),
    }


def _concatenate(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays) if len(arrays) > 1 else arrays[0]


def matrix(table: Sequence[Feature], columns: Columns) -> np.ndarray:
    """The features that a table describes, f32[rows, F]."""
    values = [feature.column_fn(columns) for feature in table]
    made = np.empty((len(values[0]), num_features(table)), np.float32)
    at = 0
    for feature, value in zip(table, values, strict=True):
        made[:, at : at + feature.width] = value.reshape(len(value), feature.width)
        at += feature.width
    return made
