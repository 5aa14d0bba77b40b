"""Reads an ONNX model into a graph and its weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path

import onnx

from xflowrl._engine import GraphBuilder, TensorType
from xflowrl.onnx_io.canonical import MAX_EXACT_INTEGER, Form, canonical_form
from xflowrl.onnx_io.dimensions import (
    Binding,
    Bindings,
    Symbols,
    bound_type,
    declared_shapes,
    demanded_sizes,
    given_sizes,
    least_faulty,
)
from xflowrl.onnx_io.folding import can_fold, compute
from xflowrl.onnx_io.inlining import captured_names
from xflowrl.onnx_io.known import attributes_of, describe, opaque_attributes
from xflowrl.onnx_io.model import Array, Model, StoredWeights
from xflowrl.onnx_io.reading import read_proto, tensor_array
from xflowrl.onnx_io.source import SHAPED, Place, Source, form_key, window_key
from xflowrl.onnx_io.tensor_types import (
    FLOAT_NAMES,
    INTEGER_NAMES,
    UNKNOWN,
    engine_type,
    numpy_dtype,
    static_shape,
)
from xflowrl.onnx_io.translation import Translation
from xflowrl.shortage import memory_for
from xflowrl.weights import RedrawnWeights

_MAX_TRIED_NODES = 20000  # in all bindings that are tried
_NUM_FURTHER = 4
_TINY = 8  # a size below may be another's by chance: it is taken for a fixed one, and proven
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

    Dynamic dimensions are bound by themselves (`Bindings`). What cannot be typed has the type
    "unknown", and no rewrite touches it.

    Args:
        path: the model file; external data must lie in its folder and are mapped, not read.
        batch_size: prices the model at this size of the leading dimension of every input where
            that is dynamic.
        input_shapes: prices the model at these whole shapes of inputs, by name.
        redraw_weights: draw the float weights anew, for models whose weights are placeholders.
        seed: of that draw.

    Raises:
        ValueError: one line that names the file, node, input or weight, and the remedy.
        MemoryError: the file needs more than there is; names it too.
    """
    path = Path(path)
    with memory_for(path):
        model = _loaded(path, batch_size, input_shapes)
    if redraw_weights:
        return replace(model, weights=RedrawnWeights(model.weights, model.graph, seed))
    return model


def _loaded(
    path: Path, batch_size: int | None, input_shapes: Mapping[str, Sequence[int]] | None
) -> Model:
    proto = read_proto(path)
    try:
        shapes, given = given_sizes(
            declared_shapes(proto.graph), batch_size, dict(input_shapes or {})
        )
        return _import(proto, Symbols(shapes, given, demanded_sizes(proto.graph, shapes)), path)
    except ValueError as error:
        raise ValueError(f'model "{path}": {error}') from None


Constants = Mapping[str, tuple[onnx.TypeProto, Callable[[], Array]]]


def _import(proto: onnx.ModelProto, symbols: Symbols, path: Path) -> Model:
    folder = path.parent.resolve()
    overridable = {i.name for i in proto.graph.input} if proto.ir_version >= 4 else set()
    constants = {
        tensor.name: (
            onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims),
            partial(tensor_array, tensor, folder),
        )
        for tensor in proto.graph.initializer
        if tensor.name not in overridable
    }
    bindings = _chosen(proto, symbols, constants)
    views = [bindings.legal]
    if bindings.is_dynamic:
        views += [bindings.other, bindings.priced]
    translation = _translated(proto, views, constants)
    importer = _Importer(translation, os.fsencode(path.stem).decode("utf-8", "replace"))
    for info in proto.graph.input:
        if info.name not in constants:
            importer.add_input(info.name)
    for node in translation.nodes:
        importer.add_node(node)
    return importer.finish(proto, path, symbols, bindings)


def _translated(
    proto: onnx.ModelProto, views: Sequence[Binding], constants: Constants
) -> Translation:
    types = []
    for binding in views:
        declared = [*proto.graph.value_info, *proto.graph.output]
        bound = {i.name: bound_type(i.type, binding) for i in declared}
        inputs = {i.name: bound_type(i.type, binding, i.name) for i in proto.graph.input}
        types.append({**bound, **inputs})
    for unrolls in (True, False):
        translation = Translation(proto, types, constants, unrolls=unrolls)
        translation.run()
        if translation.is_complete():
            break
    return translation


