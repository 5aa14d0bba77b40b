"""Compares what the engine keeps up to date with what it computes from scratch."""

from __future__ import annotations

import math
import pickle
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from xflowrl import _engine

# Sums of up to a few thousand doubles, taken in another order: 1e-12 would be met by most.
RELATIVE_TOLERANCE = 1e-9
_INFERABLE = frozenset(_engine.inferable_operators())


@dataclass(frozen=True)
class Snapshot:
    """All that can be seen of a state, apart from slot numbers."""

    hash: str
    nodes: list[tuple[object, ...]]
    outputs: list[tuple[str, str]]
    matches: list[tuple[object, ...]]


def snapshot(state: _engine.State) -> Snapshot:
    """Returns what `apply` must leave alone in the parent."""
    graph = state.graph
    return Snapshot(
        hash=state.hash,
        nodes=[
            (node.op_type, node.inputs, node.outputs, node.is_constant) for node in graph.nodes()
        ],
        outputs=list(zip(graph.outputs, graph.output_tensors, strict=True)),
        matches=[(match.rule, match.tensors, match.hash) for match in state.matches()],
    )


def assert_valid(graph: _engine.Graph) -> None:
    """Asserts that a graph is acyclic, complete and typed, from its public view alone."""
    nodes = graph.nodes()
    # Listing is by Kahn's algorithm: a node on or behind a cycle would be missing.
    num_leaves = len(graph.inputs) + len(graph.weights) + len(graph.literals)
    assert len(nodes) + num_leaves == graph.num_nodes, "a node lies on a cycle"
    assert len(graph) == sum(not node.is_constant for node in nodes)
    constants = set(graph.weights) | set(graph.literals)
    known = constants | set(graph.inputs)
    consumed = set(graph.output_tensors)
    for node in nodes:
        present = [name for name in node.inputs if name]
        assert known.issuperset(present), f"{node} reads what is not there"
        consumed.update(present)
        is_constant = bool(node.inputs) and not node.is_opaque and constants.issuperset(present)
        assert node.is_constant == is_constant, node
        assert not known.intersection(node.outputs), f"{node} defines a name again"
        known.update(node.outputs)
        if is_constant:
            constants.update(node.outputs)
        if not node.is_opaque and node.op_type in _INFERABLE:
            types = _engine.infer_types(node.op_type, node.input_types, node.attributes)
            assert types == node.output_types, node
    for node in nodes:
        assert consumed.intersection(node.outputs), f"nobody reads {node}"
    assert consumed.issuperset([*graph.weights, *graph.literals])
    assert known.issuperset(graph.output_tensors)


def assert_equals_scratch(
    state: _engine.State, rules: _engine.RuleSet, costs: _engine.CostTable
) -> None:
    """Asserts that graph, hash, cost and matches equal those of a copy built node by node.

    A pickle keeps value ids, names and creation numbers, and computes all else anew: consumers,
    constness, signatures, hash. The hash is of signatures and value ids.
    """
    graph = state.graph
    copy = pickle.loads(pickle.dumps(graph))
    assert copy.hash == graph.hash
    assert copy.merkle_hash == graph.merkle_hash
    assert copy.num_nodes == graph.num_nodes
    assert len(copy) == len(graph)
    for ours, theirs in zip(graph.nodes(), copy.nodes(), strict=True):
        assert ours.outputs == theirs.outputs
        assert ours.is_constant == theirs.is_constant
        assert ours.signature.key == theirs.signature.key
    scratch = _engine.State(copy, rules, costs, taso_hash=True)
    assert scratch.taso_hash == state.taso_hash
    for attribute in ("ms", "flops", "bytes"):
        kept, computed = getattr(state.cost, attribute), getattr(scratch.cost, attribute)
        assert math.isclose(kept, computed, rel_tol=RELATIVE_TOLERANCE), attribute
    assert state.cost.num_kernels == scratch.cost.num_kernels
    assert snapshot(state) == snapshot(scratch)
    # Where TASO's hash is not asked for, fewer nodes are looked at.
    plain = _engine.State(copy, rules, costs)
    assert snapshot(plain).matches == snapshot(scratch).matches
    assert_ranked(state)
    kept_arrays, computed_arrays = state.observe(), scratch.observe()
    assert kept_arrays.keys() == computed_arrays.keys()
    scale = {"match_cost_ms": state.cost.ms}
    scale |= {"match_flops": state.cost.flops, "match_bytes": state.cost.bytes}
    for name, values in kept_arrays.items():
        # Differences are sums of terms that may be as large as the graph's own cost.
        tolerance = RELATIVE_TOLERANCE * scale.get(name, 0.0)
        np.testing.assert_allclose(values, computed_arrays[name], 1e-12, tolerance, err_msg=name)


