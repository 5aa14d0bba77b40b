"""Calls of functions, put back where no rewrite entered what they became."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx

from xflowrl.onnx_io.inlining import reads
from xflowrl.onnx_io.ordering import sorted_nodes


@dataclass(frozen=True)
class Call:
    """A call of a function in the file.

    Attributes:
        node: the call.
        members: first outputs of the nodes that stand for it.
    """

    node: onnx.NodeProto
    members: frozenset[str]


def with_calls(
    nodes: Sequence[onnx.NodeProto],
    calls: Sequence[Call],
    changed: Collection[str],
    new_names: Mapping[str, str],
    outputs: Collection[str],
) -> list[onnx.NodeProto]:
    """The nodes with calls in place of their members, in a topological order.

    A call is put back if none of its members is changed or gone, and nothing but its outputs is
    read by others.

    Args:
        changed: first outputs of the nodes of the file that are not as they were.
        new_names: what tensors of the file are called, where that is another name.
        outputs: tensors that the graph gives out.
    """
    result = list(nodes)
    for call in calls:
        members = {new_names.get(name, name) for name in call.members}
        inside = [node for node in result if node.output[0] in members]
        if not inside or not call.members.isdisjoint(changed):
            continue
        others = [node for node in result if node.output[0] not in members]
        read = {name for node in others for name in reads(node)} | set(outputs)
        made = {name for node in inside for name in node.output}
        node = onnx.NodeProto()
        node.CopyFrom(call.node)
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                names[position] = new_names.get(name, name)
        if read & made <= set(node.output):
            result = [*others, node]
    return sorted_nodes(result)
