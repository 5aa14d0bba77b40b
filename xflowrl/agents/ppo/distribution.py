"""The masked distribution over the actions of G states with differing numbers of matches.

Legend: G states, M matches, K groups, A actions: for each state its matches in order, then STOP.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

_NEVER = -1e9  # a log-probability that is finite, so that 0 * log 0 is 0 and has a gradient


def segment_log_softmax(
    logits_M: torch.Tensor, segment_M: torch.Tensor, num_segments: int
) -> torch.Tensor:
    """log softmax within each segment, [M]. Stable; empty segments are allowed."""
    top = logits_M.new_full((num_segments,), -torch.inf)
    top = top.scatter_reduce(0, segment_M, logits_M.detach(), "amax")
    shifted_M = logits_M - top[segment_M]
    total = logits_M.new_zeros(num_segments).index_add(0, segment_M, shifted_M.exp())
    return shifted_M - total.log()[segment_M]


def gumbel(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Gumbel noise: what is largest with it is a draw (Maddison et al. 2014)."""
    return -(-torch.rand(shape, generator=generator).clamp_min_(1e-20).log()).log()


@dataclass(frozen=True)
class ActionDistribution:
    """Over matches and STOP, for each of G states.

    What is no action of a state has no entry, so the mask is the layout itself: `log_prob` of an
    action beyond a state's STOP is an error, not a small number.

    Attributes:
        log_probs_A: by state: its matches, then STOP.
        go_on_M: log-probability of each match, given that the answer is not STOP.
        log_stop_G: log-probability of STOP.
    """

    log_probs_A: torch.Tensor
    graph_A: torch.Tensor
    first_G: torch.Tensor
    num_actions: tuple[int, ...]
    rank_M: torch.Tensor

    @property
    def log_stop_G(self) -> torch.Tensor:
        """Log-probability of STOP."""
        return self.log_probs_A[self.first_G + self._counts() - 1]

    def log_prob(self, actions_G: torch.Tensor) -> torch.Tensor:
        """Log-probability of one action a state, [G]."""
        assert bool((actions_G < self._counts()).all()), "not an action of its state"
        return self.log_probs_A[self.first_G + actions_G]

    def entropy(self) -> torch.Tensor:
        """Entropy in nats, [G]."""
        terms_A = -self.log_probs_A.exp() * self.log_probs_A
        return terms_A.new_zeros(len(self.num_actions)).index_add(0, self.graph_A, terms_A)

    def sample(self, generator: torch.Generator) -> torch.Tensor:
        """One action a state, [G] on the CPU; by the Gumbel-max trick (Maddison et al. 2014)."""
        log_probs_A = self.log_probs_A.detach().cpu()
        noisy_A = log_probs_A + gumbel(log_probs_A.shape, generator)
        return torch.stack([part.argmax() for part in torch.split(noisy_A, list(self.num_actions))])

    def mode(self) -> torch.Tensor:
        """Greedy decoding, [G] on the CPU.

        STOP where it is likelier than going on; else the match that ranks first. (Not the likeliest
        single action: a hundred equally good matches share what one STOP has for itself.)
        """
        actions = []
        stop_G = (self.log_stop_G > -0.6931471805599453).tolist()
        ranks = torch.split(self.rank_M.detach().cpu(), [n - 1 for n in self.num_actions])
        for stop, count, rank in zip(stop_G, self.num_actions, ranks, strict=True):
            actions.append(count - 1 if stop or count == 1 else int(rank.argmax()))
        return torch.tensor(actions)

    def _counts(self) -> torch.Tensor:
        return torch.tensor(self.num_actions, device=self.first_G.device)


def action_distribution(
    *,
    stop_logits_G: torch.Tensor,
    log_go_on_M: torch.Tensor,
    rank_M: torch.Tensor,
    match_graph_M: torch.Tensor,
    num_matches_G: torch.Tensor,
) -> ActionDistribution:
    """STOP with probability sigmoid(stop_logits), else a match.

    Args:
        log_go_on_M: log-probability of each match, given that the answer is not STOP.
        rank_M: what greedy decoding maximises.
    """
    # A state without matches stops for certain.
    stop_logits_G = torch.where(num_matches_G > 0, stop_logits_G, -_NEVER)
    log_stop_G, log_on_G = F.logsigmoid(stop_logits_G), F.logsigmoid(-stop_logits_G)
    num_graphs = len(num_matches_G)
    graphs = torch.arange(num_graphs, device=num_matches_G.device)
    end_G = num_matches_G.cumsum(0) + graphs  # where each STOP lies
    at_M = torch.arange(len(log_go_on_M), device=match_graph_M.device) + match_graph_M
    log_probs_A = log_go_on_M.new_empty(len(log_go_on_M) + num_graphs)
    log_probs_A = log_probs_A.index_put((at_M,), log_on_G[match_graph_M] + log_go_on_M)
    log_probs_A = log_probs_A.index_put((end_G,), log_stop_G)
    counts = num_matches_G + 1
    return ActionDistribution(
        log_probs_A=log_probs_A,
        graph_A=torch.repeat_interleave(graphs, counts),
        first_G=end_G - num_matches_G,
        num_actions=tuple(counts.tolist()),
        rank_M=rank_M,
    )


def flat(
    scores_M: torch.Tensor, match_graph_M: torch.Tensor, num_graphs: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """softmax over a state's matches; returns log-probabilities and ranks, [M] each."""
    log_M = segment_log_softmax(scores_M, match_graph_M, num_graphs)
    return log_M, log_M


def hierarchical(
    rule_logits_K: torch.Tensor,
    scores_M: torch.Tensor,
    *,
    group_graph_K: torch.Tensor,
    match_group_M: torch.Tensor,
    num_graphs: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """p(rule) p(match | rule); returns log-probabilities and ranks, [M] each.

    Rules without a match have no group, so no probability. Greedy decoding takes the likeliest
    rule, then its likeliest match: the rank puts the rule first.
    """
    log_rule_K = segment_log_softmax(rule_logits_K, group_graph_K, num_graphs)
    log_within_M = segment_log_softmax(scores_M, match_group_M, len(rule_logits_K))
    order_K = torch.empty_like(log_rule_K)
    order_K[log_rule_K.detach().argsort()] = torch.arange(
        len(order_K), dtype=order_K.dtype, device=order_K.device
    )
    rank_M = order_K[match_group_M] + log_within_M.detach().exp() / 2
    return log_rule_K[match_group_M] + log_within_M, rank_M
