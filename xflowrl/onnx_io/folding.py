"""Evaluates operators on constants with ONNX Runtime, the program that will run the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from xflowrl.onnx_io.inlining import bodies
from xflowrl.onnx_io.known import describe
from xflowrl.onnx_io.model import Array
from xflowrl.onnx_io.tensor_types import CANONICAL_OPSET, array_type, type_proto

# Kept as they are: folding them would undo a quantisation.
_QUANTISATION = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
_RANDOM = frozenset(
    {
        "Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike",
        "RandomUniform", "RandomUniformLike",
    }
)  # fmt: skip
_IR_VERSION = 10
_GROWING = frozenset({"ConstantOfShape", "Expand", "Tile"})
MAX_KNOWN_FLOATS = 64  # larger constants are never looked into


def is_deterministic(node: onnx.NodeProto) -> bool:
    """Whether equal operands always give equal outputs."""
    return node.op_type not in _RANDOM and all(
        is_deterministic(inner) for body in bodies(node) for inner in body.node
    )


def can_fold(node: onnx.NodeProto) -> bool:
    """Whether a node whose operands are constant may be replaced by its value."""
    return (
        node.domain in ("", "ai.onnx")
        and node.op_type not in _QUANTISATION
        and not bodies(node)
        and is_deterministic(node)
    )


def makes_much(node: onnx.NodeProto, operands: Sequence[Array | None]) -> bool:
    """Whether a ConstantOfShape, an Expand or a Tile makes much of little."""
    if node.op_type not in _GROWING:
        return False
    sizes = operands[0 if node.op_type == "ConstantOfShape" else 1]
    return sizes is not None and float(np.prod(sizes.astype(np.float64))) > MAX_KNOWN_FLOATS


def constant_value(node: onnx.NodeProto) -> Array | None:
    """The value of a Constant; None for an element type that NumPy lacks."""
    attribute = node.attribute[0]
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.name == "value":
        if value.data_type == onnx.TensorProto.STRING:
            return np.array(list(value.string_data), dtype=object).reshape(tuple(value.dims))
        return np.asarray(onnx.numpy_helper.to_array(value))
    if attribute.name.startswith("value_string"):
        return np.array(value, dtype=object)
    if attribute.name == "sparse_value":
        return None
    return np.array(value, np.float32 if attribute.name.startswith("value_float") else np.int64)


def evaluate(
    node: onnx.NodeProto, operands: Sequence[Array | None], opset: int = CANONICAL_OPSET
) -> list[Array] | None:
    """Values of the outputs of a node, or None if ONNX Runtime cannot compute it on the CPU.

    Half and bfloat16 operands are computed in single precision where that is possible: the caller
    rounds the result.
    """
    given = dict(zip(node.input, operands, strict=True))
    feeds = {name: array for name, array in given.items() if name and array is not None}
    wide = {name: _widened(array) for name, array in feeds.items()}
    has_half = any(wide[name] is not feeds[name] for name in feeds)
    if has_half and (results := _run([node], wide, opset)) is not None:
        return results
    return _run([node], feeds, opset)


def evaluate_all(
    nodes: Sequence[onnx.NodeProto], given: Mapping[str, Array], opset: int
) -> dict[str, Array] | None:
    """Values of all outputs of nodes in topological order, or None if ONNX Runtime cannot.

    One session for all of them: for small constants it takes longer than to compute them.

    Args:
        given: what they read and none of them makes; of no half type.
    """
    results = _run(nodes, given, opset)
    if results is None:
        return None
    names = [name for node in nodes for name in node.output if name]
    return dict(zip(names, results, strict=True))


def _widened(array: Array) -> Array:
    if array.dtype == object:  # ONNX Runtime takes text
        text = [s.decode() if isinstance(s, bytes) else s for s in array.ravel()]
        return np.array(text, dtype=object).reshape(array.shape)
    return array.astype(np.float32) if array.dtype.name in ("float16", "bfloat16") else array


def _run(
    nodes: Sequence[onnx.NodeProto], feeds: Mapping[str, Array], opset: int
) -> list[Array] | None:
    import onnxruntime

    try:
        graph = onnx.helper.make_graph(
            nodes,
            "constants",
            [onnx.helper.make_value_info(n, type_proto(array_type(a))) for n, a in feeds.items()],
            [
                onnx.helper.make_empty_tensor_value_info(n)
                for node in nodes
                for n in node.output
                if n
            ],
        )
        opsets = [onnx.helper.make_opsetid("", opset)]
        model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return [np.asarray(result) for result in session.run(None, dict(feeds))]
    except Exception:  # a dozen exception types of its own; then the node stays as it is
        return None


def compute(
    node: onnx.NodeProto,
    index: int,
    sources: Sequence[Array | Callable[[], Array] | None],
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    opset: int,
) -> Array:
    """Output number `index` of a node whose operands are constants."""
    if node.op_type == "ConstantOfShape":
        return _filled(node, dtype, shape)
    operands = [source() if callable(source) else source for source in sources]
    results = evaluate(node, operands, opset)
    if results is None:
        raise ValueError(f"{describe(node)} of constants could not be computed")
    position = sum(map(bool, node.output[:index]))  # among the outputs that have a name
    return results[position].astype(dtype)


def _filled(node: onnx.NodeProto, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """One number, seen as a whole array: placeholder weights take no memory."""
    value: Any = 0
    for attribute in node.attribute:
        value = onnx.numpy_helper.to_array(attribute.t).item()
    return np.broadcast_to(np.array(value, dtype), shape)
