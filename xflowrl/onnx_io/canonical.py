"""The canonical form of operators of opset 18: operands that fix shape or meaning are attributes.

Each function reads one operator and gives its form in the engine, or None where it has none (the
operand is not constant, the form is unusual): such a node is opaque, with its operands as they are.
`operands.py` writes the same forms back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from xflowrl._engine import TensorType, canonical_attributes, inferable_operators
from xflowrl.onnx_io.known import attributes_of
from xflowrl.onnx_io.model import Array
from xflowrl.onnx_io.tensor_types import CANONICAL_OPSET, FLOAT_NAMES, INTEGER_NAMES

MAX_EXACT_INTEGER = 2**53  # attributes that bound values are doubles


@dataclass(frozen=True)
class Place:
    """A node with what is known of its tensors.

    Attributes:
        inputs: names of the operands, "" where one is omitted.
        attributes: ONNX's, as Python values.
        types: type of every tensor.
        value: the value of a small constant, or None.
    """

    node: onnx.NodeProto
    inputs: Sequence[str]
    attributes: Mapping[str, Any]
    types: Mapping[str, TensorType]
    value: Callable[[str], Array | None]

    def has(self, position: int) -> bool:
        return len(self.inputs) > position and self.inputs[position] != ""

    def operand(self, position: int) -> TensorType:
        return self.types[self.inputs[position]]

    def constant(self, position: int) -> Array | None:
        return self.value(self.inputs[position])

    def integers(self, position: int) -> list[int] | None:
        array = self.constant(position)
        return None if array is None else [int(v) for v in array.ravel()]

    @property
    def result(self) -> TensorType:
        return self.types[self.node.output[0]]


@dataclass(frozen=True)
class Form:
    """A node of the engine: how many of the ONNX operands stay, and the attributes."""

    num_inputs: int | None = None  # None: all
    attributes: dict[str, Any] = field(default_factory=dict)


Canonicalise = Callable[[Place], Form | None]


def canonical_form(
    node: onnx.NodeProto,
    types: Mapping[str, TensorType],
    value: Callable[[str], Array | None],
) -> Form | None:
    """The form of a node of opset 18 in the engine; None: opaque."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in _INFERABLE:
        return None
    place = Place(node, list(node.input), attributes_of(node), types, value)
    return _FORMS.get(node.op_type, _as_it_stands)(place)


def _axis(axis: int, rank: int) -> int:
    return axis + rank if axis < 0 else axis


def _as_it_stands(place: Place) -> Form | None:
    """The attributes of ONNX, but for an axis, which is counted from the front.

    What is left out the engine fills in: its defaults are ONNX's, where they are numbers.
    """
    known, attributes = canonical_attributes(place.node.op_type), dict(place.attributes)
    if not attributes.keys() <= known.keys() or len(place.node.output) != 1:
        return None
    if "axis" in known:
        schema = onnx.defs.get_schema(place.node.op_type, CANONICAL_OPSET)
        axis = attributes.get("axis", schema.attributes["axis"].default_value.i)
        attributes["axis"] = _axis(axis, len(place.operand(0).shape))
    return Form(None, attributes)


