"""The e-graph of a search: classes of equal values, and the nodes that compute them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xflowrl._engine import EGraph


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
    """An e-graph in which equal values are one class and equal nodes one node.

    Attributes:
        roots: the classes of the network's outputs.
        node_of: the node that each of the engine's is.
        rewrites: of each of the engine's, the nodes that it finds and those that it makes.
    """

    nodes: tuple[ENode, ...]
    roots: frozenset[int]
    node_of: tuple[int, ...]
    rewrites: tuple[tuple[frozenset[int], frozenset[int]], ...]

    @classmethod
    def of(cls, egraph: EGraph, roots: Iterable[int]) -> Space:
        """Puts together what is equal.

        Values are equal if a rewrite puts one in the other's place, or if equal operators compute
        them from equal values (congruence). Deterministic; about linear in the e-graph's size.

        Args:
            roots: the values of the network's outputs.
        """
        raw = egraph.nodes()
        find = _classes(raw, egraph.equalities())
        number: dict[tuple[str, tuple[int, ...]], int] = {}
        nodes: list[ENode] = []
        node_of: list[int] = []
        for op_type, operation, is_commutative, cost_ms, inputs, outputs in raw:
            key = (operation, _operands(inputs, is_commutative, find))
            index = number.setdefault(key, len(nodes))
            node_of.append(index)
            if index == len(nodes):
                nodes.append(ENode(op_type, cost_ms, key[1], tuple(map(find, outputs))))
            elif cost_ms < nodes[index].cost_ms:
                nodes[index] = ENode(op_type, cost_ms, key[1], nodes[index].outputs)
        rewrites = (
            (frozenset(node_of[n] for n in sources), frozenset(node_of[n] for n in targets))
            for sources, targets in egraph.rewrites()
        )
        return cls(tuple(nodes), frozenset(map(find, roots)), tuple(node_of), tuple(rewrites))


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


def _classes(
    raw: Sequence[tuple[str, str, bool, float, list[int], list[int]]],
    equalities: Iterable[tuple[int, int]],
) -> _UnionFind:
    find = _UnionFind()
    for one, other in equalities:
        find.unite(one, other)
    changed = True
    while changed:
        changed = False
        computed: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        for _, operation, is_commutative, _, inputs, outputs in raw:
            key = (operation, _operands(inputs, is_commutative, find))
            known = computed.setdefault(key, outputs)
            for one, other in zip(known, outputs, strict=True):
                changed |= find.unite(one, other)
    return find


def _operands(inputs: Sequence[int], is_commutative: bool, find: _UnionFind) -> tuple[int, ...]:
    operands = [find(value) if value >= 0 else value for value in inputs]
    return tuple(sorted(operands) if is_commutative else operands)


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
