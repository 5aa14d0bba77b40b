"""Sources whose parts share nothing, and sets that match constants, both as TASO has them."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from importlib import resources

import pytest
import zoo
from drawing import Sketch, bound, roofline, rule_set, state
from hypothesis import given, settings
from hypothesis import strategies as st
from recompute import assert_equals_scratch, assert_valid, check_walk

from xflowrl._engine import CostTable, Graph, RuleSet, State
from xflowrl.rules.loading import CORE_FILES

PAIR = (
    "(rule pair (Relu ?x) (Relu ?y) => (outs (Split (Relu (Concat ?x ?y :axis 0))"
    " :axis 0 :split (list (dim ?x 0) (dim ?y 0)))))"
)
MIXED = "(rule mixed (Add ?x ?z) (Relu ?y) => (Add ?x ?z) (Relu ?y))"
DEEP = "(rule deep (Relu (Tanh ?x)) (Relu (Tanh ?y)) => (Relu (Tanh ?x)) (Relu (Tanh ?y)))"
THREE = "(rule three (Tanh ?x) (Mul ?y ?z) (Tanh ?w) => (Tanh ?x) (Mul ?y ?z) (Tanh ?w))"
WIDE = "(rule wide (Relu ?x) (Tanh ?y) (Sigmoid ?y) => (Relu ?x) (Tanh ?y) (Sigmoid ?y))"
TOY = (
    f"(rules toy)\n{PAIR}\n{DEEP}\n{THREE}\n{WIDE}\n"
    "(rule drop (Mul ?y ?z) => ?y :drops ?z)\n"
    "(rule grow (Relu ?x) => (Relu (Relu (Relu ?x))))\n"
    "(rule shrink (Relu (Relu ?x)) => (Relu ?x))"
)


def relus(seed: int, count: int) -> Graph:
    """Relus over the input, over one another, and over sums."""
    rng = random.Random(seed)
    net = Sketch()
    known = [net.input(2, 3), net.input(2, 3)]
    for _ in range(count):
        operand = rng.choice(known)
        if rng.random() < 0.4:
            operand = net.node("Add", operand, rng.choice(known))
        known.append(net.node("Relu", operand))
    return net.graph(*known[2:])


def related_relus(graph: Graph) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """All pairs of which one leads to the other, and all others."""
    after: dict[str, set[str]] = defaultdict(set)
    for node in reversed(graph.nodes()):
        behind = {*node.outputs}.union(*(after[output] for output in node.outputs))
        for tensor in node.inputs:
            after[tensor] |= behind
    names = [node.outputs[0] for node in graph.nodes() if node.op_type == "Relu"]
    pairs = set(itertools.permutations(names, 2))
    related = {(p, q) for p, q in pairs if q in after[p] or p in after[q]}
    return related, pairs - related


@given(st.integers(0, 2**31), st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_all_pairs_of_unrelated_nodes_are_found(seed: int, count: int) -> None:
    graph = relus(seed, count)
    _, unrelated = related_relus(graph)
    start = state(graph, PAIR)
    assert {tuple(tensors[-2:]) for tensors in bound(start)} == unrelated
    for index in range(len(start)):
        assert_valid(start.apply(index).graph)


@pytest.mark.parametrize("option", [":commutative", ":commutative :faithful"])
@pytest.mark.parametrize("name", zoo.GRAPHS)
def test_walks_with_unrelated_sources_equal_scratch(name: str, option: str) -> None:
    folder = resources.files("xflowrl.rules")
    texts = [(folder / file).read_text("utf-8") for file in CORE_FILES]
    sets = [RuleSet.parse(text.replace(":commutative", option, 1)) for text in texts]
    sets.append(RuleSet.parse(f"(rules pairs {option})\n{PAIR}\n{MIXED}"))
    rules = RuleSet.join(sets)
    assert rules.faithful == (":faithful" in option)
    costs = CostTable.taso(19.5e12, 1.555e12, 0.005)
    assert len(list(check_walk(zoo.GRAPHS[name](), rules, costs, num_steps=15, seed=3))) == 15


def toy(rng: random.Random, count: int) -> Graph:
    """A few inputs and nodes of the operators that TOY speaks of; what nobody reads is put out."""
    net = Sketch()
    known = [net.input(2, 3) for _ in range(3)]
    unread: list[str] = []
    for _ in range(count):
        op_type = rng.choice(["Relu", "Relu", "Tanh", "Sigmoid", "Mul"])
        operands = [rng.choice(known[-8:])]
        if op_type == "Mul":
            operands.append(rng.choice(known))
        known.append(net.node(op_type, *operands))
        unread = [*(tensor for tensor in unread if tensor not in operands), known[-1]]
    return net.graph(*unread)


def test_pairs_are_kept_while_paths_come_and_go() -> None:
    """After each rewrite against plain reachability, and all else against a new state."""
    rules, costs = RuleSet.parse(TOY), roofline()
    num_met = num_parted = 0
    fired: set[str] = set()
    for seed in range(10):
        rng = random.Random(seed)
        here = State(toy(rng, 24), rules, costs, taso_hash=True)
        related, unrelated = related_relus(here.graph)
        for _ in range(12):
            by_rule = defaultdict(list)
            for match in here.matches():
                by_rule[match.rule].append(match)
            if not by_rule:
                break
            # What breaks paths is rare.
            rule = "drop" if "drop" in by_rule and rng.random() < 0.4 else rng.choice([*by_rule])
            fired.add(rule)
            here = here.apply(rng.choice(by_rule[rule]))
            related_before, unrelated_before = related, unrelated
            related, unrelated = related_relus(here.graph)
            listed = {tuple(m.tensors[-2:]) for m in here.matches() if m.rule == "pair"}
            assert listed == unrelated
            num_met += len(unrelated_before & related)
            num_parted += len(related_before & unrelated)
            assert_equals_scratch(here, rules, costs)
    assert fired == {"pair", "deep", "three", "wide", "drop", "grow", "shrink"}
    assert num_met > 30
    assert num_parted > 30


def test_a_faithful_set_matches_what_depends_on_constants_alone() -> None:
    net = Sketch()
    w = net.weight(2, 2)
    folded = net.node("Relu", net.node("Relu", w), name="folded")
    graph = net.graph(net.node("Add", net.input(2, 2), folded))
    rule = "(rule r (Relu (Relu ?x)) => (Relu ?x))"
    assert state(graph, rule).matches() == []
    faithful = RuleSet.parse(f"(rules t :faithful)\n{rule}")
    start = State(graph, faithful, CostTable.taso(1e12, 1e12, 0.005))
    (match,) = start.matches()
    after = start.apply(match)
    assert [node.op_type for node in after.graph.nodes()] == ["Relu", "Add"]
    assert after.cost.ms < start.cost.ms
    assert_valid(after.graph)
    with pytest.raises(ValueError, match="faithful"):
        RuleSet.join([faithful, rule_set(PAIR)])
    assert roofline().price(after.graph).ms == roofline().price(graph).ms
