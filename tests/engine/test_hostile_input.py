"""What a careless or hostile caller may pass: a ValueError, or no match, but never a crash."""

from __future__ import annotations

import random

import pytest
from drawing import Sketch, roofline, rule_set, state
from hypothesis import given, settings
from hypothesis import strategies as st

from xflowrl._engine import Graph, GraphBuilder, RuleSet, State, TensorType
from xflowrl.rules.loading import CORE_FILES


def f32(*shape: int) -> TensorType:
    return TensorType("float32", shape)


def builder() -> GraphBuilder:
    made = GraphBuilder("net")
    made.add_input("x", f32(2, 3))
    return made


# --- graphs ----------------------------------------------------------------------------------


def test_a_refused_node_leaves_the_builder_usable() -> None:
    made = builder()
    with pytest.raises(ValueError, match='"a" is defined twice'):
        made.add_node("Split", ["x"], ["a", "a"], {"axis": 1, "split": [1, 2]})
    with pytest.raises(ValueError, match='tensor "a", which nothing before it defines'):
        made.add_node("Relu", ["a"], ["y"])
    made.add_node("Split", ["x"], ["a", "b"], {"axis": 1, "split": [1, 2]})
    made.set_outputs(["a", "b"])
    assert len(made.build()) == 1


def test_output_names_are_unique() -> None:
    made = builder()
    made.add_node("Relu", ["x"], ["y"])
    with pytest.raises(ValueError, match='"y"'):
        made.set_outputs(["y", "y"], ["x", "y"])


def test_attributes_that_fit_no_type_are_refused() -> None:
    with pytest.raises(ValueError, match="axis"):
        builder().add_node("Softmax", ["x"], ["y"], {"axis": 2**70})
    with pytest.raises(ValueError, match="size"):
        made = builder()
        made.add_input("image", f32(1, 2, 3, 3))
        made.add_node("LRN", ["image"], ["y"], {"size": 3.0})
    with pytest.raises(ValueError, match="mixes"):
        builder().add_node("F", ["x"], ["y"], {"list": [1, 2.5]}, output_types=[f32(1)])


def test_tensors_too_large_to_count_are_refused() -> None:
    with pytest.raises(ValueError, match="more elements than can be counted"):
        TensorType("float32", [2**40, 2**40])


def test_omitted_outputs_of_several_nodes_keep_apart() -> None:
    made = builder()
    for last in ("h1", "h2"):
        made.add_node("Cell", ["x"], ["", last], output_types=[f32(1), f32(2)])
    made.set_outputs(["h1", "h2"])
    graph = made.build()
    names = [name for node in graph.nodes() for name in node.outputs]
    assert len(set(names)) == 4


@pytest.mark.parametrize("operands", [["x"], ["x", ""], ["x", "", "x"]])
@pytest.mark.parametrize("op", ["GRU", "LSTM", "ArgMax", "GlobalLpPool", "LpPool"])
def test_opaque_operators_with_missing_operands_have_a_price(op: str, operands: list[str]) -> None:
    """Whoever builds by hand may leave out operands that the FLOP formula would read."""
    builder = GraphBuilder()
    builder.add_input("x", f32(2, 3, 4))
    builder.add_node(op, operands, ["y"], output_types=[f32(2)])
    builder.set_outputs(["y"])
    assert roofline().price(builder.build()).ms > 0.005


def test_generated_names_differ_from_all_names_of_the_model() -> None:
    net = Sketch()
    x = net.input(2, 3, name="rewritten_3")
    joined = net.node("Concat", net.node("Relu", x), net.node("Relu", x), axis=0, name="c")
    net.builder.set_outputs(["_rewritten_0", "other"], [joined, x])
    rule = "(rule r (Concat (each Relu ?xs...) :axis ?k) => (Relu (Concat ?xs... :axis ?k)))"
    graph = state(net.builder.build(), rule).apply(0).graph
    made = {name for node in graph.nodes() for name in node.outputs} - {"c"}
    assert len(made) == 1
    assert not made & {"_rewritten_0", "other", "rewritten_3"}