def assert_ranked(state: _engine.State) -> None:
    """Asserts that `best` is the list of matches, sorted."""

    def rank(match: _engine.Match, rounding_ms: float) -> tuple[float, int]:
        difference_ms = match.cost_difference_ms
        return (difference_ms if abs(difference_ms) > rounding_ms else 0.0, match.size_difference)

    matches = state.matches()
    assert [match.index for match in matches] == list(range(len(matches)))
    typical_ms = abs(matches[len(matches) // 2].cost_difference_ms) if matches else 0.0
    for rounding_ms in (0.0, 1e-9 * state.cost.ms, typical_ms):
        expected = [m.tensors for m in sorted(matches, key=lambda m: rank(m, rounding_ms))]
        for k in (0, 1, 3, len(matches), len(matches) + 1):
            best = state.best(k, rounding_ms=rounding_ms)
            assert [match.tensors for match in best] == expected[:k]


def assert_child_is_as_promised(parent: _engine.State, index: int, child: _engine.State) -> None:
    """Asserts that what a match says of its graph, without building it, comes true."""
    match = parent.matches()[index]
    arrays = parent.observe()
    assert child.hash == match.hash, match
    assert child.num_nodes == parent.num_nodes + match.size_difference, match
    for attribute in ("ms", "flops", "bytes"):
        promised = getattr(parent.cost, attribute)
        promised += float(
            arrays["match_cost_ms" if attribute == "ms" else f"match_{attribute}"][index]
        )
        actual = getattr(child.cost, attribute)
        assert math.isclose(actual, promised, rel_tol=RELATIVE_TOLERANCE), (match, attribute)
    kernels = parent.cost.num_kernels + int(arrays["match_kernels"][index])
    assert child.cost.num_kernels == kernels, match
    assert child.graph.inputs == parent.graph.inputs
    assert child.graph.outputs == parent.graph.outputs
    for ours, theirs in zip(child.graph.output_tensors, parent.graph.output_tensors, strict=True):
        assert child.graph.tensor_type(ours) == parent.graph.tensor_type(theirs), match


def random_walk(
    graph: _engine.Graph,
    rules: _engine.RuleSet,
    costs: _engine.CostTable,
    *,
    num_steps: int,
    seed: int,
    max_growth: float = 2.0,
) -> Iterator[tuple[_engine.State, int, _engine.State]]:
    """Yields `num_steps` times (parent, match index, child) of random rewrites.

    Starts anew where nothing applies or the graph has grown too large. Yields nothing for a graph
    to which no rule applies.
    """
    rng = random.Random(seed)
    start = _engine.State(graph, rules, costs, taso_hash=True)
    state = start
    if len(start) == 0:
        return
    for _ in range(num_steps):
        if len(state) == 0 or state.num_nodes > max_growth * start.num_nodes + 10:
            state = start
        by_rule: dict[int, list[int]] = {}
        for index, rule in enumerate(state.observe()["match_rule"]):
            by_rule.setdefault(int(rule), []).append(index)
        # Rules first, so that those with few places get their turn.
        index = rng.choice(by_rule[rng.choice(sorted(by_rule))])
        child = state.apply(index)
        yield state, index, child
        state = child


def check_walk(
    graph: _engine.Graph,
    rules: _engine.RuleSet,
    costs: _engine.CostTable,
    *,
    num_steps: int,
    seed: int,
) -> Iterator[_engine.State]:
    """Walks at random, asserting at each step all that must hold; yields each state."""
    start = _engine.State(graph, rules, costs, taso_hash=True)
    assert_valid(start.graph)
    assert_equals_scratch(start, rules, costs)
    known: tuple[_engine.State, Snapshot] = (start, snapshot(start))
    for parent, index, child in random_walk(graph, rules, costs, num_steps=num_steps, seed=seed):
        # The snapshot of the parent was taken before its child was made.
        if parent is known[0]:
            assert snapshot(parent) == known[1], "apply changed its parent"
        assert_child_is_as_promised(parent, index, child)
        assert_valid(child.graph)
        assert_equals_scratch(child, rules, costs)
        known = (child, snapshot(child))
        yield child
