"""The expressions of rules, through guards and targets of small rules."""

from __future__ import annotations

import math
from typing import Any

import pytest
from drawing import Sketch, state
from hypothesis import given, settings
from hypothesis import strategies as st

from xflowrl._engine import Graph


def place() -> Graph:
    """One place for every rule below: Concat(Relu(x), v, Conv(i, w), literal), and a Split."""
    net = Sketch()
    image, scalar = net.input(2, 4, 5, 5), net.literal(2.5)
    net.conv(image, net.weight(6, 4, 3, 3), pad=1)
    softmax = net.node("Softmax", net.input(2, 3, 5), axis=1)
    scaled = net.node("Mul", softmax, scalar)
    return net.graph(net.node("Where", net.node("Greater", scaled, scalar), scaled, scaled))


SOURCE = "(Mul (Softmax@s ?x :axis ?a) ?c)"


def holds(guard: str) -> bool:
    """Does the guard hold where ?x is float32[2,3,5], ?a is 1 and ?c the literal 2.5?"""
    rule = f"(rule r {SOURCE} => (Mul ?c (Softmax ?x :axis ?a)) :if {guard})"
    return len(state(place(), rule).matches()) == 1


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("(+ 1 2 3)", 6),
        ("(- 7 2 1)", 4),
        ("(- 7)", -7),
        ("(* 2 3 -4)", -24),
        ("(/ -7 2)", -4),  # floors, as Python does
        ("(/ 7 -2)", -4),
        ("(/ 6 3)", 2),
        ("(% -7 2)", 1),
        ("(% 7 -2)", -1),
        ("(/ 7.0 2)", 3.5),
        ("(+ 1 0.5)", 1.5),
        ("(min 3 1 2)", 1),
        ("(max 3 1.5)", 3),
        ("(+ (list 1 2) (list 3 4))", [4, 6]),
        ("(* 2 (list 1 2))", [2, 4]),
        ("(- (list 1 2) 1)", [0, 1]),
        ("(- (list 1 2))", [-1, -2]),
        ("(/ (list 5 7) (list 2 -2))", [2, -4]),
        ("(max (list 1 5) 3)", [3, 5]),
        ("(len (list 4 5 6))", 3),
        ("(len (list))", 0),
        ("(nth (list 4 5 6) 1)", 5),
        ("(nth (list 4 5 6) -1)", 6),
        ("(cat (list 1) (list) (list 2 3))", [1, 2, 3]),
        ("(take (list 4 5 6) 2)", [4, 5]),
        ("(drop (list 4 5 6) 2)", [6]),
        ("(drop (list 4 5 6) 3)", []),
        ("(splice (list 4 5 6) 1 (list 8 9))", [4, 8, 9, 6]),
        ("(splice (list 4 5 6) 0 (list))", [5, 6]),
        ("(put (list 4 5 6) 2 7)", [4, 5, 7]),
        ("(sum (list 4 5 6))", 15),
        ("(sum (list))", 0),
        ("(prod (list 4 5 6))", 120),
        ("(prod (list))", 1),
        ("(fill 3 7)", [7, 7, 7]),
        ("(fill 0 7)", []),
        ("(iota 3)", [0, 1, 2]),
        ("(permute (list 4 5 6) (list 2 0 1))", [6, 4, 5]),
        ("(index (list 4 5 6) 6)", 2),
        ("(sublist (list 4 5 6 7) 1 3)", [5, 6]),
        ("(dim ?x 1)", 3),
        ("(dim ?x -1)", 5),
        ("(rank ?x)", 3),
        ("(shape ?x)", [2, 3, 5]),
        ("(size ?x)", 30),
        ("(size ?c)", 1),
        ("(rank ?c)", 0),
        ("(shape ?c)", []),
        ("(shape @s)", [2, 3, 5]),
        ("(dim @s.0 0)", 2),
        ("(value ?c)", 2.5),
        ("?a", 1),
        ("(if (= ?a 1) 10 20)", 10),
        ("(if (= ?a 2) 10 20)", 20),
        ("(if (= ?a 2) (/ 1 0) 20)", 20),
        ('"text"', "text"),
    ],
)
def test_values(expression: str, value: Any) -> None:
    if isinstance(value, list):
        literal = f"(list {' '.join(map(str, value))})"
    else:
        literal = f'"{value}"' if isinstance(value, str) else str(value)
    assert holds(f"(= {expression} {literal})")
    assert not holds(f"(not (= {expression} {literal}))")
    assert not holds(f'(= {expression} "another")')


