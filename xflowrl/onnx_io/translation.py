"""Turns a model of any opset into a list of typed nodes of opset 18, in one pass over its nodes.

Every node is brought to opset 18 (upgrade, downgrade), calls of functions and branches that are
always taken are replaced by what is inside them, what depends on constants alone is computed where
a later node may need it to be a constant, equal nodes become one, and each node left is typed by
ONNX's shape inference. All shapes are static, so one pass in topological order knows all it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import onnx

from xflowrl.onnx_io.downgrade import KEPT_FUNCTIONS, downgrade, wrong_element
from xflowrl.onnx_io.folding import can_fold, evaluate, is_deterministic
from xflowrl.onnx_io.inference import body_types, infer_outputs
from xflowrl.onnx_io.inlining import (
    bodies,
    captured_names,
    defined_names,
    expand_branch,
    expand_function,
    reads,
    rename_captured,
)
from xflowrl.onnx_io.known import Known, attributes_of, describe
from xflowrl.onnx_io.model import Array
from xflowrl.onnx_io.normal_form import drop_unused_outputs, fill_defaults, without_ceil_mode
from xflowrl.onnx_io.reading import opset_of
from xflowrl.onnx_io.sequences import unroll
from xflowrl.onnx_io.tensor_types import (
    CANONICAL_OPSET,
    UniqueNames,
    array_type,
    static_type,
    type_proto,
)
from xflowrl.onnx_io.upgrade import upgrade

# Larger constants are never looked into: no operand that fixes a shape is that long.
_MAX_KNOWN_INTEGERS = 65536
_MAX_KNOWN_FLOATS = 64
_ONNX = ("", "ai.onnx")


class Translation:
    """One model on its way to opset 18; `run` does it.

    Attributes:
        nodes: the nodes of opset 18 found so far (Gelu and Swish may be among them).
        types: type of every tensor, dimensions all known.
        constants: what is a constant: its value, or a function that gives it.
        aliases: names that now mean another tensor.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        types: Mapping[str, onnx.TypeProto],
        constants: Mapping[str, tuple[onnx.TypeProto, Callable[[], Array]]],
    ) -> None:
        graph = model.graph
        self.nodes: list[onnx.NodeProto] = []
        self.aliases: dict[str, str] = {}
        self.constants: dict[str, Array | Callable[[], Array]] = {}
        self.custom_opsets = {o.domain: o.version for o in model.opset_import if o.domain != ""}
        self.custom_opsets.pop("ai.onnx", None)
        self._opset = opset_of(model.opset_import) or CANONICAL_OPSET
        self._functions = {(f.domain, f.name, f.overload): f for f in model.functions}
        self._declared = types
        self._outputs = [output.name for output in graph.output]
        self._source = live_nodes(graph.node, self._outputs)
        self._used = {name for node in self._source for name in reads(node)} | set(self._outputs)
        taken = set(types) | set(constants) | self._used
        for node in graph.node:
            taken.update(name for name in node.output if name)
            for body in bodies(node):
                taken |= defined_names(body)
        self._names = UniqueNames(taken)
        self.types: dict[str, onnx.TypeProto] = {}
        for info in graph.input:
            if info.name not in constants:
                self.types[info.name] = types[info.name]
        for name, (proto, read) in constants.items():
            self.types[name] = proto
            self.constants[name] = read
        self._values: dict[str, Array] = {}
        self._sequences: dict[str, list[str]] = {}
        self._depth = 0  # of the function whose nodes are being lowered
        self._seen: dict[bytes, list[str]] = {}
        self._known = Known(self.types, self.value, self._is_used, self._names)

    def run(self) -> None:
        for node in self._source:
            self._lower(node, self._opset)
        final = [self.aliases.get(name, name) for name in self._outputs]
        self.nodes = live_nodes(self.nodes, final)

    def value(self, name: str) -> Array | None:
        """The value of a small constant."""
        if name in self._values:
            return self._values[name]
        if name not in self.constants:
            return None
        tensor = self.types[name].tensor_type
        size = int(np.prod([d.dim_value for d in tensor.shape.dim], dtype=np.int64))
        is_float = tensor.elem_type in (1, 10, 11, 16)
        if size > (_MAX_KNOWN_FLOATS if is_float else _MAX_KNOWN_INTEGERS):
            return None
        source = self.constants[name]
        self._values[name] = source() if callable(source) else source
        return self._values[name]

    def _is_used(self, name: str) -> bool:
        return name in self._used

    def _lower(self, node: onnx.NodeProto, opset: int) -> None:
        node = self._with_aliases(node)
        function = self._functions.get((node.domain, node.op_type, node.overload))
        if function is not None:
            self._lower_all(
                expand_function(node, function, self._names), opset_of(function.opset_import)
            )
        elif node.domain not in _ONNX:
            self._lower_bodies(node, opset)
            self._add(node)
        elif not onnx.defs.has(node.op_type, opset):
            raise ValueError(f"{describe(node)}: ONNX has no such operator in opset {opset}")
        elif node.op_type == "If" and self.value(node.input[0]) is not None:
            self._take_branch(node, opset)
        elif (unrolled := unroll(node, self._known, self._sequences)) is not None:
            self._lower_all(unrolled, CANONICAL_OPSET)
        else:
            self._lower_bodies(node, opset)
            if opset > CANONICAL_OPSET and self._fold(node, opset):
                return
            if opset < CANONICAL_OPSET:
                for new in upgrade(node, opset, self._known):
                    self._add(new)
            elif opset > CANONICAL_OPSET and node.op_type not in KEPT_FUNCTIONS:
                new_nodes, new_opset = downgrade(node, opset, self._known)
                if new_opset == CANONICAL_OPSET:
                    for new in new_nodes:
                        self._add(new)
                else:
                    self._lower_all(new_nodes, new_opset)
            else:
                self._add(node)

    def _lower_all(self, nodes: Iterable[onnx.NodeProto], opset: int) -> None:
        nodes = list(nodes)
        for node in nodes:
            self._used.update(reads(node))
        self._depth += 1
        for node in nodes:
            self._lower(node, opset or self._opset)
        self._depth -= 1

    def _with_aliases(self, node: onnx.NodeProto) -> onnx.NodeProto:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for position, name in enumerate(copy.input):
            copy.input[position] = self.aliases.get(name, name)
        rename_captured(copy, self.aliases)
        return copy

    def _take_branch(self, node: onnx.NodeProto, opset: int) -> None:
        condition = self.value(node.input[0])
        assert condition is not None
        name = "then_branch" if condition.item() else "else_branch"
        branch = attributes_of(node)[name]
        nodes, new_names = expand_branch(branch, node.name or node.output[0], self._names)
        for tensor in branch.initializer:
            self._define_constant(new_names[tensor.name], onnx.numpy_helper.to_array(tensor))
        results = [new_names.get(output.name, output.name) for output in branch.output]
        self._used.update(results)
        self._lower_all(nodes, opset)
        for outer, inner in zip(node.output, results, strict=True):
            self.aliases[outer] = self.aliases.get(inner, inner)

    def _lower_bodies(self, node: onnx.NodeProto, opset: int) -> None:
        """Brings the bodies of a node to opset 18, in place, nested ones first."""
        if not bodies(node):
            return
        inner_types = {**self.types, **body_types(node, opset, self._known, self.custom_opsets)}
        known = Known(inner_types, self.value, lambda name: True, self._names)
        for body in bodies(node):
            self._lower_body(body, opset, known)

    def _lower_body(self, body: onnx.GraphProto, opset: int, known: Known) -> None:
        inner: dict[str, Array] = {
            t.name: onnx.numpy_helper.to_array(t)
            for t in body.initializer
            if np.prod(t.dims) <= _MAX_KNOWN_FLOATS
        }

        def value(name: str) -> Array | None:
            return inner[name] if name in inner else known.value(name)

        here = Known(known.types, value, known.is_used, known.names)
        pending = [(node, opset) for node in reversed(body.node)]
        lowered: list[onnx.NodeProto] = []
        while pending:
            node, version = pending.pop()
            for nested in bodies(node):
                self._lower_body(nested, version, here)
            function = self._functions.get((node.domain, node.op_type, node.overload))
            if function is not None:
                new_nodes = expand_function(node, function, self._names)
                version = opset_of(function.opset_import) or version
            elif node.domain not in _ONNX or version == CANONICAL_OPSET:
                lowered.append(node)
                continue
            elif version < CANONICAL_OPSET:
                lowered.extend(upgrade(node, version, here))
                continue
            else:
                new_nodes, version = downgrade(node, version, here)
                if version == CANONICAL_OPSET:
                    lowered.extend(new_nodes)
                    continue
            pending.extend((new, version) for new in reversed(new_nodes))
        del body.node[:]
        body.node.extend(lowered)
        del body.value_info[:]

    def _define_constant(self, name: str, array: Array) -> None:
        self.types[name] = type_proto(array_type(array))
        self.constants[name] = array

    def _add(self, node: onnx.NodeProto) -> None:
        """Folds, merges or types one node of opset 18 whose operands are known."""
        node = self._with_aliases(node)
        if node.op_type == "Constant" and node.domain in _ONNX:
            self._define_constant(node.output[0], _constant_value(node))
            return
        if self._is_identity(node):
            self.aliases[node.output[0]] = node.input[0]
            return
        if self._fold(node):
            return
        node = without_ceil_mode(node, self._known)
        drop_unused_outputs(node, self._used)
        fill_defaults(node)
        for position, name in enumerate(node.output):
            if not name:  # an output left out in the middle: it has a place, so it needs a type
                node.output[position] = self._names.fresh(f"{node.output[-1]}/{position}")
        key = _merge_key(node)
        if key is not None and key in self._seen:
            self.aliases.update(zip(node.output, self._seen[key], strict=True))
            return
        self.types.update(self._typed(node))
        self.nodes.append(node)
        if key is not None:
            self._seen[key] = list(node.output)

    def _is_identity(self, node: onnx.NodeProto) -> bool:
        """A Cast to the type it has, and inside a function Identity too: they are full of them."""
        if node.domain in _ONNX and node.op_type == "Identity":
            return self._depth > 0
        if node.domain in _ONNX and node.op_type == "Cast":
            return bool(self._known.element(node.input[0]) == attributes_of(node)["to"])
        return False

    def _typed(self, node: onnx.NodeProto) -> dict[str, onnx.TypeProto]:
        if node.domain in _ONNX and node.op_type in KEPT_FUNCTIONS:
            return {node.output[0]: self.types[node.input[0]]}
        if node.domain in _ONNX:
            schema = onnx.defs.get_schema(node.op_type, CANONICAL_OPSET)
            reason = wrong_element(node, schema, self._known)
            if reason is not None:
                raise ValueError(
                    f"{describe(node)} cannot be written in opset {CANONICAL_OPSET}: {reason}"
                )
        types = infer_outputs(
            node, CANONICAL_OPSET, self._known, self._declared, self.custom_opsets
        )
        for name, proto in types.items():
            try:
                static_type(proto)
            except ValueError as error:
                remedy = (
                    "shapes must be static: declare it in the model's value_info"
                    if proto.WhichOneof("value") in (None, "tensor_type")
                    else "only tensors can be optimised"
                )
                raise ValueError(
                    f'{describe(node)}: output "{name}" has no known type: {error}; {remedy}'
                ) from None
        return types

    def _fold(self, node: onnx.NodeProto, opset: int = CANONICAL_OPSET) -> bool:
        """Computes a node of small constants, a Shape or a Size."""
        operands: list[Array | None] = []
        if node.domain in _ONNX and node.op_type in ("Shape", "Size"):
            shape = self._known.shape(node.input[0])
            assert shape is not None, "every type is static"
            operands = [np.broadcast_to(np.float32(0), shape)]
        else:
            for name in node.input:
                operands.append(self.value(name) if name else None)
                if name and operands[-1] is None:
                    return False
            if not node.input or not can_fold(node):
                return False
        if node.op_type == "ConstantOfShape" and self._is_large_fill(node, operands):
            return False
        results = evaluate(node, operands, opset)
        if results is None:
            return False
        elements = self._folded_elements(node, opset)
        outputs = [name for name in node.output if name]
        for name, result in zip(outputs, results, strict=True):
            element = elements.get(name, onnx.TensorProto.STRING)
            if element != onnx.TensorProto.STRING:
                result = result.astype(onnx.helper.tensor_dtype_to_np_dtype(element))
            self._define_constant(name, result)
        return True

    def _folded_elements(self, node: onnx.NodeProto, opset: int) -> dict[str, int]:
        """Element types of what a constant node computes: the evaluator may compute wider ones."""
        try:
            types = infer_outputs(node, opset, self._known, {}, {})
        except ValueError:  # ONNX's own AffineGrid has a Range that its strict inference refuses
            return {}
        return {name: proto.tensor_type.elem_type for name, proto in types.items()}

    def _is_large_fill(self, node: onnx.NodeProto, operands: list[Array | None]) -> bool:
        assert operands[0] is not None
        return int(np.prod(operands[0])) > _MAX_KNOWN_FLOATS


