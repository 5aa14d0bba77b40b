"""Concat and Sum of a hundred operands, Split into a hundred: the rules have no favourite number.

Each case is a graph written as text, see the fixture `read_graph`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from drawing import Sketch, roofline

import xflowrl
from xflowrl._engine import Graph, RuleSet, State
from xflowrl.onnx_io import Model, export_onnx
from xflowrl.rules import load_core
from xflowrl.soundness.instances import Instance
from xflowrl.soundness.reference import check_valid, evaluate_graph
from xflowrl.taso.rules import load_taso
from xflowrl.weights import DrawnWeights

Read = Callable[[str], Instance]

COUNT = 100
ALL = range(COUNT)
WIDTHS = [1 + index % 3 for index in ALL]
TOTAL = sum(WIDTHS)
CORE = load_core()


def listed(stem: str, numbers: Iterable[int] = ALL) -> str:
    return ",".join(f"{stem}{number}" for number in numbers)


def sizes(widths: Iterable[int]) -> str:
    return ",".join(map(str, widths))


def inputs(shape: str = "2,{}", numbers: Iterable[int] = ALL) -> str:
    return " ".join(f"x{i}[{shape.format(WIDTHS[i])}]" for i in numbers)


def each(op: str, made: str, read: str, attributes: str = "", numbers: Iterable[int] = ALL) -> str:
    return ";".join(f"{made}{i}={op}({read}{i}) {attributes}" for i in numbers)


SPLIT = f"axis=1 split={sizes(WIDTHS)}"
PARTS = f"{listed('s')}=Split(x) {SPLIT}"
LEAKY = each("LeakyRelu", "r", "x", "alpha=0.25")
TURNED = each("Transpose", "r", "x", "perm=1,0")
FLAT = ";".join(f"r{i}=Reshape(x{i}) shape=2,{WIDTHS[i] * 6}" for i in ALL)
KERNELS = " ".join(f"w{i}[{width},2,1]" for i, width in enumerate(WIDTHS))
GROWN = f"k[{TOTAL - WIDTHS[-1]},2,1] v[{WIDTHS[-1]},2,1]"


@dataclass(frozen=True)
class Case:
    """Where a rule applies, in one place, and what is then left, constants not counted."""

    rule: str
    graph: str
    left: dict[str, int]


CASES = [
    Case(
        "Concat-of-Relu",
        f"{inputs()}; {each('Relu', 'r', 'x')}; y=Concat({listed('r')}) axis=1",
        {"Concat": 1, "Relu": 1},
    ),
    Case(
        "Concat-of-LeakyRelu",
        f"{inputs()}; {LEAKY}; y=Concat({listed('r')}) axis=1",
        {"Concat": 1, "LeakyRelu": 1},
    ),
    Case(
        "Relu-of-Concat",
        f"{inputs()}; s=Concat({listed('x')}) axis=1; y=Relu(s)",
        {"Concat": 1, "Relu": COUNT},
    ),
    Case(
        "Concat-of-Transpose",
        f"{inputs()}; {TURNED}; y=Concat({listed('r')}) axis=0",
        {"Concat": 1, "Transpose": 1},
    ),
    Case(
        "Transpose-of-Concat",
        f"{inputs()}; s=Concat({listed('x')}) axis=1; y=Transpose(s) perm=1,0",
        {"Concat": 1, "Transpose": COUNT},
    ),
    Case(
        "Concat-of-Reshape",
        f"{inputs('2,{},2,3')}; {FLAT}; y=Concat({listed('r')}) axis=1",
        {"Concat": 1, "Reshape": 1},
    ),
    Case(
        "Concat-of-Split",
        f"x[2,{TOTAL}]; {PARTS}; s=Concat({listed('s')}) axis=1; y=Neg(s)",
        {"Neg": 1},
    ),
    Case(
        "Split-of-Concat",
        f"{inputs()}; s=Concat({listed('x')}) axis=1; {listed('t')}=Split(s) {SPLIT};"
        f"{each('Neg', 'y', 't')}",
        {"Neg": COUNT},
    ),
    Case(
        "Split-of-Relu",
        f"x[2,{TOTAL}]; r=Relu(x); {listed('s')}=Split(r) {SPLIT}",
        {"Split": 1, "Relu": COUNT},
    ),
    Case(
        "Split-of-Transpose",
        f"x[{TOTAL},2]; r=Transpose(x) perm=1,0; {listed('s')}=Split(r) {SPLIT}",
        {"Split": 1, "Transpose": COUNT},
    ),
    Case(
        "Split-of-Concat-first",
        f"{inputs()}; s=Concat({listed('x')}) axis=1; t,u=Split(s) axis=1 split=1,{TOTAL - 1};"
        "y=Neg(t)",
        {"Neg": 1, "Concat": 1},
    ),
    Case(
        "Split-of-Concat-last",
        f"{inputs()}; s=Concat({listed('x')}) axis=1; t,u=Split(s) axis=1 split={TOTAL - 1},1;"
        "y=Neg(u)",
        {"Neg": 1, "Concat": 1},
    ),
    Case(
        "Concat-of-Concat",
        f"{inputs()}; s=Concat({listed('x', range(30, 80))}) axis=1;"
        f"y=Concat({listed('x', range(30))},s,{listed('x', range(80, COUNT))}) axis=1",
        {"Concat": 1},
    ),
    Case(
        "Split-of-Split",
        f"x[2,{TOTAL}]; {listed('a', range(30))},s,{listed('a', range(80, COUNT))}=Split(x) axis=1"
        f" split={sizes([*WIDTHS[:30], sum(WIDTHS[30:80]), *WIDTHS[80:]])};"
        f"{listed('a', range(30, 80))}=Split(s) axis=1 split={sizes(WIDTHS[30:80])}",
        {"Split": 1},
    ),
    Case(
        "Sum-of-Sum",
        f"{inputs('2,3')}; s=Sum({listed('x', range(30, 80))});"
        f"y=Sum({listed('x', range(30))},s,{listed('x', range(80, COUNT))})",
        {"Sum": 1},
    ),
    Case(
        "Conv-siblings-join",
        f"x[1,2,5] {GROWN}; c=Conv(x,k); {listed('s', range(COUNT - 1))}=Split(c) axis=1"
        f" split={sizes(WIDTHS[:-1])}; y=Conv(x,v)",
        {"Conv": 1, "Split": 1},
    ),
]


def state_of(graph: Graph, rules: RuleSet) -> State:
    return State(graph, rules, roofline())


def operators(graph: Graph) -> Counter[str]:
    return Counter(node.op_type for node in graph.nodes() if not node.is_constant)


def assert_equal(instance: Instance, result: Graph) -> None:
    assert check_valid(result, instance.weights) is None
    assert result.outputs == instance.graph.outputs
    before = evaluate_graph(instance.graph, instance.feeds, instance.weights)
    after = evaluate_graph(result, instance.feeds, instance.weights)
    for a, b in zip(before, after, strict=True):
        # random values in double precision: only sums of a hundred round at all
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_a_rule_applies_to_a_hundred(case: Case, read_graph: Read) -> None:
    instance = read_graph(case.graph)
    state = state_of(instance.graph, CORE.select([case.rule]))
    (match,) = state.matches()
    result = state.apply(match).graph
    assert operators(result) == case.left
    assert_equal(instance, result)
    # with all rules beside it the match is among theirs
    assert case.rule in {match.rule for match in state_of(instance.graph, CORE).matches()}


SWAPPED = [*range(50), 51, 50, *range(52, COUNT)]
MUST_NOT = {
    "another activation": (
        "Concat-of-Relu",
        f"{inputs()}; {each('Relu', 'r', 'x', numbers=range(COUNT - 1))}; r99=Tanh(x99);"
        f"y=Concat({listed('r')}) axis=1",
    ),
    "another slope": (
        "Concat-of-LeakyRelu",
        f"{inputs()}; {LEAKY.replace('(x50) alpha=0.25', '(x50) alpha=0.5')};"
        f"y=Concat({listed('r')}) axis=1",
    ),
    "a reader of one activation": (
        "Concat-of-Relu",
        f"{inputs()}; {each('Relu', 'r', 'x')}; y=Concat({listed('r')}) axis=1; z=Neg(r50)",
    ),
    "two parts in the other order": (
        "Concat-of-Split",
        f"x[2,{TOTAL}]; {PARTS}; s=Concat({listed('s', SWAPPED)}) axis=1; y=Neg(s)",
    ),
    "a part left out": (
        "Concat-of-Split",
        f"x[2,{TOTAL}]; {PARTS}; s=Concat({listed('s', range(COUNT - 1))}) axis=1; y=Neg(s)",
    ),
    "two sizes in the other order": (
        "Split-of-Concat",
        f"{inputs()}; s=Concat({listed('x')}) axis=1;"
        f"{listed('t')}=Split(s) axis=1 split={sizes(WIDTHS[i] for i in SWAPPED)};"
        f"{each('Neg', 'y', 't')}",
    ),
    "another axis": (
        "Concat-of-Concat",
        f"{inputs('2,3')}; s=Concat({listed('x', range(50))}) axis=1;"
        f"t=Concat({listed('x', range(50, COUNT))}) axis=1; y=Concat(s,t) axis=0",
    ),
}


@pytest.mark.parametrize("name", MUST_NOT)
def test_a_rule_does_not_apply_where_one_of_a_hundred_differs(name: str, read_graph: Read) -> None:
    rule, text = MUST_NOT[name]
    assert not state_of(read_graph(text).graph, CORE.select([rule])).matches()


def test_operands_in_the_wrong_order_are_noticed(read_graph: Read) -> None:
    wrong = "(rule wrong (Concat ?xs... ?y :axis ?k) => (Concat ?y ?xs... :axis ?k))"
    instance = read_graph(f"{inputs()}; y=Concat({listed('x')}) axis=1")
    state = state_of(instance.graph, RuleSet.parse(f"(rules wrong)\n{wrong}"))
    with pytest.raises(AssertionError, match="Mismatched elements"):
        assert_equal(instance, state.apply(0).graph)


def flattened(graph: Graph, rule: str) -> Graph:
    """The graph after the first match of a rule, until there is none."""
    state = state_of(graph, CORE.select([rule]))
    while state.matches():
        state = state.apply(0)
    return state.graph


def test_nested_concats_become_one(read_graph: Read) -> None:
    joins = ["s1=Concat(x0,x1) axis=1"]
    joins += [f"s{i}=Concat(s{i - 1},x{i}) axis=1" for i in range(2, COUNT)]
    tens = [f"s{i}=Concat({listed('x', range(i, i + 10))}) axis=1" for i in range(0, COUNT, 10)]
    tens.append(f"y=Concat({listed('s', range(0, COUNT, 10))}) axis=1")
    for text in (joins, tens):
        instance = read_graph(";".join([inputs(), *text]))
        result = flattened(instance.graph, "Concat-of-Concat")
        (node,) = result.nodes()
        assert (node.op_type, node.inputs) == ("Concat", [f"x{i}" for i in ALL])
        assert_equal(instance, result)


def test_nested_splits_become_one(read_graph: Read) -> None:
    text, rest = f"x[2,{TOTAL}]", "x"
    for i in range(COUNT - 1):
        left = sum(WIDTHS[i + 1 :])
        after = f"r{i}" if i < COUNT - 2 else f"s{COUNT - 1}"
        text += f"; s{i},{after}=Split({rest}) axis=1 split={WIDTHS[i]},{left}"
        rest = after
    instance = read_graph(text)
    result = flattened(instance.graph, "Split-of-Split")
    (node,) = result.nodes()
    assert node.attributes["split"] == WIDTHS
    assert_equal(instance, result)


def test_a_search_over_a_hundred_branches() -> None:
    """All rules at once; the result is exported and proven equal, or `optimize` would raise."""
    net = Sketch()
    branches = [net.input(2, width, 4, 4) for width in WIDTHS]
    first = net.node("Concat", *(net.node("Relu", x) for x in branches[:50]), axis=1)
    second = net.node("Concat", *(net.node("Relu", x) for x in branches[50:]), axis=1)
    whole = net.node("Concat", first, second, axis=1)
    parts = net.split(whole, *WIDTHS[::-1], axis=1)
    again = net.node("Concat", *(net.node("Relu", part) for part in parts), axis=1)
    graph = net.graph(net.conv(again, net.weight(8, TOTAL, 1, 1)))
    result = xflowrl.optimize(
        Model(graph, DrawnWeights(graph, 0)),
        "taso",
        measurement="roofline",
        budget={"max_iterations": 100},
    )
    assert operators(result.model.graph) == {"Concat": 1, "Relu": 1, "Conv": 1}
    saved = export_onnx(result.model)
    assert Counter(node.op_type for node in saved.graph.node) == {"Concat": 1, "Relu": 1, "Conv": 1}
    assert result.optimisation_s < 30  # half a second here


def test_tasos_rules_take_two_of_a_hundred(shared_dir: Path, read_graph: Read) -> None:
    """Its Concats have two or three operands; any two of the activations are a match."""
    rules = load_taso(str(shared_dir / "taso" / "graph_subst.pb"))
    instance = read_graph(
        f"{inputs('2,{},2,2')}; {each('Relu', 'r', 'x')}; y=Concat({listed('r')}) axis=1"
    )
    state = state_of(instance.graph, rules)
    pairs = [match for match in state.matches() if match.rule_index == 113]
    assert len(pairs) == COUNT * (COUNT - 1)
    assert {match.rule_index for match in state.matches()} == {113, 138}  # along axis 1 or 0
    result = state.apply(pairs[1234]).graph
    assert operators(result) == {"Relu": COUNT - 1, "Concat": 2, "Split": 1}
    assert_equal(instance, result)
