"""Writes nodes that rewrites made in models with dynamic dimensions.

The engine knows a dynamic dimension by a size that nothing else has, so a size in a node says which
dimension it was. It is written as what ONNX has for it (0: as in the operand; -1: what is left),
as the file itself writes the same form elsewhere, or is computed from the shape of an input.
"""

from __future__ import annotations

import numpy as np
import onnx

from xflowrl._engine import Node, TensorType
from xflowrl.onnx_io.operands import OperandWriter, make
from xflowrl.onnx_io.source import SHAPED, Source, form_key, window_key
from xflowrl.onnx_io.tensor_types import UniqueNames


class NeedsFixedSize(ValueError):
    """A rewrite holds only while a dynamic dimension has the size it was bound to."""


class SizeWriter:
    """Writes nodes so that they hold at every size of the dynamic dimensions."""

    def __init__(self, source: Source, writer: OperandWriter, names: UniqueNames) -> None:
        self._source = source
        self._writer = writer
        self._names = names
        # Computed once, before whatever needs it first.
        self._places = dict(source.places)
        self._sizes: dict[int, str] = {}
        self._shapes: dict[tuple[int, ...], str] = {}

    def note(self, name: str, tensor_type: TensorType) -> None:
        """Tells of a tensor that is written: its sizes can be read from now on."""
        for axis, size in enumerate(tensor_type.shape):
            if self._source.is_dynamic(size):
                self._places.setdefault(size, (name, axis))

    def write(self, node: Node) -> list[onnx.NodeProto]:
        """The ONNX nodes of a node.

        Raises NeedsFixedSize if no standard node computes it at every size.
        """
        if node.is_opaque:
            return self._writer.write(node)
        form = self._source.forms.get(form_key(node))
        if node.op_type in SHAPED and form is not None:
            return [self._like(node, form)]
        if node.op_type in ("Reshape", "Expand"):
            return self._shaped(node)
        if node.op_type in SHAPED:
            self._check_sizes(node)
        protos = self._writer.write(node)
        is_window = "pads" in node.attributes and "strides" in node.attributes
        if self._source.auto_pads and is_window and node.op_type != "ConvTranspose":
            self._pad_alike(node, protos)
        return protos

    def _like(self, node: Node, form: str) -> onnx.NodeProto:
        """As the file writes the same form: with its operands of shape arithmetic."""
        proto = onnx.NodeProto()
        proto.CopyFrom(self._source.nodes[form])
        kept = self._source.num_inputs[form]
        del proto.output[:]
        proto.output.extend(node.outputs)
        for position in range(kept):
            proto.input[position] = node.inputs[position]
        proto.name = node.outputs[0]
        return proto

    def _shaped(self, node: Node) -> list[onnx.NodeProto]:
        shape, operand = node.attributes["shape"], _first_type(node).shape
        assert isinstance(shape, list)
        is_reshape = node.op_type == "Reshape"
        sizes: list[int | None] = []
        # An Expand aligns its operand at the end.
        offset = 0 if is_reshape else len(shape) - len(operand)
        for axis, size in enumerate(shape):
            at = axis - offset
            if not self._source.is_dynamic(size):
                sizes.append(size)
            elif 0 <= at < len(operand) and operand[at] == size:
                sizes.append(0 if is_reshape else 1)
            else:
                sizes.append(None)
        nodes: list[onnx.NodeProto] = []
        if is_reshape and 0 in shape:
            raise _fixed(node)
        if is_reshape and sizes.count(None) == 1:
            sizes[sizes.index(None)] = -1
        if None not in sizes:
            operand_name = self._writer.constant(
                np.array(sizes, np.int64), f"{node.outputs[0]}/shape"
            )
        else:
            nodes, operand_name = self._computed(node, shape, sizes)
        proto = make(node.op_type, [node.inputs[0], operand_name], node.outputs, {})
        proto.name = node.outputs[0]
        return [*nodes, proto]

    def _computed(
        self, node: Node, shape: list[int], sizes: list[int | None]
    ) -> tuple[list[onnx.NodeProto], str]:
        """A shape joined from constants and sizes of inputs."""
        stem, nodes, parts = node.outputs[0], list[onnx.NodeProto](), list[str]()
        key = tuple(
            size if known is None else known for size, known in zip(shape, sizes, strict=True)
        )
        if key in self._shapes:
            return [], self._shapes[key]
        for size, known in zip(shape, sizes, strict=True):
            if known is not None:
                parts.append(self._writer.constant(np.array([known], np.int64), f"{stem}/size"))
                continue
            if size in self._sizes:
                parts.append(self._sizes[size])
                continue
            rest, part = size, ""
            factors = [size] if size in self._places else sorted(self._places, reverse=True)
            for factor in factors:
                name, axis = self._places[factor]
                while rest % factor == 0:
                    rest //= factor
                    read = self._names.fresh(f"{stem}/size")
                    nodes.append(make("Shape", [name], [read], {"start": axis, "end": axis + 1}))
                    part = self._product(part, read, stem, nodes)
            if not part or self._source.is_dynamic(rest):
                raise _fixed(node)
            if rest != 1:
                constant = self._writer.constant(np.array([rest], np.int64), f"{stem}/size")
                part = self._product(part, constant, stem, nodes)
            self._sizes[size] = part
            parts.append(part)
        joined = self._names.fresh(f"{stem}/shape")
        nodes.append(make("Concat", parts, [joined], {"axis": 0}))
        for proto in nodes:
            proto.name = proto.output[0]
        self._shapes[key] = joined
        return nodes, joined

    def _product(self, a: str, b: str, stem: str, nodes: list[onnx.NodeProto]) -> str:
        if not a:
            return b
        product = self._names.fresh(f"{stem}/size")
        nodes.append(make("Mul", [a, b], [product], {}))
        return product

    def _check_sizes(self, node: Node) -> None:
        """Refuses sizes of a Slice, Split, Pad or Tile that depend on a dynamic dimension."""
        shape, attributes = _first_type(node).shape, node.attributes
        values = [v for key in ("split", "pads", "repeats") for v in attributes.get(key, [])]
        axes = attributes["axes"] if node.op_type == "Slice" else []
        if node.op_type == "Split":
            axes = [attributes["axis"]]
        assert isinstance(axes, list)
        if any(map(self._source.is_dynamic, values)) or any(
            self._source.is_dynamic(shape[int(axis)]) for axis in axes
        ):
            raise _fixed(node)

    def _pad_alike(self, node: Node, protos: list[onnx.NodeProto]) -> None:
        """Pads a window as the file does where the padding depends on a dynamic size."""
        operand = _first_type(node)
        kernel = node.attributes.get("kernel_shape")
        if kernel is None:
            weight = node.input_types[1]
            assert weight is not None
            kernel = list(weight.shape[2:])
        assert isinstance(kernel, list)
        auto_pad = self._source.auto_pads.get(
            window_key(node.attributes, [int(k) for k in kernel], operand)
        )
        strides = node.attributes["strides"]
        assert isinstance(strides, list)
        if auto_pad is None:
            if set(strides) > {1} and any(map(self._source.is_dynamic, operand.shape[2:])):
                raise _fixed(node)
            return
        window = next(p for p in protos if any(a.name == "pads" for a in p.attribute))
        kept = [a for a in window.attribute if a.name not in ("pads", "ceil_mode")]
        del window.attribute[:]
        window.attribute.extend([*kept, onnx.helper.make_attribute("auto_pad", auto_pad)])


def _first_type(node: Node) -> TensorType:
    found = node.input_types[0]
    assert found is not None
    return found


def _fixed(node: Node) -> NeedsFixedSize:
    return NeedsFixedSize(
        f'node "{node.outputs[0]}" ({node.op_type}) holds at one size of a dynamic dimension only'
    )
