"""The judge of delivered files sees each kind of fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from judge import complaints
from onnx import helper, numpy_helper

FLOAT = onnx.TensorProto.FLOAT


def _model() -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.eye(3, dtype=np.float32) + 0.5, "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["t"]), helper.make_node("Relu", ["t"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", FLOAT, ["N", 3])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    model.producer_name = "somebody"
    helper.set_model_props(model, {"classes": "3"})
    return model


def _other_weight(model: onnx.ModelProto) -> None:
    weight = numpy_helper.to_array(model.graph.initializer[0]) * np.float32(1.002)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))


def _fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def _other_symbol(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "M"


def _no_metadata(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


def _other_producer(model: onnx.ModelProto) -> None:
    model.producer_name = "xflowrl"


def _newer_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 19


def _unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[1].op_type = "Rectify"


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (_other_weight, "off"),
        (_fixed_batch, "inputs are"),
        (_other_symbol, "outputs are"),
        (_no_metadata, "metadata_props"),
        (_other_producer, "producer_name"),
        (_newer_opset, "opset is 19"),
        (_unknown_operator, "does not load"),
    ],
)
def test_fault_is_seen(tmp_path: Path, fault: Callable[[onnx.ModelProto], None], word: str) -> None:
    model = _model()
    onnx.save(model, tmp_path / "a.onnx")
    assert complaints(tmp_path / "a.onnx", tmp_path / "a.onnx") == []
    fault(model)
    onnx.save(model, tmp_path / "b.onnx")
    found = complaints(tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert any(word in line for line in found), found


@pytest.mark.parametrize(
    ("function", "bias", "other", "is_fault"),
    [
        ("Sigmoid", -13.0, -13.05, False),  # 1.1e-7 of 2.3e-6
        ("Sigmoid", -11.0, -11.05, True),  # 8e-7 of 1.7e-5
        ("Exp", -13.0, -13.05, True),
    ],
)
def test_what_is_saturated_may_differ_in_the_last_places_of_one(
    tmp_path: Path, function: str, bias: float, other: float, is_fault: bool
) -> None:
    for name, value in (("a.onnx", bias), ("b.onnx", other)):
        nodes = [
            helper.make_node("Mul", ["x", "small"], ["s"]),
            helper.make_node("Add", ["s", "bias"], ["t"]),
            helper.make_node(function, ["t"], ["f"]),
            helper.make_node("Flatten", ["f"], ["y"]),
        ]
        weights = {"small": 1e-3, "bias": value}
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("x", FLOAT, ["N", 3])],
            [helper.make_tensor_value_info("y", FLOAT, ["N", 3])],
            [numpy_helper.from_array(np.float32(v), n) for n, v in weights.items()],
        )
        opsets = [helper.make_opsetid("", 18)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / name)
    assert bool(complaints(tmp_path / "a.onnx", tmp_path / "b.onnx")) == is_fault
