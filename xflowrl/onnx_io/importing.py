"""Reads an ONNX model into a graph and its weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from xflowrl._engine import GraphBuilder, TensorType
from xflowrl.onnx_io.binding import bind_inputs
from xflowrl.onnx_io.canonical import MAX_EXACT_INTEGER, canonical_form
from xflowrl.onnx_io.folding import can_fold, evaluate
from xflowrl.onnx_io.inlining import captured_names
from xflowrl.onnx_io.known import describe
from xflowrl.onnx_io.model import Array, Model, StoredWeights
from xflowrl.onnx_io.reading import read_proto, tensor_array
from xflowrl.onnx_io.tensor_types import (
    FLOAT_NAMES,
    INTEGER_NAMES,
    numpy_dtype,
    static_type,
)
from xflowrl.onnx_io.translation import Translation
from xflowrl.weights import RedrawnWeights

_MAX_LITERAL = 64


def load_onnx(
    path: str | PathLike[str],
    *,
    batch_size: int | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    redraw_weights: bool = False,
    seed: int = 0,
) -> Model:
    """Reads a model of opset 7 to the latest one.

    Args:
        path: the model file; external data must lie in its folder and are mapped, not read.
        batch_size: size of the leading dimension of every input where that is dynamic.
        input_shapes: whole shapes of inputs by name.
        redraw_weights: draw the float weights anew, for models whose weights are placeholders.
        seed: of that draw.

    Raises:
        ValueError: one line that names the file, node, input or weight, and the remedy.
    """
    path = Path(path)
    proto = read_proto(path)
    try:
        types = bind_inputs(proto.graph, batch_size, input_shapes)
        model = _import(proto, types, path)
    except ValueError as error:
        raise ValueError(f'model "{path}": {error}') from None
    if redraw_weights:
        return replace(model, weights=RedrawnWeights(model.weights, model.graph, seed))
    return replace(model, file=path)


def _import(proto: onnx.ModelProto, types: Mapping[str, onnx.TypeProto], path: Path) -> Model:
    folder = path.parent.resolve()
    constants = {
        tensor.name: (
            onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims),
            partial(tensor_array, tensor, folder),
        )
        for tensor in proto.graph.initializer
    }
    translation = Translation(proto, types, constants)
    translation.run()
    importer = _Importer(translation, os.fsencode(path.stem).decode("utf-8", "replace"))
    for info in proto.graph.input:
        if info.name not in constants:
            importer.add_input(info.name)
    for node in translation.nodes:
        importer.add_node(node)
    return importer.finish([output.name for output in proto.graph.output])


class _Importer:
    """Writes lowered nodes into a graph; constants enter it when something reads them."""

    def __init__(self, translation: Translation, name: str) -> None:
        self._translation = translation
        self._builder = GraphBuilder(name)
        self._types: dict[str, TensorType] = {}
        self._defined: set[str] = set()
        self._sources = dict(translation.constants)
        self._weights: dict[str, Array | Callable[[], Array]] = {}
        self._node_names: dict[tuple[str, str], str] = {}

    def add_input(self, name: str) -> None:
        self._builder.add_input(name, self._type(name))
        self._defined.add(name)

    def add_node(self, node: onnx.NodeProto) -> None:
        for name in [*node.input, *node.output, *captured_names(node)]:
            if name:
                self._type(name)
        form = canonical_form(node, self._types, self._translation.value)
        if all(name in self._sources for name in node.input if name) and can_fold(node):
            # A constant. Nodes the engine understands stay in the graph, as nodes without a cost;
            # of the others only the result is kept, computed when it is asked for.
            for index, name in enumerate(node.output):
                if name:
                    self._sources[name] = self._computed(node, index)
            if form is None:
                return
        inputs = [*node.input, *captured_names(node)]
        attributes = opaque_attributes(node)
        if form is not None:
            inputs = inputs[: form.num_inputs]
            attributes = form.attributes
        for name in inputs:
            self._define(name)
        outputs = list(node.output)
        try:
            self._builder.add_node(
                node.op_type,
                inputs,
                outputs,
                attributes,
                domain="" if node.domain == "ai.onnx" else node.domain,
                output_types=[self._types[name] for name in outputs],
                opaque=form is None,
            )
        except ValueError as error:
            raise ValueError(f"{describe(node)}: {error}") from None
        self._defined.update(outputs)
        if node.name:
            self._node_names[node.op_type, node.output[0]] = node.name

    def finish(self, names: Sequence[str]) -> Model:
        tensors = [self._translation.aliases.get(name, name) for name in names]
        for tensor in tensors:
            self._define(tensor)
        self._builder.set_outputs(names, tensors)
        graph = self._builder.build()
        live = set(graph.weights)
        weights = {name: source for name, source in self._weights.items() if name in live}
        return Model(
            graph, StoredWeights(weights), self._node_names, self._translation.custom_opsets
        )

    def _type(self, name: str) -> TensorType:
        if name not in self._types:
            if name not in self._translation.types:
                raise ValueError(f'"{name}" is a sequence; only tensors can be optimised')
            try:
                self._types[name] = static_type(self._translation.types[name])
            except ValueError as error:
                raise ValueError(f'tensor "{name}": {error}') from None
        return self._types[name]

    def _define(self, name: str) -> None:
        """Puts a constant into the graph before its first reader."""
        if not name or name in self._defined:
            return
        self._defined.add(name)
        tensor_type, source = self._type(name), self._sources[name]
        values = self._literal(name, tensor_type, source)
        if values is not None:
            self._builder.add_literal(name, tensor_type, values)
        else:
            self._builder.add_weight(name, tensor_type)
            self._weights[name] = source

    def _literal(
        self, name: str, tensor_type: TensorType, source: Array | Callable[[], Array]
    ) -> list[float] | None:
        """Values of constants that are no parameters: single numbers and short integer lists."""
        is_float = tensor_type.dtype in FLOAT_NAMES
        if not is_float and tensor_type.dtype not in INTEGER_NAMES:
            return None
        if tensor_type.num_elements > (1 if is_float else _MAX_LITERAL):
            return None
        array = self._translation.value(name)
        if array is None:
            array = source() if callable(source) else source
        values = [float(v) for v in array.ravel()]
        if not is_float and any(abs(v) > MAX_EXACT_INTEGER for v in values):
            return None
        return values

    def _computed(self, node: onnx.NodeProto, index: int) -> Callable[[], Array]:
        sources = [self._sources[name] if name else None for name in node.input]
        result = self._types[node.output[index]]
        return partial(_compute, node, index, sources, numpy_dtype(result.dtype), result.shape)


def _compute(
    node: onnx.NodeProto,
    index: int,
    sources: Sequence[Array | Callable[[], Array] | None],
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
) -> Array:
    """Output number `index` of a node whose operands are constants."""
    if node.op_type == "ConstantOfShape":
        return _filled(node, dtype, shape)
    results = evaluate(node, [source() if callable(source) else source for source in sources])
    if results is None:
        raise ValueError(f"{describe(node)} of constants could not be computed")
    position = sum(map(bool, node.output[:index]))  # among the outputs that have a name
    return results[position].astype(dtype)


def _filled(node: onnx.NodeProto, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """One number, seen as a whole array: placeholder weights take no memory."""
    value: Any = 0
    for attribute in node.attribute:
        value = onnx.numpy_helper.to_array(attribute.t).item()
    return np.broadcast_to(np.array(value, dtype), shape)


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
