"""Activations that a Split alone reads are written behind it, where that is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

from xflowrl import load_onnx
from xflowrl._engine import Graph, GraphBuilder, TensorType
from xflowrl.measurement.operand_values import draw
from xflowrl.measurement.runtimes.onnxruntime import open_session
from xflowrl.onnx_io import Model, export_onnx
from xflowrl.onnx_io.behind_splits import with_activations_behind_splits
from xflowrl.onnx_io.tensor_types import UniqueNames

X = np.random.default_rng(0).standard_normal((1, 6, 5, 5)).astype(np.float32)


def model_of(body: str) -> onnx.ModelProto:
    return parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 18]> one (float[1, 6, 5, 5] x) => '
        "(float[1, 2, 5, 5] y, float[1, 4, 5, 5] z) "
        f"<int64[2] s = {{2, 4}}, float low = {{-0.5}}> {{ {body} }}"
    )


def moved(model: onnx.ModelProto, *kept: str) -> onnx.ModelProto:
    names = UniqueNames({name for node in model.graph.node for name in node.output})
    nodes = with_activations_behind_splits(list(model.graph.node), {"y", "z", *kept}, names)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    onnx.checker.check_model(result, full_check=True)
    return result


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    "activation", ["Relu(n)", "LeakyRelu<alpha = 0.3>(n)", "Clip(n, low)", "HardSwish(n)"]
)
def test_an_activation_comes_behind(activation: str) -> None:
    model = model_of(f"n = Neg(x) a = {activation} y, z = Split<axis = 1>(a, s)")
    result = moved(model)
    name = activation.partition("(")[0].partition("<")[0]
    assert operators(result) == ["Neg", "Split", name, name]
    before, after = (open_session(m.SerializeToString()) for m in (model, result))
    for ours, theirs in zip(after.run(None, {"x": X}), before.run(None, {"x": X}), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ("a = Relu(x) y, z = Split<axis = 1>(a, s)", ("a",)),  # the file's own
        ("a = Relu(x) b = Neg(a) y, c = Split<axis = 1>(a, s) d, z = Split<axis = 1>(b, s)", ()),
        ("a = Softmax<axis = 1>(x) y, z = Split<axis = 1>(a, s)", ()),
        ("y, z = Split<axis = 1>(x, s)", ()),
    ],
)
def test_others_stay_where_they_are(body: str, kept: tuple[str, ...]) -> None:
    model = model_of(body)
    assert operators(moved(model, *kept)) == operators(model)


class Random:
    """Weights for any name."""

    def __init__(self, graph: Graph) -> None:
        self._types = graph.weights

    def get(self, name: str) -> np.ndarray:
        return draw(self._types[name], seed=len(name))


def merged() -> Model:
    """Two siblings that have become one convolution with its activation, and a Split."""
    builder = GraphBuilder("merged")
    builder.add_input("x", TensorType("float32", [1, 6, 5, 5]))
    builder.add_weight("w", TensorType("float32", [6, 6, 3, 3]))
    window = {"strides": [1, 1], "pads": [1] * 4, "dilations": [1, 1], "group": 1}
    builder.add_node("Conv", ["x", "w"], ["c"], {**window, "activation": "Relu"})
    builder.add_node("Split", ["c"], ["y", "z"], {"axis": 1, "split": [2, 4]})
    builder.add_node("Neg", ["y"], ["n"])
    builder.set_outputs(["n", "z"])
    graph = builder.build()
    return Model(graph, Random(graph))


def test_a_rewritten_network_computes_the_same() -> None:
    model = merged()
    plain, views = export_onnx(model), export_onnx(model, views=True)
    assert operators(plain) == ["Conv", "Relu", "Split", "Neg"]
    assert operators(views) == ["Conv", "Split", "Relu", "Relu", "Neg"]
    results = [open_session(m.SerializeToString()).run(None, {"x": X}) for m in (plain, views)]
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_the_file_has_stays_as_it_is(tmp_path: Path) -> None:
    model = model_of("n = Neg(x) a = Relu(n) y, z = Split<axis = 1>(a, s)")
    onnx.save(model, tmp_path / "m.onnx")
    assert operators(export_onnx(load_onnx(tmp_path / "m.onnx"), views=True)) == operators(model)
