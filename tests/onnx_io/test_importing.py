"""Reading models: constants, names, control flow, functions, dynamic shapes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto
from onnx.helper import make_node, make_tensor, make_tensor_value_info

from xflowrl._engine import CostTable, RuleSet, State
from xflowrl.onnx_io import Model, export_onnx, load_onnx

Make = Callable[..., Path]
Trip = Callable[..., Model]
RNG = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def int64(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


def only(model: Model, op_type: str) -> Any:
    return next(n for n in model.graph.nodes() if n.op_type == op_type)


# Forms of operators


@pytest.mark.parametrize(
    ("auto_pad", "pads"),
    [("SAME_UPPER", [0, 0, 1, 1]), ("SAME_LOWER", [1, 1, 0, 0]), ("VALID", [0] * 4)],
)
def test_auto_pad_becomes_pads(
    make_model: Make, round_trip: Trip, auto_pad: str, pads: list[int]
) -> None:
    size = 3 if auto_pad == "VALID" else 4
    node = make_node("Conv", ["x", "w"], ["y"], auto_pad=auto_pad, strides=[2, 2])
    path = make_model(
        [node], {"x": [1, 3, 8, 8]}, {"y": [1, 5, size, size]}, {"w": floats(5, 3, 3, 3)}
    )
    conv = only(round_trip(path), "Conv")
    assert conv.attributes["pads"] == pads
    assert conv.attributes["strides"] == [2, 2]
    assert not conv.is_opaque


def test_operand_constants_become_attributes(make_model: Make, round_trip: Trip) -> None:
    nodes = [
        make_node("Clip", ["x", "", "six"], ["a"]),
        make_node("Slice", ["a", "starts", "ends", "axes", "steps"], ["b"]),
        make_node("Pad", ["b", "pads", "half"], ["c"]),
        make_node("Unsqueeze", ["c", "minus_one"], ["d"]),
        make_node("ReduceSum", ["d", "minus_one"], ["e"], keepdims=0),
        make_node("Reshape", ["e", "shape"], ["f"]),
        make_node("Expand", ["f", "wide"], ["g"]),
        make_node("Tile", ["g", "repeats"], ["h"]),
        make_node("Split", ["h"], ["i", "j"], axis=-1, num_outputs=2),
        make_node("Transpose", ["i"], ["y"]),
        make_node("Squeeze", ["j"], ["z"]),
    ]
    weights = {
        "six": np.float32(6), "starts": int64(-3), "ends": int64(2**62), "axes": int64(-1),
        "steps": int64(1), "pads": int64(1, 0, 0, 1), "half": np.float32(0.5),
        "minus_one": int64(-1), "shape": int64(0, -1, 1), "wide": int64(1, 4, 1),
        "repeats": int64(1, 1, 3),
    }  # fmt: skip
    path = make_model(nodes, {"x": [2, 5]}, {"y": [2, 4, 3], "z": [3, 4]}, weights)
    model = round_trip(path)
    attributes = {n.op_type: n.attributes for n in model.graph.nodes()}
    assert not any(n.is_opaque for n in model.graph.nodes())
    assert attributes["Clip"] == {"min": -np.inf, "max": 6.0}
    assert attributes["Slice"] == {"starts": [2], "ends": [5], "axes": [1], "steps": [1]}
    assert attributes["Pad"] == {"pads": [1, 0, 0, 1], "mode": "constant", "value": 0.5}
    assert attributes["Unsqueeze"] == {"axes": [2]}
    assert attributes["ReduceSum"] == {"axes": [2], "keepdims": 0}
    assert attributes["Reshape"] == {"shape": [3, 4, 1]}
    assert attributes["Expand"] == {"shape": [3, 4, 1]}
    assert attributes["Split"] == {"axis": 2, "split": [2, 1]}
    assert attributes["Transpose"] == {"perm": [2, 1, 0]}
    assert not model.graph.weights


def test_computed_operands_leave_a_node_opaque(
    make_model: Make, round_trip: Trip, operators: Callable[[Model], list[str]]
) -> None:
    nodes = [make_node("Clip", ["x", "low"], ["a"]), make_node("Pad", ["a", "pads", "low"], ["y"])]
    path = make_model(nodes, {"x": [2, 5], "low": []}, {"y": [2, 7]}, {"pads": int64(0, 1, 0, 1)})
    assert operators(round_trip(path)) == ["Clip?", "Pad?"]


def test_an_operand_without_a_type_leaves_a_node_opaque(
    make_model: Make, operators: Callable[[Model], list[str]]
) -> None:
    nodes = [make_node("Slice", ["x", "first", "last"], ["y"])]
    bounds = {"first": int64(0, 0), "last": int64(2, 1)}
    path = make_model(nodes, {"x": None}, {"y": [2, 1]}, bounds)
    assert operators(load_onnx(path)) == ["Slice?"]


def test_gelu_and_swish_are_one_node(
    make_model: Make, round_trip: Trip, operators: Callable[[Model], list[str]]
) -> None:
    nodes = [
        make_node("Gelu", ["x"], ["a"]),
        make_node("Gelu", ["a"], ["b"], approximate="tanh"),
        make_node("Swish", ["b"], ["c"]),
        make_node("Swish", ["c"], ["y"], alpha=1.5),
    ]
    path = make_model(nodes, {"x": [3, 5]}, {"y": [3, 5]}, opset=24, ir_version=10)
    model = load_onnx(path)
    assert operators(model) == ["Gelu", "Gelu", "Swish", "Swish"]
    proto = export_onnx(model)
    onnx.checker.check_model(proto, full_check=True)
    x = floats(3, 5)
    evaluate = onnx.reference.ReferenceEvaluator
    (ours,) = evaluate(onnx.load(path)).run(None, {"x": x})
    (theirs,) = evaluate(proto).run(None, {"x": x})
    np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-6)  # single precision


@pytest.mark.parametrize(("batch", "kept"), [(5, 0), ("n", 4)])
def test_shape_arithmetic(make_model: Make, round_trip: Trip, batch: Any, kept: int) -> None:
    """Of fixed sizes it is folded; what depends on a dynamic one the file goes on computing."""
    nodes = [
        make_node("Shape", ["x"], ["s"]),
        make_node("Gather", ["s", "zero"], ["batch"], axis=0),
        make_node("Unsqueeze", ["batch", "axes"], ["b"]),
        make_node("Concat", ["b", "minus"], ["target"], axis=0),
        make_node("Reshape", ["x", "target"], ["y"]),
    ]
    weights = {"zero": np.int64(0), "axes": int64(0), "minus": int64(-1)}
    path = make_model(nodes, {"x": [batch, 3, 4]}, {"y": None}, weights)
    model = round_trip(path)
    assert [n.op_type for n in model.graph.nodes() if n.is_opaque] == [
        n.op_type for n in nodes[:kept]
    ]
    assert only(model, "Reshape").attributes["shape"][1] == 12


def test_equal_nodes_become_one(make_model: Make, round_trip: Trip) -> None:
    nodes = [
        make_node("Relu", ["x"], ["a"]),
        make_node("Relu", ["x"], ["b"]),
        make_node("Add", ["a", "b"], ["y"]),
        make_node("RandomNormalLike", ["x"], ["r"]),
        make_node("RandomNormalLike", ["x"], ["q"]),
        make_node("Concat", ["r", "q"], ["rq"], axis=0),
        make_node("Shape", ["rq"], ["z"]),
    ]
    path = make_model(nodes, {"x": [2]}, {"y": [2], "b": [2], "rq": [4]})
    model = load_onnx(path)
    assert len([n for n in model.graph.nodes() if n.op_type == "Relu"]) == 1
    assert len([n for n in model.graph.nodes() if n.op_type == "RandomNormalLike"]) == 2
    nodes = [n for n in nodes if "Random" not in n.op_type and n.op_type not in ("Concat", "Shape")]
    round_trip(make_model(nodes, {"x": [2]}, {"y": [2], "b": [2]}))


# Inputs, outputs, names


def test_inputs_and_outputs_survive(make_model: Make, round_trip: Trip) -> None:
    """Outputs that are inputs, weights or twice the same; inputs that nothing reads."""
    nodes = [make_node("Relu", ["x"], ["y"]), make_node("Identity", ["y"], ["also"])]
    path = make_model(
        nodes,
        {"unused": [7], "x": [2], "ids": (TensorProto.INT64, [3])},
        {"w": [2], "y": [2], "x": [2], "also": [2], "ids": (TensorProto.INT64, [3])},
        {"w": floats(2)},
    )
    model = round_trip(path)
    assert model.graph.inputs == ["unused", "x", "ids"]
    assert model.graph.outputs == ["w", "y", "x", "also", "ids"]


def test_nasty_names(make_model: Make, round_trip: Trip) -> None:
    names = ["x 1", "/a/b:0", '"quoted"', "naïve 木", "w;(", "-"]
    nodes = [
        make_node("Add", [names[0], names[4]], [names[1]], name="node;1"),
        make_node("Relu", [names[1]], [names[2]]),
        make_node("Neg", [names[2]], [names[3]]),
        make_node("Abs", [names[3]], [names[5]]),
    ]
    path = make_model(
        nodes,
        {names[0]: [2]},
        {names[5]: [2], names[2]: [2]},
        {names[4]: floats(2)},
        name="naïve 木",
    )
    proto = export_onnx(round_trip(path))
    assert [n.name for n in proto.graph.node] == ["node;1", "", "", ""]
    assert {n for node in proto.graph.node for n in node.output} == {*names[1:4], names[5]}


@pytest.mark.parametrize(("ir_version", "inputs"), [(3, ["x"]), (8, ["x", "w"])])
def test_weights_listed_as_inputs(
    make_model: Make, round_trip: Trip, ir_version: int, inputs: list[str]
) -> None:
    """All weights had to be listed once; since IR version 4 it makes them default inputs."""
    path = make_model(
        [make_node("Add", ["x", "w"], ["y"])], {"x": [2], "w": [2]}, {"y": [2]}, {"w": floats(2)},
        opset=9, ir_version=ir_version,
    )  # fmt: skip
    model = round_trip(path, {"x": floats(2)})
    assert model.graph.inputs == inputs
    assert list(model.graph.weights) == [n for n in ("x", "w") if n not in inputs]
    proto = export_onnx(model)
    assert [i.name for i in proto.graph.input] == inputs
    assert [t.name for t in proto.graph.initializer] == ["w"]


# Types of weights


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "uint8", "int32", "int64", "bool"])
def test_weights_of_other_types(make_model: Make, run_model: Any, dtype: str) -> None:
    values = (RNG.standard_normal((70,)) * 50).astype(dtype)
    element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    path = make_model(
        [make_node("Identity", ["w"], ["y"])], {"x": [1]}, {"y": (element, [70])}, {"w": values}
    )
    model = load_onnx(path)
    assert [str(t) for t in model.graph.weights.values()] == [f"{dtype}[70]"]
    (result,) = run_model(export_onnx(model), {"x": floats(1)})
    np.testing.assert_array_equal(result, values)


def test_bfloat16_and_strings(make_model: Make) -> None:
    brain = np.arange(70, dtype=np.float32).astype(ml_dtypes.bfloat16)
    words = make_tensor("words", TensorProto.STRING, [2], [b"a", "ö".encode()])
    nodes = [make_node("Identity", ["w"], ["y"]), make_node("Identity", ["words"], ["z"])]
    outputs = {"y": (TensorProto.BFLOAT16, [70]), "z": (TensorProto.STRING, [2])}
    path = make_model(nodes, {"x": [1]}, outputs, {"w": brain, "words": words})
    model = load_onnx(path, redraw_weights=True)  # neither has a role, so both keep their values
    proto = export_onnx(model)
    onnx.checker.check_model(proto, full_check=True)
    tensors = {t.name: t for t in proto.graph.initializer}
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensors["w"]), brain)
    assert onnx.numpy_helper.to_array(tensors["z"]).tolist() == ["a", "ö"]


def test_quantised_network(make_model: Make, round_trip: Trip) -> None:
    """Its integers and scales are no parameters: a redraw leaves them alone."""
    nodes = [
        make_node("QuantizeLinear", ["x", "s", "zero"], ["q"]),
        make_node("DequantizeLinear", ["q", "s", "zero"], ["d"]),
        make_node("DequantizeLinear", ["w", "ws", "wz"], ["dw"], axis=0),
        make_node("Conv", ["d", "dw"], ["y"]),
    ]
    weights = {
        "s": np.float32(0.1), "zero": np.uint8(128), "ws": floats(4) ** 2,
        "w": RNG.integers(-127, 127, (4, 3, 3, 3)).astype(np.int8), "wz": np.zeros(4, np.int8),
    }  # fmt: skip
    path = make_model(nodes, {"x": [1, 3, 5, 5]}, {"y": [1, 4, 3, 3]}, weights)
    model = round_trip(path)
    redrawn = load_onnx(path, redraw_weights=True)
    for name in model.graph.weights:
        np.testing.assert_array_equal(redrawn.weights.get(name), weights[name])
    kinds = [n.op_type for n in export_onnx(model).graph.node]
    assert kinds.count("DequantizeLinear") == 2


# Control flow, functions, custom operators


def _branches(captured: str) -> dict[str, onnx.GraphProto]:
    output = [make_tensor_value_info("r", TensorProto.FLOAT, None)]
    make_graph = onnx.helper.make_graph
    two = onnx.numpy_helper.from_array(np.float32(2), "two")
    return {
        "then_branch": make_graph([make_node("Add", [captured, captured], ["r"])], "t", [], output),
        "else_branch": make_graph(
            [make_node("Mul", [captured, "two"], ["m"]), make_node("Neg", ["m"], ["r"])],
            "e", [], output, [two],
        ),
    }  # fmt: skip


@pytest.mark.parametrize("condition", [True, False])
def test_if_captures_names_from_outside(
    make_model: Make, round_trip: Trip, condition: bool
) -> None:
    nodes = [
        make_node("Relu", ["x"], ["a"]),
        make_node("If", ["c"], ["b"], **_branches("a")),
        make_node("Abs", ["b"], ["y"]),
    ]
    path = make_model(nodes, {"x": [3], "c": (TensorProto.BOOL, [])}, {"y": [3]})
    model = round_trip(path, {"x": floats(3), "c": np.array(condition)})
    node = only(model, "If")
    assert node.is_opaque
    assert node.inputs == ["c", "a"]


@pytest.mark.parametrize("condition", [True, False])
def test_a_branch_always_taken_is_inlined(
    make_model: Make, round_trip: Trip, operators: Callable[[Model], list[str]], condition: bool
) -> None:
    nodes = [make_node("If", ["c"], ["b"], **_branches("x")), make_node("Abs", ["b"], ["y"])]
    path = make_model(nodes, {"x": [3]}, {"y": [3], "b": [3]}, {"c": np.array(condition)})
    expected = ["Add", "Abs"] if condition else ["Mul", "Neg", "Abs"]
    assert operators(round_trip(path)) == expected


@pytest.mark.parametrize("opset", [11, 18, 21])
def test_loop_with_old_and_new_operators_inside(
    make_model: Make, round_trip: Trip, opset: int
) -> None:
    """Bodies are brought to opset 18 too: ReduceSum took its axes as an attribute before 13."""
    axes = {"axes": [0]} if opset < 13 else {}
    reduce_inputs = ["v"] if opset < 13 else ["v", "axes"]
    body = onnx.helper.make_graph(
        [
            make_node("Add", ["state", "w"], ["v"]),
            make_node("ReduceSum", reduce_inputs, ["total"], keepdims=1, **axes),
            make_node("Identity", ["go"], ["go_on"]),
            make_node("Sub", ["v", "total"], ["next"]),
        ],
        "body",
        [
            make_tensor_value_info("i", TensorProto.INT64, []),
            make_tensor_value_info("go", TensorProto.BOOL, []),
            make_tensor_value_info("state", TensorProto.FLOAT, [3]),
        ],
        [
            make_tensor_value_info("go_on", TensorProto.BOOL, []),
            make_tensor_value_info("next", TensorProto.FLOAT, [3]),
        ],
    )
    node = make_node("Loop", ["n", "", "x"], ["y"], body=body)
    weights = {"n": np.int64(3), "w": floats(3), "axes": int64(0)}
    path = make_model([node], {"x": [3]}, {"y": [3]}, weights, opset=opset)
    model = round_trip(path)
    assert only(model, "Loop").inputs[:3] == ["n", "", "x"]
    assert "w" in only(model, "Loop").inputs


def test_scan(make_model: Make, round_trip: Trip) -> None:
    body = onnx.helper.make_graph(
        [make_node("Add", ["s", "e"], ["n"]), make_node("Mul", ["n", "k"], ["o"])],
        "body",
        [make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("s", "e")],
        [make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("n", "o")],
    )
    node = make_node("Scan", ["init", "x"], ["last", "y"], body=body, num_scan_inputs=1)
    path = make_model([node], {"x": [4, 2], "k": [2]}, {"y": [4, 2]}, {"init": floats(2)})
    assert only(round_trip(path), "Scan").is_opaque


def test_lstm_with_omitted_operands_and_outputs(make_model: Make, round_trip: Trip) -> None:
    node = make_node("LSTM", ["x", "w", "r", "", "", "h"], ["", "last"], hidden_size=4)
    weights = {"w": floats(1, 16, 3), "r": floats(1, 16, 4)}
    path = make_model([node], {"x": [5, 2, 3], "h": [1, 2, 4]}, {"last": [1, 2, 4]}, weights)
    round_trip(path)


@pytest.mark.parametrize(
    ("node", "shape"),
    [
        (make_node("Einsum", ["x", "x"], ["y"], equation="bij,bkj->bik"), [2, 3, 3]),
        (make_node("Resize", ["x", "", "s"], ["y"], mode="linear"), [2, 6, 8]),
        (make_node("LpNormalization", ["x"], ["y"], axis=1, p=1), [2, 3, 4]),
        (make_node("CumSum", ["x", "axis"], ["y"]), [2, 3, 4]),
        (make_node("TopK", ["x", "k"], ["y", "i"], axis=1), [2, 2, 4]),
        (make_node("Slice", ["x", "from", "to", "axis1", "back"], ["y"]), [2, 3, 4]),
        (make_node("ReduceMax", ["x"], ["y"], keepdims=0), []),
        (make_node("MeanVarianceNormalization", ["x"], ["y"], axes=[0, 2]), [2, 3, 4]),
    ],
)
def test_other_operators_are_kept(
    make_model: Make, round_trip: Trip, node: Any, shape: list[int]
) -> None:
    weights = {
        "s": np.array([1, 2, 2], np.float32), "axis": np.int64(1), "k": int64(2),
        "from": int64(-1), "to": int64(-(2**62)), "axis1": int64(1), "back": int64(-1),
    }  # fmt: skip
    used = {n: w for n, w in weights.items() if n in node.input}
    round_trip(make_model([node], {"x": [2, 3, 4]}, {"y": shape}, used))


def test_functions_of_the_model_are_inlined(
    make_model: Make, round_trip: Trip, operators: Callable[[Model], list[str]]
) -> None:
    """Nested, with an attribute, a default, and an opset of their own."""
    imports = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("mine", 1)]
    leaky = make_node("LeakyRelu", ["s"], ["r"])
    leaky.attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    inner = onnx.helper.make_function(
        "mine", "Act", ["a"], ["r"],
        [make_node("Softmax", ["a"], ["s"], axis=1), leaky], imports, ["slope"],
    )  # fmt: skip
    outer = onnx.helper.make_function(
        "mine", "Twice", ["a"], ["c"],
        [make_node("Act", ["a"], ["b"], domain="mine", slope=0.5),
         make_node("Act", ["b"], ["c"], domain="mine", slope=0.25)], imports,
    )  # fmt: skip
    path = make_model(
        [make_node("Twice", ["x"], ["y"], domain="mine")],
        {"x": [2, 3]}, {"y": [2, 3]}, functions=[inner, outer], opsets={"mine": 1}, opset=18,
    )  # fmt: skip
    model = load_onnx(path)
    assert operators(model) == ["Softmax", "LeakyRelu", "Softmax", "LeakyRelu"]
    slopes = [n.attributes["alpha"] for n in model.graph.nodes() if n.op_type == "LeakyRelu"]
    assert slopes == [0.5, 0.25]


def test_calls_that_no_rewrite_entered_come_back(
    make_model: Make, round_trip: Trip, operators: Callable[[Model], list[str]]
) -> None:
    """Of three calls one is rewritten, and one shares a node with what is outside."""
    imports = [onnx.helper.make_opsetid("", 18)]
    function = onnx.helper.make_function(
        "mine", "Halves", ["a", "unused"], ["b", "c", "same"],
        [make_node("Constant", [], ["k"], value_float=0.5), make_node("Abs", ["a"], ["d"]),
         make_node("Mul", ["d", "k"], ["b"]), make_node("Sqrt", ["d"], ["e"]),
         make_node("Identity", ["e"], ["c"]), make_node("Identity", ["a"], ["same"])],
        imports,
    )  # fmt: skip

    def call(operand: str, i: int, third: str) -> onnx.NodeProto:
        results = [f"b{i}", f"c{i}", third]
        return make_node("Halves", [operand, "x"], results, domain="mine", name=f"call{i}")

    nodes = [
        call("x", 0, "x0"), make_node("Relu", ["b0"], ["r0"]), make_node("Relu", ["r0"], ["r1"]),
        call("r1", 1, ""), make_node("Abs", ["r1"], ["shared"]),
        make_node("Add", ["c1", "b1"], ["s1"]), make_node("Add", ["s1", "shared"], ["s2"]),
        make_node("Neg", ["s2"], ["negative"]), call("negative", 2, ""),
        make_node("Add", ["b2", "c2"], ["s3"]), make_node("Add", ["s3", "x0"], ["s4"]),
        make_node("Add", ["s4", "c0"], ["y"]),
    ]  # fmt: skip
    path = make_model(
        nodes, {"x": ["n", 3]}, {"y": ["n", 3]}, functions=[function], opsets={"mine": 1}
    )
    model = load_onnx(path)
    round_trip(path)

    def names(model: Model) -> list[str]:
        written = export_onnx(model)
        onnx.checker.check_model(written, full_check=True)
        return sorted(node.name for node in written.graph.node if node.op_type == "Halves")

    assert names(model) == ["call0", "call2"]
    rules = RuleSet.parse("(rules r) (rule entered (Sqrt ?x) => (Relu ?x))")
    state = State(model.graph, rules, CostTable.roofline(1e12, 1e12, 0.005))
    (entered,) = [match for match in state.matches() if "call2/d" in match.tensors]
    assert names(model.with_graph(state.apply(entered).graph)) == ["call0"]
    function.opset_import[0].version = 17  # results have at least 18
    older = make_model(
        nodes, {"x": ["n", 3]}, {"y": ["n", 3]}, functions=[function], opsets={"mine": 1}, opset=17
    )
    assert not names(load_onnx(older))


def test_custom_operators_without_a_type(make_model: Make) -> None:
    nodes = [
        make_node("Mystery", ["x"], ["a"], domain="acme", k=3),
        make_node("Relu", ["a"], ["y"]),
    ]
    path = make_model(nodes, {"x": [2]}, {"y": [5]}, opsets={"acme": 4})
    unknown = load_onnx(path)
    assert [n.is_opaque for n in unknown.graph.nodes()] == [True, True]
    assert unknown.graph.tensor_type("a").dtype == "unknown"
    assert [n.op_type for n in export_onnx(unknown).graph.node] == ["Mystery", "Relu"]
    path = make_model(nodes, {"x": [2]}, {"y": [5]}, opsets={"acme": 4}, value_info={"a": [5]})
    model = load_onnx(path)
    assert only(model, "Mystery").is_opaque
    proto = export_onnx(model)
    onnx.checker.check_model(proto, full_check=True)
    assert ("acme", 4) in [(o.domain, o.version) for o in proto.opset_import]
    assert proto.graph.node[0].domain == "acme"
    path.write_bytes(proto.SerializeToString())
    assert str(load_onnx(path).graph.tensor_type("a")) == "float32[5]"


# Large constants


def test_large_constant_nodes_stay_out_of_the_graph(make_model: Make, round_trip: Trip) -> None:
    """Cast and ConstantOfShape of constants are computed when they are asked for."""
    nodes = [
        make_node("Cast", ["half"], ["w"], to=TensorProto.FLOAT),
        make_node("ConstantOfShape", ["shape"], ["ones"], value=make_tensor("v", 1, [1], [1.5])),
        make_node("MatMul", ["x", "w"], ["a"]),
        make_node("Add", ["a", "ones"], ["y"]),
    ]
    weights = {"half": floats(9, 80).astype(np.float16), "shape": int64(80)}
    model = round_trip(make_model(nodes, {"x": [2, 9]}, {"y": [2, 80]}, weights))
    assert [n.op_type for n in model.graph.nodes()] == ["MatMul", "Add"]
    assert set(model.graph.weights) == {"w", "ones"}


def test_single_numbers_are_literals(make_model: Make) -> None:
    """They are no parameters: neither a redraw nor verification changes them."""
    path = make_model(
        [make_node("Pow", ["x", "two"], ["a"]), make_node("Mul", ["a", "scale"], ["y"])],
        {"x": [3]}, {"y": [3]}, {"two": np.float32(2), "scale": floats(3)},
    )  # fmt: skip
    graph = load_onnx(path).graph
    assert list(graph.literals) == ["two"]
    assert list(graph.weights) == ["scale"]


# Sequences


@pytest.mark.parametrize("keepdims", [0, 1])
def test_sequences_of_known_length_are_unrolled(
    make_model: Make, round_trip: Trip, keepdims: int
) -> None:
    rank = 2 + keepdims
    nodes = [
        make_node("SplitToSequence", ["x"], ["s"], axis=1, keepdims=keepdims),
        make_node("SequenceAt", ["s", "minus"], ["last"]),
        make_node("SequenceErase", ["s", "minus"], ["front"]),
        make_node("SequenceInsert", ["front", "last", "zero"], ["turned"]),
        make_node("ConcatFromSequence", ["turned"], ["joined"], axis=1, new_axis=0),
        make_node("ConcatFromSequence", ["turned"], ["stacked"], axis=-1, new_axis=1),
        make_node("SequenceLength", ["turned"], ["n"]),
        make_node("SequenceConstruct", ["joined", "joined"], ["twice"]),
        make_node("ConcatFromSequence", ["twice"], ["y"], axis=0),
    ]
    weights = {"minus": np.int64(-1), "zero": np.int64(0)}
    outputs = {"y": None, "stacked": [None] * (rank + 1), "n": (TensorProto.INT64, [])}
    model = round_trip(make_model(nodes, {"x": [2, 3, 4]}, outputs, weights))
    assert not any(n.is_opaque for n in model.graph.nodes())


def test_split_to_sequence_in_steps(make_model: Make, round_trip: Trip) -> None:
    nodes = [
        make_node("SplitToSequence", ["x", "two"], ["s"], axis=0),
        make_node("SequenceAt", ["s", "two"], ["y"]),
    ]
    model = round_trip(make_model(nodes, {"x": [5, 4]}, {"y": [1, 4]}, {"two": np.int64(2)}))
    assert only(model, "Split").attributes["split"] == [2, 2, 1]
