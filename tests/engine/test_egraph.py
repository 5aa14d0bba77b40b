"""The e-graph of the engine: the same values and nodes in every state."""

from __future__ import annotations

import pytest

from xflowrl._engine import BacktrackingSearch, EGraph, State
from xflowrl.agents.egraph.space import Quotient
from xflowrl.graphs.random_networks import random_network
from xflowrl.graphs.squeezenet import squeezenet
from xflowrl.measurement import roofline
from xflowrl.rules import load_core


def start(num_nodes: int = 60) -> State:
    model = random_network(num_nodes=num_nodes, trap=0.5, channels=8, image_size=8, seed=1)
    return roofline().state(model.graph, load_core())


def test_the_nodes_of_a_state_cost_what_it_costs() -> None:
    egraph, state = EGraph(), start()
    for _ in range(20):
        nodes, rewrites, outputs = egraph.add(state)
        known = egraph.nodes()
        assert sum(known[index][3] for index in nodes) == pytest.approx(state.cost.ms)
        assert len(rewrites) == len(state)
        assert len(outputs) == len(state.graph.outputs)
        state = state.apply(state.best(1)[0])


def test_a_rewrite_makes_its_targets_of_its_sources() -> None:
    egraph, state = EGraph(), start()
    nodes, rewrites, _ = egraph.add(state)
    assert len({*rewrites}) > 5
    made = egraph.rewrites()
    for match, rewrite in zip(state.matches(), rewrites, strict=True):
        sources, targets = made[rewrite]
        assert {*sources} <= {*nodes}
        after, _, _ = egraph.add(state.apply(match))
        assert {*targets} <= {*after}


def test_outputs_keep_their_class_whatever_is_rewritten() -> None:
    egraph, state = EGraph(), roofline().state(squeezenet().graph, load_core())
    roots = []
    while state.best(1) and state.best(1)[0].cost_difference_ms < 0:
        roots.append(egraph.add(state)[2])
        state = state.apply(state.best(1)[0])
    assert len(roots) > 20
    classes = {Quotient(egraph, values).space.roots for values in roots}
    assert len(classes) == 1


def test_a_search_shows_what_it_expands() -> None:
    state = start()
    recorded, search = EGraph(), BacktrackingSearch(state)
    search.record(recorded)
    search.run(iterations=1)
    by_hand = EGraph()
    by_hand.add(state)
    assert recorded.nodes() == by_hand.nodes()
    assert recorded.rewrites() == by_hand.rewrites()
    search.run(iterations=9)
    assert len(recorded) > len(by_hand)
    before = len(recorded)
    recorded.add(search.best)
    assert len(recorded) == before
