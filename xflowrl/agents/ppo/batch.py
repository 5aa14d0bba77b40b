"""What the policy reads: several graphs at once, with what looks alike there only once.

Legend: G graphs, M matches, K groups (matches of one rule in one graph), C choices (matches of one
kind in one graph), D kinds of nodes in each graph, U kinds of nodes, V kinds of matches, X kinds of
edges, E edges, P pairs of a kind of match and a node it binds, F features.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch


@dataclass(frozen=True, kw_only=True)
class Level:
    """Kinds of nodes that look alike as far as l edges away, made of kinds of the level below, i64.

    An edge of a node of kind u comes from a producer into slot 2 u, from a consumer into 2 u + 1.
    """

    own: torch.Tensor  # [U] the kind of the node itself, one level below
    edge_from: torch.Tensor  # [E] the neighbour's kind, one level below
    edge_kind: torch.Tensor  # [E]
    edge_slot: torch.Tensor  # [E]

    def to(self, device: torch.device) -> Level:
        """The level on another device."""
        return Level(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """Kinds of nodes and of matches, and what they are made of.

    Indices are i64, features and shares f32. Kinds of nodes are those of the last level, but for
    `node_*`, which describe the kinds below the first.
    """

    node_op: torch.Tensor  # [U]
    node_activation: torch.Tensor  # [U]
    node_features: torch.Tensor  # [U, F]
    edge_operand: torch.Tensor  # [X] below MAX_OPERANDS
    edge_features: torch.Tensor  # [X, F]
    levels: tuple[Level, ...]  # as many as the encoder has layers
    match_rule: torch.Tensor  # [V]
    match_features: torch.Tensor  # [V, F]
    pair_match: torch.Tensor  # [P]
    pair_node: torch.Tensor  # [P]
    pair_share: torch.Tensor  # [P, 1] of the nodes that the match binds

    def to(self, device: torch.device) -> Kinds:
        """The kinds on another device."""
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        levels = tuple(level.to(device) for level in moved.pop("levels"))
        return Kinds(levels=levels, **{name: t.to(device) for name, t in moved.items()})


@dataclass(frozen=True, kw_only=True)
class Graphs:
    """G graphs, in kinds; what belongs to graph g comes before what belongs to g + 1.

    Indices are i64, features, counts and shares f32.
    """

    kind_node: torch.Tensor  # [D] a kind of nodes that a graph has
    kind_graph: torch.Tensor  # [D]
    kind_share: torch.Tensor  # [D, 1] of the graph's nodes
    choice_match: torch.Tensor  # [C] its kind
    choice_graph: torch.Tensor  # [C]
    choice_group: torch.Tensor  # [C]
    choice_count: torch.Tensor  # [C, 1] matches
    match_choice: torch.Tensor  # [M]
    match_graph: torch.Tensor  # [M]
    group_rule: torch.Tensor  # [K]
    group_graph: torch.Tensor  # [K]
    group_count: torch.Tensor  # [K, 1] matches
    graph_features: torch.Tensor  # [G, F]
    num_matches: torch.Tensor  # [G]

    @property
    def num_graphs(self) -> int:
        """G."""
        return len(self.num_matches)

    def to(self, device: torch.device) -> Graphs:
        """The graphs on another device."""
        return Graphs(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


@dataclass(frozen=True)
class GraphBatch:
    """Graphs together with the kinds that they consist of."""

    kinds: Kinds
    graphs: Graphs

    def to(self, device: torch.device) -> GraphBatch:
        """The batch on another device."""
        return GraphBatch(self.kinds.to(device), self.graphs.to(device))