@pytest.mark.parametrize(
    ("guard", "expected"),
    [
        ("(< 1 2)", True),
        ("(< 2 2)", False),
        ("(<= 2 2)", True),
        ("(> 2 1.5)", True),
        ("(>= 1 2)", False),
        ("(= 1 1.0)", True),
        ("(= (list 1 2) (list 1 2))", True),
        ("(= (list 1 2) (list 1 3))", False),
        ("(= (list 1 2) (list 1 2 3))", False),
        ("(< (list 1 2) (list 2 3))", True),
        ("(< (list 1 2) (list 2 2))", False),
        ("(>= (list 1 2) 1)", True),
        ("(>= (list 1 0) 1)", False),
        ("(>= (list) 1)", True),
        ("(all (list 3 3) 3)", True),
        ("(all (list 3 4) 3)", False),
        ("(all (list) 3)", True),
        ("(and 1 1 0)", False),
        ("(and 1 1)", True),
        ("(or 0 0 1)", True),
        ("(or 0 0)", False),
        ("(not 0)", True),
        ("(not 1)", False),
        ("(or (= 1 1) (= 1 (/ 1 0)))", True),  # lazily
        ("(and (= 1 2) (= 1 (/ 1 0)))", False),
        ("(not (and (= 1 2) (= 1 (/ 1 0))))", True),
        ("(float ?x)", True),
        ("(same-shape ?x @s)", True),
        ("(same-shape ?x ?c)", False),
        ("1.5", False),  # truth is a whole number other than 0
        ("1", True),
        ("0", False),
    ],
)
def test_truth(guard: str, expected: bool) -> None:
    assert holds(guard) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "(nth (list 1 2) 2)",
        "(nth (list 1 2) -3)",
        "(take (list 1 2) 3)",
        "(take (list 1 2) -1)",
        "(drop (list 1 2) 3)",
        "(put (list 1 2) 2 0)",
        "(splice (list 1 2) 2 (list))",
        "(sublist (list 1 2) 1 0)",
        "(permute (list 1 2) (list 2))",
        "(index (list 1 2) 3)",
        "(dim ?x 3)",
        "(dim ?x -4)",
        "(dim ?c 0)",
        "(/ 1 0)",
        "(% 1 0)",
        "(+ (list 1) (list 1 2))",
        '(+ 1 "one")',
        "(len 3)",
        "(nth 3 0)",
        "(value ?x)",
        "(dims ?x 0)",
        "(shape 3)",
        "(+ ?x 1)",
        "(fill 100000 0)",
        '(< "a" "b")',
        "(not (list 1 (/ 1 0)))",
    ],
)
def test_an_expression_without_value_makes_the_guard_false(expression: str) -> None:
    assert not holds(f"(= {expression} {expression})")
    assert not holds(f"(not (= {expression} 12345))")
    assert holds(f"(or (= 1 1) (= {expression} 1))")


def test_guards_hold_together() -> None:
    assert holds("(= 1 1) (= 2 2)")
    assert not holds("(= 1 1) (= 2 3)")
    assert not holds("(= 2 3) :if (= 1 1)")