def live_nodes(nodes: Iterable[onnx.NodeProto], outputs: Iterable[str]) -> list[onnx.NodeProto]:
    """The nodes that the outputs depend on, in the order given."""
    needed, live = set(outputs), []
    for node in reversed(list(nodes)):
        if any(name in needed for name in node.output if name):
            needed.update(reads(node))
            live.append(node)
    return live[::-1]


def _constant_value(node: onnx.NodeProto) -> Array:
    attribute = node.attribute[0]
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.name == "value":
        if value.data_type == onnx.TensorProto.STRING:
            return np.array(list(value.string_data), dtype=object).reshape(tuple(value.dims))
        return np.asarray(onnx.numpy_helper.to_array(value))
    if attribute.name.startswith("value_string"):
        return np.array(value, dtype=object)
    if attribute.name == "sparse_value":
        raise ValueError(f"{describe(node)} is sparse; store it densely")
    return np.array(value, np.float32 if attribute.name.startswith("value_float") else np.int64)


def _merge_key(node: onnx.NodeProto) -> bytes | None:
    """Equal for nodes that compute the same from the same; None where that cannot be known."""
    if bodies(node) or captured_names(node) or not is_deterministic(node) or not node.input:
        return None
    key = onnx.NodeProto()
    key.op_type, key.domain = node.op_type, node.domain
    key.input.extend(node.input)
    key.attribute.extend(sorted(node.attribute, key=lambda attribute: attribute.name))
    key.output.extend("y" for _ in node.output)
    return bytes(key.SerializeToString(deterministic=True))
