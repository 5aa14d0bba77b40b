"""Graphs as a policy sees them: nodes and matches that look alike are kept, and encoded, once.

An encoder of L layers tells two nodes apart only by what lies within L edges of them, which colour
refinement finds out (Weisfeiler and Leman 1968; Morris et al. 2019). The states of a rollout are
rewrites of one another, and networks repeat their cells, so that a handful of kinds stands for all
their nodes. The policy's answers, and their gradients, are the same but for the order of sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from xflowrl._engine import KindIndex
from xflowrl.agents.ppo.batch import GraphBatch, Graphs, Kinds, Level
from xflowrl.agents.ppo.features import (
    EDGE_FEATURES,
    GRAPH_FEATURES,
    MATCH_FEATURES,
    MAX_OPERANDS,
    NODE_FEATURES,
    Feature,
    Thing,
    columns_of,
    graph_columns,
    matrix,
    scale_ms,
)
from xflowrl.agents.ppo.growing import Rows
from xflowrl.env import Observation

Sight = Mapping[str, np.ndarray]
"""One state in the kinds of a gallery: what `KindIndex.add` gives, and `graph_features`."""


def make_batch(observations: Sequence[Observation], *, num_layers: int) -> GraphBatch:
    """The tensors of G observations, for an encoder of so many layers."""
    gallery = Gallery(num_layers)
    return gallery.batch(gallery.add(observations))


class Gallery:
    """The kinds of nodes, edges and matches that some states have, as far as one has looked.

    It only grows; sights are valid as long as it lives.

    Args:
        num_layers: of the encoder that is to tell nodes apart.
    """

    def __init__(self, num_layers: int) -> None:
        self._index = KindIndex(num_layers, max_operands=MAX_OPERANDS)
        self._nodes = _Described("node", ("node_op", "node_activation"), NODE_FEATURES)
        self._edges = _Described("edge", ("edge_operand",), EDGE_FEATURES)
        self._matches = _Described("match", ("match_rule",), MATCH_FEATURES)

    @property
    def num_kinds(self) -> tuple[int, int]:
        """Of nodes and of matches."""
        return self._index.num_nodes, self._index.num_matches

    # Looking -----------------------------------------------------------------------------------

    def add(self, observations: Sequence[Observation]) -> list[Sight]:
        """Looks at some states; linear in their size."""
        sights = [self._index.add(o, scale_ms=scale_ms(o)) for o in observations]
        self._nodes.extend_by(observations, [sight.pop("new_nodes") for sight in sights])
        self._edges.extend_by(observations, [sight.pop("new_edges") for sight in sights])
        self._matches.extend_by(observations, [sight.pop("new_matches") for sight in sights])
        features = matrix(GRAPH_FEATURES, graph_columns(observations))
        return [
            {**sight, "graph_features": row} for sight, row in zip(sights, features, strict=True)
        ]

    # Showing -----------------------------------------------------------------------------------

    def batch(self, sights: Sequence[Sight]) -> GraphBatch:
        """The tensors of some states: of what these consist of, and nothing else."""
        graphs = _graphs(sights)
        kinds, graphs["kind_node"], graphs["choice_match"] = self._kinds(
            graphs["kind_node"], graphs["choice_match"]
        )
        return GraphBatch(kinds, Graphs(**_tensors(graphs)))

    def graphs(self, sights: Sequence[Sight]) -> Graphs:
        """The tensors of some states, for whoever has all kinds by their numbers."""
        return Graphs(**_tensors(_graphs(sights)))

    def kinds_since(self, first_node: int, first_match: int) -> Kinds:
        """The kinds of nodes and of matches from these numbers on, in their order.

        Behind those of nodes come older ones that the matches bind.
        """
        num_nodes, num_matches = self.num_kinds
        nodes, matches = np.arange(first_node, num_nodes), np.arange(first_match, num_matches)
        return self._kinds(nodes, matches)[0]

    def _kinds(
        self, nodes: np.ndarray, matches: np.ndarray
    ) -> tuple[Kinds, np.ndarray, np.ndarray]:
        """Kinds of nodes and matches, and where each of these is."""
        made = self._index.kinds(nodes, matches)
        levels = tuple(Level(**_tensors(level)) for level in made["levels"])
        node_op, node_activation, node_features = self._nodes.at(made["nodes"])
        edge_operand, edge_features = self._edges.at(made["edges"])
        match_rule, match_features = self._matches.at(made["matches"])
        columns = {
            "node_op": node_op,
            "node_activation": node_activation,
            "node_features": node_features,
            "edge_operand": np.minimum(edge_operand, MAX_OPERANDS - 1),
            "edge_features": edge_features,
            "match_rule": match_rule,
            "match_features": match_features,
            "pair_match": made["pair_match"],
            "pair_node": made["pair_node"],
            "pair_share": made["pair_share"][:, None],
        }
        return Kinds(levels=levels, **_tensors(columns)), made["node_row"], made["match_row"]


class _Described(Rows):
    """What an encoder reads of kinds of nodes, edges or matches, by number: indices, features."""

    def __init__(self, of: Thing, indices: Sequence[str], features: Sequence[Feature]) -> None:
        super().__init__()
        self._of, self._indices, self._features = of, indices, features

    def extend_by(self, observations: Sequence[Observation], rows: Sequence[np.ndarray]) -> None:
        """Appends some rows of each observation."""
        if self.num_rows and not any(map(len, rows)):
            return
        columns = columns_of(self._of, observations, rows)
        indices = [columns[name].astype(np.int64) for name in self._indices]
        self.extend([*indices, matrix(self._features, columns)])


def _graphs(sights: Sequence[Sight]) -> dict[str, np.ndarray]:
    """States one after the other, each index shifted by what those before it point into."""
    joined = {name: np.concatenate([sight[name] for sight in sights]) for name in _JOINED}
    num_kinds, num_choices, num_matches, num_groups = (
        np.array([len(sight[name]) for sight in sights])
        for name in ("kind_node", "choice_match", "match_choice", "group_rule")
    )
    graphs = np.arange(len(sights))
    first_choice, first_group = (np.cumsum(n) - n for n in (num_choices, num_groups))
    joined["match_choice"] += np.repeat(first_choice, num_matches)
    joined["choice_group"] += np.repeat(first_group, num_choices)
    for name in ("kind_share", "choice_count", "group_count"):
        joined[name] = joined[name][:, None]
    return {
        **joined,
        "kind_graph": np.repeat(graphs, num_kinds),
        "choice_graph": np.repeat(graphs, num_choices),
        "match_graph": np.repeat(graphs, num_matches),
        "group_graph": np.repeat(graphs, num_groups),
        "graph_features": np.stack([sight["graph_features"] for sight in sights]),
        "num_matches": num_matches,
    }


_JOINED = (
    *("kind_node", "kind_share", "match_choice", "group_rule", "group_count"),
    *("choice_match", "choice_group", "choice_count"),
)


def _tensors(columns: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(column) for name, column in columns.items()}
