"""Values to execute a single operator or a whole graph with, where only types are known.

What an operator takes hardly depends on the values, as long as they are ordinary: no denormals,
no division by zero (which, for integers, ends the process), no index out of range.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xflowrl._engine import OpSignature, TensorType

_BLOCK = 65_536  # random numbers drawn once, then repeated: drawing costs more than timing

_INDEX_OPERANDS = {  # operator -> (position of its indices, the operand they point into)
    "Gather": (1, 0),
    "GatherElements": (1, 0),
    "GatherND": (1, 0),
    "ScatterElements": (1, 0),
    "ScatterND": (1, 0),
}
_SHAPE_OPERANDS = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0, "Resize": 3}


def draw(tensor_type: TensorType, *, seed: int = 0) -> np.ndarray:
    """An array of the type: floats uniform in [0.5, 1.5), integers 1, booleans mixed, "a" strings.

    bfloat16 comes as its uint16 bits. Deterministic.

    Raises:
        ValueError: NumPy has no such type.
    """
    shape = tuple(tensor_type.shape)
    dtype = tensor_type.dtype
    if dtype == "string":
        return np.full(shape, "a", dtype=object)
    if dtype == "bfloat16":
        bits = _floats(shape, seed).astype(np.float32).view(np.uint32) >> 16
        return bits.astype(np.uint16)
    try:
        kind = np.dtype(dtype)
    except TypeError as error:
        raise ValueError(f"no values of type {dtype} can be drawn") from error
    if kind.kind in "fc":
        return _floats(shape, seed).astype(kind)
    if kind.kind == "b":
        return _floats(shape, seed) < 1.0
    return np.ones(shape, dtype=kind)


def draw_operand(signature: OpSignature, index: int) -> np.ndarray:
    """Operand number `index` of an operator; a meaningful one where it holds indices or a shape.

    Raises:
        ValueError: NumPy has no such type.
    """
    tensor_type = signature.input_types[index]
    assert tensor_type is not None, "an omitted operand has no values"
    if signature.domain == "":
        if _INDEX_OPERANDS.get(signature.op_type, (-1, -1))[0] == index:
            return _indices(signature, index)
        if _SHAPE_OPERANDS.get(signature.op_type) == index:
            return np.asarray(signature.output_types[0].shape, dtype=np.int64)
        if signature.op_type == "TopK" and index == 1:
            return _top_k(signature)
    return draw(tensor_type, seed=index)


def _floats(shape: Sequence[int], seed: int) -> np.ndarray:
    block = np.random.default_rng(seed).random(_BLOCK, dtype=np.float32) + np.float32(0.5)
    return np.resize(block, tuple(shape))


def _indices(signature: OpSignature, index: int) -> np.ndarray:
    """Indices spread over the axis they point along; zeros where they point along several."""
    indices, data = signature.input_types[index], signature.input_types[0]
    assert indices is not None and data is not None
    if "axis" not in signature.attributes or not data.shape:
        return np.zeros(tuple(indices.shape), dtype=indices.dtype)
    limit = max(1, data.shape[int(signature.attributes["axis"])])
    drawn = np.random.default_rng(index).integers(0, limit, size=tuple(indices.shape))
    return drawn.astype(indices.dtype)


def _top_k(signature: OpSignature) -> np.ndarray:
    axis = int(signature.attributes.get("axis", -1))
    return np.asarray([signature.output_types[0].shape[axis]], dtype=np.int64)
