"""Extraction: the cheapest acyclic choice of nodes, against every choice tried."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xflowrl.agents.egraph.extraction import extract
from xflowrl.agents.egraph.space import ENode, Space, derived

LEAF = ENode("Input", 0.0, (), (0,))  # class 0 is there for nothing


def space(*nodes: ENode, roots: Iterable[int]) -> Space:
    everything = (LEAF, *nodes)
    return Space(everything, frozenset(roots))


def node(cost_ms: float, inputs: Iterable[int], *outputs: int) -> ENode:
    return ENode("Op", cost_ms, tuple(inputs), outputs)


def computes(nodes: Iterable[ENode], roots: Iterable[int]) -> bool:
    """Whether the roots come out if the nodes run as soon as they can."""
    have: set[int] = set()
    nodes = list(nodes)
    while fresh := [n for n in nodes if set(n.inputs) <= have and not set(n.outputs) <= have]:
        have.update(*(n.outputs for n in fresh))
    return set(roots) <= have


def optimum_ms(problem: Space) -> float:
    """The cost of the cheapest choice, by trying all of them."""
    priced = problem.nodes[1:]
    choices = (c for k in range(len(priced) + 1) for c in combinations(priced, k))
    working = (c for c in choices if computes((LEAF, *c), problem.roots))
    return min(sum(n.cost_ms for n in choice) for choice in working)


def test_a_shared_node_is_paid_for_once() -> None:
    # 3 from 1 and 2; each directly for 2, or both from 4, which costs 3 alone
    problem = space(
        node(1, [1, 2], 3), node(2, [0], 1), node(2, [0], 2),
        node(0.1, [4], 1), node(0.1, [4], 2), node(3, [0], 4),
        roots=[3],
    )  # fmt: skip
    found = extract(problem, [0, 1, 2, 3], time_limit_s=60)
    assert found.cost_ms == pytest.approx(4.2)
    assert found.bound_ms == pytest.approx(4.2)
    assert found.nodes == {1, 4, 5, 6}
    assert found.is_optimal


def test_values_that_depend_on_each_other_are_no_solution() -> None:
    # 1 from 2 and 2 from 1 are cheap, and one of them has to be computed from 0
    problem = space(
        node(5, [0], 1), node(7, [0], 2), node(1, [2], 1), node(1, [1], 2), roots=[1, 2]
    )
    found = extract(problem, [0, 1, 2], time_limit_s=60)
    assert (found.cost_ms, found.nodes) == (pytest.approx(6), {1, 4})
    assert found.bound_ms == pytest.approx(6)


def test_a_longer_loop_with_a_node_of_two_values() -> None:
    # a Split of 1 gives 2 and 3; a Concat of 2 and 3 gives 1 back
    problem = space(
        node(1, [1], 2, 3), node(1, [2, 3], 1), node(4, [0], 1), node(3, [0], 2),
        node(3, [0], 3), roots=[1, 2, 3],
    )  # fmt: skip
    found = extract(problem, [0, 3, 4, 5], time_limit_s=60)
    assert (found.cost_ms, found.nodes) == (pytest.approx(5), {1, 3})


def test_without_time_it_is_what_is_known() -> None:
    problem = space(node(5, [0], 1), node(1, [0], 1), roots=[1])
    found = extract(problem, [0, 1], time_limit_s=0)
    assert (found.bound_ms, found.is_optimal) == (0.0, False)
    assert found.nodes in ({1}, {2})


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Up to nine priced nodes over five classes, loops among them, that give class 1 somehow."""
    classes = st.integers(0, 4)
    made = [node(draw(st.integers(3, 20)), [0], c) for c in range(1, 5)]
    for _ in range(draw(st.integers(1, 5))):
        inputs = draw(st.lists(classes, min_size=1, max_size=2))
        outputs = draw(st.lists(st.integers(1, 4), min_size=1, max_size=2, unique=True))
        made.append(node(draw(st.integers(0, 6)), inputs, *outputs))
    return space(*made, roots=draw(st.lists(st.integers(1, 4), min_size=1, unique=True)))


@settings(max_examples=100, deadline=None)
@given(spaces())
def test_it_finds_the_optimum_and_bounds_it(problem: Space) -> None:
    found = extract(problem, range(5), time_limit_s=60)
    best_ms = optimum_ms(problem)
    assert found.cost_ms == pytest.approx(best_ms, abs=1e-6)
    assert found.bound_ms == pytest.approx(best_ms, abs=1e-5)
    assert found.bound_ms <= found.cost_ms
    free = [index for index, n in enumerate(problem.nodes) if n.cost_ms == 0]
    assert computes((problem.nodes[i] for i in {*found.nodes, *free}), problem.roots)


def test_derived_nodes_come_after_what_they_read() -> None:
    nodes = (LEAF, node(1, [2], 3), node(1, [0, 1], 2), node(1, [0], 1), node(1, [5], 5))
    assert derived(nodes, range(5)) == [0, 3, 2, 1]
    assert derived(nodes, [1, 4], known=[2]) == [1]
