"""The best of several episodes, region by region.

Rewrites that share no node have nothing to do with one another: what an episode saves in one region
of a network does not depend on what it does in another. So an episode need not be taken or left as
a whole: of many the best can be had of each region. In a network of a hundred cells no sample is
lucky in all of them, but for each of them some sample is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from networkx.utils import UnionFind

from xflowrl._engine import Place, Taken


@dataclass(frozen=True)
class Rewrite:
    """A match that was taken: where, and what it saved.

    Attributes:
        nodes: creation numbers of those it binds and of those it makes.
    """

    place: Place
    nodes: tuple[int, ...]
    saved_ms: float

    @staticmethod
    def of(taken: Taken) -> Rewrite:
        """What was taken."""
        return Rewrite(taken.place, tuple(taken.nodes), -taken.cost_difference_ms)


@dataclass(frozen=True)
class Region:
    """Rewrites of one episode that have to do with one another.

    Attributes:
        nodes: of the original, by creation number, that they bind.
        rewrites: in their order, up to where they have saved most.
    """

    nodes: frozenset[int]
    rewrites: tuple[Rewrite, ...]

    @property
    def saved_ms(self) -> float:
        """At least 0."""
        return sum(rewrite.saved_ms for rewrite in self.rewrites)


def regions(rewrites: Sequence[Rewrite], num_original: int) -> list[Region]:
    """Cuts an episode into regions, and leaves out what saves nothing there.

    Args:
        num_original: nodes created before the episode; later ones are its own.
    """
    linked = UnionFind()
    for rewrite in rewrites:
        linked.union(*rewrite.nodes)
    together = defaultdict(list)
    for rewrite in rewrites:
        together[linked[rewrite.nodes[0]]].append(rewrite)
    found = []
    for region in together.values():
        saved_ms = [0.0, *accumulate(rewrite.saved_ms for rewrite in region)]
        kept = tuple(region[: saved_ms.index(max(saved_ms))])
        nodes = frozenset(n for rewrite in kept for n in rewrite.nodes if n < num_original)
        if kept:
            found.append(Region(nodes, kept))
    return found


class Mosaic:
    """The best regions of the episodes seen.

    Attributes:
        regions: none of which shares a node with another.
    """

    def __init__(self) -> None:
        self.regions: list[Region] = []

    def add(self, episode: Sequence[Region]) -> float:
        """Takes the regions of an episode that save more than what is in their place.

        Where regions overlap, those of the episode and those that are there are compared as a
        whole. Returns what the regions save more than before, in ms.
        """
        linked = UnionFind()
        for region in (*self.regions, *episode):
            linked.union(*region.nodes)
        rivals = defaultdict[int, tuple[list[Region], list[Region]]](lambda: ([], []))
        for side, each in enumerate((self.regions, episode)):
            for region in each:
                rivals[linked[next(iter(region.nodes))]][side].append(region)
        self.regions, gained_ms = [], 0.0
        for there, new in rivals.values():
            gain_ms = sum(r.saved_ms for r in new) - sum(r.saved_ms for r in there)
            self.regions += new if gain_ms > 0 else there
            gained_ms += max(gain_ms, 0.0)
        return gained_ms
