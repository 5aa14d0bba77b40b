"""What papers publish about a network, counted from its graph without the engine's own figures."""

from __future__ import annotations

import math
from collections import Counter

from xflowrl._engine import Graph


def operators(graph: Graph) -> Counter[str]:
    """Nodes by operator, constants' nodes included."""
    return Counter(node.op_type for node in graph.nodes())


def taso_nodes(graph: Graph) -> int:
    """Nodes as TASO counts them: inputs, weights and a pseudo-weight for every pool are nodes."""
    counts = operators(graph)
    pools = sum(count for op_type, count in counts.items() if op_type.endswith("Pool"))
    return sum(counts.values()) + len(graph.inputs) + len(graph.weights) + pools


def trainable_parameters(graph: Graph) -> int:
    """Elements of all weights but the running statistics of batch normalisation."""
    return sum(
        type_.num_elements
        for name, type_ in graph.weights.items()
        if not name.endswith(("/mean", "/variance"))
    )


def batch_norm_channels(graph: Graph) -> int:
    """Channels that are batch-normalised, counted once for each normalisation."""
    weights = graph.weights.items()
    return sum(type_.num_elements for name, type_ in weights if name.endswith("/mean"))


def multiply_adds(graph: Graph) -> int:
    """Multiply-adds of convolutions and matrix products."""
    total = 0
    for node in graph.nodes():
        outputs = math.prod(node.output_types[0].shape)
        left, right = [*node.inputs, "", ""][:2]
        if node.op_type == "Conv":
            total += outputs * math.prod(graph.tensor_type(right).shape[1:])
        elif node.op_type in ("MatMul", "Gemm"):
            total += outputs * graph.tensor_type(left).shape[-1]
    return total


def output_shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Shapes of the graph's outputs by public name."""
    tensors = zip(graph.outputs, graph.output_tensors, strict=True)
    return {name: tuple(graph.tensor_type(tensor).shape) for name, tensor in tensors}
