"""Graphs and their builder: names, errors, hashes, outputs and what is left out."""

from __future__ import annotations

import pickle
import random
import re
from typing import Any

import pytest
from drawing import Sketch, state
from hypothesis import given, settings
from hypothesis import strategies as st

from xflowrl import _engine
from xflowrl._engine import Graph, GraphBuilder, TensorType


def f32(*shape: int) -> TensorType:
    return TensorType("float32", shape)


def builder() -> GraphBuilder:
    made = GraphBuilder("net")
    made.add_input("x", f32(2, 3))
    made.add_weight("w", f32(3, 4))
    return made


# --- tensor types ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("float32", 32), ("float64", 64), ("bfloat16", 16), ("int8", 8), ("int4", 4), ("bool", 8)],
)
def test_tensor_type_counts_elements_and_bytes(dtype: str, bits: int) -> None:
    tensor_type = TensorType(dtype, [3, 4, 2])
    assert (tensor_type.num_elements, tensor_type.num_bytes) == (24, 3 * bits)
    assert repr(tensor_type) == f"{dtype}[3,4,2]"
    assert TensorType(dtype, []).num_elements == 1
    assert pickle.loads(pickle.dumps(tensor_type)) == tensor_type


def test_tensor_types_are_equal_by_dtype_and_shape() -> None:
    same = {f32(2, 3), f32(2, 3), TensorType("float32", (2, 3))}
    assert len(same) == 1
    for other in (f32(3, 2), f32(2, 3, 1), TensorType("float64", [2, 3]), f32(6), "float32[2,3]"):
        assert f32(2, 3) != other


@pytest.mark.parametrize(
    ("dtype", "shape", "message"),
    [
        ("float", [1], r'unknown element type "float"'),
        ("float32", [2, -1], r"dimension 1 is -1"),
        ("float32", [1] * 9, r"rank 9"),
    ],
)
def test_tensor_type_errors_name_the_value(dtype: str, shape: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TensorType(dtype, shape)


# --- errors of the builder -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["Relu"], ["gone"], ["y"]), r'node "y" \(Relu\) reads tensor "gone"'),
        ((["Relu"], ["x"], ["x"]), r'tensor "x" is defined twice'),
        ((["Relu"], ["x"], []), r"no named output"),
        ((["Relu"], ["x"], ["y", "z"]), r'node "y" \(Relu\) has 2 outputs but 1 types'),
        ((["Relu"], ["x", "w"], ["y"]), r'node "y" \(Relu\): wrong number of operands'),
        ((["MatMul"], ["x", "x"], ["y"]), r'node "y" \(MatMul\).*inner.*float32\[2,3\]'),
        ((["Add"], ["", "x"], ["y"]), r'node "y" \(Add\).*missing.*none'),
        ((["Concat"], ["x"], ["y"]), r'node "y" \(Concat\).*needs attribute "axis"'),
        ((["Relu"], ["x"], ["y"], {"alpha": 1.0}), r'node "y" \(Relu\).*"alpha"'),
        ((["Unheard"], ["x"], ["y"]), r'node "y" \(Unheard\) needs output types'),
        ((["Softmax"], ["x"], ["y"], {"axis": 2}), r'node "y" \(Softmax\): axis out of range'),
        ((["Gemm"], ["x", "w"], ["y"], {"transA": 0.5}), r'node "y" \(Gemm\).*transA.*type'),
    ],
)
def test_builder_errors_name_node_and_cause(arguments: tuple[Any, ...], message: str) -> None:
    (op_types, *rest) = arguments
    with pytest.raises(ValueError, match=message):
        builder().add_node(op_types[0], *rest)


def test_declared_types_must_be_the_inferred_ones() -> None:
    with pytest.raises(ValueError, match=r'"y" is declared float32\[3\] but is float32\[2,3\]'):
        builder().add_node("Relu", ["x"], ["y"], output_types=[f32(3)])
    made = builder()
    made.add_node("Relu", ["x"], ["y"], output_types=[f32(2, 3)])
    made.set_outputs(["y"])
    assert made.build().tensor_type("y") == f32(2, 3)


