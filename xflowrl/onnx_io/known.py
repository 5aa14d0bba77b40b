"""What is known of tensors while a model is read: types, and values of the small constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from xflowrl.onnx_io.model import Array
from xflowrl.onnx_io.tensor_types import UniqueNames, is_static


@dataclass(frozen=True)
class Known:
    """What is known at one place of a graph.

    Attributes:
        types: type of each tensor defined before this place; dimensions may be missing.
        value: the value of a small constant, or None.
        is_used: whether anything reads a tensor.
        names: where new names come from.
    """

    types: Mapping[str, onnx.TypeProto]
    value: Callable[[str], Array | None]
    is_used: Callable[[str], bool]
    names: UniqueNames

    def element(self, name: str) -> int | None:
        proto = self.types.get(name)
        return proto.tensor_type.elem_type or None if proto is not None else None

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape, if all of it is known."""
        proto = self.types.get(name)
        if proto is None or not is_static(proto):
            return None
        return tuple(d.dim_value for d in proto.tensor_type.shape.dim)

    def rank(self, name: str) -> int | None:
        proto = self.types.get(name)
        if proto is None or not proto.tensor_type.HasField("shape"):
            return None
        return len(proto.tensor_type.shape.dim)


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Attributes as Python values; strings are decoded, tensors and graphs stay protobufs."""
    found = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.type == onnx.AttributeProto.STRING:
            value = value.decode("utf-8", "surrogateescape")
        elif attribute.type == onnx.AttributeProto.STRINGS:
            value = [item.decode("utf-8", "surrogateescape") for item in value]
        elif attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
            value = list(value)
        found[attribute.name] = value
    return found


def remove_attributes(node: onnx.NodeProto, *unwanted: str) -> None:
    for attribute in list(node.attribute):
        if attribute.name in unwanted:
            node.attribute.remove(attribute)


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    remove_attributes(node, name)
    node.attribute.append(onnx.helper.make_attribute(name, value))


def constant_node(name: str, array: Array) -> onnx.NodeProto:
    return onnx.helper.make_node(
        "Constant", [], [name], value=onnx.numpy_helper.from_array(np.asarray(array), name)
    )


def describe(node: onnx.NodeProto) -> str:
    """How messages call a node: by its name, or by its first output if it has none."""
    operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    first_output = next((name for name in node.output if name), "")
    return f'node "{node.name or first_output}" ({operator})'


def opaque_attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Attributes of an opaque node; what the engine has no type for as a serialised protobuf."""
    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        kind = attribute.type
        if kind in (onnx.AttributeProto.INT, onnx.AttributeProto.FLOAT):
            attributes[attribute.name] = value
        elif kind in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS) and len(value):
            attributes[attribute.name] = list(value)
        elif kind == onnx.AttributeProto.STRING and _is_text(value):
            attributes[attribute.name] = value.decode()
        elif kind == onnx.AttributeProto.STRINGS and len(value) and all(map(_is_text, value)):
            attributes[attribute.name] = [item.decode() for item in value]
        else:
            attributes[attribute.name] = attribute.SerializeToString(deterministic=True)
    return attributes


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in value
