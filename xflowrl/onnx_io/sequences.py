"""Sequences of tensors whose length is known, unrolled into the tensors they hold.

The graph knows tensors only; exporters write sequences where Split, Gather and Concat would do.
"""

from __future__ import annotations

import numpy as np
import onnx

from xflowrl.onnx_io.known import Known, attributes_of, constant_node

_OPERATORS = frozenset(
    {
        "SequenceConstruct", "SequenceEmpty", "SequenceInsert", "SequenceErase", "SequenceAt",
        "SequenceLength", "SplitToSequence", "ConcatFromSequence",
    }
)  # fmt: skip


def unroll(
    node: onnx.NodeProto, known: Known, sequences: dict[str, list[str]]
) -> list[onnx.NodeProto] | None:
    """Nodes on tensors in place of one on a sequence; None where the sequence is not known.

    `sequences` holds the tensors of each known sequence; a sequence that `node` makes is added.
    """
    if node.op_type not in _OPERATORS:
        return None
    result = node.output[0]
    if node.op_type == "SequenceEmpty":
        sequences[result] = []
        return []
    if node.op_type == "SequenceConstruct":
        sequences[result] = list(node.input)
        return []
    if node.op_type == "SplitToSequence":
        return _split(node, known, sequences)
    items = sequences.get(node.input[0])
    if items is None:
        return None
    if node.op_type == "ConcatFromSequence":
        return _concat(node, known, items)
    if node.op_type == "SequenceLength":
        return [constant_node(result, np.array(len(items), np.int64))]
    last = len(node.input) - 1
    at = len(items) - (node.op_type == "SequenceErase")
    has_position = last == (2 if node.op_type == "SequenceInsert" else 1)
    if has_position and node.input[last]:
        position = known.value(node.input[last])
        if position is None:
            return None
        at = int(position.item())
        at += len(items) if at < 0 else 0
    if node.op_type == "SequenceInsert":
        sequences[result] = [*items[:at], node.input[1], *items[at:]]
    elif not 0 <= at < len(items):
        return None
    elif node.op_type == "SequenceErase":
        sequences[result] = [*items[:at], *items[at + 1 :]]
    else:
        return [onnx.helper.make_node("Identity", [items[at]], [result], name=node.name)]
    return []


def _split(
    node: onnx.NodeProto, known: Known, sequences: dict[str, list[str]]
) -> list[onnx.NodeProto] | None:
    attributes, shape = attributes_of(node), known.shape(node.input[0])
    if shape is None:
        return None
    axis = attributes.get("axis", 0) % max(len(shape), 1)
    has_sizes = len(node.input) > 1 and node.input[1] != ""
    sizes = [1] * shape[axis]
    if has_sizes:
        given = known.value(node.input[1])
        if given is None:
            return None
        sizes = [int(size) for size in given.ravel()]
        if given.ndim == 0:
            step = sizes[0]
            sizes = [min(step, shape[axis] - start) for start in range(0, shape[axis], step)]
    stem = node.output[0]
    names = known.names
    parts = [names.fresh(f"{stem}/{i}") for i in range(len(sizes))]
    split, axis_name = names.fresh(f"{stem}/split"), names.fresh(f"{stem}/axis")
    make = onnx.helper.make_node
    nodes = [
        constant_node(split, np.array(sizes, np.int64)),
        make("Split", [node.input[0], split], parts, axis=axis, name=node.name),
    ]
    if not has_sizes and not attributes.get("keepdims", 1):
        items = [names.fresh(f"{stem}/{i}/squeezed") for i in range(len(sizes))]
        nodes.append(constant_node(axis_name, np.array([axis], np.int64)))
        for part, item in zip(parts, items, strict=True):
            nodes.append(make("Squeeze", [part, axis_name], [item]))
        parts = items
    sequences[stem] = parts
    return nodes


def _concat(node: onnx.NodeProto, known: Known, items: list[str]) -> list[onnx.NodeProto]:
    attributes, stem = attributes_of(node), node.output[0]
    nodes: list[onnx.NodeProto] = []
    if attributes.get("new_axis", 0):
        axis_name = known.names.fresh(f"{stem}/axis")
        nodes.append(constant_node(axis_name, np.array([attributes["axis"]], np.int64)))
        wide = []
        for i, item in enumerate(items):
            wide.append(known.names.fresh(f"{stem}/{i}"))
            nodes.append(onnx.helper.make_node("Unsqueeze", [item, axis_name], [wide[-1]]))
        items = wide
    concat = onnx.helper.make_node("Concat", items, [stem], axis=attributes["axis"], name=node.name)
    return [*nodes, concat]
