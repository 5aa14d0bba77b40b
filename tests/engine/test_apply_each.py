"""Several matches at once: the state that single steps come to, and what was taken."""

from __future__ import annotations

import math
import random

import pytest
import zoo
from drawing import Sketch, roofline, rule_set, state
from hypothesis import given, settings
from hypothesis import strategies as st
from recompute import assert_equals_scratch, assert_valid, snapshot
from sources import SMALL

from xflowrl._engine import CostTable, Match, RuleSet, State, Taken
from xflowrl.rules import load_core

SHORT = ("nasbench_1x1", "squeezenet_bias", "bert", "nasrnn", "tiny", "onnx_light_shufflenet")


def one_by_one(start: State, matches: list[Match]) -> tuple[State, list[tuple[object, ...]]]:
    """By `apply` alone: a match is there while its rule binds the same nodes and names."""
    here, taken = start, []
    for index, match in enumerate(matches):
        found = here.find(match.rule, match.tensors)
        if found is None or found.created != match.created:
            continue
        after = here.apply(found)
        nodes = [*found.created, *range(here.num_created, after.num_created)]
        taken.append((index, found.rule, found.tensors, nodes, after.cost.ms))
        here = after
    return here, taken


def seen(taken: Taken) -> tuple[object, ...]:
    """The same of what the engine says that it took."""
    return (taken.index, taken.rule, taken.tensors, taken.nodes, taken.cost_ms)


def check(here: State, rules: RuleSet, costs: CostTable, rng: random.Random) -> State:
    """Takes many matches in a random order, those of an earlier state too; the state after."""
    earlier, here = here, here.apply(rng.randrange(len(here)))
    matches = [*earlier.matches(), *here.matches()]
    matches = rng.sample(matches, min(len(matches), 12))
    before = snapshot(here)
    after, taken = here.apply_each(matches)
    expected, expected_taken = one_by_one(here, matches)
    assert snapshot(here) == before
    assert list(map(seen, taken)) == expected_taken
    assert sum(one.cost_difference_ms for one in taken) == pytest.approx(
        after.cost.ms - here.cost.ms, rel=1e-9, abs=1e-9 * here.cost.ms
    )
    for one in taken[:1]:
        found = here.find(one.place)  # or its like, where another node computes the same
        assert (found.rule, len(found.tensors)) == (one.rule, len(one.tensors))
        assert found.cost_difference_ms == one.cost_difference_ms
    assert snapshot(after) == snapshot(expected)
    assert after.cost.ms == expected.cost.ms
    assert after.num_created == expected.num_created
    assert_valid(after.graph)
    assert_equals_scratch(after, rules, costs)
    return after


@given(st.integers(0, 2**31), st.sampled_from(sorted(zoo.GRAPHS)))
@settings(max_examples=40, deadline=None)
def test_hand_made_graphs(seed: int, name: str) -> None:
    rng, rules, costs = random.Random(seed), load_core(), roofline()
    here = State(zoo.GRAPHS[name](), rules, costs, taso_hash=True)
    for _ in range(3):
        if len(here):
            here = check(here, rules, costs, rng)


@pytest.mark.parametrize("name", SHORT)
def test_networks(name: str) -> None:
    rng, rules, costs = random.Random(0), load_core(), roofline()
    here = State(SMALL[name]().graph, rules, costs, taso_hash=True)
    for _ in range(4):
        here = check(here, rules, costs, rng)


def test_nothing_is_taken_of_nothing() -> None:
    start = State(zoo.siblings(), load_core(), roofline())
    after, taken = start.apply_each([])
    assert (taken, snapshot(after)) == ([], snapshot(start))


def test_what_another_has_undone_is_not_taken() -> None:
    net = Sketch()
    x = net.input(2)
    for _ in range(3):
        x = net.node("Relu", x)
    start = state(net.graph(x), "(rule r (Relu (Relu ?x)) => (Relu ?x))")
    assert len(start) == 2  # which share the middle one
    after, taken = start.apply_each(start.matches())
    assert [one.index for one in taken] == [0]
    assert len(after) == 1


MERGE = rule_set(
    "(rule merge (MatMul ?a ?w) (MatMul ?b ?w) => (outs (Split (MatMul (Concat ?a ?b :axis 0) ?w)"
    " :axis 0 :split (list (dim ?a 0) (dim ?b 0)))))"
)


def test_a_path_made_on_the_way_is_in_the_way() -> None:
    """Once what leads to one is merged with another that it leads to, no more of them may be."""
    net = Sketch()
    weight = net.weight(4, 4)
    roots = [net.node("MatMul", net.input(2, 4), weight) for _ in range(2)]
    ends = [net.node("MatMul", net.node("Relu", root), weight) for root in roots]
    start = State(net.graph(*ends), MERGE, roofline(), taso_hash=True)
    crossed = [
        m for m in start.matches() if m.tensors[-2:] in ([roots[0], ends[1]], [roots[1], ends[0]])
    ]
    assert len(crossed) == 2
    after, taken = start.apply_each(crossed)
    assert [one.index for one in taken] == [0]
    assert_valid(after.graph)
    assert_equals_scratch(after, MERGE, roofline())


@pytest.mark.parametrize("known", [0, 1])
def test_it_ends_before_what_has_no_price(known: int) -> None:
    """Unless that is the first: whoever asks can price it and come again."""
    net = Sketch()
    results = [net.node("Relu", net.input(2, size)) for size in (3, 4)]
    rules, table = rule_set("(rule r (Relu ?x) => (Tanh ?x))"), CostTable.measured()
    start = State(net.graph(*results), rules, table)
    for signature in table.unknown()[: 3 if known else 2]:
        table.set(signature.key, 1.0)
    after, taken = start.repriced().apply_each(start.matches())
    assert [one.index for one in taken] == [0]
    assert math.isnan(taken[0].cost_ms) == (not known)
    rest, more = after.apply_each(start.matches()[taken[-1].index + 1 :])
    assert [one.rule for one in more] == ["r"]
    assert {node.op_type for node in rest.graph.nodes()} == {"Tanh"}


def test_foreign_matches_are_refused_and_those_of_a_sibling_harmless() -> None:
    start, other = (State(zoo.siblings(), load_core(), roofline()) for _ in range(2))
    with pytest.raises(ValueError, match="a state of another original"):
        start.apply_each(other.matches())
    left, right = start.apply(0), start.apply(len(start) - 1)
    for _ in range(5):
        right = right.apply(0)
    after, _ = left.apply_each(right.matches())
    assert_valid(after.graph)