# --- rules -----------------------------------------------------------------------------------


def relu_pair() -> Graph:
    net = Sketch()
    x = net.input(2, 3)
    return net.graph(net.node("Concat", net.node("Relu", x), net.node("Tanh", x), axis=0))


@pytest.mark.parametrize(
    "guard",
    [
        "(= (/ -9223372036854775808 -1) 1)",
        "(= (% -9223372036854775808 -1) 1)",
        "(= (* 9223372036854775807 2) 1)",
        "(= (+ 9223372036854775807 1) 1)",
        "(= (- -9223372036854775808 1) 1)",
        "(= (- -9223372036854775808) 1)",
        "(= (sum (list 9223372036854775807 1)) 1)",
        "(= (prod (list 4611686018427387904 4)) 1)",
        "(= (/ 1 0) 1)",
        "(= (% 1 0) 1)",
        "(= (fill -1 0) 1)",
        "(= (fill 9223372036854775807 0) 1)",
        "(= (dim @r.500000 0) 2)",
        "(= (dim ?x 9223372036854775807) 2)",
        "(= (dim ?x -9223372036854775808) 2)",
        "(= (nth (list 1 2) -9223372036854775808) 2)",
        "(= (sublist (list 1 2) 1 9223372036854775807) 2)",
        "(= (splice (list 1 2) -1 (list)) 2)",
    ],
)
def test_a_guard_without_value_is_false(guard: str) -> None:
    assert state(relu_pair(), f"(rule r (Relu@r ?x) => (Exp ?x) :if {guard})").matches() == []
    either = f"(rule r (Relu@r ?x) => (Exp ?x) :if (or (= 1 1) {guard}))"
    assert len(state(relu_pair(), either).matches()) == 1


@pytest.mark.parametrize(
    "rule",
    [
        # no Relu in front of the sequence's end: nothing binds ?p
        "(rule r (Concat (each LeakyRelu ?xs* :attrs ?p) ?y ?z :axis ?k)"
        " => (LeakyRelu (Concat ?xs* ?y ?z :axis ?k) :attrs ?p))",
        "(rule r (Concat (each Transpose ?xs* :perm ?p) ?y ?z :axis ?k)"
        " => (Concat ?xs* ?y ?z :axis (nth ?p ?k)))",
        # a target that no type fits
        "(rule r (Relu ?x) => (Reshape ?x :shape (list 4611686018427387904 4)))",
        "(rule r (Relu ?x) => (Pad ?x :pads (list 9223372036854775807 0 1 0)))",
        "(rule r (Relu ?x) => (Expand ?x :shape (list 9223372036854775807 2 3)))",
        "(rule r (Relu ?x) => (Tile ?x :repeats (list 9223372036854775807 9223372036854775807)))",
        "(rule r (Relu ?x) => (Unsqueeze ?x :axes (list 9223372036854775807)))",
        "(rule r (Relu ?x) => (Transpose ?x :perm (list -1 0)))",
        "(rule r (Relu ?x) => (Transpose ?x :perm (list 4294967296 0)))",
        "(rule r (Relu ?x) => (Softmax ?x :axis 4294967297))",
        "(rule r (Relu ?x) => (ReduceSum ?x :axes (list 4294967296)))",
        "(rule r (Relu ?x) => (Slice ?x :starts (list 0) :ends (list 2) :axes (list 0)"
        " :steps (list 9223372036854775807)))",
        "(rule r (Relu ?x) => (Split ?x :axis 0 :split (list)))",
        "(rule r (Relu ?x) => (Concat ?x ?x :axis -1))",
        "(rule r (Relu ?x) => (Mul ?x (literal (fill 65 1) ?x)))",
        "(rule r (Relu ?x) => (Mul ?x (literal (list) ?x)))",
        "(rule r (Relu ?x) => (Mul ?x (scalar (/ 1 0) ?x)))",
        '(rule r (Relu ?x) => (LeakyRelu ?x :alpha "high"))',
        "(rule r (Relu ?x :attrs ?a) => (LRN ?x :attrs ?a))",
        "(rule r (outs (Split ?x) 1 9223372036854775807) => ?x)",
    ],
)
def test_what_cannot_be_built_is_no_match(rule: str) -> None:
    assert state(relu_pair(), rule).matches() == []


