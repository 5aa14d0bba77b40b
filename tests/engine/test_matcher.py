"""Where a rule applies, and by name why elsewhere it does not."""

from __future__ import annotations

import pytest
from drawing import Sketch, bound, state

from xflowrl._engine import Graph, State, TensorType

RELU_TWICE = "(rule r (Relu (Relu ?x)) => (Relu ?x))"
OUTSIDE = "an inner result is used outside the match"
CYCLE = "a path leaves the match and comes back"


def relu_chain(*extra_outputs: int, length: int = 2) -> Graph:
    """relu0, relu1, ...; the last one is an output, and those numbered."""
    net = Sketch()
    x = net.input(2, name="x")
    for index in range(length):
        x = net.node("Relu", x, name=f"relu{index}")
    return net.graph(x, *(f"relu{index}" for index in extra_outputs))


# --- closedness ------------------------------------------------------------------------------


def test_an_inner_result_used_inside_alone_may_vanish() -> None:
    (tensors,) = bound(state(relu_chain(), RELU_TWICE))
    assert tensors == ["x", "relu0", "relu1"]  # variables, then nodes, operands first


def test_an_inner_result_that_is_an_output_may_not() -> None:
    start = state(relu_chain(0), RELU_TWICE)
    assert start.matches() == []
    assert start.explain("r") == {OUTSIDE: 1}


def test_an_inner_result_with_a_consumer_outside_may_not() -> None:
    net = Sketch()
    inner = net.node("Relu", net.input(2))
    graph = net.graph(net.node("Relu", inner), net.node("Tanh", inner))
    start = state(graph, RELU_TWICE)
    assert start.matches() == []
    assert start.explain("r") == {OUTSIDE: 1}


def test_an_inner_result_that_is_replaced_too_may_have_consumers() -> None:
    net = Sketch()
    x = net.input(2)
    inner = net.node("Relu", x, name="inner")
    outer = net.node("Relu", inner, name="outer")
    graph = net.graph(outer, net.node("Tanh", inner, name="side"), inner)
    both = "(rule r (Relu (Relu@i ?x)) @i => (Relu@t ?x) @t)"
    start = state(graph, both)
    assert len(start.matches()) == 1
    after = start.apply(0).graph
    assert sorted(node.op_type for node in after.nodes()) == ["Relu", "Tanh"]
    assert after.output_tensors[0] == after.output_tensors[2]


def test_another_output_of_an_inner_node_must_not_be_used_outside() -> None:
    rule = "(rule r (Relu (Split@s ?x :axis ?a :split ?t)) => (Split (Relu ?x) :axis ?a :split ?t))"
    for used, expected in ((False, 1), (True, 0)):
        net = Sketch()
        first, second = net.split(net.input(4), 2, 2, axis=0)
        relu = net.node("Relu", first)
        start = state(net.graph(relu, *[second] * used), rule)
        assert len(start.matches()) == expected
    # Nobody reads the second output here, and the pattern asks for the first one.
    net = Sketch()
    _, second = net.split(net.input(4), 2, 2, axis=0)
    assert state(net.graph(net.node("Relu", second)), rule).matches() == []


def test_a_variable_is_never_bound_to_a_matched_node() -> None:
    net = Sketch()
    relu = net.node("Relu", net.input(2))
    graph = net.graph(net.node("Add", relu, relu))
    assert state(graph, "(rule r (Add (Relu ?x) ?y) => (Add ?x ?y))").matches() == []


# --- variables, distinctness, commutativity --------------------------------------------------


def test_a_variable_twice_is_one_tensor_and_two_variables_may_be_one() -> None:
    net = Sketch()
    x, y = net.input(2), net.input(2)
    net.builder.set_outputs(["a", "b"], [net.node("Sub", x, x), net.node("Sub", x, y)])
    graph = net.builder.build()
    same = state(graph, "(rule r (Sub ?x ?x) => (Abs ?x))")
    assert [tensors[0] for tensors in bound(same)] == [x]
    either = state(graph, "(rule r (Sub ?x ?y) => (Add ?x ?y))")
    assert [tensors[:2] for tensors in bound(either)] == [[x, x], [x, y]]


def test_pattern_nodes_bind_distinct_nodes() -> None:
    net = Sketch()
    relu = net.node("Relu", net.input(2), name="one")
    other = net.node("Relu", net.input(2), name="two")
    mixed = net.node("Sub", relu, other)
    graph = net.graph(net.node("Sub", relu, relu), mixed, relu, other)
    rule = "(rule r (Sub (Relu@p ?x) (Relu@q ?y)) @p @q => (Sub (Relu@a ?x) (Relu@b ?y)) @a @b)"
    matched = [set(tensors[2:]) for tensors in bound(state(graph, rule))]
    assert matched == [{"one", "two", mixed}]
    net = Sketch()
    relu, other = (net.node("Relu", net.input(2), name=name) for name in ("one", "two"))
    graph = net.graph(net.node("Sub", relu, relu), net.node("Sub", other, net.node("Relu", other)))
    pairs = "(rule r (Sub (Relu@p ?x) (Relu@q ?y)) => (Sub ?x ?y))"
    assert state(graph, pairs).matches() == []
    shared = "(rule r (Sub (Relu@p ?x) @p) => (Sub ?x ?x))"
    assert [tensors[1:] for tensors in bound(state(graph, shared))] == [["one", "sub3"]]


