"""Kinds of nodes and matches."""

from __future__ import annotations

import numpy as np
import pytest

from xflowrl._engine import KindIndex
from xflowrl.env import Observation

Arrays = dict[str, np.ndarray]


def chain(num_nodes: int, *, operands: tuple[int, ...] = (), bytes_of_last: float = 1.0) -> Arrays:
    """Alike nodes, each fed by the one before it, with a match on every two neighbours."""
    num_edges = num_nodes - 1
    ints, floats = np.ones(num_nodes, np.int32), np.ones(num_nodes)
    bytes_moved = floats.copy()
    bytes_moved[-1] = bytes_of_last
    ends = np.arange(num_edges, dtype=np.int32)
    return {
        **dict.fromkeys(("node_op", "node_activation", "node_num_constants"), ints),
        **dict.fromkeys(("node_flops", "node_cost_ms"), floats),
        "node_bytes": bytes_moved,
        "node_is_output": np.zeros(num_nodes, np.uint8),
        "node_shape": np.ones((num_nodes, 4), np.int64),
        "edge_src": ends,
        "edge_dst": ends + 1,
        "edge_operand": np.array(operands or [0] * num_edges, np.int32),
        "edge_shape": np.ones((num_edges, 4), np.int64),
        **dict.fromkeys(("match_rule", "match_size", "match_kernels"), ends * 0 + 3),
        **dict.fromkeys(("match_cost_ms", "match_flops", "match_bytes"), np.ones(num_edges)),
        "match_node_ptr": np.arange(num_nodes, dtype=np.int32) * 2,
        "match_node": np.stack([ends, ends + 1], axis=1).ravel(),
    }


def index_of(num_layers: int) -> KindIndex:
    return KindIndex(num_layers, max_operands=8)


def kinds_of_nodes(observation: Observation, num_layers: int) -> int:
    index = index_of(num_layers)
    index.add(observation, scale_ms=1.0)
    return index.num_nodes


def test_layers_see_so_many_edges_far() -> None:
    assert [kinds_of_nodes(chain(9), layers) for layers in range(6)] == [1, 3, 5, 7, 9, 9]
    # From both ends of an edge.
    different = chain(9, bytes_of_last=2.0)
    assert [kinds_of_nodes(different, layers) for layers in range(3)] == [2, 4, 6]


def test_operands_are_told_apart_up_to_the_last() -> None:
    assert kinds_of_nodes(chain(9, operands=(0, 0, 0, 0, 1, 0, 0, 0)), 1) == 5
    assert kinds_of_nodes(chain(9, operands=(7, 7, 7, 7, 8, 7, 9, 7)), 1) == 3


def test_a_sight_counts_what_is_alike() -> None:
    sight = index_of(1).add(chain(5), scale_ms=1.0)
    assert sight["kind_node"].tolist() == [0, 1, 2]
    assert sight["kind_share"].tolist() == pytest.approx([0.2, 0.6, 0.2])
    assert sight["match_choice"].tolist() == [0, 1, 1, 2]
    assert sight["choice_count"].tolist() == [1, 2, 1]
    assert sight["choice_group"].tolist() == [0, 0, 0]
    assert (sight["group_rule"].tolist(), sight["group_count"].tolist()) == ([3], [4])
    assert sight["new_nodes"].tolist() == [0]
    assert sight["new_edges"].tolist() == [0]
    assert sight["new_matches"].tolist() == [0, 1, 3]


def test_costs_are_told_apart_in_their_unit_as_f32() -> None:
    index, dearer = index_of(0), chain(2) | {"node_cost_ms": np.full(2, 3.0)}
    index.add(chain(2), scale_ms=1.0)
    index.add(dearer, scale_ms=3.0)
    index.add(chain(2) | {"node_cost_ms": np.full(2, 1 + 1e-9)}, scale_ms=1.0)
    assert index.num_nodes == 1
    index.add(dearer, scale_ms=1.0)
    assert index.num_nodes == 2


def test_kinds_come_with_what_they_are_made_of() -> None:
    index = index_of(1)
    index.add(chain(5), scale_ms=1.0)
    # The last match binds a node in the middle, which comes behind the one asked for.
    kinds = index.kinds(np.array([0, 0]), np.array([2]))
    assert (kinds["node_row"].tolist(), kinds["match_row"].tolist()) == ([0, 0], [0])
    assert kinds["pair_node"].tolist() == [1, 2]
    assert kinds["pair_share"].tolist() == [0.5, 0.5]
    (level,) = kinds["levels"]
    assert level["own"].tolist() == [0, 0, 0]
    # Of the first node its consumer, of one in the middle both, of the last its producer.
    assert level["edge_slot"].tolist() == [1, 2, 3, 4]
    assert [kinds[name].tolist() for name in ("nodes", "edges", "matches")] == [[0], [0], [2]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("node_bytes", np.ones(4)),
        ("edge_src", np.array([0, 1, 2, 5], np.int32)),
        ("edge_dst", np.array([1, -1, 3, 4], np.int32)),
        ("match_node", np.array([0, 1, 1, 2, 2, 3, 3, 9], np.int32)),
        ("match_node_ptr", np.array([0, 2, 4, 6, 7], np.int32)),
        ("match_rule", np.array([3, 3, -1, 3], np.int32)),
    ],
)
def test_columns_must_fit_together(name: str, value: np.ndarray) -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        index_of(1).add(chain(5) | {name: value}, scale_ms=1.0)


def test_kinds_must_be_known() -> None:
    index, none = index_of(1), np.zeros(0, np.int64)
    index.add(chain(5), scale_ms=1.0)
    for nodes, matches in ((np.array([3]), none), (none, np.array([-1]))):
        with pytest.raises(ValueError, match="there is no kind"):
            index.kinds(nodes, matches)
