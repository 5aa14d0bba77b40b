"""What is asked of a model file before anything reads a node of it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import onnx
from google.protobuf.message import Message  # type: ignore[import-untyped]

from xflowrl.onnx_io.inlining import bodies
from xflowrl.onnx_io.known import describe


def check_text(message: Message) -> None:
    """Raises ValueError for a name that is not UTF-8.

    It runs in ONNX Runtime; Python has it as bytes, which equal no text.
    """
    for field, value in message.ListFields():
        if field.message_type is None and field.type != field.TYPE_STRING:
            continue
        for item in [value] if isinstance(value, str | bytes | Message) else value:
            if isinstance(item, Message):
                check_text(item)
            elif isinstance(item, bytes):
                raise ValueError(f"{field.name} {item!r} is not UTF-8; export it again")


def check_nodes(nodes: Iterable[onnx.NodeProto], opset: int) -> None:
    """Raises ValueError for a node, in a body too, that its operator's schema does not allow.

    An attribute or operand that must be there is missing, or an attribute is of another type. All
    that reads nodes may rely on it.
    """
    for node in nodes:
        if node.domain in ("", "ai.onnx"):
            _check_node(node, opset)
        for body in bodies(node):
            check_nodes(body.node, opset)


def _check_node(node: onnx.NodeProto, opset: int) -> None:
    demands = _demands(node.op_type, opset)
    if demands is None:  # of another version, or an operator of the runtime's own
        if onnx.defs.has(node.op_type):
            raise ValueError(f"{describe(node)} is not in opset {opset}; export it again")
        return
    num_inputs, types, required = demands
    given = {attribute.name: attribute for attribute in node.attribute}
    if missing := required - given.keys():
        raise ValueError(
            f'{describe(node)}: attribute "{min(missing)}" is missing; export it again'
        )
    if len(node.input) < num_inputs or not node.output:
        raise ValueError(f"{describe(node)}: operands or results are missing; export it again")
    if node.op_type == "Constant" and len(given) != 1:
        raise ValueError(f"{describe(node)} has no value, or several; export it again")
    for name, attribute in given.items():
        if not attribute.ref_attr_name and attribute.type != types.get(name, attribute.type):
            raise ValueError(
                f'{describe(node)}: attribute "{name}" is of another type than {node.op_type} '
                "wants; export it again"
            )


@cache
def _demands(op_type: str, opset: int) -> tuple[int, dict[str, int], frozenset[str]] | None:
    """Of an operator: the least number of operands, types of attributes, those it must have."""
    if not onnx.defs.has(op_type, max_inclusive_version=opset):
        return None
    schema = onnx.defs.get_schema(op_type, opset)
    types = {name: int(a.type.value) for name, a in schema.attributes.items()}
    required = frozenset(name for name, a in schema.attributes.items() if a.required)
    return schema.min_input, types, required
