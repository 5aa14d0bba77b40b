"""Operators newer than opset 18: kept, expanded by their function, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.helper import make_node

from xflowrl.onnx_io import Model, export_onnx, load_onnx

Make = Callable[..., Path]
RNG = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("opset", [19, 21, 22, 24])
def test_operators_of_which_only_types_were_added(
    make_model: Make, round_trip: Any, operators: Callable[[Model], list[str]], opset: int
) -> None:
    nodes = [
        make_node("Conv", ["x", "w"], ["a"]),
        make_node("MaxPool", ["a"], ["b"], kernel_shape=[2, 2]),
        make_node("AveragePool", ["b"], ["c"], kernel_shape=[2, 2], dilations=[1, 1]),
        make_node("Cast", ["c"], ["d"], to=TensorProto.DOUBLE, saturate=0),
        make_node("Cast", ["d"], ["e"], to=TensorProto.FLOAT),
        make_node("Reshape", ["e", "shape"], ["f"]),
        make_node("HardSigmoid", ["f"], ["y"]),
    ]
    weights = {"w": floats(4, 3, 3, 3), "shape": np.array([1, -1])}
    path = make_model(nodes, {"x": [1, 3, 8, 8]}, {"y": [1, 64]}, weights, opset=opset)
    model = round_trip(path)
    kinds = ["Conv", "MaxPool", "AveragePool", "Cast?", "Cast?", "Reshape", "HardSigmoid"]
    assert operators(model) == kinds


def test_functions_are_expanded(make_model: Make) -> None:
    nodes = [
        make_node("RMSNormalization", ["x", "s"], ["a"], axis=-1, epsilon=0.01),
        make_node("GroupNormalization", ["a", "t", "t"], ["y"], num_groups=2, epsilon=0.1),
    ]
    weights = {"s": floats(6), "t": floats(4)}
    path = make_model(nodes, {"x": [2, 4, 6]}, {"y": [2, 4, 6]}, weights, opset=23, ir_version=10)
    proto = export_onnx(load_onnx(path))
    onnx.checker.check_model(proto, full_check=True)
    x = floats(2, 4, 6)
    evaluate = onnx.reference.ReferenceEvaluator
    (ours,) = evaluate(onnx.load(path)).run(None, {"x": x})
    (theirs,) = evaluate(proto).run(None, {"x": x})
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)  # single precision


def test_a_function_inside_a_branch_is_expanded(make_model: Make) -> None:
    """Bodies must be opset 18 through and through: Gelu is no node there."""
    output = [onnx.helper.make_tensor_value_info("r", TensorProto.FLOAT, None)]
    branches = {
        name: onnx.helper.make_graph([make_node(op, ["x"], ["r"])], name, [], output)
        for name, op in (("then_branch", "Gelu"), ("else_branch", "Mish"))
    }
    node = make_node("If", ["c"], ["y"], **branches)
    path = make_model(
        [node], {"x": [3], "c": (TensorProto.BOOL, [])}, {"y": [3]}, opset=22, ir_version=10
    )
    proto = export_onnx(load_onnx(path))
    onnx.checker.check_model(proto, full_check=True)
    inner = [n.op_type for n in proto.graph.node[0].attribute[1].g.node]
    assert "Gelu" not in inner
    assert "Erf" in inner


def _refused(make_model: Make, node: Any, opset: int, inputs: dict[str, Any], message: str) -> None:
    path = make_model([node], inputs, {"y": None}, opset=opset, ir_version=10)
    with pytest.raises(ValueError, match=message) as caught:
        load_onnx(path)
    assert "\n" not in str(caught.value)


def test_an_operator_without_a_function_is_refused(make_model: Make) -> None:
    node = make_node("CumProd", ["x", "a"], ["y"], name="the node")
    message = r'node "the node" \(CumProd\) of opset 26 cannot be written in opset 18: .* newer'
    _refused(make_model, node, 26, {"x": [3], "a": (TensorProto.INT64, [])}, message)


def test_a_newer_attribute_value_is_refused(make_model: Make) -> None:
    pads = {"x": [3], "p": (TensorProto.INT64, [2])}
    _refused(make_model, make_node("Pad", ["x", "p"], ["y"], mode="wrap"), 19, pads, "mode=wrap")
    pool = make_node("AveragePool", ["x"], ["y"], kernel_shape=[2], dilations=[2])
    _refused(make_model, pool, 19, {"x": [1, 1, 8]}, r"dilations=\[2\] is newer")


def test_a_newer_element_type_is_refused(make_model: Make) -> None:
    types = {"x": (TensorProto.BFLOAT16, [1, 1, 8]), "w": (TensorProto.BFLOAT16, [1, 1, 3])}
    path = make_model(
        [make_node("Conv", ["x", "w"], ["y"])], types, {"y": (TensorProto.BFLOAT16, None)},
        opset=22, ir_version=10,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r'"y" \(Conv\) of opset 22 .*: bfloat16 operands'):
        load_onnx(path)
