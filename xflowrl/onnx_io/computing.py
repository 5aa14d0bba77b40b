"""Computes what rewrites made of constants, in batches: a session of the runtime for each batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence

import onnx

from xflowrl._engine import Node
from xflowrl.onnx_io.folding import evaluate, evaluate_all
from xflowrl.onnx_io.model import Array

_BATCH_BYTES = 2**22  # of computed constants that are in memory at once, if none is larger
_BATCH_NODES = 256
_ALONE = frozenset({"float16", "bfloat16", "string"})  # computed in another type than they have


def computed(
    nodes: Sequence[Node],
    wanted: Collection[str],
    *,
    write: Callable[[Node], list[onnx.NodeProto]],
    operand: Callable[[str], Array],
    opset: int,
) -> Iterator[tuple[str, Array]]:
    """Yields names and values of the wanted constants; of half types in single precision.

    In the order of the nodes; what nobody needs any more is let go. Linear in their number.

    Args:
        nodes: whose operands are constant, in topological order.
        write: gives the ONNX nodes of one.
        operand: the value of an operand that none of them computes.

    Raises:
        ValueError: the runtime cannot compute one.
    """
    needed, needing = Counter(list(wanted)), list[Node]()
    for node in reversed(nodes):
        if any(needed[name] for name in node.outputs):
            needed.update(node.inputs)
            needing.append(node)
    values: dict[str, Array] = {}
    for batch in _batches(needing[::-1]):
        protos = [(node, write(node)) for node in batch]
        made = {name for _, written in protos for proto in written for name in proto.output}
        read = {name for _, written in protos for proto in written for name in proto.input}
        given = {
            name: values[name] if name in values else operand(name) for name in read - made - {""}
        }
        together = [proto for _, written in protos for proto in written]
        results = evaluate_all(together, given, opset) if len(batch) > 1 else None
        values.update(results if results is not None else _one_by_one(protos, given, opset))
        found = [name for node in batch for name in node.outputs if name in wanted]
        for name in found:
            yield name, values[name]
        used = [*found, *(name for node in batch for name in node.inputs)]
        needed.subtract(used)
        for name in {*used, *made}:
            if needed[name] <= 0:
                values.pop(name, None)


def _batches(nodes: Sequence[Node]) -> Iterator[list[Node]]:
    batch, num_bytes = list[Node](), 0
    for node in nodes:
        size = sum(tensor_type.num_bytes for tensor_type in node.output_types)
        is_alone = any(t and t.dtype in _ALONE for t in (*node.input_types, *node.output_types))
        is_full = num_bytes + size > _BATCH_BYTES or len(batch) == _BATCH_NODES
        if batch and (is_full or is_alone):
            yield batch
            batch, num_bytes = [], 0
        batch.append(node)
        num_bytes += size
        if is_alone:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


def _one_by_one(
    protos: Sequence[tuple[Node, list[onnx.NodeProto]]], given: dict[str, Array], opset: int
) -> dict[str, Array]:
    values: dict[str, Array] = {}
    for node, written in protos:
        for proto in written:
            operands = [values.get(name, given.get(name)) for name in proto.input]
            results = evaluate(proto, operands, opset)
            if results is None:
                raise ValueError(
                    f'node "{node.outputs[0]}" ({node.op_type}) of constants could not be computed'
                )
            values.update(zip(proto.output, results, strict=True))
    return values