@pytest.mark.parametrize(("op", "commutes"), [("Add", True), ("Mul", True), ("Sub", False)])
@pytest.mark.parametrize("commutative", [False, True])
def test_both_operand_orders_are_tried_where_the_set_says_so(
    op: str, commutes: bool, commutative: bool
) -> None:
    net = Sketch()
    x, y = net.input(2), net.input(2)
    graph = net.graph(net.node(op, x, net.node("Relu", y)))
    rule = f"(rule r ({op} (Relu ?a) ?b) => (Relu ({op} ?a ?b)))"
    found = bound(state(graph, rule, commutative=commutative))
    assert [tensors[:2] for tensors in found] == ([[y, x]] if commutes and commutative else [])


def test_a_twin_by_commutativity_is_offered_once() -> None:
    net = Sketch()
    x, y = net.input(2), net.input(2)
    graph = net.graph(net.node("Add", x, y))
    rule = "(rule r (Add ?a ?b) => (Sum ?a ?b))"
    ordered = "(rule r (Add ?a ?b) => (Sub ?a ?b))"
    symmetric = "(rule r (Add ?a ?b) => (Mul ?a ?b))"
    assert len(state(graph, rule, commutative=False).matches()) == 1
    assert len(state(graph, ordered, commutative=True).matches()) == 2
    assert len(state(graph, symmetric, commutative=True).matches()) == 1


# --- operands --------------------------------------------------------------------------------


def convs() -> tuple[Graph, str, str]:
    net = Sketch()
    x = net.input(1, 2, 4, 4)
    plain = net.conv(x, net.weight(3, 2, 1, 1))
    biased = net.conv(x, net.weight(3, 2, 1, 1), net.weight(3))
    return net.graph(plain, biased), plain, biased


@pytest.mark.parametrize(
    ("operands", "matched"),
    [("?x ?w", [0]), ("?x ?w ?b", [1]), ("?x ?w [?b]", [0, 1]), ("?x ?w (none)", [0])],
)
def test_optional_operands(operands: str, matched: list[int]) -> None:
    graph, *results = convs()
    rule = f"(rule r (Conv {operands} :attrs ?a) => (Conv {operands} :attrs ?a))"
    assert [tensors[-1] for tensors in bound(state(graph, rule))] == [results[i] for i in matched]


def test_an_operand_that_is_left_out_is_no_tensor() -> None:
    net = Sketch()
    x, s = net.input(2, 4), net.weight(4)
    graph = net.graph(net.node("LayerNormalization", x, s, "", axis=1))
    for bias, count in (("?b", 0), ("[?b]", 1), ("(none)", 1)):
        drops = ":drops ?b" if "?b" in bias else ""
        source = f"(LayerNormalization ?x ?s {bias} :attrs ?a)"
        rule = f"(rule r {source} => (LayerNormalization ?x ?s :attrs ?a) {drops})"
        assert len(state(graph, rule).matches()) == count


def test_an_optional_operand_shared_by_two_nodes_is_equal_in_both() -> None:
    def matches(*biases: int) -> int:
        net = Sketch()
        x, y, w = net.input(1, 2, 4, 4), net.input(1, 2, 4, 4), net.weight(3, 2, 1, 1)
        made = [net.weight(3), net.weight(3)]
        parts = [
            net.conv(t, w, *[made[bias - 1]] * (bias > 0))
            for t, bias in zip((x, y), biases, strict=True)
        ]
        rule = (
            "(rule r (Concat (Conv ?x ?w [?b] :attrs ?a) (Conv ?y ?w [?b] :attrs ?a) :axis 0)"
            " => (Conv (Concat ?x ?y :axis 0) ?w [?b] :attrs ?a))"
        )
        return len(state(net.graph(net.node("Concat", *parts, axis=0)), rule).matches())

    assert [matches(0, 0), matches(1, 1)] == [1, 1]
    assert [matches(0, 1), matches(1, 0), matches(1, 2)] == [0, 0, 0]


def concat(count: int, *relus: int) -> tuple[Graph, list[str]]:
    net = Sketch()
    inputs = [net.input(2, name=f"x{i}") for i in range(count)]
    parts = [net.node("Relu", t) if i in relus else t for i, t in enumerate(inputs)]
    return net.graph(net.node("Concat", *parts, axis=0)), inputs


