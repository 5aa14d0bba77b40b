"""Nodes in an order in which they can be computed, and those that are needed at all."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from xflowrl.onnx_io.inlining import reads


def sorted_nodes(nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes, producers first; in the order given where that is one already."""
    nodes = list(nodes)
    producers = {name: node for node in nodes for name in node.output if name}
    placed: set[int] = set()
    order: list[onnx.NodeProto] = []
    for root in nodes:
        pending = [(root, iter(reads(root)))]
        entered = {id(root)}
        while pending and id(pending[0][0]) not in placed:
            node, operands = pending[-1]
            producer = next(
                (
                    p
                    for name in operands
                    if (p := producers.get(name)) is not None
                    and id(p) not in placed
                    and id(p) not in entered
                ),
                None,
            )
            if producer is not None:
                entered.add(id(producer))
                pending.append((producer, iter(reads(producer))))
                continue
            placed.add(id(node))
            order.append(node)
            pending.pop()
    return order


def live_nodes(nodes: Iterable[onnx.NodeProto], outputs: Iterable[str]) -> list[onnx.NodeProto]:
    """The nodes that the outputs depend on, in the order given."""
    needed, live = set(outputs), []
    for node in reversed(list(nodes)):
        if any(name in needed for name in node.output if name):
            needed.update(reads(node))
            live.append(node)
    return live[::-1]
