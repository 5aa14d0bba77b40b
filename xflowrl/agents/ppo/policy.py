"""The policy: scores every match of a graph from one pass over the graph.

Legend: G graphs, N nodes, E edges, M matches, K groups (matches of one rule in one graph),
P pairs of a match and a node it binds, F features, H hidden size, R rules.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch_geometric.nn import MessagePassing

from xflowrl.agents.ppo import distribution
from xflowrl.agents.ppo.distribution import ActionDistribution
from xflowrl.agents.ppo.features import (
    EDGE_FEATURES,
    GRAPH_FEATURES,
    MATCH_FEATURES,
    MAX_OPERANDS,
    NODE_FEATURES,
    GraphBatch,
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
        self.norm = nn.LayerNorm(hidden_size)
        self.update_node = nn.Sequential(
            nn.Linear(3 * hidden_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, hidden_size)
        )

    def forward(
        self, h_NH: torch.Tensor, edge_index: torch.Tensor, e_EH: torch.Tensor
    ) -> torch.Tensor:
        """[N, H] -> [N, H]."""
        x_NH = self.norm(h_NH)
        from_producers = self.propagate(edge_index, x=x_NH, e=e_EH)
        from_consumers = self.propagate(edge_index.flip(0), x=x_NH, e=e_EH)
        both_N3H = torch.cat([x_NH, from_producers, from_consumers], dim=1)
        updated_NH: torch.Tensor = h_NH + self.update_node(both_N3H)
        return updated_NH

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
        h_NH = self.encode(batch)
        g_GH = self.graph(
            torch.cat(
                [batch.graph_features, _mean(h_NH, batch.node_graph, batch.num_graphs)], dim=1
            )
        )
        num_matches, num_groups = len(batch.match_rule), len(batch.group_rule)
        matched_MH = _mean(h_NH[batch.pair_node], batch.pair_match, num_matches)
        m_MH = (
            self.match(torch.cat([batch.match_features, matched_MH], dim=1))
            + self.rule(batch.match_rule)
            + g_GH[batch.match_graph]
        ).relu()
        scores_M = self.match_score(m_MH).squeeze(1).float()
        pooled_GH = _mean(m_MH, batch.match_graph, batch.num_graphs)
        context_G = torch.cat([g_GH, pooled_GH], dim=1)
        if self.settings.head == "flat":
            log_go_on_M, rank_M = distribution.flat(scores_M, batch.match_graph, batch.num_graphs)
        else:
            mean_KH = _mean(m_MH, batch.match_group, num_groups)
            rows_MH = batch.match_group.unsqueeze(1).expand_as(m_MH)
            top_KH = m_MH.new_zeros(num_groups, m_MH.shape[1]).scatter_reduce(
                0, rows_MH, m_MH, "amax"
            )
            log_go_on_M, rank_M = distribution.hierarchical(
                self.rule_score(torch.cat([mean_KH, top_KH], dim=1)).squeeze(1).float(),
                scores_M,
                group_graph_K=batch.group_graph,
                match_group_M=batch.match_group,
                num_graphs=batch.num_graphs,
            )
        actions = distribution.action_distribution(
            stop_logits_G=self.stop(context_G).squeeze(1).float() + self._stop_odds(batch),
            log_go_on_M=log_go_on_M,
            rank_M=rank_M,
            match_graph_M=batch.match_graph,
            num_matches_G=batch.num_matches,
        )
        return actions, self.value(context_G).squeeze(1).float()

    def _stop_odds(self, batch: GraphBatch) -> torch.Tensor:
        """Log odds of STOP before training, [G]."""
        return math.log(self.settings.initial_stop) - batch.num_matches.clamp_min(1).log()

    def encode(self, batch: GraphBatch) -> torch.Tensor:
        """Node embeddings [N, H]."""
        h_NH = (
            self.operator(batch.node_op)
            + self.activation(batch.node_activation)
            + self.node(batch.node_features)
        )
        e_EH = self.operand(batch.edge_operand) + self.edge(batch.edge_features)
        for layer in self.layers:
            h_NH = layer(h_NH, batch.edge_index, e_EH)
        normed_NH: torch.Tensor = self.norm(h_NH)
        return normed_NH


def _mlp(inputs: int, hidden: int, *, gain: float) -> nn.Sequential:
    last = nn.Linear(hidden, 1)
    nn.init.orthogonal_(last.weight, gain)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), last)


def _mean(x_RH: torch.Tensor, segment_R: torch.Tensor, num_segments: int) -> torch.Tensor:
    """Mean of the rows of each segment, [segments, H]; 0 where there are none."""
    total = x_RH.new_zeros(num_segments, x_RH.shape[1]).index_add(0, segment_R, x_RH)
    count = torch.bincount(segment_R, minlength=num_segments).clamp_min(1)
    return total / count.unsqueeze(1)
