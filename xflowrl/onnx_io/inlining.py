"""Replaces a call of a function, or a branch that is always taken, by the nodes inside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import onnx

from xflowrl.onnx_io.tensor_types import UniqueNames


def bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs inside a node (branches, loop bodies), in the order of its attributes."""
    found: list[onnx.GraphProto] = []
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            found.append(attribute.g)
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            found.extend(attribute.graphs)
    return found


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph, those in bodies included."""
    for node in graph.node:
        yield node
        for body in bodies(node):
            yield from all_nodes(body)


def captured_names(node: onnx.NodeProto) -> list[str]:
    """Names that the bodies of a node take from outside it, in order of first use."""
    found: dict[str, None] = {}
    for body in bodies(node):
        _collect_captured(body, found)
    return list(found)


def _collect_captured(body: onnx.GraphProto, found: dict[str, None]) -> None:
    inner = {i.name for i in body.input} | {t.name for t in body.initializer}
    for node in body.node:
        for name in [*node.input, *captured_names(node)]:
            if name and name not in inner:
                found.setdefault(name)
        inner.update(node.output)
    for output in body.output:
        if output.name not in inner:
            found.setdefault(output.name)


def reads(node: onnx.NodeProto) -> list[str]:
    """Every tensor a node reads, those that its bodies capture included."""
    return [name for name in node.input if name] + captured_names(node)


def rename_captured(node: onnx.NodeProto, new_names: Mapping[str, str]) -> None:
    """Renames, in place, what the bodies of a node take from outside it."""
    for body in bodies(node):
        rename_free(body, new_names)


def rename_free(body: onnx.GraphProto, new_names: Mapping[str, str]) -> None:
    """Renames, in place, the names a body does not define itself."""
    inner = {i.name for i in body.input} | {t.name for t in body.initializer}
    inner.update(name for node in body.node for name in node.output)
    free = {old: new for old, new in new_names.items() if old not in inner and old != new}
    if free:
        _rename_uses(body, free)
        for output in body.output:
            output.name = free.get(output.name, output.name)


def rename_defined(body: onnx.GraphProto, new_names: Mapping[str, str]) -> None:
    """Renames, in place, tensors that a body defines, wherever the body mentions them."""
    for info in [*body.input, *body.output, *body.value_info, *body.initializer]:
        info.name = new_names.get(info.name, info.name)
    for node in body.node:
        for position, name in enumerate(node.output):
            node.output[position] = new_names.get(name, name)
    _rename_uses(body, new_names)


def _rename_uses(body: onnx.GraphProto, new_names: Mapping[str, str]) -> None:
    for node in body.node:
        for position, name in enumerate(node.input):
            node.input[position] = new_names.get(name, name)
        rename_captured(node, new_names)


def defined_names(body: onnx.GraphProto) -> set[str]:
    """Names a body and the bodies inside it define."""
    names = {i.name for i in body.input} | {t.name for t in body.initializer}
    for node in body.node:
        names.update(name for name in node.output if name)
        for inner in bodies(node):
            names |= defined_names(inner)
    return names


def expand_function(
    call: onnx.NodeProto, function: onnx.FunctionProto, names: UniqueNames
) -> list[onnx.NodeProto]:
    """The nodes of a function in place of its call, under names that are new.

    Raises ValueError if the call lacks an attribute that the function needs.
    """
    given = {a.name: a for a in call.attribute}
    for default in function.attribute_proto:
        given.setdefault(default.name, default)
    formal = dict.fromkeys(function.input, "")
    formal.update(zip(function.input, call.input, strict=False))
    # An output that is an input of the function cannot be renamed to the caller's name.
    results = {
        inner: outer
        for inner, outer in zip(function.output, call.output, strict=False)
        if outer and inner not in formal
    }
    nodes = _renamed(function.node, {**formal, **results}, call.name or call.output[0], names)
    for node in nodes:
        _bind_attributes(node, given)
    for inner, outer in zip(function.output, call.output, strict=False):
        if outer and inner in formal:
            nodes.append(onnx.helper.make_node("Identity", [formal[inner]], [outer]))
    return nodes


def expand_branch(
    branch: onnx.GraphProto, prefix: str, names: UniqueNames
) -> tuple[list[onnx.NodeProto], dict[str, str]]:
    """Copies of the nodes of a branch, and the new names of all that the branch defines."""
    weights = {t.name: names.fresh(f"{prefix}/{t.name}") for t in branch.initializer}
    nodes = _renamed(branch.node, weights, prefix, names)
    outputs = {
        old: new
        for before, after in zip(branch.node, nodes, strict=True)
        for old, new in zip(before.output, after.output, strict=True)
    }
    return nodes, {**outputs, **weights}


def _renamed(
    nodes: Iterable[onnx.NodeProto], known: Mapping[str, str], prefix: str, names: UniqueNames
) -> list[onnx.NodeProto]:
    """Copies of nodes; what they define gets `known` names, or new ones behind a prefix."""
    new_names = dict(known)
    copies = []
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = ""
        for position, name in enumerate(copy.input):
            copy.input[position] = new_names.get(name, name)
        rename_captured(copy, new_names)
        for body in bodies(copy):
            inner = {name: names.fresh(f"{prefix}/{name}") for name in sorted(defined_names(body))}
            _rename_all_defined(body, inner)
        for position, name in enumerate(copy.output):
            if name and name not in new_names:
                new_names[name] = names.fresh(f"{prefix}/{name}")
            copy.output[position] = new_names.get(name, "")
        copies.append(copy)
    return copies


def _rename_all_defined(body: onnx.GraphProto, new_names: Mapping[str, str]) -> None:
    for node in body.node:
        for inner in bodies(node):
            _rename_all_defined(inner, new_names)
    rename_defined(body, new_names)


def _bind_attributes(node: onnx.NodeProto, given: Mapping[str, onnx.AttributeProto]) -> None:
    """Replaces references to attributes of the function by what the call says, in place."""
    for attribute in list(node.attribute):
        if not attribute.ref_attr_name:
            continue
        source = given.get(attribute.ref_attr_name)
        name = attribute.name
        node.attribute.remove(attribute)
        if source is not None:
            bound = node.attribute.add()
            bound.CopyFrom(source)
            bound.name = name
    for body in bodies(node):
        for inner in body.node:
            _bind_attributes(inner, given)


def separate_bodies(nodes: Iterable[onnx.NodeProto], taken: set[str], names: UniqueNames) -> None:
    """Renames, in place, what bodies define under a name of the graph around them."""
    for node in nodes:
        for body in bodies(node):
            clashes = sorted(defined_names(body) & taken)
            rename_defined(body, {name: names.fresh(name) for name in clashes})


def restore_captured(
    node: onnx.NodeProto, new_name: Callable[[str], str], names: UniqueNames
) -> None:
    """Gives bodies back what they capture, in place: the last operands of a node that has bodies.

    Args:
        new_name: what the captured tensors are called from now on.
        names: where names come from for what bodies define under such a name.
    """
    if not bodies(node):
        return
    captured = captured_names(node)
    operands = list(node.input)
    actual = operands[len(operands) - len(captured) :]
    del node.input[len(operands) - len(captured) :]
    outer = {new_name(name) for name in actual}
    clashes = {n for body in bodies(node) for n in defined_names(body)} & outer
    for body in bodies(node):
        rename_defined(body, {name: names.fresh(name) for name in sorted(clashes)})
    rename_captured(node, {old: new_name(new) for old, new in zip(captured, actual, strict=True)})
