"""The policy: scores every match of a graph from one pass over the graph.

Legend: G graphs, M matches, K groups (matches of one rule in one graph), C choices (matches of one
kind in one graph), U kinds of nodes, V kinds of matches, X kinds of edges, H hidden size, R rules.
"""

from __future__ import annotations

import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch_geometric.nn import MessagePassing

from xflowrl.agents.ppo import distribution
from xflowrl.agents.ppo.batch import GraphBatch, Graphs, Kinds, Level
from xflowrl.agents.ppo.distribution import ActionDistribution
from xflowrl.agents.ppo.features import (
    EDGE_FEATURES,
    GRAPH_FEATURES,
    MATCH_FEATURES,
    MAX_OPERANDS,
    NODE_FEATURES,
    num_features,
)
from xflowrl.agents.ppo.rule_features import RuleEncoder


@dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """Size and shape of the policy.

    Attributes:
        head: "hierarchical": p(rule) * p(match | rule); "flat": one softmax over matches.
        num_layers: rounds of message passing.
        rules: "text": a rule is what its text says, so that a policy can be used with rules it was
            not trained with; "name": each rule has a vector of its own.
        initial_stop: before training, STOP has so many times the probability of the average match.
    """

    hidden_size: int = 32
    num_layers: int = 2
    head: Literal["hierarchical", "flat"] = "hierarchical"
    rules: Literal["text", "name"] = "text"
    initial_stop: float = 0.05

    def __post_init__(self) -> None:
        if self.hidden_size < 1 or self.num_layers < 0:
            raise ValueError(
                f"agent.policy: hidden_size {self.hidden_size} and num_layers {self.num_layers}: "
                f"give at least 1 and 0"
            )
        if not self.initial_stop > 0:
            raise ValueError(f"agent.policy.initial_stop is {self.initial_stop}: give a number > 0")


