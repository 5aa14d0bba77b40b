"""Small changes of form that leave what a node of opset 18 computes as it is."""

from __future__ import annotations

import onnx

from xflowrl.onnx_io.known import Known, attributes_of, set_attribute


def without_ceil_mode(node: onnx.NodeProto, known: Known) -> onnx.NodeProto:
    """MaxPool and AveragePool with ceil_mode=0 and the same result, where there is one.

    A window that would start in the padding is left out, as opset 22 says and runtimes do in every
    opset; type inference before 22 counts it. The end of the padding grows instead, unless an
    average counts the padding.
    """
    attributes = attributes_of(node)
    shape = known.shape(node.input[0]) if node.input else None
    if node.op_type not in ("MaxPool", "AveragePool") or not attributes.get("ceil_mode"):
        return node
    if shape is None or attributes.get("auto_pad", "NOTSET") != "NOTSET":
        return node
    kernel = attributes["kernel_shape"]
    rank = len(kernel)
    strides = attributes.get("strides") or [1] * rank
    dilations = attributes.get("dilations") or [1] * rank
    pads = list(attributes.get("pads") or [0] * (2 * rank))
    grows = False
    for i, size in enumerate(shape[2:]):
        reach = (kernel[i] - 1) * dilations[i] + 1
        steps = -(-(size + pads[i] + pads[rank + i] - reach) // strides[i])
        if steps * strides[i] >= size + pads[i]:
            steps -= 1
        missing = steps * strides[i] + reach - (size + pads[i] + pads[rank + i])
        if missing > 0:
            pads[rank + i] += missing
            grows = True
            if pads[rank + i] >= kernel[i]:
                return node  # runtimes refuse a padding as wide as the kernel
    if grows and attributes.get("count_include_pad", 0):
        return node
    pool = onnx.NodeProto()
    pool.CopyFrom(node)
    set_attribute(pool, "ceil_mode", 0)
    set_attribute(pool, "pads", pads)
    return pool


def drop_unused_outputs(node: onnx.NodeProto, used: set[str], opset: int) -> None:
    """Leaves out trailing optional outputs that nothing reads."""
    if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type, opset):
        return
    schema = onnx.defs.get_schema(node.op_type, opset)
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    while len(node.output) > 1:
        last = len(node.output) - 1
        if last >= len(schema.outputs) or schema.outputs[last].option != optional:
            return
        if node.output[last] and node.output[last] in used:
            return
        del node.output[last]
