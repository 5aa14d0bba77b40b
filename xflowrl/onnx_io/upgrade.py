"""Operators of opsets 7 to 17 in the form they have in opset 18.

One function per operator whose form or meaning changed; every other operator of those opsets means
the same in 18. Source: the operators' changelog, https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx

from xflowrl.onnx_io.known import (
    Known,
    attributes_of,
    constant_node,
    describe,
    remove_attributes,
    set_attribute,
)
from xflowrl.onnx_io.model import Array

Nodes = list[onnx.NodeProto]
Upgrade = Callable[[onnx.NodeProto, int, Known], Nodes]


def upgrade(node: onnx.NodeProto, opset: int, known: Known) -> Nodes:
    """Nodes of opset 18 that compute what `node` computes in `opset`, the last one its outputs.

    Raises ValueError for the few old forms that opset 18 cannot express.
    """
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return _UPGRADES[node.op_type](copy, opset, known) if node.op_type in _UPGRADES else [copy]


def _refuse(node: onnx.NodeProto, opset: int, form: str) -> ValueError:
    return ValueError(
        f"{describe(node)}: {form} of opset {opset} does not exist in opset 18; "
        "export the model with a newer opset"
    )


def _with_operands(
    node: onnx.NodeProto, known: Known, operands: Sequence[tuple[int, str, Array | None]]
) -> Nodes:
    """The node with constants appended as operands (position, name, value; None: left out)."""
    inputs = list(node.input)
    nodes: Nodes = []
    for position, label, array in operands:
        inputs.extend([""] * (position + 1 - len(inputs)))
        if array is not None:
            inputs[position] = known.names.fresh(f"{node.output[0]}/{label}")
            nodes.append(constant_node(inputs[position], array))
    while inputs and not inputs[-1]:
        inputs.pop()
    del node.input[:]
    node.input.extend(inputs)
    return [*nodes, node]


def _int64(values: Any) -> Array:
    return np.array(values, dtype=np.int64)


def _dtype_of(node: onnx.NodeProto, known: Known) -> np.dtype[Any]:
    element = known.element(node.input[0]) or onnx.TensorProto.FLOAT
    dtype: np.dtype[Any] = onnx.helper.tensor_dtype_to_np_dtype(element)
    return dtype


def _axes_operand(last_opset: int) -> Upgrade:
    """Moves the attribute `axes` of operators up to `last_opset` to the second operand."""

    def move(node: onnx.NodeProto, opset: int, known: Known) -> Nodes:
        if opset > last_opset:
            return [node]
        axes = attributes_of(node).get("axes")
        remove_attributes(node, "axes")
        return _with_operands(node, known, [(1, "axes", None if axes is None else _int64(axes))])

    return move


def _batch_normalization(node: onnx.NodeProto, opset: int, known: Known) -> Nodes:
    attributes = attributes_of(node)
    if attributes.get("spatial", 1) != 1:
        raise _refuse(node, opset, "spatial=0")
    remove_attributes(node, "spatial")
    if opset < 14 and len(node.output) > 1:
        # Outputs for the running statistics asked for training: statistics of the batch itself.
        if any(name and known.is_used(name) for name in node.output[3:]):
            raise _refuse(node, opset, "the saved statistics")
        del node.output[3:]
        set_attribute(node, "training_mode", 1)
        names = [*node.output, "", ""][:3]
        del node.output[:]
        node.output.extend(n or known.names.fresh(f"{names[0]}/statistics") for n in names)
    return [node]


def _clip(node: onnx.NodeProto, opset: int, known: Known) -> Nodes:
    if opset >= 11:
        return [node]
    attributes, dtype = attributes_of(node), _dtype_of(node, known)
    remove_attributes(node, "min", "max")
    bounds = [attributes.get(bound) for bound in ("min", "max")]
    arrays = [None if b is None else np.array(b).astype(dtype) for b in bounds]
    return _with_operands(node, known, [(1, "min", arrays[0]), (2, "max", arrays[1])])


def _dropout(node: onnx.NodeProto, opset: int, known: Known) -> Nodes:
    if opset >= 12:
        return [node]
    if len(node.output) > 1 and opset < 10 and known.is_used(node.output[1]):
        raise _refuse(node, opset, "the mask")
    if opset < 10:
        del node.output[1:]
    remove_attributes(node, "ratio")  # without training_mode it has no effect
    return [node]


def _pad(node: onnx.NodeProto, opset: int, known: Known) -> Nodes:
    if opset >= 11:
        return [node]
    attributes = attributes_of(node)
    remove_attributes(node, "pads", "value")
    value = np.array(attributes.get("value", 0.0)).astype(_dtype_of(node, known))
    return _with_operands(
        node, known, [(1, "pads", _int64(attributes["pads"])), (2, "value", value)]
    )


def _slice(node: onnx.NodeProto, opset: int, known: Known) -> Nodes:
    if opset >= 10:
        return [node]
    attributes = attributes_of(node)
    remove_attributes(node, "starts", "ends", "axes")
    axes = attributes.get("axes", list(range(len(attributes["starts"]))))
    bounds = [(1, "starts", attributes["starts"]), (2, "ends", attributes["ends"])]
    return _with_operands(
        node, known, [(i, label, _int64(v)) for i, label, v in [*bounds, (3, "axes", axes)]]
    )


def _split(node: onnx.NodeProto, opset: int, known: Known) -> Nodes:
    attributes = attributes_of(node)
    if opset < 13:
        remove_attributes(node, "split")
        sizes = attributes.get("split")
    else:
        sizes = None
    nodes = _with_operands(node, known, [(1, "split", None if sizes is None else _int64(sizes))])
    if len(node.input) < 2:
        set_attribute(node, "num_outputs", len(node.output))
    return nodes


def _softmax(node: onnx.NodeProto, opset: int, known: Known) -> Nodes:
    """Before opset 13 the axes from `axis` on were one."""
    if opset >= 13:
        return [node]
    axis = attributes_of(node).get("axis", 1)
    rank, shape = known.rank(node.input[0]), known.shape(node.input[0])
    if rank is not None and axis < 0:
        axis += rank
    if rank is not None and axis == rank - 1:
        set_attribute(node, "axis", axis)
        return [node]
    if shape is not None:
        long_axes = [i for i in range(axis, len(shape)) if shape[i] != 1]
        if len(long_axes) <= 1:
            set_attribute(node, "axis", long_axes[0] if long_axes else axis)
            return [node]
    stem = node.output[0]
    flat, normal, size = (known.names.fresh(f"{stem}/{part}") for part in ("flat", "out", "shape"))
    make = onnx.helper.make_node
    return [
        make("Flatten", [node.input[0]], [flat], axis=axis),
        make(node.op_type, [flat], [normal], axis=-1, name=node.name),
        make("Shape", [node.input[0]], [size]),
        make("Reshape", [normal, size], [stem]),
    ]


def _top_k(node: onnx.NodeProto, opset: int, known: Known) -> Nodes:
    if opset >= 10:
        return [node]
    k = attributes_of(node)["k"]
    remove_attributes(node, "k")
    return _with_operands(node, known, [(1, "k", _int64([k]))])


def _upsample(node: onnx.NodeProto, opset: int, known: Known) -> Nodes:
    """Upsample, and the Resize of opset 10: output pixel i is input pixel i / scale."""
    attributes = attributes_of(node)
    mode = attributes.get("mode", "nearest")
    remove_attributes(node, "scales", "mode")
    node.op_type = "Resize"
    if opset < 9:
        inputs = [(2, "scales", np.array(attributes["scales"], dtype=np.float32))]
        scales: Array | None = inputs[0][2]
        nodes = _with_operands(node, known, inputs)
    else:
        scales = known.value(node.input[1])
        nodes = _with_operands(node, known, [])
        x, scales_name = node.input[:2]
        del node.input[:]
        node.input.extend([x, "", scales_name])
    set_attribute(node, "mode", {"bilinear": "linear"}.get(mode, mode))
    set_attribute(node, "coordinate_transformation_mode", "asymmetric")
    shrinks = scales is not None and bool(np.any(scales < 1))
    set_attribute(node, "nearest_mode", "ceil" if shrinks else "floor")
    if mode != "nearest" or scales is None or not shrinks or np.all(scales <= 1):
        return nodes
    # One operator rounds all axes alike: those that grow come first, in a Resize of their own.
    grown, name = known.names.fresh(f"{node.output[0]}/grown"), node.name
    growing = onnx.NodeProto()
    growing.CopyFrom(node)
    node.input[0], growing.output[0] = grown, grown
    node.name, growing.name = f"{name}/shrinks" if name else "", name
    set_attribute(growing, "nearest_mode", "floor")
    more: Nodes = []
    for resize, part in ((growing, np.maximum(scales, 1)), (node, np.minimum(scales, 1))):
        resize.input[2] = known.names.fresh(f"{resize.output[0]}/scales")
        more.append(constant_node(resize.input[2], part.astype(np.float32)))
    return [*more, growing, node]


def _resize(node: onnx.NodeProto, opset: int, known: Known) -> Nodes:
    if opset < 11:
        return _upsample(node, opset, known)
    mode = attributes_of(node).get("coordinate_transformation_mode", "half_pixel")
    if mode == "tf_half_pixel_for_nn":
        raise _refuse(node, opset, f"coordinate_transformation_mode={mode}")
    # Absent operands were empty tensors before opset 13.
    for position in (1, 2):
        name = node.input[position] if len(node.input) > position else ""
        if name and known.shape(name) == (0,):
            node.input[position] = ""
    return [node]


def _roi_align(node: onnx.NodeProto, opset: int, known: Known) -> Nodes:
    if opset < 16:
        set_attribute(node, "coordinate_transformation_mode", "output_half_pixel")
    return [node]


def _scan(node: onnx.NodeProto, opset: int, known: Known) -> Nodes:
    if opset < 9:
        raise _refuse(node, opset, "the batched form")
    return [node]


def _scatter(node: onnx.NodeProto, opset: int, known: Known) -> Nodes:
    node.op_type = "ScatterElements"
    return [node]


_REDUCTIONS = ("Max", "Min", "Mean", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")
_UPGRADES: dict[str, Upgrade] = {
    "BatchNormalization": _batch_normalization,
    "Clip": _clip,
    "Dropout": _dropout,
    "Hardmax": _softmax,
    "LogSoftmax": _softmax,
    "Pad": _pad,
    "ReduceSum": _axes_operand(12),
    "Resize": _resize,
    "RoiAlign": _roi_align,
    "Scan": _scan,
    "Scatter": _scatter,
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _axes_operand(12),
    "TopK": _top_k,
    "Unsqueeze": _axes_operand(12),
    "Upsample": _upsample,
    **{f"Reduce{kind}": _axes_operand(17) for kind in _REDUCTIONS},
}