def test_builder_refuses_bad_leaves_and_outputs() -> None:
    with pytest.raises(ValueError, match='tensor "w" is defined twice'):
        builder().add_input("w", f32(1))
    with pytest.raises(ValueError, match="needs a name"):
        builder().add_weight("", f32(1))
    with pytest.raises(ValueError, match='literal "c" has 2 values'):
        builder().add_literal("c", f32(3), [1, 2])
    with pytest.raises(ValueError, match="at most 64"):
        builder().add_literal("c", f32(65), [0] * 65)
    with pytest.raises(ValueError, match='output "y" reads tensor "gone"'):
        builder().set_outputs(["y"], ["gone"])
    with pytest.raises(ValueError, match="as many names as tensors"):
        builder().set_outputs(["y"], ["x", "w"])
    with pytest.raises(ValueError, match='graph "net" needs at least one output'):
        builder().set_outputs([])
    with pytest.raises(ValueError, match='graph "net" has no outputs'):
        builder().build()


def test_builder_builds_once() -> None:
    made = builder()
    made.set_outputs(["x"])
    made.build()
    with pytest.raises(ValueError, match="has built its graph"):
        made.build()


# --- what a graph shows ----------------------------------------------------------------------


def test_graph_keeps_names_attributes_and_leaves() -> None:
    made = builder()
    made.add_literal("c", f32(2), [1.5, -2])
    made.add_weight("dead", f32(5))
    made.add_input("unused", f32(7))
    made.add_node("MatMul", ["x", "w"], ["y"])
    made.add_node("Relu", ["y"], ["unread"])
    attributes = {
        "i": 3,
        "f": 0.5,
        "s": "text",
        "is": [1, 2],
        "fs": [0.5],
        "ss": ["a"],
        "b": b"\0\1",
    }
    made.add_node(
        "Mine", ["y", "", "c"], ["z", ""], attributes, domain="my", output_types=[f32(1), f32(2)]
    )
    made.set_outputs(["result", "y2"], ["z", "y"])
    graph = made.build()
    assert graph.name == "net"
    assert graph.inputs == ["x", "unused"]
    assert graph.outputs == ["result", "y2"]
    assert graph.output_tensors == ["z", "y"]
    assert graph.weights == {"w": f32(3, 4)}
    assert graph.literals == {"c": (f32(2), [1.5, -2.0])}
    matmul, mine = graph.nodes()
    assert matmul.attributes == {"activation": "", "activation_params": []}
    assert not matmul.is_opaque
    assert (mine.op_type, mine.domain, mine.inputs) == ("Mine", "my", ["y", "", "c"])
    assert mine.outputs[0] == "z"
    assert mine.attributes == attributes
    assert mine.is_opaque
    assert mine.input_types == [f32(2, 4), None, f32(2)]
    assert mine.signature.input_is_constant == [False, False, True]
    assert len(graph) == 2
    assert graph.num_nodes == 6
    assert graph.tensor_type("y") == f32(2, 4)
    with pytest.raises(ValueError, match='graph "net" has no tensor "unread"'):
        graph.tensor_type("unread")


def test_outputs_may_be_inputs_weights_and_repeated_tensors() -> None:
    made = builder()
    made.add_node("Relu", ["x"], ["y"])
    made.set_outputs(["a", "b", "c", "d"], ["x", "w", "y", "y"])
    graph = made.build()
    assert graph.output_tensors == ["x", "w", "y", "y"]
    assert list(graph.weights) == ["w"]
    assert pickle.loads(pickle.dumps(graph)).output_tensors == graph.output_tensors


