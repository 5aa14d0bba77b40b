"""States: what apply does and leaves alone, and which matches are convex."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zoo
from drawing import Sketch, bound, roofline, rule_set, state
from hypothesis import given, settings
from hypothesis import strategies as st
from recompute import assert_equals_scratch, assert_valid, random_walk, snapshot

from xflowrl._engine import CostTable, Graph, State
from xflowrl.rules import load_core

RELU_TWICE = "(rule r (Relu (Relu ?x)) => (Relu ?x))"
MERGE = (
    "(rule merge (MatMul ?a ?w) (MatMul ?b ?w) => (outs (Split (MatMul (Concat ?a ?b :axis 0) ?w)"
    " :axis 0 :split (list (dim ?a 0) (dim ?b 0)))))"
)


# --- apply -----------------------------------------------------------------------------------


@given(st.integers(0, 2**31), st.sampled_from(sorted(zoo.GRAPHS)))
@settings(max_examples=15, deadline=None)
def test_apply_leaves_its_input_intact(seed: int, name: str) -> None:
    rng = random.Random(seed)
    start = State(zoo.GRAPHS[name](), load_core(), roofline())
    before, cost = snapshot(start), start.cost.ms
    children = [start.apply(rng.randrange(len(start))) for _ in range(3)]
    grandchildren = [child.apply(rng.randrange(len(child))) for child in children if len(child)]
    assert snapshot(start) == before
    assert start.cost.ms == cost
    for child in grandchildren:
        assert_valid(child.graph)


def test_what_comes_to_depend_on_constants_alone_is_constant_to_the_end() -> None:
    net = Sketch()
    x = net.node("Add", net.input(2), net.weight(2), name="sum")
    for op_type in ("Relu", "Tanh", "Sigmoid", "Exp"):
        x = net.node(op_type, x)
    rules, costs = rule_set("(rule r (Add ?x ?w) => ?w :drops ?x)"), roofline()
    start = State(net.graph(x, "sum"), rules, costs, taso_hash=True)
    after = start.apply(0)
    assert [node.is_constant for node in after.graph.nodes()] == [True] * 4
    assert (len(after.graph), after.cost.ms) == (0, 0.0)
    assert_equals_scratch(after, rules, costs)


def test_a_rewritten_graph_is_asked_for_its_own_tensors() -> None:
    net = Sketch()
    inner = net.node("Relu", net.input(2, 4))
    outer = net.node("Tanh", net.node("Relu", inner))
    start = state(net.graph(outer), RELU_TWICE)
    assert start.graph.tensor_type(inner).shape == (2, 4)  # looked up before it is gone
    after = start.apply(0).graph
    with pytest.raises(ValueError, match=f'has no tensor "{inner}"'):
        after.tensor_type(inner)
    for node in after.nodes():
        assert after.tensor_type(node.outputs[0]) == node.output_types[0]


def test_applying_a_match_twice_gives_equal_states() -> None:
    start = State(zoo.siblings(), load_core(), roofline())
    for index, match in enumerate(start.matches()):
        by_index, by_match = start.apply(index), start.apply(match)
        assert snapshot(by_index) == snapshot(by_match)


def test_states_of_another_order_of_steps_are_equal() -> None:
    """Rewrites far apart commute: the hash inherits ids, so the states are one."""
    net = Sketch()
    arms = [net.node("Relu", net.node("Relu", net.input(2, index + 1))) for index in range(3)]
    start = state(net.graph(*arms), RELU_TWICE)
    hashes = set()
    for order in itertools.permutations(arms):
        here = start
        for arm in order:
            (index,) = (i for i, tensors in enumerate(bound(here)) if arm in tensors)
            here = here.apply(index)
        assert len(here) == 0
        hashes.add((here.hash, here.graph.merkle_hash))
    assert len(hashes) == 1


def test_a_match_foretells_the_hash_where_one_tensor_takes_the_place_of_two() -> None:
    """What read the second reads what has the value id of the first."""
    net = Sketch()
    x, y = net.input(2, 4), net.input(2, 4)
    arms = [net.node("Relu", net.node("Add", x, y)), net.node("Tanh", net.node("Add", y, x))]
    start = state(net.graph(*arms), "(rule r (Add ?x ?y) (Add ?y ?x) => (Add@a ?x ?y) @a)")
    assert len(start) == 2
    for match in start.matches():
        assert match.hash == start.apply(match).hash != start.hash


def test_bad_indices_and_foreign_matches_are_refused() -> None:
    start, other = state(zoo.layouts(), RELU_TWICE), state(zoo.layouts(), RELU_TWICE)
    count = len(start)
    for index in (-1, count, 2**40):
        with pytest.raises(ValueError, match=rf"match {index} does not exist.*{count} matches"):
            start.apply(index)
    with pytest.raises(ValueError, match="belongs to another state"):
        other.apply(start.matches()[0])


def test_repricing_equals_a_state_made_with_the_prices() -> None:
    """Also of pairs of unrelated nodes, and where a part of the prices was known before."""
    pairs = "(rule pairs (Relu ?x) (Relu ?y) => (Relu (Identity ?x)) (Sigmoid ?y))"
    tanh = "(rule tanh (Relu ?x) => (Tanh ?x))"
    graph, rules, table = zoo.activations(), rule_set(tanh, pairs), CostTable.measured()
    start = State(graph, rules, table)
    assert {match.rule for match in start.matches()} == {"tanh", "pairs"}
    unknown = table.unknown()
    for count, signature in enumerate(unknown):
        before = snapshot(start)
        repriced = start.repriced()
        assert snapshot(start) == before == snapshot(repriced)
        assert repriced.graph is start.graph
        assert not repriced.is_priced
        again = State(graph, rules, table)
        np.testing.assert_array_equal(
            repriced.observe()["match_cost_ms"], again.observe()["match_cost_ms"]
        )
        table.set(signature.key, 1.0 + count)
    priced = start.repriced().repriced()
    assert priced.is_priced
    assert_equals_scratch(State(graph, rules, table, taso_hash=True), rules, table)
    again = State(graph, rules, table)
    assert priced.cost.ms == again.cost.ms
    assert priced.observe()["match_cost_ms"].tolist() == again.observe()["match_cost_ms"].tolist()
    for index in range(len(start)):  # what the parent did not know its children do
        ours, theirs = start.apply(index), priced.apply(index)
        assert ours.cost.ms == pytest.approx(theirs.cost.ms, rel=1e-12)
        np.testing.assert_array_equal(
            ours.observe()["match_cost_ms"], theirs.observe()["match_cost_ms"]
        )


def test_threads_may_share_a_state() -> None:
    start = State(zoo.siblings(), load_core(), roofline())
    indices = [*range(len(start))] * 8
    with ThreadPoolExecutor(4) as pool:
        children = list(pool.map(start.apply, indices))
    for index, child in zip(indices, children, strict=True):
        assert snapshot(child) == snapshot(start.apply(index))


def test_names_of_outputs_inputs_and_replaced_tensors_survive() -> None:
    net = Sketch()
    x = net.input(2, name="x")
    inner = net.node("Relu", x, name="inner")
    net.builder.set_outputs(["result", "again"], [net.node("Relu", inner, name="y"), "y"])
    after = state(net.builder.build(), RELU_TWICE).apply(0).graph
    assert (after.inputs, after.outputs) == (["x"], ["result", "again"])
    assert after.output_tensors == ["y", "y"]
    (node,) = after.nodes()
    assert (node.inputs, node.outputs) == (["x"], ["y"])


def test_an_output_may_come_to_read_an_input_or_a_weight() -> None:
    net = Sketch()
    x, w = net.input(2), net.weight(2)
    graph = net.graph(net.node("Identity", x), net.node("Where", net.node("Equal", x, x), w, x))
    rules = (
        "(rule i (Identity ?x) => ?x)",
        "(rule w (Where (Equal ?x ?x) ?a ?b) => ?a :drops ?x ?b)",
    )
    here = state(graph, *rules)
    while len(here):
        here = here.apply(0)
    assert here.graph.output_tensors == [x, w]
    assert here.graph.inputs == [x]
    assert list(here.graph.weights) == [w]
    assert len(here.graph) == here.cost.ms == 0


def test_what_dies_with_a_match_is_counted() -> None:
    """A chain that only the dropped operand needed goes too, weights and literals included."""
    net = Sketch()
    x, w = net.input(2, 2), net.weight(2, 2)
    doomed = net.node("MatMul", net.node("Exp", net.node("Add", x, net.literal(1.0))), w)
    graph = net.graph(net.node("Where", net.node("Equal", x, x), x, doomed))
    start = state(graph, "(rule w (Where (Equal ?x ?x) ?a ?b) => (Relu ?a) :drops ?x ?b)")
    (match,) = start.matches()
    assert match.size_difference == 1 - 5
    after = start.apply(match)
    assert [node.op_type for node in after.graph.nodes()] == ["Relu"]
    assert after.graph.weights == after.graph.literals == {}
    assert after.hash == match.hash
    assert start.cost.ms + match.cost_difference_ms == pytest.approx(after.cost.ms, rel=1e-12)


def test_a_node_that_becomes_constant_becomes_free_with_all_behind_it() -> None:
    net = Sketch()
    x, w = net.input(2, 2), net.weight(2, 2)
    chosen = net.node("Where", net.node("Equal", x, x), w, x)
    folded = net.node("Exp", net.node("Transpose", chosen, perm=[1, 0]))
    graph = net.graph(net.node("Add", x, folded))
    rule = "(rule w (Where (Equal ?x ?x) ?a ?b) => ?a :drops ?x ?b)"
    start = State(graph, rule_set(rule), roofline(), taso_hash=True)
    (match,) = start.matches()
    after = start.apply(match)
    assert [node.is_constant for node in after.graph.nodes()] == [True, True, False]
    assert len(after.graph) == 1
    assert match.size_difference == 1 - 5
    assert_equals_scratch(after, rule_set(rule), roofline())
    assert start.cost.ms + match.cost_difference_ms == pytest.approx(after.cost.ms, rel=1e-12)


def test_a_result_nobody_reads_is_not_made() -> None:
    """The rule offers two replacements; where only one is read, only it is made."""
    rule = "(rule r (Relu (Abs@i ?x)) @i => (Tanh (Exp ?x)) (Log ?x))"
    for is_read, expected in ((True, ["Exp", "Log", "Tanh"]), (False, ["Exp", "Tanh"])):
        net = Sketch()
        inner = net.node("Abs", net.input(2))
        start = state(net.graph(net.node("Relu", inner), *[inner] * is_read), rule)
        (match,) = start.matches()
        assert match.size_difference == len(expected) - 2
        after = start.apply(match)
        assert sorted(node.op_type for node in after.graph.nodes()) == expected
        assert after.hash == match.hash


def test_matches_come_in_one_order() -> None:
    """By rule, then by creation; walks of equal seeds are equal step by step."""
    rules, costs = load_core(), roofline()
    start = State(zoo.activations(), rules, costs)
    indices = [match.rule_index for match in start.matches()]
    assert indices == sorted(indices)
    walks = [
        [
            (parent.matches()[index].rule, child.hash)
            for parent, index, child in random_walk(
                zoo.siblings(), rules, costs, num_steps=20, seed=11
            )
        ]
        for _ in range(2)
    ]
    assert walks[0] == walks[1]
    assert len(walks[0]) == 20


def test_a_match_is_known_by_its_rule_and_tensors() -> None:
    """Traces replay by them."""
    for make in zoo.GRAPHS.values():
        start = State(make(), load_core(), roofline())
        identities = [(match.rule, tuple(match.tensors)) for match in start.matches()]
        assert len(set(identities)) == len(identities)


# --- convexity -------------------------------------------------------------------------------


@given(st.integers(0, 2**31), st.sampled_from(sorted(zoo.GRAPHS)))
@settings(max_examples=15, deadline=None)
def test_a_match_is_found_by_its_name(seed: int, name: str) -> None:
    rng = random.Random(seed)
    start = here = State(zoo.GRAPHS[name](), load_core(), roofline())
    for _ in range(3):
        if not len(here):
            break
        index = rng.randrange(len(here))
        match, number = here.match(index), here.num_created
        assert (match.rule, match.tensors, match.index) == (
            here.matches()[index].rule,
            here.matches()[index].tensors,
            index,
        )
        assert all(0 <= created < number for created in match.created)
        here = here.apply(match)
        assert here.num_created >= number
    for match in start.matches():
        named = [m for m in here.matches() if (m.rule, m.tensors) == (match.rule, match.tensors)]
        by_name = here.find(match.rule, match.tensors)
        assert (by_name and by_name.index) == (named[0].index if named else None)


def products(seed: int, count: int) -> Graph:
    """MatMuls that share two weights, each reading the input, a product or a sum of two."""
    rng = random.Random(seed)
    net = Sketch()
    known = [net.input(2, 4)]
    weights = [net.weight(4, 4), net.weight(4, 4)]
    results = []
    for _ in range(count):
        operand = rng.choice(known)
        if rng.random() < 0.5:
            operand = net.node("Add", operand, rng.choice(known))
        results.append(net.node("MatMul", operand, rng.choice(weights)))
        known.append(results[-1])
    return net.graph(*results)


def reachable(graph: Graph) -> dict[str, set[str]]:
    """Which tensors come out of each tensor, over one node or more."""
    after: dict[str, set[str]] = defaultdict(set)
    for node in reversed(graph.nodes()):
        for tensor in node.inputs:
            for output in node.outputs:
                after[tensor] |= {output} | after[output]
    return after


@given(st.integers(0, 2**31), st.integers(2, 8))
@settings(max_examples=60, deadline=None)
def test_pairs_are_legal_if_neither_leads_to_the_other(seed: int, count: int) -> None:
    """Against all pairs and plain reachability; a legal match makes no cycle, the others would."""
    graph = products(seed, count)
    start = state(graph, MERGE)
    after = reachable(start.graph)
    matmuls = [node for node in graph.nodes() if node.op_type == "MatMul"]
    pairs = [
        (p.outputs[0], q.outputs[0])
        for p, q in itertools.permutations(matmuls, 2)
        if p.inputs[1] == q.inputs[1]
    ]
    legal = {(p, q) for p, q in pairs if q not in after[p] and p not in after[q]}
    found = {tuple(match.tensors[-2:]) for match in start.matches()}
    assert found == legal
    # Where one reads the other, no variable may be bound to it; else there is a path around.
    reads = {(node.inputs[0], node.outputs[0]) for node in matmuls}
    direct = [pair for pair in pairs if pair in reads or pair[::-1] in reads]
    reasons = start.explain("merge")
    around = reasons.get("a path leaves the match and comes back", 0)
    assert around == len(pairs) - len(legal) - len(direct)
    assert sum(reasons.values()) == len(pairs) - len(legal)
    for index in range(len(start)):
        child = start.apply(index)
        assert_valid(child.graph)
        assert_equals_scratch(
            State(child.graph, rule_set(MERGE), roofline(), taso_hash=True),
            rule_set(MERGE),
            roofline(),
        )


def test_convexity_is_decided_anew_after_each_rewrite() -> None:
    """Merging one pair joins two others that were apart, or cuts those that were joined."""
    net = Sketch()
    x, y, v, w = net.input(2, 4), net.input(2, 4), net.weight(4, 4), net.weight(4, 4)
    a, b = net.node("MatMul", x, v), net.node("MatMul", y, v)
    c = net.node("MatMul", net.node("Relu", a), w)
    d = net.node("MatMul", x, w)
    start = state(net.graph(b, c, d), MERGE)
    assert {frozenset(t[-2:]) for t in bound(start)} == {frozenset({a, b}), frozenset({c, d})}
    index = next(i for i, t in enumerate(bound(start)) if set(t[-2:]) == {a, b})
    joined = start.apply(index)
    assert {frozenset(t[-2:]) for t in bound(joined)} == {frozenset({c, d})}
    both = joined.apply(0)
    assert_valid(both.graph)
    assert len(both) == 0


def test_threads_apply_at_once_whatever_the_costs() -> None:
    """A measured table notes what it is asked for, so its states are left to one thread a time."""
    for costs in (roofline(), CostTable.measured()):
        start = State(zoo.siblings(), load_core(), costs)
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(start.apply, [*range(len(start))] * 20))
        assert len({after.hash for after in made}) <= len(start)
        keys = [signature.key for signature in costs.unknown()]
        assert len(keys) == len(set(keys))