def _window(place: Place, kernel: Sequence[int]) -> dict[str, Any]:
    """strides, pads and dilations of a window; auto_pad becomes explicit pads."""
    rank = len(kernel)
    strides = list(place.attributes.get("strides") or [1] * rank)
    dilations = list(place.attributes.get("dilations") or [1] * rank)
    pads = list(place.attributes.get("pads") or [0] * (2 * rank))
    auto_pad = place.attributes.get("auto_pad", "NOTSET")
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        for i, size in enumerate(place.operand(0).shape[2:]):
            reach = (kernel[i] - 1) * dilations[i] + 1
            steps = -(-size // strides[i])
            total = max(0, (steps - 1) * strides[i] + reach - size)
            small, large = total // 2, total - total // 2
            first = small if auto_pad == "SAME_UPPER" else large
            pads[i], pads[rank + i] = first, total - first
    elif auto_pad == "VALID":
        pads = [0] * (2 * rank)
    return {"strides": strides, "pads": pads, "dilations": dilations}


def _conv(place: Place) -> Form | None:
    window = _window(place, place.operand(1).shape[2:])
    return Form(None, {**window, "group": place.attributes.get("group", 1)})


def _conv_transpose(place: Place) -> Form | None:
    """What output_shape or auto_pad ask for becomes explicit pads, told by the result's size."""
    attributes, kernel = place.attributes, place.operand(1).shape[2:]
    rank = len(kernel)
    strides = list(attributes.get("strides") or [1] * rank)
    dilations = list(attributes.get("dilations") or [1] * rank)
    more = list(attributes.get("output_padding") or [0] * rank)
    pads = list(attributes.get("pads") or [0] * (2 * rank))
    auto_pad = attributes.get("auto_pad", "NOTSET")
    if auto_pad.startswith("SAME") and any(more) and not attributes.get("output_shape"):
        return None  # ONNX Runtime adds to the size what ONNX says is cut off again
    if auto_pad != "NOTSET" or attributes.get("output_shape"):
        if len(place.result.shape) != rank + 2:  # inference gives up below the operand's size
            return None
        sizes = zip(place.operand(0).shape[2:], place.result.shape[2:], strict=True)
        for i, (size, result) in enumerate(sizes):
            reach = (kernel[i] - 1) * dilations[i] + 1
            total = strides[i] * (size - 1) + reach + more[i] - result
            if total < 0:
                return None
            first = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
            pads[i], pads[rank + i] = first, total - first
    window = {"strides": strides, "pads": pads, "dilations": dilations, "output_padding": more}
    return Form(None, {**window, "group": attributes.get("group", 1)})


def _pool(place: Place) -> Form | None:
    if len(place.node.output) != 1:
        return None
    attributes = place.attributes
    kernel = list(attributes["kernel_shape"])
    explicit = attributes.get("auto_pad", "NOTSET") == "NOTSET"
    form = {
        "kernel_shape": kernel,
        "ceil_mode": attributes.get("ceil_mode", 0) if explicit else 0,
        **_window(place, kernel),
    }
    if place.node.op_type == "AveragePool":
        form["count_include_pad"] = attributes.get("count_include_pad", 0)
    return Form(None, form)


def _batch_normalization(place: Place) -> Form | None:
    if len(place.node.output) != 1 or place.attributes.get("training_mode", 0):
        return None
    return Form(None, {"epsilon": place.attributes.get("epsilon", 1e-5)})


def _layer_normalization(place: Place) -> Form | None:
    if len(place.node.output) != 1 or place.attributes.get("stash_type", 1) != 1:
        return None
    axis = _axis(place.attributes.get("axis", -1), len(place.operand(0).shape))
    return Form(None, {"axis": axis, "epsilon": place.attributes.get("epsilon", 1e-5)})


def _pow(place: Place) -> Form | None:
    """The exponent may be of another type in ONNX; rules need not know that."""
    return Form() if place.operand(0).dtype == place.operand(1).dtype else None


def _dropout(place: Place) -> Form | None:
    if len(place.node.output) != 1:
        return None
    if place.has(2):
        is_training = place.constant(2)
        if is_training is None or is_training.item():
            return None
    return Form(1)


def _clip(place: Place) -> Form | None:
    form = {}
    for position, name, absent in ((1, "min", -np.inf), (2, "max", np.inf)):
        form[name] = absent
        if place.has(position):
            bound = place.constant(position)
            if bound is None or bound.size != 1:
                return None
            form[name] = float(bound.item())
            if bound.dtype.kind in "iu" and abs(int(bound.item())) > MAX_EXACT_INTEGER:
                return None
    return Form(1, form)


def _split(place: Place) -> Form | None:
    if place.has(1) and place.constant(1) is None:
        return None
    axis = _axis(place.attributes.get("axis", 0), len(place.operand(0).shape))
    sizes = [place.types[name].shape[axis] for name in place.node.output]
    return Form(1, {"axis": axis, "split": sizes})


def _slice(place: Place) -> Form | None:
    shape = place.operand(0).shape
    starts, ends = place.integers(1), place.integers(2)
    if starts is None or ends is None:
        return None
    axes = place.integers(3) if place.has(3) else list(range(len(starts)))
    steps = place.integers(4) if place.has(4) else [1] * len(starts)
    if axes is None or steps is None or any(step < 1 for step in steps):
        return None
    axes = [_axis(axis, len(shape)) for axis in axes]
    bounds = []
    for start, end, axis in zip(starts, ends, axes, strict=True):
        first, last, _ = slice(start, end).indices(shape[axis])
        bounds.append((first, max(first, last)))
    return Form(
        1,
        {
            "starts": [first for first, _ in bounds],
            "ends": [last for _, last in bounds],
            "axes": axes,
            "steps": steps,
        },
    )


def _pad(place: Place) -> Form | None:
    rank = len(place.operand(0).shape)
    given = place.integers(1)
    axes = place.integers(3) if place.has(3) else list(range(rank))
    value = place.constant(2) if place.has(2) else np.float32(0)
    if given is None or axes is None or value is None or value.size != 1:
        return None
    if place.operand(0).dtype not in FLOAT_NAMES | (INTEGER_NAMES - {"bool"}):
        return None
    if min(given, default=0) < 0 or abs(float(value.item())) > MAX_EXACT_INTEGER:
        return None
    pads = [0] * (2 * rank)
    for i, axis in enumerate(axes):
        pads[_axis(axis, rank)] = given[i]
        pads[rank + _axis(axis, rank)] = given[len(axes) + i]
    mode = place.attributes.get("mode", "constant")
    return Form(1, {"pads": pads, "mode": mode, "value": float(value.item())})


def _shape_operand(place: Place) -> Form | None:
    """Reshape and Expand: the shape of the result says all."""
    if place.constant(1) is None:
        return None
    return Form(1, {"shape": list(place.result.shape)})


def _tile(place: Place) -> Form | None:
    repeats = place.integers(1)
    return None if repeats is None else Form(1, {"repeats": repeats})


def _transpose(place: Place) -> Form | None:
    rank = len(place.operand(0).shape)
    return Form(1, {"perm": list(place.attributes.get("perm", range(rank - 1, -1, -1)))})


def _squeeze(place: Place) -> Form | None:
    shape = place.operand(0).shape
    if not place.has(1):
        return Form(1, {"axes": [i for i, size in enumerate(shape) if size == 1]})
    axes = place.integers(1)
    return None if axes is None else Form(1, {"axes": sorted(_axis(a, len(shape)) for a in axes)})


def _unsqueeze(place: Place) -> Form | None:
    axes, rank = place.integers(1), len(place.result.shape)
    return None if axes is None else Form(1, {"axes": sorted(_axis(a, rank) for a in axes)})


def _reduce(place: Place) -> Form | None:
    rank = len(place.operand(0).shape)
    axes: list[int] | None = list(range(rank))
    if place.has(1):
        axes = place.integers(1)
        if axes is None:
            return None
        axes = sorted({_axis(axis, rank) for axis in axes})
    if (not place.has(1) or not axes) and place.attributes.get("noop_with_empty_axes", 0):
        return None
    keepdims = place.attributes.get("keepdims", 1)
    return Form(1, {"axes": axes or list(range(rank)), "keepdims": keepdims})


_INFERABLE = frozenset(inferable_operators())
_FORMS: dict[str, Canonicalise] = {
    "AveragePool": _pool,
    "BatchNormalization": _batch_normalization,
    "Clip": _clip,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Dropout": _dropout,
    "Expand": _shape_operand,
    "LayerNormalization": _layer_normalization,
    "MaxPool": _pool,
    "Pad": _pad,
    "Pow": _pow,
    "RMSNormalization": _layer_normalization,
    "Reshape": _shape_operand,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    **{op: _reduce for op in _INFERABLE if op.startswith("Reduce")},
}
