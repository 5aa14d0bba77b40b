"""Graphs as a policy sees them: nodes and matches that look alike are kept, and encoded, once.

An encoder of L layers tells two nodes apart only by what lies within L edges of them, which colour
refinement finds out (Weisfeiler and Leman 1968; Morris et al. 2019). The states of a rollout are
rewrites of one another, and networks repeat their cells, so that a handful of kinds stands for all
their nodes. The policy's answers, and their gradients, are the same but for the order of sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from xflowrl.agents.ppo.batch import GraphBatch, Graphs, Kinds, Level
from xflowrl.agents.ppo.features import GRAPH_FEATURES, matrix, merge
from xflowrl.agents.ppo.growing import Lists, Rows, firsts
from xflowrl.agents.ppo.looks import Looks
from xflowrl.env import Observation

_LEVEL = ("own", "edge_from", "edge_kind", "edge_slot")


def make_batch(observations: Sequence[Observation], *, num_layers: int) -> GraphBatch:
    """The tensors of G observations, for an encoder of so many layers."""
    gallery = Gallery(num_layers)
    return gallery.batch(gallery.add(observations))


@dataclass(frozen=True)
class Sight:
    """One state, in the kinds of a gallery; see `GraphBatch` for the letters, here of one graph."""

    kind_node: np.ndarray  # [D]
    kind_share: np.ndarray  # [D]
    choice_match: np.ndarray  # [C]
    choice_group: np.ndarray  # [C]
    choice_count: np.ndarray  # [C]
    match_choice: np.ndarray  # [M]
    group_rule: np.ndarray  # [K]
    group_count: np.ndarray  # [K]
    graph_features: np.ndarray  # [F]


class Gallery:
    """The kinds of nodes, edges and matches that some states have, as far as one has looked.

    Kinds are told apart by 64-bit hashes. It only grows; sights are valid as long as it lives.

    Args:
        num_layers: of the encoder that is to tell nodes apart.
    """

    def __init__(self, num_layers: int) -> None:
        self._ids: list[dict[int, int]] = [{} for _ in range(num_layers + 1)]  # by level and colour
        self._edge_ids: dict[int, int] = {}
        self._match_ids: dict[int, int] = {}
        self._node_rows = Rows()
        self._edge_rows = Rows()
        self._match_rows = Rows()
        self._pairs = Lists()
        self._own = [Rows() for _ in range(num_layers)]
        self._edges = [Lists() for _ in range(num_layers)]

    # Looking -----------------------------------------------------------------------------------

    def add(self, observations: Sequence[Observation]) -> list[Sight]:
        """Looks at some states; linear in their size."""
        looks = Looks(merge(observations), len(self._ids) - 1)
        columns, num_graphs = looks.columns, len(observations)
        nodes = _Alike(looks.node_colours[-1], columns["node_graph"], num_graphs)
        matches = _Alike(looks.match_colours, columns["match_graph"], num_graphs)
        node_ids, new_nodes = _name(self._ids[-1], nodes.colours)
        match_ids, new_matches = _name(self._match_ids, matches.colours)
        self._edge_rows.extend(looks.edges(np.zeros(0, np.int64)))  # for encoders without layers
        self._keep_nodes(looks, len(self._own), nodes.examples[new_nodes])
        self._keep_matches(looks, matches.examples[new_matches])
        rules = columns["match_rule"][matches.examples].astype(np.int64)
        groups = _Alike(rules[matches.kind], matches.graph, num_graphs)
        num_nodes = np.bincount(columns["node_graph"], minlength=num_graphs)
        columns_of_sights = (
            *nodes.by_graph(node_ids[nodes.kind], nodes.count / num_nodes[nodes.graph]),
            *matches.by_graph(match_ids[matches.kind], groups.place, matches.count),
            *_by_graph(columns["num_matches"], matches.place),
            *groups.by_graph(groups.colours[groups.kind], np.bincount(groups.row, matches.count)),
            matrix(GRAPH_FEATURES, columns),
        )
        return [Sight(*sight) for sight in zip(*columns_of_sights, strict=True)]

    def _keep_nodes(self, looks: Looks, level: int, nodes: np.ndarray) -> None:
        """Keeps nodes of kinds just named, and on the levels below what they are made of."""
        if level == 0:
            self._node_rows.extend(looks.nodes(nodes))
            return
        slots, neighbours, edges, counts = looks.around(nodes)
        needed = np.concatenate([nodes, neighbours])
        ids, new = _name(self._ids[level - 1], looks.node_colours[level - 1][needed])
        self._keep_nodes(looks, level - 1, needed[new])
        edge_ids, new_edges = _name(self._edge_ids, looks.edge_colours[edges])
        self._edge_rows.extend(looks.edges(edges[new_edges]))
        self._own[level - 1].extend([ids[: len(nodes)]])
        self._edges[level - 1].extend(counts, [slots, ids[len(nodes) :], edge_ids])

    def _keep_matches(self, looks: Looks, matches: np.ndarray) -> None:
        pairs, counts = looks.pairs(matches)
        nodes, _ = _name(self._ids[-1], looks.node_colours[-1][looks.columns["match_node"][pairs]])
        self._match_rows.extend(looks.matches(matches))
        self._pairs.extend(counts, [nodes])

    # Showing -----------------------------------------------------------------------------------

    def batch(self, sights: Sequence[Sight]) -> GraphBatch:
        """The tensors of some states: of what these consist of, and nothing else."""
        columns = self._columns(sights)
        kinds, node_row, match_row = self._kinds(columns["kind_node"], columns["choice_match"])
        columns["kind_node"] = node_row[columns["kind_node"]]
        columns["choice_match"] = match_row[columns["choice_match"]]
        return GraphBatch(kinds, Graphs(**_tensors(columns)))

    def graphs(self, sights: Sequence[Sight]) -> Graphs:
        """The tensors of some states, for whoever has all kinds of the gallery, by their ids."""
        return Graphs(**_tensors(self._columns(sights)))

    @property
    def num_kinds(self) -> tuple[int, int]:
        """Of nodes and of matches."""
        return len(self._ids[-1]), len(self._match_ids)

    def kinds_since(self, first_node: int, first_match: int) -> Kinds:
        """The kinds of nodes and of matches from these ids on, in the order of ids.

        Those of nodes come after older ones that the matches bind.
        """
        nodes = np.arange(first_node, len(self._ids[-1]))
        return self._kinds(nodes, np.arange(first_match, len(self._match_ids)))[0]

    def _columns(self, sights: Sequence[Sight]) -> dict[str, np.ndarray]:
        kind_node, num_kinds = _join([s.kind_node for s in sights])
        choice_match, num_choices = _join([s.choice_match for s in sights])
        group_rule, num_groups = _join([s.group_rule for s in sights])
        match_choice, num_matches = _join([s.match_choice for s in sights])
        graphs = np.arange(len(sights))
        return {
            "kind_node": kind_node,
            "kind_graph": np.repeat(graphs, num_kinds),
            "kind_share": _column([s.kind_share for s in sights]),
            "choice_match": choice_match,
            "choice_graph": np.repeat(graphs, num_choices),
            "choice_group": _shifted([s.choice_group for s in sights], num_groups, num_choices),
            "choice_count": _column([s.choice_count for s in sights]),
            "match_choice": match_choice + np.repeat(firsts(num_choices), num_matches),
            "match_graph": np.repeat(graphs, num_matches),
            "group_rule": group_rule,
            "group_graph": np.repeat(graphs, num_groups),
            "group_count": _column([s.group_count for s in sights]),
            "graph_features": np.stack([s.graph_features for s in sights]),
            "num_matches": num_matches,
        }

    def _kinds(
        self, nodes: np.ndarray, matches: np.ndarray
    ) -> tuple[Kinds, np.ndarray, np.ndarray]:
        """Some kinds of matches and of nodes, with those that the matches bind; and their rows."""
        matches, match_row = _present(matches, len(self._match_ids))
        match_rule, match_features = self._match_rows.at(matches)
        pair_match, (pair_node,), num_pairs = self._pairs.of(matches)
        nodes, node_row = _present(np.concatenate([nodes, pair_node]), len(self._ids[-1]))
        levels: list[Level] = []
        below, below_row = nodes, node_row
        for level in reversed(range(len(self._own))):
            (own,) = self._own[level].at(below)
            edge_of, (slots, neighbours, edges), _ = self._edges[level].of(below)
            below, below_row = _present(np.concatenate([own, neighbours]), len(self._ids[level]))
            made = below_row[own], below_row[neighbours], edges, 2 * edge_of + slots
            levels.insert(0, Level(**_tensors(dict(zip(_LEVEL, made, strict=True)))))
        node_op, node_activation, node_features = self._node_rows.at(below)
        edge_operand, edge_features = self._edge_rows.at(slice(None))
        columns = {
            "node_op": node_op,
            "node_activation": node_activation,
            "node_features": node_features,
            "edge_operand": edge_operand,
            "edge_features": edge_features,
            "match_rule": match_rule,
            "match_features": match_features,
            "pair_match": pair_match,
            "pair_node": node_row[pair_node],
            "pair_share": _column([np.repeat(1 / np.maximum(num_pairs, 1), num_pairs)]),
        }
        return Kinds(levels=tuple(levels), **_tensors(columns)), node_row, match_row


def _tensors(columns: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(column) for name, column in columns.items()}


def _column(parts: Sequence[np.ndarray]) -> np.ndarray:
    """One after the other, f32[rows, 1]."""
    return np.concatenate(parts).astype(np.float32)[:, None]


class _Alike:
    """The things of each of several graphs, those of one colour together.

    Attributes:
        colours: that occur, ascending.
        examples: a thing of each colour.
        kind: index into `colours`, of each row: the things of one colour in one graph; by graph.
        graph: of each row.
        count: things in each row.
        row: of each thing.
        place: of each thing, its row among those of its graph.
    """

    def __init__(self, colours: np.ndarray, graph: np.ndarray, num_graphs: int) -> None:
        found = np.unique(colours, return_index=True, return_inverse=True)
        self.colours, self.examples, kind = found
        num_kinds = len(self.colours)
        key = graph * num_kinds + kind
        counts = np.bincount(key, minlength=num_graphs * num_kinds)
        rows = np.flatnonzero(counts)
        self.count = counts[rows]
        self.graph, self.kind = np.divmod(rows, max(num_kinds, 1))
        self.row = (np.cumsum(counts > 0) - 1)[key]
        self._num_rows = np.bincount(self.graph, minlength=num_graphs)
        self.place = self.row - firsts(self._num_rows)[graph]

    def by_graph(self, *columns: np.ndarray) -> list[list[np.ndarray]]:
        """Columns of the rows, cut into graphs."""
        return _by_graph(self._num_rows, *columns)


def _by_graph(num_rows: np.ndarray, *columns: np.ndarray) -> list[list[np.ndarray]]:
    bounds = list(pairwise([0, *np.cumsum(num_rows).tolist()]))
    return [[column[first:end] for first, end in bounds] for column in columns]


def _name(ids: dict[int, int], colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ids of colours, and where those that are new stand first, in the order of their ids."""
    listed, new = colours.tolist(), []
    for at, colour in enumerate(listed):
        if colour not in ids:
            ids[colour] = len(ids)
            new.append(at)
    return np.array([ids[c] for c in listed], np.int64), np.array(new, np.int64)


def _present(kinds: np.ndarray, num_kinds: int) -> tuple[np.ndarray, np.ndarray]:
    """The kinds that occur, ascending, and the row of each of them there."""
    occurs = np.zeros(num_kinds, bool)
    occurs[kinds] = True
    return np.flatnonzero(occurs), np.cumsum(occurs) - 1


def _join(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """One after the other, and how long each is."""
    return np.concatenate(parts), np.array([len(part) for part in parts])


def _shifted(parts: Sequence[np.ndarray], by: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """One after the other, each shifted by what those before it point into."""
    shifted: np.ndarray = np.concatenate(parts) + np.repeat(firsts(by), lengths)
    return shifted
