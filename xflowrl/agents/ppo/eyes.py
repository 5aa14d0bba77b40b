"""Looking again and again with weights that stay: each look costs what is new in it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from xflowrl.agents.ppo.distribution import ActionDistribution
from xflowrl.agents.ppo.gallery import Gallery, Sight
from xflowrl.agents.ppo.policy import Policy
from xflowrl.env import Observation


class Eyes:
    """A policy that keeps what it has encoded.

    The embeddings of a kind of nodes or of matches depend on no graph as a whole, so that those
    from earlier looks serve again. Answers are those of the policy but for the order of sums.
    Memory grows with what is seen; the policy's weights must not change meanwhile.

    Attributes:
        gallery: what has been seen.
    """

    def __init__(self, policy: Policy) -> None:
        self.gallery = Gallery(policy.settings.num_layers)
        self._policy = policy
        self._like = next(policy.parameters())
        nothing = self._like.new_empty(0, policy.settings.hidden_size)
        self._nodes, self._matches = _Table(nothing), _Table(nothing)

    def look(self, observations: Sequence[Observation]) -> tuple[ActionDistribution, torch.Tensor]:
        """The distribution over the actions of each state, and their values [G]."""
        return self.answer(self.gallery.add(observations))

    @torch.inference_mode()
    def answer(self, sights: Sequence[Sight]) -> tuple[ActionDistribution, torch.Tensor]:
        """The same for states that the gallery has."""
        device, known = self._like.device, (self._nodes.num_rows, self._matches.num_rows)
        if self.gallery.num_kinds != known:
            h_UH, v_VH = self._policy.encode(self.gallery.kinds_since(*known).to(device))
            self._nodes.extend(h_UH[: self.gallery.num_kinds[0] - known[0]])
            self._matches.extend(v_VH)
        graphs = self.gallery.graphs(sights).to(device)
        return self._policy.decide(self._nodes.rows, self._matches.rows, graphs)


class _Table:
    """Rows that grow, at a cost of what is appended."""

    def __init__(self, nothing: torch.Tensor) -> None:
        self._room, self.num_rows = nothing, 0

    @property
    def rows(self) -> torch.Tensor:
        """All of them."""
        return self._room[: self.num_rows]

    def extend(self, rows: torch.Tensor) -> None:
        """Appends some."""
        end = self.num_rows + len(rows)
        if end > len(self._room):
            self._room = torch.cat([self.rows, rows.new_empty(end, rows.shape[1])])
        self._room[self.num_rows : end] = rows
        self.num_rows = end
