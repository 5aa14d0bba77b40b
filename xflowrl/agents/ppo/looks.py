"""Colour refinement: hashes that are equal where nodes, edges and matches look alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xflowrl.agents.ppo.features import (
    EDGE_FEATURES,
    MATCH_FEATURES,
    MAX_OPERANDS,
    NODE_FEATURES,
    Columns,
    matrix,
)
from xflowrl.agents.ppo.growing import firsts, spans


class Looks:
    """Some states below one another, and how each node, edge and match of theirs looks."""

    def __init__(self, columns: Columns, num_layers: int) -> None:
        self.columns = columns
        self._node_features = matrix(NODE_FEATURES, columns)
        self._edge_features = matrix(EDGE_FEATURES, columns)
        self._match_features = matrix(MATCH_FEATURES, columns)
        operand = np.minimum(columns["edge_operand"], MAX_OPERANDS - 1)
        self._ints = {
            "node": [columns["node_op"], columns["node_activation"]],
            "edge": [operand],
            "match": [columns["match_rule"]],
        }
        producers, consumers = columns["edge_src"], columns["edge_dst"]
        num_nodes = len(columns["node_op"])
        self._producers = _Ends(consumers, producers, num_nodes)
        self._consumers = _Ends(producers, consumers, num_nodes)
        self.edge_colours = _colours(self._edge_features, self._ints["edge"])
        self.node_colours = [_colours(self._node_features, self._ints["node"])]
        for _ in range(num_layers):
            self.node_colours.append(self._refined(self.node_colours[-1]))
        num_pairs = columns["match_num_nodes"]
        self._first_pair = firsts(num_pairs)
        bound = np.zeros(len(num_pairs), np.uint64)
        pair_match = np.repeat(np.arange(len(num_pairs)), num_pairs)
        np.add.at(bound, pair_match, _mixed(self.node_colours[-1][columns["match_node"]]))
        plain = _colours(self._match_features, self._ints["match"])
        self.match_colours = _mixed(plain + _mixed(bound))

    def _refined(self, colours: np.ndarray) -> np.ndarray:
        """One edge further: the same where a node, its producers and its consumers look alike."""
        refined: np.ndarray = colours
        for ends, salt in ((self._producers, _SALTS[0]), (self._consumers, _SALTS[1])):
            total = np.zeros_like(colours)
            seen = _mixed(colours[ends.neighbour] + self.edge_colours[ends.edge] * salt)
            np.add.at(total, ends.of, seen)
            refined = _mixed(refined * salt + total)
        return refined

    def nodes(self, at: np.ndarray) -> list[np.ndarray]:
        """Operator, activation and features."""
        return [
            *(ints[at].astype(np.int64) for ints in self._ints["node"]),
            self._node_features[at],
        ]

    def edges(self, at: np.ndarray) -> list[np.ndarray]:
        """Operand and features."""
        return [
            *(ints[at].astype(np.int64) for ints in self._ints["edge"]),
            self._edge_features[at],
        ]

    def matches(self, at: np.ndarray) -> list[np.ndarray]:
        """Rule and features."""
        return [self._ints["match"][0][at].astype(np.int64), self._match_features[at]]

    def pairs(self, matches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Indices into `match_node`, and how many each match has."""
        counts = self.columns["match_num_nodes"][matches]
        return spans(self._first_pair[matches], counts), counts

    def around(self, nodes: np.ndarray) -> tuple[np.ndarray, ...]:
        """Of the edges of nodes: 0 from a producer or 1, neighbour, edge; and how many each has."""
        found = [ends.around(nodes) for ends in (self._producers, self._consumers)]
        of = np.concatenate([of for of, _, _ in found])
        order = np.argsort(of, kind="stable")
        slots = np.repeat([0, 1], [len(of) for of, _, _ in found])
        neighbours, edges = (np.concatenate([each[i] for each in found])[order] for i in (1, 2))
        return slots[order], neighbours, edges, np.bincount(of, minlength=len(nodes))


class _Ends:
    """Edges by the node at one of their ends."""

    def __init__(self, of: np.ndarray, neighbour: np.ndarray, num_nodes: int) -> None:
        self.edge = np.argsort(of, kind="stable")
        self.of, self.neighbour = of[self.edge], neighbour[self.edge]
        self._counts = np.bincount(of, minlength=num_nodes)
        self._first = firsts(self._counts)

    def around(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the edges of some nodes: place among the nodes, neighbour, edge."""
        counts = self._counts[nodes]
        at = spans(self._first[nodes], counts)
        return np.repeat(np.arange(len(nodes)), counts), self.neighbour[at], self.edge[at]


_SALTS = np.random.default_rng(0).integers(1, 2**63, 64, np.uint64) * np.uint64(2) + np.uint64(1)


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """A bijection of u64 of which no pattern survives (Steele et al. 2014, SplitMix64)."""
    mixed: np.ndarray = numbers ^ (numbers >> np.uint64(30))
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _colours(features: np.ndarray, ints: Sequence[np.ndarray]) -> np.ndarray:
    """A hash of each row, u64[rows]."""
    bits = features.view(np.uint32).astype(np.uint64)
    rows = np.column_stack([bits, *(column.astype(np.uint64) for column in ints)])
    hashes: np.ndarray = _mixed((rows + np.uint64(1)) * _SALTS[: rows.shape[1]]).sum(1, np.uint64)
    return _mixed(hashes)
