"""Types of a node's outputs, from ONNX's own shape inference, strict and with data propagation."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from xflowrl.onnx_io.inlining import bodies, captured_names
from xflowrl.onnx_io.known import Known, attributes_of, describe
from xflowrl.onnx_io.tensor_types import is_static

_MAX_DATA_ELEMENTS = 1024  # operands that decide a shape are small
_IR_VERSION = 10
_WINDOWS = frozenset({"AveragePool", "Conv", "ConvInteger", "LpPool", "MaxPool"})


def infer_outputs(
    node: onnx.NodeProto,
    opset: int,
    known: Known,
    declared: Mapping[str, onnx.TypeProto],
    custom_opsets: Mapping[str, int],
) -> dict[str, onnx.TypeProto]:
    """Types of the outputs by name; what the model declares fills in what inference leaves open.

    Raises ValueError naming the node if ONNX finds its operands impossible.
    """
    found: Mapping[str, onnx.TypeProto] = {}
    version = opset if node.domain in ("", "ai.onnx") else custom_opsets.get(node.domain, 1)
    try:
        if bodies(node):
            found = _infer_with_bodies(node, opset, known, custom_opsets)
        elif node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type, version):
            raise ValueError(f"{describe(node)}: ONNX has no such operator in opset {version}")
        elif onnx.defs.has(node.op_type, version, node.domain):
            found = _infer_plain(node, version, opset, known)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError) as e:
        reason = " ".join(str(e).split())
        raise ValueError(f"{describe(node)} has impossible operands: {reason}") from None
    if node.op_type in _WINDOWS and not _fits(node, known):
        raise ValueError(f"{describe(node)}: its operand is smaller than its window")
    types = {}
    for name in node.output:
        if name:
            types[name] = _merged(found.get(name), declared.get(name))
    return types


def _fits(node: onnx.NodeProto, known: Known) -> bool:
    """Whether a window is within its padded operand; ONNX infers some size where it is not."""
    attributes, operand = attributes_of(node), known.shape(node.input[0])
    kernel = attributes.get("kernel_shape")
    if kernel is None and node.op_type in ("Conv", "ConvInteger"):
        kernel = (known.shape(node.input[1]) or ())[2:]
    if operand is None or not kernel or attributes.get("auto_pad", "NOTSET").startswith("SAME"):
        return True
    rank = len(kernel)
    pads = attributes.get("pads") or [0] * (2 * rank)
    dilations = attributes.get("dilations") or [1] * rank
    return all(
        size + pads[axis] + pads[rank + axis] > dilations[axis] * (kernel[axis] - 1)
        for axis, size in enumerate(operand[2:])
    )


def _merged(found: onnx.TypeProto | None, declared: onnx.TypeProto | None) -> onnx.TypeProto:
    if found is None or found.WhichOneof("value") is None:
        return declared if declared is not None else onnx.TypeProto()
    if is_static(found) or declared is None or not is_static(declared):
        return found
    if found.WhichOneof("value") != "tensor_type":
        return found
    return declared if found.tensor_type.elem_type == declared.tensor_type.elem_type else found


def _infer_plain(
    node: onnx.NodeProto, version: int, opset: int, known: Known
) -> dict[str, onnx.TypeProto]:
    types = {name: known.types.get(name, onnx.TypeProto()) for name in node.input if name}
    data = {}
    for name in dict.fromkeys(node.input):
        value = known.value(name) if name else None
        if value is not None and value.size <= _MAX_DATA_ELEMENTS:
            data[name] = onnx.numpy_helper.from_array(value, name)
    schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    found: dict[str, onnx.TypeProto] = onnx.shape_inference.infer_node_outputs(
        schema, node, types, data, opset_imports=[onnx.helper.make_opsetid("", opset)]
    )
    return found


def _infer_with_bodies(
    node: onnx.NodeProto, opset: int, known: Known, custom_opsets: Mapping[str, int]
) -> dict[str, onnx.TypeProto]:
    inferred = infer_model(node, opset, known, custom_opsets)
    return {o.name: o.type for o in [*inferred.graph.output, *inferred.graph.value_info]}


def infer_model(
    node: onnx.NodeProto, opset: int, known: Known, custom_opsets: Mapping[str, int]
) -> onnx.ModelProto:
    """A model of this one node, its bodies annotated with the types of the tensors in them."""
    operands = dict.fromkeys(name for name in [*node.input, *captured_names(node)] if name)
    inputs, constants = [], []
    for name in operands:
        value = known.value(name)
        if value is not None and value.size <= _MAX_DATA_ELEMENTS:
            constants.append(onnx.numpy_helper.from_array(value, name))
        elif name in known.types:
            inputs.append(onnx.helper.make_value_info(name, known.types[name]))
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = onnx.helper.make_graph([node], "one_node", inputs, outputs, constants)
    opsets = [onnx.helper.make_opsetid(d, v) for d, v in custom_opsets.items()]
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", opset), *opsets],
        ir_version=_IR_VERSION,
    )
    return onnx.shape_inference.infer_shapes(
        model, check_type=False, strict_mode=True, data_prop=True
    )


def body_types(
    node: onnx.NodeProto, opset: int, known: Known, custom_opsets: Mapping[str, int]
) -> dict[str, onnx.TypeProto]:
    """Types of the tensors inside the bodies of a node, as far as they can be known."""
    try:
        inferred = infer_model(node, opset, known, custom_opsets)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError):
        return {}
    types: dict[str, onnx.TypeProto] = {}
    _collect_types(inferred.graph.node[0], types)
    return types


def _collect_types(node: onnx.NodeProto, types: dict[str, onnx.TypeProto]) -> None:
    for body in bodies(node):
        for info in [*body.input, *body.value_info, *body.output]:
            types[info.name] = info.type
        for tensor in body.initializer:
            types[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
        for inner in body.node:
            _collect_types(inner, types)