def test_trailing_omitted_operands_mean_nothing() -> None:
    def gemm(*operands: str) -> Graph:
        made = builder()
        made.add_node("Gemm", ["x", "w", *operands], ["y"])
        made.set_outputs(["y"])
        return made.build()

    assert gemm().hash == gemm("").hash
    assert gemm("").nodes()[0].inputs == ["x", "w"]


def test_constants_are_what_depends_on_constants_alone() -> None:
    net = Sketch()
    x, w = net.input(2, 2), net.weight(2, 2)
    folded = net.node("Exp", net.node("Add", w, net.literal(1.0)))
    mixed = net.node("Mul", x, folded)
    net.builder.add_node("Draw", [], ["random"], output_types=[f32(2, 2)])
    net.builder.add_node("Draw", [w], ["opaque"], output_types=[f32(2, 2)])
    graph = net.graph(mixed, "random", "opaque")
    constant = {node.op_type for node in graph.nodes() if node.is_constant}
    assert constant == {"Add", "Exp"}
    assert len(graph) == 3


def test_nodes_are_topological_and_earliest_first() -> None:
    net = Sketch()
    x = net.input(2)
    late, early = net.node("Exp", x), net.node("Abs", x)
    last = net.node("Add", early, late)
    graph = net.graph(last)
    assert [node.op_type for node in graph.nodes()] == ["Exp", "Abs", "Add"]


# --- hashes ----------------------------------------------------------------------------------

PLAN = [
    ("Add", ("x", "y"), "a", {}),
    ("Mul", ("x", "w"), "b", {}),
    ("Sub", ("a", "b"), "c", {}),
    ("Concat", ("a", "b", "c"), "d", {"axis": 0}),
    ("Relu", ("c",), "e", {}),
    ("Transpose", ("d",), "f", {"perm": [1, 0]}),
]


def planned(order: list[int], renamed: dict[str, str] | None = None, **changes: Any) -> Graph:
    """PLAN built in any order that defines before it reads; changes: node -> operator."""
    names = renamed or {}
    made = GraphBuilder("plan")
    for leaf in ("x", "y"):
        made.add_input(leaf, f32(2, 2))
    made.add_weight("w", f32(2, 2))
    known, waiting = {"x", "y", "w"}, list(order)
    while waiting:
        index = next(i for i in waiting if known.issuperset(PLAN[i][1]))
        waiting.remove(index)
        op, inputs, output, attributes = PLAN[index]
        known.add(output)
        inputs_now = [names.get(name, name) for name in inputs]
        op = changes.get(output, op)
        made.add_node(op, inputs_now, [names.get(output, output)], attributes)
    made.set_outputs(["out", "side"], [names.get("f", "f"), names.get("e", "e")])
    return made.build()


@given(st.permutations(range(len(PLAN))))
@settings(max_examples=50, deadline=None)
def test_builder_order_does_not_change_the_hash(order: list[int]) -> None:
    graph, first = planned(order), planned(list(range(len(PLAN))))
    assert graph.hash == first.hash
    assert graph.merkle_hash == first.merkle_hash


def test_inner_names_do_not_change_the_hash_but_all_else_does() -> None:
    order = list(range(len(PLAN)))
    graph = planned(order)
    assert planned(order, {name: name * 3 for name in "abcdef"}).hash == graph.hash
    for output, op in {"a": "Sub", "c": "Div", "e": "Tanh", "b": "Add"}.items():
        changed = planned(order, **{output: op})
        assert changed.hash != graph.hash, output
        assert changed.merkle_hash != graph.merkle_hash, output
    assert re.fullmatch("[0-9a-f]{32}", graph.hash)


def leafy(leaf: str, tensor_type: TensorType, attribute: float, operands: list[str]) -> Graph:
    made = GraphBuilder()
    made.add_input("x", f32(2))
    getattr(made, leaf)("y", tensor_type)
    made.add_node("Sub", operands, ["z"])
    made.add_node("LeakyRelu", ["z"], ["out"], {"alpha": attribute})
    made.set_outputs(["out"])
    return made.build()