# --- text ------------------------------------------------------------------------------------


def core_text() -> str:
    from importlib import resources

    folder = resources.files("xflowrl.rules")
    return "\n".join((folder / name).read_text("utf-8") for name in CORE_FILES[:3])


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_refused_in_words(data: bytes) -> None:
    assert_parses_or_refuses(data.decode("latin-1"))


@given(st.text(alphabet='()[]?@:;"{} \nabRelu=>*.0-', max_size=120))
@settings(max_examples=500, deadline=None)
def test_random_syntax_is_refused_in_words(text: str) -> None:
    assert_parses_or_refuses(text)


def assert_parses_or_refuses(text: str) -> RuleSet | None:
    try:
        return RuleSet.parse(text, "file.rules")
    except ValueError as error:
        assert str(error).startswith("file.rules:"), error
        line, column = str(error).split(":")[1:3]
        assert int(line) >= 1
        assert int(column) >= 1
        return None


@pytest.mark.parametrize("seed", range(4))
def test_mutated_core_rules_neither_crash_nor_hang(seed: int) -> None:
    """Tokens of real rules deleted, doubled, swapped; what still parses is matched and applied."""
    rng = random.Random(seed)
    rules = [f"(rule {text}" for text in core_text().split("(rule ")[1:]]
    rules = [text.split("\n(rules")[0].split("\n;")[0] for text in rules]
    graph = crowded()
    num_parsed = 0
    for _ in range(600):
        tokens = rng.choice(rules).replace("(", " ( ").replace(")", " ) ").split(" ")
        for _ in range(rng.randint(1, 3)):
            i, j = rng.randrange(len(tokens)), rng.randrange(len(tokens))
            kind = rng.randrange(4)
            if kind == 0:
                del tokens[i]
            elif kind == 1:
                tokens[i] = tokens[j]
            elif kind == 2:
                tokens[i], tokens[j] = tokens[j], tokens[i]
            else:
                tokens[i] = rng.choice(["?x", "?a", "(none)", "-1", "0", "99", "[?b]", "?x*", "@p"])
        parsed = assert_parses_or_refuses(" ".join(tokens))
        if parsed is not None:
            num_parsed += 1
            start = State(graph, parsed, roofline())
            for index in range(min(3, len(start))):
                start.apply(index)
    assert num_parsed >= 25


def crowded() -> Graph:
    """A little of everything that the fusing, folding and merging rules speak of."""
    net = Sketch()
    x, m = net.input(1, 4, 6, 6), net.input(4, 8)
    convs = [net.conv(x, net.weight(4, 4, 3, 3), net.weight(4), pad=1) for _ in range(2)]
    convs += [net.conv(x, net.weight(4, 4, 1, 1)) for _ in range(2)]
    convs += [net.conv(x, net.weight(4, 2, 3, 3), pad=1, group=2) for _ in range(2)]
    products = [net.node("MatMul", m, net.weight(8, 4)) for _ in range(2)]
    products += [net.node("Gemm", m, net.weight(8, 4), net.weight(4)) for _ in range(2)]
    norm = net.node("BatchNormalization", convs[2], *(net.weight(4) for _ in range(4)))
    return net.graph(
        net.node("Relu", convs[0]),
        net.node("Concat", *convs[1:4], axis=1),
        *(net.node("Mul", conv, net.weight(1, 4, 1, 1)) for conv in convs[4:]),
        *(net.node("Add", product, net.weight(4)) for product in products),
        *net.split(net.node("Tanh", norm), 1, 3, axis=1),
    )


def test_deep_nesting_is_refused() -> None:
    for text in ("(" * 100_000, "(rule r " + "(Relu " * 5_000 + "?x" + ")" * 5_000 + " => ?x)"):
        with pytest.raises(ValueError, match="nested too deeply"):
            rule_set(text)
