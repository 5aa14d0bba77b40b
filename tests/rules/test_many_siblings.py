"""Forty operators that read one tensor: every pair of them is found, and a search makes them one.

The cost of what is found is compared with that of the merged network written by hand.
"""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import onnx
import pytest
from drawing import Sketch, roofline

import xflowrl
from xflowrl._engine import Graph, RuleSet, State
from xflowrl.onnx_io import Model, export_onnx
from xflowrl.problem import Result
from xflowrl.rules import load_core
from xflowrl.taso.rules import load_taso
from xflowrl.verify import verify
from xflowrl.weights import DrawnWeights

COUNT = 40
WIDTHS = [3 + index % 4 for index in range(COUNT)]
CORE = load_core()

# What merges a pair, and what a third one joins by.
FAMILIES = {
    "Conv": ("Conv-siblings-merge", "Conv-siblings-join"),
    "Conv-bias": ("Conv-bias-siblings-merge", "Conv-bias-siblings-join"),
    "MatMul": ("MatMul-left-siblings-merge", "MatMul-left-siblings-join"),
    "Gemm": ("Gemm-left-siblings-merge", "Gemm-left-siblings-join"),
    "Gemm-bias": ("Gemm-bias-left-siblings-merge", "Gemm-bias-left-siblings-join"),
}


def add_siblings(net: Sketch, family: str, widths: list[int]) -> list[str]:
    """Operators of these numbers of output channels, all of them reading one input."""
    op_type, _, bias = family.partition("-")
    x = net.input(1, 8, 6, 6) if op_type == "Conv" else net.input(6, 8)
    made = []
    for width in widths:
        biases = [net.weight(width)] * bool(bias)
        if op_type == "Conv":
            made.append(net.conv(x, net.weight(width, 8, 3, 3), *biases, pad=1))
        else:
            made.append(net.node(op_type, x, net.weight(8, width), *biases))
    return made


def siblings(family: str) -> Graph:
    net = Sketch()
    return net.graph(*add_siblings(net, family, WIDTHS))


def merged(family: str) -> Graph:
    """What forty siblings are to become: one operator and one Split."""
    net = Sketch()
    (whole,) = add_siblings(net, family, [sum(WIDTHS)])
    return net.graph(*net.split(whole, *WIDTHS, axis=1))


def operators(graph: Graph) -> Counter[str]:
    return Counter(node.op_type for node in graph.nodes() if not node.is_constant)


def applied_to_the_end(graph: Graph, rules: RuleSet) -> Graph:
    """The graph after the first match, again and again until there is none."""
    state = State(graph, rules, roofline())
    while state.matches():
        state = state.apply(0)
    return state.graph


