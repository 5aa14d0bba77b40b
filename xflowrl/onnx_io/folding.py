"""Evaluates operators on constants with ONNX's reference evaluator."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import onnx
import onnx.reference

from xflowrl.onnx_io.inlining import bodies
from xflowrl.onnx_io.model import Array
from xflowrl.onnx_io.tensor_types import CANONICAL_OPSET

# Kept as they are: folding them would undo a quantisation.
_QUANTISATION = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
_RANDOM = frozenset(
    {
        "Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike",
        "RandomUniform", "RandomUniformLike",
    }
)  # fmt: skip


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


def evaluate(
    node: onnx.NodeProto, operands: Sequence[Array | None], opset: int = CANONICAL_OPSET
) -> list[Array] | None:
    """Values of the outputs of a node, or None if the evaluator does not know it.

    Half and bfloat16 operands are computed in single precision: the caller rounds the result.
    """
    names = [name for name in dict.fromkeys(node.input) if name]
    given = dict(zip(node.input, operands, strict=True))
    graph = onnx.helper.make_graph(
        [node],
        "constants",
        [onnx.helper.make_empty_tensor_value_info(name) for name in names],
        [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name],
    )
    opsets = [onnx.helper.make_opsetid("", opset)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    feeds = {name: _widened(given[name]) for name in names}
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            results = onnx.reference.ReferenceEvaluator(model).run(None, feeds)
    except Exception:  # the evaluator raises whatever NumPy does; then the node stays as it is
        return None
    if not all(isinstance(result, np.ndarray | np.generic) for result in results):
        return None
    return [np.asarray(result) for result in results]


def _widened(array: Array | None) -> Array | None:
    if array is not None and array.dtype.name in ("float16", "bfloat16"):
        return array.astype(np.float32)
    return array