@pytest.mark.parametrize(
    ("operands", "count", "ways"),
    [
        ("?xs...", 3, 1),
        ("?xs*", 3, 1),
        ("?x ?y", 3, 0),
        ("?x ?y ?z", 3, 1),
        ("?x ?ys...", 1, 0),
        ("?x ?ys*", 1, 1),
        ("?xs... ?ys...", 3, 2),
        ("?xs* ?ys*", 3, 4),
        ("?xs... ?y ?zs...", 4, 2),
        ("?xs* ?y ?zs*", 3, 3),
    ],
)
def test_sequences_take_every_share(operands: str, count: int, ways: int) -> None:
    graph, _ = concat(count)
    # Matches at one place with equal results are one match: let the results differ.
    share = "(len (dims ?xs 0))" if "?xs" in operands else "1"
    target = f"(Pad (Concat {operands} :axis ?a) :pads (list 0 0) :value {share})"
    matches = state(graph, f"(rule r (Concat {operands} :axis ?a) => {target})").matches()
    assert len(matches) == ways
    assert len({tuple(match.tensors) for match in matches}) == ways  # identities differ


def test_each_binds_a_run_of_equal_nodes() -> None:
    rule = "(rule r (Concat (each Relu ?xs...) :axis ?a) => (Relu (Concat ?xs... :axis ?a)))"
    graph, inputs = concat(3, 0, 1, 2)
    (match,) = state(graph, rule).matches()
    assert [name for name in match.tensors if name in inputs] == inputs
    assert len(match.nodes) == 4
    assert state(concat(3, 0, 1)[0], rule).matches() == []
    part = (
        "(rule r (Concat ?ys* (each Relu ?xs...) ?zs* :axis ?a)"
        " => (Concat ?ys* ?xs... ?zs* :axis ?a))"
    )
    # Of both relus, or of one of them, the other being any tensor.
    runs = [match.size_difference for match in state(concat(4, 1, 2)[0], part).matches()]
    assert sorted(runs) == [-2, -1, -1]


def test_each_asks_for_equal_attributes() -> None:
    def matches(*alphas: float) -> int:
        net = Sketch()
        parts = [net.node("LeakyRelu", net.input(2), alpha=alpha) for alpha in alphas]
        rule = (
            "(rule r (Concat (each LeakyRelu ?xs... :attrs ?p) :axis ?a)"
            " => (LeakyRelu (Concat ?xs... :axis ?a) :attrs ?p))"
        )
        return len(state(net.graph(net.node("Concat", *parts, axis=0)), rule).matches())

    assert (matches(0.5, 0.5), matches(0.5, 0.25), matches(0.5)) == (1, 0, 1)


def test_outs_as_operands_are_all_outputs_in_order() -> None:
    rule = "(rule r (Concat (outs (Split@s ?x :axis ?a)) :axis ?a) => ?x)"
    for order, expected in (((0, 1, 2), 1), ((1, 0, 2), 0), ((0, 1), 0), ((0, 1, 2, 0), 0)):
        net = Sketch()
        parts = net.split(net.input(6), 2, 2, 2, axis=0)
        graph = net.graph(net.node("Concat", *(parts[i] for i in order), axis=0))
        assert len(state(graph, rule).matches()) == expected, order


def test_ranges_of_outputs_are_replaced_together() -> None:
    rule = (
        "(rule r (outs (Split@o ?x :axis ?k :split ?s) 0 ?i)"
        " (outs (Split @o.?i :axis ?k :split ?t)) (outs @o (+ ?i 1) (len ?s))"
        " => (outs (Split ?x :axis ?k :split (splice ?s ?i ?t))))"
    )
    for which in range(3):
        net = Sketch()
        parts = net.split(net.input(9), 2, 3, 4, axis=0)
        cut = net.split(parts[which], 1, which + 1, axis=0)
        kept = [part for i, part in enumerate(parts) if i != which]
        start = state(net.graph(*kept, *cut), rule)
        assert len(start.matches()) == 1, start.explain("r")
        after = start.apply(0).graph
        sizes = [2, 3, 4]
        sizes[which : which + 1] = [1, which + 1]
        assert [node.attributes["split"] for node in after.nodes()] == [sizes]
        assert after.outputs == [*kept, *cut]
        assert [after.tensor_type(name).shape for name in after.output_tensors] == [
            (size,) for i, size in enumerate([2, 3, 4]) if i != which
        ] + [(1,), (which + 1,)]


def test_replaced_tensors_keep_their_types() -> None:
    net = Sketch()
    graph = net.graph(net.node("Reshape", net.input(2, 3), shape=[6]))
    start = state(graph, "(rule r (Reshape ?x) => ?x)")
    assert start.matches() == []
    assert start.explain("r") == {"target: a replaced tensor would change its type": 1}


