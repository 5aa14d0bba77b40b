"""The e-graph of a search: classes of equal values, and the nodes that compute them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xflowrl._engine import EGraph

Rewrite = tuple[frozenset[int], frozenset[int]]
"""Nodes that a rule finds, and nodes that it makes of them."""

_RawNode = tuple[str, str, bool, float, list[int], list[int]]  # as the engine has it
_Key = tuple[str, tuple[int, ...]]  # operator with attributes, and classes that it reads


@dataclass(frozen=True)
class ENode:
    """One way to compute the values of some classes from those of others.

    Attributes:
        cost_ms: of the cheapest of the nodes that this is.
        inputs: classes, in the order of operands; -1 is an omitted one.
        outputs: classes, in the operator's order.
    """

    op_type: str
    cost_ms: float
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Space:
    """All graphs that can be made of some nodes.

    Attributes:
        roots: the classes of the network's outputs.
    """

    nodes: Sequence[ENode]
    roots: frozenset[int]


class Quotient:
    """The engine's e-graph with equal values as one class and equal nodes as one node.

    Values are equal if a rewrite puts one in the other's place, or if equal operators compute them
    from equal values (congruence). What is shown to the engine's e-graph later adds nothing here,
    but what is equal to something here is known again. Deterministic; about linear.

    Args:
        roots: the values of the network's outputs.
    """

    def __init__(self, egraph: EGraph, roots: Iterable[int]) -> None:
        self._egraph = egraph
        raw = egraph.nodes()
        self._find = _classes(raw, egraph.equalities())
        cheapest: dict[_Key, ENode] = {}
        for node in raw:
            op_type, _, _, cost_ms, _, outputs = node
            key = _key(node, self._find)
            if key not in cheapest or cost_ms < cheapest[key].cost_ms:
                classes = tuple(map(self._find, outputs))
                cheapest[key] = ENode(op_type, cost_ms, key[1], classes)
        self._number = {key: number for number, key in enumerate(cheapest)}
        self._nodes: list[int | None] = []
        self._rewrites: list[int | None] = []
        self.space = Space(tuple(cheapest.values()), frozenset(map(self._find, roots)))
        self._learn_nodes()
        known = dict.fromkeys(map(self._merged, egraph.rewrites()))
        self._rewrite_number = {rewrite: number for number, rewrite in enumerate(known)}

    @property
    def rewrites(self) -> Sequence[Rewrite]:
        """One of each kind."""
        return [*self._rewrite_number]

    def nodes(self, numbers: Iterable[int]) -> set[int]:
        """Those that some of the engine's nodes are; those that are new are none."""
        self._learn_nodes()
        return {known for number in numbers if (known := self._nodes[number]) is not None}

    def rewrites_of(self, numbers: Iterable[int]) -> list[int | None]:
        """Which of `rewrites` each of some of the engine's is; None if it is new."""
        self._learn_nodes()
        for rewrite in self._egraph.rewrites(len(self._rewrites)):
            self._rewrites.append(self._rewrite_number.get(self._merged(rewrite)))
        return [self._rewrites[number] for number in numbers]

    def _learn_nodes(self) -> None:
        for node in self._egraph.nodes(len(self._nodes)):
            self._nodes.append(self._number.get(_key(node, self._find)))

    def _merged(self, rewrite: tuple[list[int], list[int]]) -> Rewrite:
        """With this e-graph's nodes; -1 stands for those that are new."""
        sources, targets = (
            frozenset(-1 if (known := self._nodes[n]) is None else known for n in nodes)
            for nodes in rewrite
        )
        return sources, targets


def _key(node: _RawNode, find: _UnionFind) -> _Key:
    _, operation, is_commutative, _, inputs, _ = node
    operands = [find(value) if value >= 0 else value for value in inputs]
    return operation, tuple(sorted(operands) if is_commutative else operands)


class _UnionFind:
    def __init__(self) -> None:
        self._parents: dict[int, int] = {}

    def __call__(self, value: int) -> int:
        """The class of a value: the smallest in it."""
        root = value
        while (parent := self._parents.get(root, root)) != root:
            root = parent
        while value != root:
            self._parents[value], value = root, self._parents.get(value, value)
        return root

    def unite(self, one: int, other: int) -> bool:
        """Makes two classes one; False if they were."""
        first, second = sorted((self(one), self(other)))
        self._parents[second] = first
        return first != second


def _classes(raw: Sequence[_RawNode], equalities: Iterable[tuple[int, int]]) -> _UnionFind:
    find = _UnionFind()
    for one, other in equalities:
        find.unite(one, other)
    changed = True
    while changed:
        changed = False
        computed: dict[_Key, list[int]] = {}
        for node in raw:
            outputs = node[5]
            for one, other in zip(
                computed.setdefault(_key(node, find), outputs), outputs, strict=True
            ):
                changed |= find.unite(one, other)
    return find


def derived(nodes: Sequence[ENode], usable: Iterable[int], known: Iterable[int] = ()) -> list[int]:
    """Those of some nodes whose operands can be computed by others of them, producers first.

    Of a cycle that nothing outside of it feeds, no node is derived. Linear.

    Args:
        usable: numbers of nodes.
        known: classes that need not be computed.
    """
    readers: dict[int, list[int]] = defaultdict(list)
    have, missing = set(known), dict[int, int]()
    ready, order = list[int](), list[int]()
    for index in usable:
        needs = {c for c in nodes[index].inputs if c >= 0} - have
        missing[index] = len(needs)
        for needed in needs:
            readers[needed].append(index)
        if not needs:
            ready.append(index)
    ready.reverse()
    while ready:
        index = ready.pop()
        order.append(index)
        for made in nodes[index].outputs:
            if made in have:
                continue
            have.add(made)
            for reader in readers[made]:
                missing[reader] -= 1
                if not missing[reader]:
                    ready.append(reader)
    return order
