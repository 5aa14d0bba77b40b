"""The operator sets and functions that a written model needs."""

from __future__ import annotations

import onnx

from xflowrl.onnx_io.inlining import all_nodes


def write_operator_sets(model: onnx.ModelProto, opset: int) -> None:
    """Declares the operator sets of a model's nodes, in place, and drops functions nobody calls."""
    versions = {o.domain: o.version for o in model.opset_import}
    versions.pop("ai.onnx", None)
    versions[""] = opset
    declared = {*versions, "ai.onnx"}
    for domain, op_type in sorted({(n.domain, n.op_type) for n in all_nodes(model.graph)}):
        if domain not in declared:
            known = onnx.defs.has(op_type, domain)
            least = onnx.defs.get_schema(op_type, domain).since_version if known else 1
            versions[domain] = max(least, versions.get(domain, 1))
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(d, v) for d, v in versions.items())
    called = {(node.domain, node.op_type) for node in all_nodes(model.graph)}
    for function in model.functions:
        called |= {(node.domain, node.op_type) for node in function.node}
    functions = [f for f in model.functions if (f.domain, f.name) in called]
    del model.functions[:]
    model.functions.extend(functions)