def test_optional_operands_and_sequences() -> None:
    def matches(bias: bool, guard: str) -> int:
        net = Sketch()
        operands = [net.input(1, 2, 4, 4), net.weight(3, 2, 1, 1), *[net.weight(3)] * bias]
        graph = net.graph(net.conv(*operands))
        rule = f"(rule r (Conv ?x ?w [?b] :attrs ?a) => (Conv ?x ?w [?b] :attrs ?a) :if {guard})"
        return len(state(graph, rule).matches())

    assert matches(True, "(= (dim ?b 0) 3)") == 1
    assert matches(False, "(= (dim ?b 0) 3)") == matches(False, "(not (= (dim ?b 0) 3))") == 0
    net = Sketch()
    parts = [net.input(2, size, 4) for size in (1, 2, 3)]
    graph = net.graph(net.node("Concat", *parts, axis=1))
    for guard in (
        "(= (dims ?xs 1) (list 1 2 3))",
        "(= (dims ?xs -1) (fill 3 4))",
        "(= (dims ?xs ?k) (list 1 2 3))",
    ):
        rule = "(rule r (Concat ?xs... :axis ?k) => (Concat ?xs... :axis ?k) :if"
        assert len(state(graph, f"{rule} {guard})").matches()) == 1, guard
        assert state(graph, f"{rule} (not {guard}))").matches() == [], guard
    assert state(graph, f"{rule} (= (dims ?xs 3) (dims ?xs 3)))").matches() == []


def test_targets_compute_attributes_and_literals() -> None:
    rule = (
        "(rule r (Mul (Softmax ?x :axis ?a) ?c)"
        " => (Mul (Softmax ?x :axis (- (+ ?a 2) 1)) (scalar (* (value ?c) 2) ?c))"
        " :if (< ?a (- (rank ?x) 1)))"
    )
    graph = state(place(), rule).apply(0).graph
    softmax, mul = graph.nodes()[:2]
    assert softmax.attributes["axis"] == 2
    (values,) = [v for _, v in graph.literals.values() if v != [2.5]]
    assert values == [5.0]
    assert graph.tensor_type(mul.inputs[1]).shape == ()
    net = Sketch()
    graph = net.graph(net.node("Relu", net.input(3)))
    vector = "(rule r (Relu ?x) => (Add ?x (literal (list 1 2.5 (dim ?x 0)) ?x)))"
    after = state(graph, vector).apply(0).graph
    assert [(t.shape, v) for t, v in after.literals.values()] == [((3,), [1.0, 2.5, 3.0])]


def test_an_attribute_expression_in_a_source_must_equal() -> None:
    net = Sketch()
    x = net.input(2, 3, 5)
    first, last = net.node("Softmax", x, axis=1), net.node("Softmax", x, axis=2)
    graph = net.graph(first, last)
    found = state(graph, "(rule r (Softmax ?x :axis (- (rank ?x) 1)) => (Exp ?x))").matches()
    assert [match.tensors for match in found] == [[x, last]]


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=5), st.data())
@settings(max_examples=60, deadline=None)
def test_list_functions_agree_with_python(values: list[int], data: st.DataObject) -> None:
    text = f"(list {' '.join(map(str, values))})"
    cut = data.draw(st.integers(0, len(values)))
    at = data.draw(st.integers(0, len(values) - 1))
    order = data.draw(st.permutations(range(len(values))))

    def written(result: list[int]) -> str:
        return f"(list {' '.join(map(str, result))})"

    assert holds(f"(= (cat (take {text} {cut}) (drop {text} {cut})) {text})")
    assert holds(f"(= (permute {text} {written(order)}) {written([values[i] for i in order])})")
    assert holds(f"(= (put {text} {at} 99) {written([*values[:at], 99, *values[at + 1 :]])})")
    assert holds(f"(= (index {text} {values[at]}) {values.index(values[at])})")
    assert holds(f"(= (prod {text}) {math.prod(values)})")
    assert holds(f"(= (nth {text} {at - len(values)}) {values[at]})")
