"""PUCT, by hand and on graphs drawn at random."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xflowrl.agents.mcts.tree import Edge, Node, Path, Tree

PlainNode = Node[str]


def make_node(
    name: str, weights: Sequence[float], *, depth: int = 0, saved: float = 0.0, worth: float = 0.0
) -> PlainNode:
    """A node that proposes one edge a weight, of one match each."""
    edges = iter([Edge[str]((index,), weight) for index, weight in enumerate(weights)])
    return Node(name, depth, saved, worth, lambda: next(edges, None))


def visit(tree: Tree[str], node: PlainNode, child: PlainNode, worth: float) -> Edge[str]:
    """One simulation that goes over one edge of a node, to a new child."""
    path = tree.select([], node)
    assert path is not None
    tree.link(*path[-1], child, gain=0.0)
    tree.back_up(path, worth)
    return path[-1][1]


def test_score_is_puct() -> None:
    tree: Tree[str] = Tree(c=1.5, widening=1.0)
    node = make_node("root", [])
    liked, other = Edge[str]((0,), 3.0), Edge[str]((1,), 1.0)
    node.edges = {(0,): liked, (1,): other}
    liked.num_visits, liked.total = 3, 0.9
    node.num_visits = 4
    for bound in (0.1, 0.6):  # what Q is normalised by
        tree._note(bound)
    assert tree._score(node, liked, 4) == pytest.approx(0.4 + 1.5 * 0.75 * 2 / 4)
    node.worth = 0.35  # what an edge without visits has as its Q
    assert tree._score(node, other, 4) == pytest.approx(0.5 + 1.5 * 0.25 * 2 / 1)
    liked.num_pending = 2  # visits that earned the least
    assert tree._score(node, liked, 6) == pytest.approx(0.4 * 3 / 5 + 1.5 * 0.75 * math.sqrt(6) / 6)
    other.num_pending = 1
    assert tree._score(node, other, 5) == pytest.approx(1.5 * 0.25 * math.sqrt(5) / 2)


@pytest.mark.parametrize(("c", "expected"), [(0.1, "good"), (10.0, "bad")])
def test_exploration_leads_to_what_is_rarely_visited(c: float, expected: str) -> None:
    tree: Tree[str] = Tree(c=c, widening=1.0)
    root = make_node("root", [1.0, 1.0], worth=0.2)
    good, bad = (make_node(name, [1.0] * 9, depth=1, worth=0.2) for name in ("good", "bad"))
    root.propose_fn()  # both are there from the beginning
    root.edges = {(0,): Edge((0,), 1.0, child=good), (1,): Edge((1,), 1.0, child=bad)}
    for edge, visits, total in ((root.edges[0,], 3, 0.9), (root.edges[1,], 1, 0.1)):
        edge.num_visits, edge.total = visits, total
        tree._note(total / visits)
    root.num_visits = 4
    path = tree.select([], root)
    assert path is not None
    assert path[-1][0].place == expected


def test_what_lies_behind_several_matches_is_discounted_for_each() -> None:
    tree: Tree[str] = Tree(c=1.0, widening=1.0, discount=0.5)
    root, child = make_node("root", []), make_node("child", [], depth=1)
    two, one = Edge[str]((0, 1), 1.0, gain=0.1), Edge[str]((0,), 1.0, gain=0.05)
    two.num_pending = one.num_pending = 1
    tree.back_up([(root, two), (child, one)], 0.2)
    assert one.total == pytest.approx(0.05 + 0.5 * 0.2)
    assert two.total == pytest.approx(0.1 + 0.25 * 0.15)
    assert (two.num_visits, two.num_pending, root.num_visits) == (1, 0, 1)


def test_simulations_side_by_side_take_different_edges() -> None:
    tree: Tree[str] = Tree(c=1.0, widening=0.5)
    root = make_node("root", [1.0, 1.0, 1.0])
    paths = [tree.select([], root) for _ in range(4)]
    taken = [path[-1][1].matches for path in paths if path is not None]
    assert taken == [(0,), (1,), (2,)]
    assert paths[3] is None
    assert not root.is_closed, "three leaves are pending"


def test_edges_become_more_with_visits() -> None:
    tree: Tree[str] = Tree(c=1.0, widening=0.5)
    root = make_node("root", [1.0] * 20)
    deep = make_node("deep", [1.0] * 20, depth=1)
    visit(tree, root, deep, 0.0)
    for visits in range(1, 17):
        visit(tree, root, make_node("leaf", [1.0], depth=2), 0.0)
        assert root.num_proposed == math.ceil(visits**0.5)


def test_what_is_proposed_again_weighs_more() -> None:
    tree: Tree[str] = Tree(c=1.0, widening=1.0)
    root = make_node("root", [])
    root.propose_fn = lambda: Edge((7,), 1.0)
    for _ in range(3):
        tree._propose(root)
    assert [edge.weight for edge in root.edges.values()] == [3.0]


def test_the_move_is_the_best_open_edge() -> None:
    tree: Tree[str] = Tree(c=1.0, widening=1.0)
    root = make_node("root", [1.0] * 3)
    assert tree.move(root) is None
    children = [make_node(name, [1.0], depth=1) for name in "abc"]
    paths = [tree.select([], root) for _ in children]
    for path, child, worth in zip(paths, children, (0.1, 0.3, 0.2), strict=True):
        assert path is not None
        tree.link(*path[-1], child, gain=0.0)
        tree.back_up(path, worth)
    moves: list[str] = []
    while (edge := tree.move(root)) is not None and edge.child is not None:
        moves.append(edge.child.place)
        edge.child.is_closed = True
    assert moves == ["b", "c", "a"]


@given(
    states=st.lists(st.lists(st.integers(0, 11), max_size=4), min_size=12, max_size=12),
    side_by_side=st.integers(1, 4),
    widening=st.sampled_from([0.3, 0.5, 1.0]),
)
def test_a_search_ends_with_all_states_seen(
    states: list[list[int]], side_by_side: int, widening: float
) -> None:
    """Also where states lead to one another in circles."""
    tree: Tree[int] = Tree(c=1.0, widening=widening)

    def node(state: int, depth: int) -> Node[int]:
        edges = iter([Edge[int]((index,), 1.0) for index in range(len(states[state]))])
        return Node(state, depth, 0.0, state / 12, lambda: next(edges, None))

    nodes = {0: node(0, 0)}
    while not nodes[0].is_closed:
        paths: list[Path[int]] = []
        while len(paths) < side_by_side and (path := tree.select([], nodes[0])) is not None:
            paths.append(path)
        for path in paths:
            last, edge = path[-1]
            state = states[last.place][edge.matches[0]]
            child = nodes.setdefault(state, node(state, last.depth + 1))
            tree.link(last, edge, child, gain=0.0)
            tree.back_up(path, child.worth)
    reachable, waiting = {0}, [0]
    while waiting:
        new = set(states[waiting.pop()]) - reachable
        reachable |= new
        waiting += new
    assert set(nodes) == reachable
    assert all(edge.num_pending == 0 for n in nodes.values() for edge in n.edges.values())


def test_what_leads_back_is_closed() -> None:
    tree: Tree[str] = Tree(c=1.0, widening=1.0)
    root, child = make_node("root", [1.0]), make_node("child", [1.0, 1.0], depth=1)
    visit(tree, root, child, 0.0)
    way = tree.select([], root)
    assert way is not None
    tree.link(*way[-1], root, gain=0.0)
    tree.back_up(way, root.worth)
    assert way[-1][1].is_closed
    again = tree.select([], root)
    assert again is not None
    assert [node.place for node, _ in again] == ["root", "child"]
    assert again[-1][1].matches == (1,)