# --- attributes, opaque nodes, constants -----------------------------------------------------


def test_attributes_constant_bound_and_shared() -> None:
    net = Sketch()
    x = net.input(2, 2)
    graph = net.graph(net.node("Softmax", net.node("Softmax", x, axis=0), axis=1))
    two = "(Softmax (Softmax ?x :axis {}) :axis {}) => (Exp ?x)"

    def matches(inner: str, outer: str) -> int:
        return len(state(graph, f"(rule r {two.format(inner, outer)})").matches())

    assert [matches("0", "1"), matches("1", "0"), matches("?a", "?b"), matches("?a", "?a")] == [
        1,
        0,
        1,
        0,
    ]
    assert [matches("?a", "(+ ?a 1)"), matches("(- ?a 1)", "?a"), matches("?a", "(- ?a 1)")] == [
        1,
        1,
        0,
    ]
    reasons = state(graph, f"(rule r {two.format('1', '1')})").explain("r")
    assert reasons == {"Softmax: axis is 0, not 1": 2}
    reasons = state(graph, f"(rule r {two.format('?a', '?a')})").explain("r")
    assert reasons == {"Softmax: axis differs between the nodes": 1}


def test_attribute_sets_must_be_equal() -> None:
    def matches(**second: object) -> State:
        net = Sketch()
        x = net.input(1, 2, 5, 5)
        parts = [net.conv(x, net.weight(2, 2, 3, 3)), net.conv(x, net.weight(2, 2, 3, 3), **second)]
        rule = (
            "(rule r (Conv ?x ?w :attrs ?a) (Conv ?x ?v :attrs ?a)"
            " => (Conv ?x ?w :attrs ?a) (Conv ?x ?v :attrs ?a))"
        )
        return state(net.graph(*parts), rule)

    assert len(matches().matches()) == 2  # in both orders
    other = matches(activation="Relu")
    assert other.matches() == []
    assert other.explain("r") == {"attributes differ between the nodes": 2}


def test_opaque_nodes_are_matched_by_no_rule() -> None:
    net = Sketch()
    x = net.input(2)
    net.builder.add_node("Relu", [x], ["o"], output_types=[TensorType("float32", [2])], opaque=True)
    net.builder.add_node(
        "Relu", [x], ["p"], domain="mine", output_types=[TensorType("float32", [2])]
    )
    graph = net.graph("o", "p", net.node("Relu", "o"), net.node("Relu", "p"))
    assert state(graph, RELU_TWICE).matches() == []
    assert len(state(graph, "(rule r (Relu ?x) => (Exp ?x))").matches()) == 2


def test_constants_are_offered_no_matches_but_may_lie_inside_one() -> None:
    net = Sketch()
    x, w = net.input(2, 2), net.weight(2, 3)
    turned = net.node("Transpose", w, perm=[1, 0])
    again = net.node("Relu", net.node("Relu", turned))
    graph = net.graph(net.node("Gemm", x, again, transB=1), net.node("Gemm", x, turned, transB=1))
    assert state(graph, RELU_TWICE).matches() == []
    flip = (
        "(rule r (Gemm ?a (Transpose ?b :perm (list 1 0)) :transB ?t :attrs ?g)"
        " => (Gemm ?a ?b :attrs ?g :transB (- 1 ?t)))"
    )
    start = state(graph, flip)
    (match,) = start.matches()
    # The transposed weight has another consumer, which is no obstacle: it is computed beforehand.
    after = start.apply(match).graph
    assert {node.op_type for node in after.nodes()} == {"Gemm", "Transpose", "Relu"}
    assert [n.attributes["transB"] for n in after.nodes() if n.op_type == "Gemm"] == [1, 0]


def test_guards_are_named_when_they_fail() -> None:
    start = state(
        relu_chain(), "(rule r (Relu ?x) => (Exp ?x) :if (> (rank ?x) 0) (> (rank ?x) 2))"
    )
    assert start.matches() == []
    assert start.explain("r") == {"guard fails: (> (rank ?x) 2)": 2}
    with pytest.raises(ValueError, match='no rule "other"'):
        start.explain("other")


def test_targets_that_do_not_type_say_why() -> None:
    start = state(relu_chain(), "(rule r (Relu ?x) => (Transpose ?x :perm (list 1 0)))")
    assert start.explain("r") == {"target: perm does not fit the rank": 2}
    start = state(relu_chain(), "(rule r (Relu ?x) => (Softmax ?x :axis (/ 1 0)))")
    assert start.explain("r") == {"target: an attribute of the target has no value": 2}
    start = state(relu_chain(), RELU_TWICE)
    assert start.explain("r") == {}
    assert CYCLE not in start.explain("r")
