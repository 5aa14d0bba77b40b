"""PUCT in a tree of states: selection, widening, backup. Knows nothing of graphs and networks.

The edge with the highest Q + U is followed (Silver et al. 2017, https://doi.org/10.1038/nature24270,
Methods), Q normalised by the least and the largest in the tree (Schrittwieser et al. 2020,
https://doi.org/10.1038/s41586-020-03051-4, eq. 5). Edges are sampled, their prior is their share of
the draws (Hubert et al. 2021, https://arxiv.org/abs/2104.06303), and they become more as a state is
visited (progressive widening, Couetoux et al. 2011, https://doi.org/10.1007/978-3-642-25566-3_33).

Departures: an edge without visits has the Q that its state was given; where all edges are pending
one more is proposed; equal states are one node, where no way leads back; and what has nothing new
behind it is closed, and not visited again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")

_EPSILON = 1e-9  # no difference of savings


@dataclass(eq=False)
class Edge(Generic[T]):
    """Some matches that are taken together.

    Attributes:
        weight: of the prior, beside the weights of the other edges of its state.
        gain: what taking it earns, known once it is taken.
        num_visits, total: simulations that went over it, and the sum of what they earned from here.
        num_pending: simulations not evaluated yet, which count as ones that earned the least.
        child: None until it is taken.
    """

    matches: tuple[int, ...]
    weight: float
    gain: float = 0.0
    num_visits: int = 0
    total: float = 0.0
    num_pending: int = 0
    child: Node[T] | None = None
    leads_back: bool = False

    @property
    def is_closed(self) -> bool:
        """Whether nothing new lies behind it."""
        return self.leads_back or (self.child is not None and self.child.is_closed)


@dataclass(eq=False)
class Node(Generic[T]):
    """A state.

    Attributes:
        place: what it stands for.
        depth: edges from the root, on the way that found it.
        saved: share of the original's cost.
        worth: what is expected to be earned from here on.
        propose_fn: one more edge, maybe one that is known; None: there are no more.
    """

    place: T
    depth: int
    saved: float
    worth: float
    propose_fn: Callable[[], Edge[T] | None]
    edges: dict[tuple[int, ...], Edge[T]] = field(default_factory=dict)
    num_proposed: int = 0
    num_visits: int = 0
    is_closed: bool = False


Path: TypeAlias = list[tuple[Node[T], Edge[T]]]


class Tree(Generic[T]):
    """The statistics of a search. Deterministic, as far as its proposals are.

    Args:
        c: weight of the prior against Q, which is 0 to 1; higher explores more.
        widening: a state is proposed `visits ** widening` edges, at least one.
        discount: of a match: what lies behind n of them counts `discount ** n`.
    """

    def __init__(self, *, c: float, widening: float, discount: float = 1.0) -> None:
        self._c = c
        self._widening = widening
        self._discount = discount
        self._least, self._most = math.inf, -math.inf

    def select(self, path: Path[T], node: Node[T]) -> Path[T] | None:
        """The way from a node, to which `path` led, to an edge not taken yet; pending from now on.

        None where there is none: all that is left is pending, or the node is closed.
        """
        way, here = list(path), node
        while True:
            edge = self._best(here)
            if edge is not None:
                way.append((here, edge))
                if edge.child is None:
                    for _, passed in way:
                        passed.num_pending += 1
                    return way
                here = edge.child
            elif here.is_closed and here is not node:
                way, here = list(path), node  # which closes one more each time
            else:
                return None

    def link(self, node: Node[T], edge: Edge[T], child: Node[T], *, gain: float) -> None:
        """Notes where an edge leads to. If that lies no deeper, it leads back: all ways end."""
        edge.child, edge.gain = child, gain
        edge.leads_back = child.depth <= node.depth

    def back_up(self, path: Path[T], worth: float) -> None:
        """Adds a simulation: what was gained on its way, and what its end is worth."""
        for node, edge in reversed(path):
            worth = edge.gain + self._discount ** len(edge.matches) * worth
            edge.num_pending -= 1
            edge.num_visits += 1
            edge.total += worth
            node.num_visits += 1
            self._note(node.saved + edge.total / edge.num_visits)

    def move(self, node: Node[T]) -> Edge[T] | None:
        """The open edge with the highest Q, the first of equals; None if none was visited."""
        visited = [e for e in node.edges.values() if e.num_visits and not e.is_closed]
        return max(visited, key=lambda edge: edge.total / edge.num_visits, default=None)

    def _best(self, node: Node[T]) -> Edge[T] | None:
        """The edge to follow next. A node of which nothing is left is closed."""
        pending = sum(edge.num_pending for edge in node.edges.values())
        visits = node.num_visits + pending
        wanted = max(1, math.ceil(visits**self._widening))
        self._note(node.saved + node.worth)
        while True:
            has_more = True
            while has_more and node.num_proposed < wanted:
                has_more = self._propose(node)
            left = [edge for edge in node.edges.values() if not edge.is_closed]
            free = [edge for edge in left if edge.child is not None or not edge.num_pending]
            if free:
                return max(free, key=lambda edge: self._score(node, edge, visits))
            if not has_more:
                node.is_closed = not left
                return None
            wanted = node.num_proposed + 1

    def _score(self, node: Node[T], edge: Edge[T], visits: int) -> float:
        """PUCT: Q + c P sqrt(visits) / (1 + visits of the edge)."""
        of_edge = edge.num_visits + edge.num_pending
        if edge.num_visits:
            q = self._normal(node.saved + edge.total / edge.num_visits) * edge.num_visits / of_edge
        else:
            q = 0.0 if edge.num_pending else self._normal(node.saved + node.worth)
        prior = edge.weight / sum(other.weight for other in node.edges.values())
        return q + self._c * prior * math.sqrt(max(1, visits)) / (1 + of_edge)

    def _propose(self, node: Node[T]) -> bool:
        """Proposes an edge; one that is known weighs more. False if there is none."""
        edge = node.propose_fn()
        if edge is None:
            return False
        node.num_proposed += 1
        known = node.edges.setdefault(edge.matches, edge)
        if known is not edge:
            known.weight += edge.weight
        return True

    def _normal(self, value: float) -> float:
        return (value - self._least) / max(self._most - self._least, _EPSILON)

    def _note(self, value: float) -> None:
        self._least, self._most = min(self._least, value), max(self._most, value)