def _chosen(proto: onnx.ModelProto, symbols: Symbols, constants: Constants) -> Bindings:
    """The first bindings at which the network is possible, or where least of it is not."""
    if not symbols.free:
        fixed = dict(symbols.fixed)
        return Bindings(fixed, fixed, fixed)

    def tried(*views: Binding) -> tuple[int, int]:
        """How many nodes are impossible there, and how many sizes are so small that any may be."""
        translation = _translated(proto, views, constants)
        return len(translation.failures), sum(size < _TINY for size in translation.varying())

    sizes = {d for tensor in proto.graph.initializer for d in tensor.dims if d > 1}
    sizes |= {d for s in symbols.shapes.values() for d in s if isinstance(d, int) and d > 1}
    most = _MAX_TRIED_NODES // max(len(proto.graph.node), 1)
    legal, other = least_faulty(symbols.legal(sizes), lambda pair: tried(*pair), most)
    faults: list[tuple[int, int]] = []

    def fault(binding: Binding) -> tuple[int, int]:
        faults.append(tried(binding))
        return faults[-1]

    priced = least_faulty(symbols.priced(), fault, most)
    failures, further = min(faults)[0], list[Binding]()
    for binding in symbols.further(priced):
        if len(further) == _NUM_FURTHER:
            break
        if binding not in (priced, *further) and tried(binding)[0] <= failures:
            further.append(binding)
    return Bindings(legal, other, priced, further)


