"""Old forms of operators (opset 7 to 17) mean the same in opset 18; ONNX Runtime runs both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from onnx.helper import make_node

from xflowrl.onnx_io import Model, load_onnx

RNG = np.random.default_rng(0)
INT64 = TensorProto.INT64


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


CASES = {
    "softmax, axes from 1 are one": (9, make_node("Softmax", ["x"], ["y"]), {}),
    "softmax, all axes are one": (11, make_node("LogSoftmax", ["x"], ["y"], axis=0), {}),
    "softmax, last axis": (12, make_node("Softmax", ["x"], ["y"], axis=-1), {}),
    "hardmax": (11, make_node("Hardmax", ["x"], ["y"], axis=1), {}),
    "clip": (7, make_node("Clip", ["x"], ["y"], min=-0.5), {}),
    "clip, both": (10, make_node("Clip", ["x"], ["y"], min=-0.5, max=0.25), {}),
    "clip, neither": (9, make_node("Clip", ["x"], ["y"]), {}),
    "dropout": (7, make_node("Dropout", ["x"], ["y"], ratio=0.7), {}),
    "dropout 10": (10, make_node("Dropout", ["x"], ["y", "mask"], ratio=0.7), {}),
    "pad": (9, make_node("Pad", ["x"], ["y"], pads=[0, 1, 0, 0, 0, 2], value=1.5), {}),
    "pad, reflect": (10, make_node("Pad", ["x"], ["y"], mode="reflect", pads=[0, 1, 1] * 2), {}),
    "slice": (9, make_node("Slice", ["x"], ["y"], starts=[-2, 0], ends=[9, 3], axes=[1, 2]), {}),
    "slice, no axes": (7, make_node("Slice", ["x"], ["y"], starts=[0, 1], ends=[1, 3]), {}),
    "squeeze": (8, make_node("Squeeze", ["one"], ["y"], axes=[0]), {"one": floats(1, 3)}),
    "unsqueeze": (11, make_node("Unsqueeze", ["x"], ["y"], axes=[0, 4]), {}),
    "split": (11, make_node("Split", ["x"], ["y", "z"], axis=2, split=[1, 3]), {}),
    "split, equal": (13, make_node("Split", ["x"], ["y", "z"], axis=2), {}),
    "reduce, attribute": (12, make_node("ReduceSum", ["x"], ["y"], axes=[-1], keepdims=0), {}),
    "reduce, until 17": (17, make_node("ReduceL2", ["x"], ["y"], axes=[0, 2]), {}),
    "reduce, all": (11, make_node("ReduceLogSumExp", ["x"], ["y"]), {}),
    "top k": (9, make_node("TopK", ["x"], ["y", "i"], k=2, axis=2), {}),
    "top k 10": (10, make_node("TopK", ["x", "k"], ["y", "i"]), {"k": np.array([2])}),
    "batch normalisation": (
        7,
        make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], epsilon=0.1),
        {n: floats(3) ** 2 + 0.5 for n in "sbmv"},
    ),
    "gather": (9, make_node("Gather", ["x", "i"], ["y"], axis=1), {"i": np.array([[2, 0]])}),
    "scatter": (
        9,
        make_node("Scatter", ["x", "i", "u"], ["y"], axis=1),
        {"i": np.array([[[1, 2, 0, 1]]] * 2), "u": floats(2, 1, 4)},
    ),
    "max pool": (8, make_node("MaxPool", ["x"], ["y"], kernel_shape=[2], strides=[2]), {}),
    "max pool, up": (
        10,
        make_node("MaxPool", ["x"], ["y"], kernel_shape=[3], strides=[2], ceil_mode=1),
        {},
    ),
    "average pool, up": (
        10,
        make_node("AveragePool", ["x"], ["y"], kernel_shape=[3], strides=[2], ceil_mode=1),
        {},
    ),
    "average pool, up, padding counts": (
        17,
        make_node(
            "AveragePool", ["x"], ["y"],
            kernel_shape=[3], strides=[2], pads=[1, 0], ceil_mode=1, count_include_pad=1,
        ),
        {},
    ),
    "cast": (9, make_node("Cast", ["x"], ["y"], to=TensorProto.INT32), {}),
    "gemm": (7, make_node("Gemm", ["w", "w2", "c"], ["y"], transB=1, alpha=0.5),
             {"w": floats(2, 3), "w2": floats(4, 3), "c": floats(4)}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_old_form(name: str, make_model: Callable[..., Path], round_trip: Any) -> None:
    opset, node, weights = CASES[name]
    inputs = {"x": [2, 3, 4]}
    outputs: dict[str, Any] = {"y": (INT64, None) if node.op_type == "ArgMax" else None}
    if node.op_type == "Cast":
        outputs = {"y": (TensorProto.INT32, None)}
    if len(node.output) > 1 and node.op_type in ("Split",):
        outputs["z"] = None
    round_trip(make_model([node], inputs, outputs, weights, opset=opset))


# Upsample only makes larger. Under 0.6 a pixel falls between two of the input, so that the way of
# rounding shows; under 0.5 none does.
@pytest.mark.parametrize(("opset", "scale"), [(7, 2.0), (9, 2.0), (10, 2.0), (10, 0.5), (10, 0.6)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample_is_resize(
    make_model: Callable[..., Path], round_trip: Any, opset: int, scale: float, mode: str
) -> None:
    operator = "Resize" if opset == 10 else "Upsample"
    scales = [1.0, 1.0, scale, scale]
    if opset == 7:
        node, weights = make_node(operator, ["x"], ["y"], mode=mode, scales=scales), {}
    else:
        node = make_node(operator, ["x", "s"], ["y"], mode=mode)
        weights = {"s": np.array(scales, np.float32)}
    path = make_model([node], {"x": [1, 2, 4, 6]}, {"y": None}, weights, opset=opset)
    model: Model = round_trip(path)
    assert [n.op_type for n in model.graph.nodes()] == ["Resize"]


def test_resize_with_empty_operands(make_model: Callable[..., Path], round_trip: Any) -> None:
    empty = np.array([], np.float32)
    node = make_node("Resize", ["x", "roi", "s", "sizes"], ["y"], mode="nearest")
    weights = {"roi": empty, "s": empty, "sizes": np.array([1, 2, 8, 3])}
    round_trip(make_model([node], {"x": [1, 2, 4, 6]}, {"y": None}, weights, opset=11))


def test_roi_align_had_another_default(make_model: Callable[..., Path], round_trip: Any) -> None:
    node = make_node("RoiAlign", ["x", "rois", "i"], ["y"], output_height=2, output_width=2)
    weights = {"rois": np.array([[0, 0, 3, 3]], np.float32), "i": np.array([0])}
    round_trip(make_model([node], {"x": [1, 2, 6, 6]}, {"y": None}, weights, opset=10))


@pytest.mark.parametrize(
    ("node", "opset", "message"),
    [
        (
            make_node("BatchNormalization", ["x", "s", "s", "s", "s"], ["y"], spatial=0),
            7,
            r'node "y" \(BatchNormalization\): spatial=0 of opset 7 does not exist in opset 18',
        ),
        (
            make_node(
                "Resize", ["x", "r", "r"], ["y"],
                coordinate_transformation_mode="tf_half_pixel_for_nn",
            ),
            12,
            r'node "y" \(Resize\): coordinate_transformation_mode=tf_half_pixel_for_nn',
        ),
    ],
)  # fmt: skip
def test_forms_that_are_gone_are_refused(
    make_model: Callable[..., Path], node: Any, opset: int, message: str
) -> None:
    weights = {n: floats(3) for n in ("s", "r") if n in node.input}
    path = make_model([node], {"x": [2, 3, 4]}, {"y": None}, weights, opset=opset)
    with pytest.raises(ValueError, match=message):
        load_onnx(path)
