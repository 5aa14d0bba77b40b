"""Turns a model of any opset into a list of typed nodes, in one pass over its nodes.

Nodes older than opset 18 are brought to it, calls of functions and branches that are always taken
are replaced by what is inside them, what depends on constants and shapes alone is computed where a
later node may need it, equal nodes become one, and each node left is typed by ONNX's shape
inference, at every binding of the dynamic dimensions. A type that cannot be known stays open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import onnx

from xflowrl.onnx_io.body_upgrade import BodyUpgrade
from xflowrl.onnx_io.calls import Call
from xflowrl.onnx_io.folding import (
    MAX_KNOWN_FLOATS,
    can_fold,
    constant_value,
    evaluate,
    is_deterministic,
    makes_much,
)
from xflowrl.onnx_io.inference import infer_outputs
from xflowrl.onnx_io.inlining import (
    bodies,
    captured_names,
    defined_names,
    expand_branch,
    expand_function,
    reads,
    rename_captured,
)
from xflowrl.onnx_io.known import Known, attributes_of
from xflowrl.onnx_io.model import Array
from xflowrl.onnx_io.normal_form import drop_unused_outputs, without_ceil_mode
from xflowrl.onnx_io.ordering import live_nodes, sorted_nodes
from xflowrl.onnx_io.reading import opset_of
from xflowrl.onnx_io.sequences import unroll
from xflowrl.onnx_io.tensor_types import (
    CANONICAL_OPSET,
    UniqueNames,
    array_type,
    static_shape,
    type_proto,
)
from xflowrl.onnx_io.upgrade import upgrade

# Larger constants are never looked into: no operand that fixes a shape is that long.
_MAX_KNOWN_INTEGERS = 65536
_ONNX = ("", "ai.onnx")
_FLOATS = (1, 10, 11, 16)


class View:
    """What is known of the tensors at one binding of the dynamic dimensions.

    Attributes:
        types: type of every tensor met so far; of some, dimensions or all are missing.
        values: of tensors that depend on constants and shapes alone and are small.
    """

    def __init__(self) -> None:
        self.types: dict[str, onnx.TypeProto] = {}
        self.values: dict[str, Array] = {}


class Translation:
    """One model on its way to `opset`; `run` does it.

    Attributes:
        opset: the file's, where that is 18 or later, else 18.
        nodes: the nodes found so far, in a topological order.
        sources: by first output, the same nodes as the file has them, before small changes of form.
        views: what is known at each binding, the deciding one first.
        constants: what is a constant: its value, or a function that gives it.
        computed: constants that the file computes from shapes, though from fixed sizes alone.
        folded: constants that went into them.
        dynamic: tensors whose value is known at each binding, but differs.
        aliases: names that now mean another tensor.
        failures: nodes whose operands ONNX finds impossible, with its reason.
        calls: of functions, each with the nodes that it became.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        types: Sequence[Mapping[str, onnx.TypeProto]],
        constants: Mapping[str, tuple[onnx.TypeProto, Callable[[], Array]]],
        *,
        unrolls: bool = True,
    ) -> None:
        graph = model.graph
        self._unrolls = unrolls
        self.nodes: list[onnx.NodeProto] = []
        self.sources: dict[str, onnx.NodeProto] = {}
        self.aliases: dict[str, str] = {}
        self.constants: dict[str, Array | Callable[[], Array]] = {}
        self.computed: set[str] = set()
        self.folded: set[str] = set()
        self.dynamic: set[str] = set()
        self.failures: list[str] = []
        self.calls: list[Call] = []
        self._opset = opset_of(model.opset_import) or CANONICAL_OPSET
        self.opset = max(
            [CANONICAL_OPSET, self._opset, *(opset_of(f.opset_import) for f in model.functions)]
        )
        self.custom_opsets = {o.domain: o.version for o in model.opset_import if o.domain != ""}
        self.custom_opsets.pop("ai.onnx", None)
        self._functions = {(f.domain, f.name, f.overload): f for f in model.functions}
        self._declared = types
        self._outputs = [output.name for output in graph.output]
        self._source = live_nodes(sorted_nodes(graph.node), self._outputs)
        self._used = {name for node in self._source for name in reads(node)} | set(self._outputs)
        taken = set(types[0]) | set(constants) | self._used
        for node in graph.node:
            taken.update(name for name in node.output if name)
            for body in bodies(node):
                taken |= defined_names(body)
        self._names = UniqueNames(taken)
        self.views = [View() for _ in types]
        for view, declared in zip(self.views, types, strict=True):
            for info in graph.input:
                if info.name not in constants:
                    view.types[info.name] = declared[info.name]
            view.types |= {name: proto for name, (proto, _) in constants.items()}
        self.constants |= {name: read for name, (_, read) in constants.items()}
        self._sequences: dict[str, list[str]] = {}
        self._depth = 0  # of the function whose nodes are being translated
        self._seen: dict[bytes, list[str]] = {}
        self._bodies = BodyUpgrade(self._functions, self._names, self.custom_opsets)
        self._known = [
            Known(view.types, partial(self.value, view=view), self._is_used, self._names)
            for view in self.views
        ]

    @property
    def types(self) -> Mapping[str, onnx.TypeProto]:
        """What is known of each tensor at the deciding binding."""
        return self.views[0].types

    def run(self) -> None:
        for node in self._source:
            self._translate(node, self._opset)
        final = [self.aliases.get(name, name) for name in self._outputs]
        self.nodes = live_nodes(self.nodes, final)

    def varying(self) -> list[int]:
        """Sizes of tensors at the deciding binding that are others at the next one."""
        if len(self.views) == 1:
            return []
        first, second = self.views[:2]
        return [
            size
            for name, proto in first.types.items()
            for size, other in zip(
                static_shape(proto), static_shape(second.types.get(name)), strict=False
            )
            if size != other
        ]

    def is_complete(self) -> bool:
        """Whether everything that is read is there: a sequence that was unrolled is not."""
        defined = set(self.types) | set(self.constants) | {o for n in self.nodes for o in n.output}
        read = {name for node in self.nodes for name in reads(node)}
        read |= {self.aliases.get(name, name) for name in self._outputs}
        return not (read & set(self._sequences)) and read <= defined

    def value(self, name: str, view: View | None = None) -> Array | None:
        """The value of a small tensor of constants and shapes, at one binding."""
        values = (view or self.views[0]).values
        if name in values or name not in self.constants:
            return values.get(name)
        tensor = self.types[name].tensor_type
        size = int(np.prod([d.dim_value for d in tensor.shape.dim], dtype=np.int64))
        if size > (MAX_KNOWN_FLOATS if tensor.elem_type in _FLOATS else _MAX_KNOWN_INTEGERS):
            return None
        source = self.constants[name]
        try:
            value = source() if callable(source) else source
        except ValueError:  # an element type that the engine lacks
            return None
        for each in self.views:
            each.values[name] = value
        return value

    def _is_used(self, name: str) -> bool:
        return name in self._used

    def _translate(self, node: onnx.NodeProto, opset: int) -> None:
        node = self._with_aliases(node)
        function = self._functions.get((node.domain, node.op_type, node.overload))
        condition = self._constant_value(node.input[0]) if node.op_type == "If" else None
        if function is not None:
            first, nodes = len(self.nodes), expand_function(node, function, self._names)
            self._translate_all(nodes, opset_of(function.opset_import))
            if not self._depth:
                self._note_call(node, self.nodes[first:])
        elif node.domain in _ONNX and node.op_type == "If" and condition is not None:
            self._take_branch(node, opset, bool(condition.item()))
        elif (unrolled := self._unrolled(node)) is not None:
            self._translate_all(unrolled, CANONICAL_OPSET)
        elif opset < CANONICAL_OPSET:
            self._bodies.upgrade(node, opset, self._known[0])
            for new in upgrade(node, opset, self._known[0]) if node.domain in _ONNX else [node]:
                self._add(new)
        else:
            self._add(node)

    def _note_call(self, call: onnx.NodeProto, members: Sequence[onnx.NodeProto]) -> None:
        made = {name for node in members for name in node.output}
        for position, name in enumerate(call.output):
            if (new_name := self.aliases.get(name, name)) in made:
                call.output[position] = new_name
        self.calls.append(Call(call, frozenset(node.output[0] for node in members)))

    def _translate_all(self, nodes: Iterable[onnx.NodeProto], opset: int) -> None:
        nodes = list(nodes)
        for node in nodes:
            self._used.update(reads(node))
        self._depth += 1
        for node in nodes:
            self._translate(node, opset or self._opset)
        self._depth -= 1

    def _with_aliases(self, node: onnx.NodeProto) -> onnx.NodeProto:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for position, name in enumerate(copy.input):
            copy.input[position] = self.aliases.get(name, name)
        rename_captured(copy, self.aliases)
        return copy

    def _unrolled(self, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        if not self._unrolls or node.domain not in _ONNX:
            return None
        if node.op_type == "SplitToSequence":  # as many parts at every binding
            axis = attributes_of(node).get("axis", 0)
            shapes = [known.shape(node.input[0]) for known in self._known]
            if len({None if shape is None else shape[axis] for shape in shapes}) > 1:
                return None
        return unroll(node, self._known[0], self._sequences)

    def _constant_value(self, name: str) -> Array | None:
        return None if name in self.dynamic else self.value(name)

    def _take_branch(self, node: onnx.NodeProto, opset: int, condition: bool) -> None:
        branch = attributes_of(node)["then_branch" if condition else "else_branch"]
        nodes, new_names = expand_branch(branch, node.name or node.output[0], self._names)
        for tensor in branch.initializer:
            self._define_constant(new_names[tensor.name], onnx.numpy_helper.to_array(tensor))
            self.computed.add(new_names[tensor.name])
        results = [new_names.get(output.name, output.name) for output in branch.output]
        self._used.update(results)
        self._translate_all(nodes, opset)
        for outer, inner in zip(node.output, results, strict=True):
            self.aliases[outer] = self.aliases.get(inner, inner)

    def _define_constant(self, name: str, array: Array) -> None:
        for view in self.views:
            view.types[name] = type_proto(array_type(array))
        self.constants[name] = array

    def _add(self, node: onnx.NodeProto) -> None:
        """Folds, merges or types one node whose operands are known."""
        node = self._with_aliases(node)
        if node.op_type == "Constant" and node.domain in _ONNX:
            value = constant_value(node)
            if value is not None:
                self._define_constant(node.output[0], value)
                self.sources[node.output[0]] = node
                return
        if self._is_identity(node):
            self.aliases[node.output[0]] = node.input[0]
            return
        if self._fold(node):
            return
        source = node
        node = onnx.NodeProto()
        node.CopyFrom(source)
        if len(self.views) == 1:
            node = without_ceil_mode(node, self._known[0])
        if not attributes_of(node).get("training_mode"):
            drop_unused_outputs(node, self._used, self.opset)
        for position, name in enumerate(node.output):
            if not name:  # an output left out in the middle: it has a place, so it needs a type
                node.output[position] = self._names.fresh(f"{node.output[-1]}/{position}")
        key = _merge_key(node)
        if key is not None and key in self._seen:
            self.aliases.update(zip(node.output, self._seen[key], strict=True))
            return
        if not self.dynamic.intersection(node.output):
            self._type(node)
        self.nodes.append(node)
        self.sources[node.output[0]] = source
        if key is not None:
            self._seen[key] = list(node.output)

    def _is_identity(self, node: onnx.NodeProto) -> bool:
        """A Cast to the type it has, and inside a function Identity too: they are full of them."""
        if node.domain not in _ONNX or not node.input:
            return False
        if node.op_type == "Identity":
            return self._depth > 0 and node.output[0] not in self._outputs
        if node.op_type == "Cast" and node.output[0] not in self._outputs:
            return bool(self._known[0].element(node.input[0]) == attributes_of(node)["to"])
        return False

    def _type(self, node: onnx.NodeProto) -> None:
        """Notes the types of the outputs; what cannot be known stays open."""
        for view, known, declared in zip(self.views, self._known, self._declared, strict=True):
            try:
                types = infer_outputs(node, self.opset, known, declared, self.custom_opsets)
            except ValueError as error:
                self.failures.append(str(error))
                types = {name: onnx.TypeProto() for name in node.output}
            view.types.update(types)

    def _fold(self, node: onnx.NodeProto) -> bool:
        """Computes a node of small constants and shapes; is it a constant, and so not needed?

        What differs between the bindings stays a node of the file, its values known.
        """
        if node.domain not in _ONNX or not all(node.output[:1]):
            return False
        results = []
        is_constant = all(not name or name in self.constants for name in node.input)
        for view, known in zip(self.views, self._known, strict=True):
            values = _shape_value(node, known) or self._evaluated(node, view)
            if values is None:
                return False
            results.append(values)
            if is_constant and node.op_type not in ("Shape", "Size"):
                results = [values] * len(self.views)
                break
        outputs = [name for name in node.output if name]
        same = all(
            np.array_equal(a, b)
            for other in results
            for a, b in zip(results[0], other, strict=True)
        )
        for index, name in enumerate(outputs):
            if same:
                self._define_constant(name, results[0][index])
                self.computed.add(name)
                self.folded.update(node.input)
                continue
            self.dynamic.add(name)
            for view, values in zip(self.views, results, strict=True):
                view.values[name] = values[index]
                view.types[name] = type_proto(array_type(values[index]))
        return same

    def _evaluated(self, node: onnx.NodeProto, view: View) -> list[Array] | None:
        operands = [self.value(name, view) if name else None for name in node.input]
        if not node.input or not can_fold(node):
            return None
        if any(name and value is None for name, value in zip(node.input, operands, strict=True)):
            return None
        if makes_much(node, operands):
            return None
        results = evaluate(node, operands, self.opset)
        if results is None or any(r.size > _MAX_KNOWN_INTEGERS for r in results):
            return None
        return results


def _shape_value(node: onnx.NodeProto, known: Known) -> list[Array] | None:
    """What Shape or Size gives, where the operand's shape is known."""
    if node.op_type not in ("Shape", "Size"):
        return None
    shape = known.shape(node.input[0])
    if shape is None:
        return None
    if node.op_type == "Size":
        return [np.array(int(np.prod(shape, dtype=np.int64)), np.int64)]
    attributes = attributes_of(node)
    return [np.array(shape[attributes.get("start", 0) : attributes.get("end")], np.int64)]


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
