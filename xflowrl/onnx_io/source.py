"""What a model file has beside its graph, so that a result can be written back into it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from xflowrl._engine import Node, TensorType
from xflowrl.onnx_io.calls import Call
from xflowrl.onnx_io.dimensions import Bindings, Shapes, size_of
from xflowrl.onnx_io.reading import opset_of
from xflowrl.weights import Array

Place = tuple[str, int]
"""An input and one of its axes."""
FormKey = tuple[str, str, tuple[str, ...]]


# Operators that may have operands of shape arithmetic in canonical form: sizes alone depend on it.
SHAPED = frozenset({"Expand", "Pad", "Reshape", "Slice", "Split", "Tile"})


def form_key(node: Node) -> FormKey:
    """Equal for nodes that the file writes with equal attributes and operands that fix shape."""
    types = tuple(str(t) for t in node.input_types[:1])
    return node.op_type, repr(sorted(node.attributes.items())), types


def window_key(
    attributes: Mapping[str, Any], kernel: Sequence[int], operand: TensorType
) -> tuple[tuple[int, ...], ...]:
    """Equal for windows that pad equally wherever the operand's sizes are the same."""
    parts = (attributes["strides"], attributes["pads"], attributes["dilations"])
    return (tuple(operand.shape[2:]), tuple(kernel), *(tuple(part) for part in parts))


@dataclass(frozen=True)
class Source:
    """A model file as it was read.

    Attributes:
        path: the file.
        shell: all of it but nodes and initialisers.
        opset: what results are written in.
        initializers: by name; large ones are places in a file.
        nodes: by first output, the nodes of the graph and those that compute constants.
        num_inputs: by first output, how many operands of a node the graph has.
        unchanged: by first output, operator, operands and attributes as they were read.
        copies: by first output, the operand's type of a Reshape that copies sizes of it (a 0): the
            node may stay as it is only while its operand has that type.
        forms: how the file writes a form (`form_key`): the first output of a node that has it.
        auto_pads: the `auto_pad` of windows whose padding depends on a dynamic size.
        computed: constants that the file computed from shapes; they are written as values.
        folded: constants that went into these.
        calls: of functions in the graph.
        outputs: how many outputs are the file's; those behind them keep its shape arithmetic.
        bindings: sizes of the dynamic dimensions.
        varying: sizes at the deciding binding that are others elsewhere.
        shapes: declared shapes of the inputs.
        failures: what ONNX's type inference found impossible.
        num_typed: nodes all of whose outputs have a known type, of `num_nodes`.
        places: where the sizes of the dynamic dimensions at the deciding binding can be read.
    """

    path: Path
    shell: onnx.ModelProto
    opset: int
    initializers: Mapping[str, onnx.TensorProto]
    nodes: Mapping[str, onnx.NodeProto]
    num_inputs: Mapping[str, int]
    unchanged: Mapping[str, tuple[str, list[str], dict[str, Any]]]
    copies: Mapping[str, TensorType]
    forms: Mapping[FormKey, str]
    auto_pads: Mapping[tuple[tuple[int, ...], ...], str]
    computed: Mapping[str, Array]
    folded: frozenset[str]
    calls: Sequence[Call]
    outputs: int
    bindings: Bindings
    varying: frozenset[int]
    shapes: Shapes
    failures: tuple[str, ...] = ()
    num_typed: int = 0
    num_nodes: int = 0
    places: Mapping[int, Place] = field(default_factory=dict)

    def free_initializers(self) -> set[str]:
        """Initialisers from which the file computes no other constant: they may be drawn anew."""
        used = {
            name
            for first, node in self.nodes.items()
            if first not in self.unchanged
            for name in node.input
        }
        return set(self.initializers) - used - self.folded

    @property
    def restorable_calls(self) -> Sequence[Call]:
        """Calls that results may have: functions of another opset than the model's are refused."""
        return self.calls if opset_of(self.shell.opset_import) == self.opset else ()

    def changed(self, nodes: Iterable[Node]) -> set[str]:
        """First outputs of the nodes of the file that are not among these as they were."""
        now = {n.outputs[0]: (n.op_type, n.inputs, n.attributes) for n in nodes}
        return {first for first, was in self.unchanged.items() if now.get(first) != was}

    def is_dynamic(self, size: int) -> bool:
        """Whether a size at the deciding binding depends on a dynamic dimension."""
        return size in self.varying or any(size and size % p == 0 for p in self.places)

    def input_shapes(self, number: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs: 0, where the model is priced; 1, 2, ... further ones."""
        binding = [self.bindings.priced, *self.bindings.further][number]
        return {
            name: tuple(d if isinstance(d, int) else (size_of(str(d), binding) or 1) for d in shape)
            for name, shape in self.shapes.items()
        }