def assert_one_operator(result: Result, family: str) -> None:
    op_type = family.partition("-")[0]
    assert operators(result.model.graph) == {op_type: 1, "Split": 1}
    # sums of two numbers, taken in another order
    by_hand_ms = roofline().price(merged(family)).ms
    assert result.cost_best_ms == pytest.approx(by_hand_ms, rel=1e-9)
    assert result.cost_best_ms < result.cost_initial_ms / 10
    saved = export_onnx(result.model)
    onnx.checker.check_model(saved, full_check=True)
    assert [node.op_type for node in saved.graph.node] == [op_type, "Split"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_ordered_pair_is_listed(family: str) -> None:
    graph = siblings(family)
    state = State(graph, CORE, roofline())
    assert {match.rule for match in state.matches()} == {FAMILIES[family][0]}
    # the tensors of a match end with the results of its nodes
    pairs = [tuple(match.tensors[-2:]) for match in state.matches()]
    assert sorted(pairs) == sorted(itertools.permutations(graph.outputs, 2))
    assert len(pairs) == COUNT * (COUNT - 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_sibling_may_join_those_that_are_merged(family: str) -> None:
    merge, join = FAMILIES[family]
    state = State(siblings(family), CORE, roofline()).apply(0)
    num_left = COUNT - 2
    counts = Counter(match.rule for match in state.matches())
    assert counts[join] == num_left
    # Any two of the rest, and any of the rest with the merged one, which is a sibling too.
    assert counts[merge] == num_left * (num_left - 1) + 2 * num_left


@pytest.mark.parametrize("family", FAMILIES)
def test_a_search_makes_them_one(family: str) -> None:
    graph = siblings(family)
    model = Model(graph, DrawnWeights(graph, 0))
    result = xflowrl.optimize(
        model, "taso", measurement="roofline", budget={"max_iterations": 200}
    )  # raises where the result is not proven equal
    assert_one_operator(result, family)
    merge, join = FAMILIES[family]
    steps = Counter(step.rule for step in result.trace.steps)
    assert steps == {merge: 1, join: COUNT - 2}
    assert result.optimisation_s < 30  # a quarter of a second here


@pytest.mark.parametrize("family", ["Conv", "MatMul"])
def test_pairs_of_pairs_are_one_operator_too(family: str) -> None:
    """Without the rule by which a third one joins: a tree of merges, its Splits made one."""
    graph = siblings(family)
    result = applied_to_the_end(graph, CORE.select([FAMILIES[family][0], "Split-of-Split"]))
    assert result.outputs == graph.outputs
    assert operators(result) == {family: 1, "Split": 1}
    weights = DrawnWeights(graph, 0)
    assert verify(Model(graph, weights), Model(result, weights)).equal


def test_siblings_whose_results_are_joined_need_no_split() -> None:
    """As in a network of many branches: activations and Concat follow, and one Conv is left."""
    net = Sketch()
    convs = add_siblings(net, "Conv-bias", WIDTHS)
    graph = net.graph(net.node("Concat", *(net.node("Relu", conv) for conv in convs), axis=1))
    merge, join = FAMILIES["Conv-bias"]
    # The first two are merged, then further ones join in the order of the nodes, the Concat's too.
    state = State(graph, CORE.select(["Concat-of-Relu", merge]), roofline()).apply(0).apply(0)
    rest = CORE.select([join, "Concat-of-Split", "Conv-Relu-fuse"])
    result = applied_to_the_end(state.graph, rest)
    assert operators(result) == {"Conv": 1}
    weights = DrawnWeights(graph, 0)
    saved = export_onnx(Model(result, weights))
    onnx.checker.check_model(saved, full_check=True)
    assert [node.op_type for node in saved.graph.node] == ["Conv", "Relu"]
    assert verify(Model(graph, weights), Model(result, weights)).equal


def test_siblings_with_groups_and_of_unequal_kernels() -> None:
    """They are found by other rules; a short search may do anything that is equal."""
    net = Sketch()
    x = net.input(1, 8, 6, 6)
    half = COUNT // 2
    grouped = [net.conv(x, net.weight(4, 4, 3, 3), pad=1, group=2) for _ in range(half)]
    points = [net.conv(x, net.weight(4, 8, 1, 1)) for _ in range(half)]
    windows = [net.conv(x, net.weight(4, 8, 3, 3), pad=1) for _ in range(half)]
    graph = net.graph(*grouped, *points, *windows)
    counts = Counter(match.rule for match in State(graph, CORE, roofline()).matches())
    assert counts["Conv-grouped-siblings-merge"] == half * (half - 1)
    assert counts["Conv-siblings-merge"] == 2 * half * (half - 1)
    assert counts["Conv-siblings-enlarge"] == half * half
    model = Model(graph, DrawnWeights(graph, 0))
    result = xflowrl.optimize(model, "taso", measurement="roofline", budget={"max_iterations": 100})
    assert result.cost_best_ms < result.cost_initial_ms / 2
    onnx.checker.check_model(export_onnx(result.model), full_check=True)


@pytest.mark.parametrize(
    ("family", "ids"), [("Conv", {12, 145}), ("MatMul", {95})], ids=["Conv", "MatMul"]
)
def test_tasos_rules_merge_all_pairs(shared_dir: Path, family: str, ids: set[int]) -> None:
    """A Split is free as TASO charges, so that each merge of two saves an operator."""
    rules = load_taso(str(shared_dir / "taso" / "graph_subst.pb"))
    graph = siblings(family)
    listed: dict[int, list[tuple[str, ...]]] = {number: [] for number in ids}
    for match in State(graph, rules, roofline()).matches():
        listed[match.rule_index].append(tuple(match.tensors[-2:]))
    pairs = sorted(itertools.permutations(graph.outputs, 2))
    assert all(sorted(found) == pairs for found in listed.values())
    model = Model(graph, DrawnWeights(graph, 0))
    result = xflowrl.optimize(model, "greedy", rules=rules, measurement="taso")
    assert len(result.trace.steps) == COUNT - 1
    assert operators(result.model.graph) == {family: 1, "Split": COUNT - 1}
    onnx.checker.check_model(export_onnx(result.model), full_check=True)
    # the built-in rules make one Split of them
    alone = applied_to_the_end(result.model.graph, CORE.select(["Split-of-Split"]))
    assert operators(alone) == {family: 1, "Split": 1}