def test_hash_sees_leaves_attributes_and_operand_order() -> None:
    graphs = [
        leafy("add_input", f32(2), 0.5, ["x", "y"]),
        leafy("add_weight", f32(2), 0.5, ["x", "y"]),
        leafy("add_input", f32(2), 0.25, ["x", "y"]),
        leafy("add_input", f32(2), 0.5, ["y", "x"]),
        leafy("add_input", f32(2), 0.5, ["x", "x"]),
    ]
    assert len({graph.hash for graph in graphs}) == len(graphs)
    assert len({graph.merkle_hash for graph in graphs}) == len(graphs)


def test_literals_are_equal_by_type_and_values() -> None:
    def scaled(value: float, dtype: str = "float32", name: str = "c") -> str:
        made = GraphBuilder()
        made.add_input("x", TensorType(dtype, [2]))
        made.add_literal(name, TensorType(dtype, []), [value])
        made.add_node("Mul", ["x", name], ["y"])
        made.set_outputs(["y"])
        return made.build().hash

    assert scaled(2.0) == scaled(2.0, name="other")
    assert len({scaled(2.0), scaled(3.0), scaled(-2.0)}) == 3
    assert scaled(0.0) == scaled(-0.0)


@pytest.mark.parametrize("commutative", [False, True])
@pytest.mark.parametrize("op", ["Add", "Mul", "Sub"])
def test_commutative_rule_sets_hash_operands_in_any_order(op: str, commutative: bool) -> None:
    def hashes(first: str, second: str) -> tuple[str, str]:
        made = GraphBuilder()
        made.add_input("x", f32(2))
        made.add_input("y", f32(2))
        made.add_node("Abs", ["x"], ["a"])
        made.add_node(op, [first, second], ["z"])
        made.set_outputs(["z"])
        graph = state(made.build(), "(rule r (Exp ?x) => (Exp ?x))", commutative=commutative).graph
        return graph.hash, graph.merkle_hash

    same = commutative and op != "Sub"
    for pair in (("x", "y"), ("a", "y")):
        for ours, theirs in zip(hashes(*pair), hashes(*pair[::-1]), strict=True):
            assert (ours == theirs) == same


def test_hash_is_equal_in_every_process() -> None:
    """Recorded once; databases and traces keep hashes and keys."""
    order = list(range(len(PLAN)))
    graph = planned(order)
    keys = [node.signature.key for node in graph.nodes()]
    assert keys[1] == "Mul(float32[2,2], const float32[2,2]) -> float32[2,2]"
    assert keys[3] == ("Concat(float32[2,2], float32[2,2], float32[2,2]) -> float32[6,2] {axis=0}")
    random.seed(0)
    assert planned(order).hash == graph.hash == pickle.loads(pickle.dumps(graph)).hash


def test_operator_names_and_canonical_attributes() -> None:
    assert {"Conv", "Relu", "Split"} <= set(_engine.inferable_operators())
    assert set(_engine.inferable_operators()) <= set(_engine.operator_names())
    assert _engine.activation_names()[0] == ""
    assert _engine.canonical_attributes("Conv")["group"] == 1
    assert _engine.canonical_attributes("Conv")["strides"] is None
    with pytest.raises(ValueError, match="Nothing"):
        _engine.canonical_attributes("Nothing")
    with pytest.raises(ValueError, match="Input"):
        _engine.infer_types("Input", [])


def test_names_may_hold_any_character() -> None:
    made = GraphBuilder("nul")
    made.add_input("x", TensorType("float32", [2]))
    for name in ("w\0a", "w\0b"):
        made.add_weight(name, TensorType("float32", [2]))
    made.add_node("Sum", ["x", "w\0a", "w\0b"], ["y"])
    made.set_outputs(["y"])
    assert list(made.build().weights) == ["w\0a", "w\0b"]