class EdgeConvolution(MessagePassing):
    """Sums relu(neighbour + edge) over producers and over consumers, apart (Hu et al. 2020, GINE).

    A node's operands and its users mean different things, so each direction has its own weights;
    residual, with the normalisation in front (Xiong et al. 2020).
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__(aggr="sum")
        _remove_generated_code(self)
        self.norm = nn.LayerNorm(hidden_size)
        self.update_node = nn.Sequential(
            nn.Linear(3 * hidden_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, hidden_size)
        )

    def forward(self, h_UH: torch.Tensor, level: Level, e_XH: torch.Tensor) -> torch.Tensor:
        """Kinds of one level -> those of the next, [U, H]."""
        x_UH = self.norm(h_UH)
        num_kinds = len(level.own)
        both_U2H = self.propagate(
            torch.stack([level.edge_from, level.edge_slot]),
            x=(x_UH, None),
            e=_rows(e_XH, level.edge_kind),
            size=(len(x_UH), 2 * num_kinds),
        )
        x_U3H = torch.cat([_rows(x_UH, level.own), both_U2H.view(num_kinds, -1)], dim=1)
        updated_UH: torch.Tensor = _rows(h_UH, level.own) + self.update_node(x_U3H)
        return updated_UH

    def message(self, x_j: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        """What goes over an edge, [E, H]."""
        return (x_j + e).relu()


class Policy(nn.Module):
    """Encoder, heads for matches, rules and STOP, and a value.

    A match is scored from the embeddings of the nodes it binds, its rule, and what it changes
    (cost, size, ...); no graph that a match would lead to is ever encoded. Invariant to the order
    of nodes, equivariant to that of matches. Initially every rule is equally likely, and
    every match of a rule (Andrychowicz et al. 2021: last layer of the policy scaled by 0.01); and
    every value is about 0, for one that was far below would make STOP look like a gain.
    """

    def __init__(
        self,
        settings: PolicySettings,
        *,
        num_operators: int,
        num_activations: int,
        rule_features: torch.Tensor,
    ) -> None:
        super().__init__()
        self.settings = settings
        size = settings.hidden_size
        self.operator = nn.Embedding(num_operators, size)
        self.activation = nn.Embedding(num_activations, size)
        self.node = nn.Linear(num_features(NODE_FEATURES), size)
        self.operand = nn.Embedding(MAX_OPERANDS, size)
        self.edge = nn.Linear(num_features(EDGE_FEATURES), size)
        self.layers = nn.ModuleList(EdgeConvolution(size) for _ in range(settings.num_layers))
        self.norm = nn.LayerNorm(size)
        self.graph = nn.Linear(num_features(GRAPH_FEATURES) + size, size)
        self.rule = (
            RuleEncoder(rule_features, size)
            if settings.rules == "text"
            else nn.Embedding(len(rule_features), size)
        )
        self.match = nn.Linear(num_features(MATCH_FEATURES) + size, size)
        self.match_score = _mlp(size, size, gain=0.01)
        self.rule_score = _mlp(2 * size, size, gain=0.01)
        self.stop = _mlp(2 * size, size, gain=0.01)
        self.value = _mlp(2 * size, size, gain=0.01)
        with torch.no_grad():
            for embedding in (self.operator, self.activation, self.operand, self.rule):
                embedding.weight.mul_(0.5)

    def forward(self, batch: GraphBatch) -> tuple[ActionDistribution, torch.Tensor]:
        """The distribution over actions, and the values [G]; f32 under every precision."""
        return self.decide(*self.encode(batch.kinds), batch.graphs)

    def decide(
        self, h_UH: torch.Tensor, v_VH: torch.Tensor, graphs: Graphs
    ) -> tuple[ActionDistribution, torch.Tensor]:
        """The same from the embeddings of kinds, which depend on no graph as a whole."""
        num_graphs, num_groups = graphs.num_graphs, len(graphs.group_rule)
        nodes_GH = _sum(
            _rows(h_UH, graphs.kind_node) * graphs.kind_share, graphs.kind_graph, num_graphs
        )
        g_GH = self.graph(torch.cat([graphs.graph_features, nodes_GH], dim=1))
        m_CH = (_rows(v_VH, graphs.choice_match) + _rows(g_GH, graphs.choice_graph)).relu()
        scores_M = self.match_score(m_CH).squeeze(1).float()[graphs.match_choice]
        total_KH = _sum(m_CH * graphs.choice_count, graphs.choice_group, num_groups)
        total_GH = _sum(total_KH, graphs.group_graph, num_graphs)
        context_G = torch.cat(
            [g_GH, total_GH / graphs.num_matches.clamp_min(1).unsqueeze(1)], dim=1
        )
        if self.settings.head == "flat":
            log_go_on_M, rank_M = distribution.flat(scores_M, graphs.match_graph, graphs.num_graphs)
        else:
            rows_CH = graphs.choice_group.unsqueeze(1).expand_as(m_CH)
            top_KH = m_CH.new_zeros(num_groups, m_CH.shape[1]).scatter_reduce(
                0, rows_CH, m_CH, "amax"
            )
            log_go_on_M, rank_M = distribution.hierarchical(
                self.rule_score(torch.cat([total_KH / graphs.group_count, top_KH], dim=1))
                .squeeze(1)
                .float(),
                scores_M,
                group_graph_K=graphs.group_graph,
                match_group_M=graphs.choice_group[graphs.match_choice],
                num_graphs=graphs.num_graphs,
            )
        actions = distribution.action_distribution(
            stop_logits_G=self.stop(context_G).squeeze(1).float() + self._stop_odds(graphs),
            log_go_on_M=log_go_on_M,
            rank_M=rank_M,
            match_graph_M=graphs.match_graph,
            num_matches_G=graphs.num_matches,
        )
        return actions, self.value(context_G).squeeze(1).float()

    def _stop_odds(self, graphs: Graphs) -> torch.Tensor:
        """Log odds of STOP before training, [G]."""
        return math.log(self.settings.initial_stop) - graphs.num_matches.clamp_min(1).log()

    def encode(self, kinds: Kinds) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings of kinds of nodes, [U, H], and of matches, [V, H]."""
        h_UH = (
            self.operator(kinds.node_op)
            + self.activation(kinds.node_activation)
            + self.node(kinds.node_features)
        )
        e_XH = self.operand(kinds.edge_operand) + self.edge(kinds.edge_features)
        for layer, level in zip(self.layers, kinds.levels, strict=True):
            h_UH = layer(h_UH, level, e_XH)
        normed_UH = self.norm(h_UH)
        # A match is what it binds, what it changes, and its rule.
        matched_VH = _sum(
            _rows(normed_UH, kinds.pair_node) * kinds.pair_share,
            kinds.pair_match,
            len(kinds.match_rule),
        )
        changes_VH = self.match(torch.cat([kinds.match_features, matched_VH], dim=1))
        return normed_UH, changes_VH + self.rule(kinds.match_rule)


def _remove_generated_code(layer: MessagePassing) -> None:
    """PyG generates code for each class once a process, and leaves it among the temporary files."""
    generated = Path(sys.modules[layer.propagate.__module__].__file__ or "")
    if generated.parent == Path(tempfile.gettempdir()):
        generated.unlink(missing_ok=True)


def _mlp(inputs: int, hidden: int, *, gain: float) -> nn.Sequential:
    last = nn.Linear(hidden, 1)
    nn.init.orthogonal_(last.weight, gain)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), last)


def _rows(x_RH: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Rows by their index; its gradient is faster than that of `x_RH[at]`."""
    return x_RH.index_select(0, at)


def _sum(x_RH: torch.Tensor, segment_R: torch.Tensor, num_segments: int) -> torch.Tensor:
    """Sum of the rows of each segment, [segments, H]."""
    return x_RH.new_zeros(num_segments, x_RH.shape[1]).index_add(0, segment_R, x_RH)