class _Importer:
    """Writes translated nodes into a graph; constants enter it when something reads them."""

    def __init__(self, translation: Translation, name: str) -> None:
        self._translation = translation
        self._builder = GraphBuilder(name)
        self._types: dict[str, TensorType] = {}
        self._defined: set[str] = set()
        self._sources = dict(translation.constants)
        self._weights: dict[str, Array | Callable[[], Array]] = {}
        self._num_inputs: dict[str, int] = {}
        self._auto_pads: dict[tuple[tuple[int, ...], ...], str] = {}
        self._copies: dict[str, TensorType] = {}
        self._shape_operands: dict[str, None] = {}
        self._num_typed = 0
        self._num_nodes = 0

    def add_input(self, name: str) -> None:
        self._builder.add_input(name, self._type(name))
        self._defined.add(name)

    def add_node(self, node: onnx.NodeProto) -> None:
        form, operands = self._form(node)
        if all(name in self._sources for name in node.input if name) and can_fold(node):
            # A constant. Nodes the engine understands stay in the graph, as nodes without a cost;
            # of the others only the result is kept, computed when it is asked for.
            for index, name in enumerate(node.output):
                if name and self._type(name) != UNKNOWN:
                    self._sources[name] = self._computed(node, index)
            if form is None and all(n in self._sources for n in node.output if n):
                return
        num_typed = sum(self._type(name, hides=False) != UNKNOWN for name in node.output)
        self._num_nodes += 1
        self._num_typed += num_typed == len(node.output)
        if form is not None and self._add(node, operands, form):
            dropped = node.input[form.num_inputs :] if form.num_inputs is not None else []
            self._shape_operands |= dict.fromkeys(set(dropped) & self._translation.dynamic)
            self._note_padding(node, operands[0], form)
            if node.op_type == "Reshape" and not attributes_of(node).get("allowzero"):
                target = self._translation.value(node.input[1])
                if target is not None and 0 in target:
                    self._copies[node.output[0]] = self._type(node.input[0])
        else:
            self._add(node, [*node.input, *captured_names(node)], None)

    def _form(self, node: onnx.NodeProto) -> tuple[Form | None, list[str]]:
        """The canonical form, and the operands it keeps; None for an opaque node."""
        dynamic, asked = self._translation.dynamic, set[str]()

        def value(name: str) -> Array | None:
            asked.add(name)
            return self._translation.value(name)

        types = {
            name: self._type(name, hides=False) for name in [*node.input, *node.output] if name
        }
        if UNKNOWN in types.values() or any(self._type(name) == UNKNOWN for name in node.output):
            return None, []
        form = canonical_form(node, types, value)
        if form is None or (asked & dynamic and node.op_type not in SHAPED):
            return None, []
        if "output_shape" in attributes_of(node) and self._slides_over_dynamic(node.input[0]):
            return None, []  # its pads depend on them
        operands = list(node.input[: form.num_inputs])
        if any(name and self._type(name) == UNKNOWN for name in operands):
            return None, []
        return form, operands

    def _add(self, node: onnx.NodeProto, inputs: Sequence[str], form: Form | None) -> bool:
        """Adds a node in a form, None: opaque; false if the engine does not have that form."""
        for name in inputs:
            self._define(name)
        outputs = list(node.output)
        try:
            self._builder.add_node(
                node.op_type,
                inputs,
                outputs,
                opaque_attributes(node) if form is None else form.attributes,
                domain="" if node.domain == "ai.onnx" else node.domain,
                output_types=[self._type(name) for name in outputs],
                opaque=form is None,
            )
        except ValueError as error:
            if form is None:
                raise ValueError(f"{describe(node)}: {error}") from None
            return False
        self._defined.update(outputs)
        self._num_inputs[outputs[0]] = len(inputs) if form is not None else len(node.input)
        return True

    def _note_padding(self, node: onnx.NodeProto, operand: str, form: Form) -> None:
        auto_pad = attributes_of(node).get("auto_pad", "")
        if auto_pad not in ("SAME_UPPER", "SAME_LOWER") or node.op_type == "ConvTranspose":
            return
        if not self._slides_over_dynamic(operand) or set(form.attributes["strides"]) <= {1}:
            return
        kernel = form.attributes.get("kernel_shape")
        if kernel is None:
            kernel = self._type(node.input[1]).shape[2:]
        self._auto_pads[window_key(form.attributes, kernel, self._type(operand))] = auto_pad

    def _slides_over_dynamic(self, name: str) -> bool:
        """Whether a window over a tensor slides along a dynamic dimension."""
        views = self._translation.views
        return len({static_shape(view.types.get(name))[2:] for view in views}) > 1

    def finish(
        self, proto: onnx.ModelProto, path: Path, symbols: Symbols, bindings: Bindings
    ) -> Model:
        translation = self._translation
        names = [output.name for output in proto.graph.output]
        tensors = [translation.aliases.get(name, name) for name in names]
        operands = list(self._shape_operands)
        for tensor in tensors:
            self._define(tensor)
        hidden = [f"operand {name}" for name in operands]
        self._builder.set_outputs([*names, *hidden], [*tensors, *operands])
        varying, places = self._price(symbols, bindings)
        graph = self._builder.build()
        nodes = graph.nodes()
        live = set(graph.weights)
        weights = {name: source for name, source in self._weights.items() if name in live}
        shell = onnx.ModelProto()
        shell.CopyFrom(proto)
        for field in ("node", "initializer", "sparse_initializer"):
            shell.graph.ClearField(field)
        source = Source(
            path=path,
            shell=shell,
            opset=translation.opset,
            initializers={tensor.name: tensor for tensor in proto.graph.initializer},
            nodes=translation.sources,
            num_inputs=self._num_inputs,
            unchanged={n.outputs[0]: (n.op_type, n.inputs, n.attributes) for n in nodes},
            copies=self._copies,
            forms={form_key(n): n.outputs[0] for n in reversed(nodes) if not n.is_opaque},
            auto_pads=self._auto_pads,
            computed={
                n: a for n in translation.computed if (a := translation.value(n)) is not None
            },
            folded=frozenset(translation.folded),
            calls=tuple(translation.calls),
            outputs=len(names),
            bindings=bindings,
            varying=frozenset(varying),
            places=places,
            shapes=symbols.shapes,
            failures=tuple(translation.failures),
            num_typed=self._num_typed,
            num_nodes=self._num_nodes,
        )
        return Model(graph, StoredWeights(weights), source)

    def _price(self, symbols: Symbols, bindings: Bindings) -> tuple[set[int], Mapping[int, Place]]:
        """Tells the graph what its sizes are priced at.

        Returns the sizes that vary, and where each dynamic size of an input can be read.
        """
        views = self._translation.views
        if len(views) == 1:
            return set(), {}
        sizes: dict[int, int] = {}
        varying: set[int] = set()
        for name in views[0].types:
            shapes = [static_shape(view.types.get(name)) for view in views]
            for size, other, priced in zip(*shapes, strict=False):
                if size != other and size >= _TINY:
                    varying.add(size)
                if size > 1 and (size != priced or size != other):
                    sizes.setdefault(size, priced)
        places = {bindings.legal[symbol]: symbols.places(symbol)[0][:2] for symbol in symbols.free}
        factors = {bindings.legal[symbol]: bindings.priced[symbol] for symbol in symbols.free}
        self._builder.price_at(sizes, {size: n for size, n in factors.items() if size > 1})
        return varying, places

    def _type(self, name: str, *, hides: bool = True) -> TensorType:
        """The engine's type of a tensor.

        That of shape arithmetic is hidden (it is "unknown"), so that no rewrite matches it.
        """
        if name not in self._types:
            self._types[name] = engine_type(self._translation.types.get(name))
        return UNKNOWN if hides and name in self._translation.dynamic else self._types[name]

    def _define(self, name: str) -> None:
        """Puts a constant into the graph before its first reader."""
        if not name or name in self._defined:
            return
        if name not in self._sources:
            raise ValueError(f'tensor "{name}" is read, but nothing before it defines it')
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
        return partial(
            compute,
            node,
            index,
            sources,
            numpy_dtype(result.dtype),
            result.shape,
            self._translation.opset,
        )
