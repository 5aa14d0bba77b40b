"""Values to execute a single operator or a whole graph with, where only types are known.

What an operator takes hardly depends on the values, as long as they are ordinary: no denormals,
no division by zero (which, for integers, ends the process), no index out of range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from xflowrl._engine import OpSignature, TensorType
from xflowrl.operators import operator_of

_BLOCK = 65_536  # random numbers drawn once, then repeated: drawing costs more than timing


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
        role = operator_of(signature.op_type).roles.get(index, "")
        if role == "indices":
            return _indices(signature, index)
        if role in _VALUES:
            dtype = np.dtype(tensor_type.dtype)
            return np.asarray(_VALUES[role](signature), dtype).reshape(tuple(tensor_type.shape))
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


def _result_shape(signature: OpSignature) -> list[int]:
    return list(signature.output_types[0].shape)


def _result_along_axis(signature: OpSignature) -> int:
    return _result_shape(signature)[int(signature.attributes.get("axis", -1))]


def _scales(signature: OpSignature) -> list[float]:
    image = signature.input_types[0]
    assert image is not None
    return [to / of for to, of in zip(_result_shape(signature), image.shape, strict=True)]


# By role, what an operand must be to give a result of the known shape.
_VALUES: dict[str, Callable[[OpSignature], object]] = {
    "shape": _result_shape,
    "extent": _result_along_axis,
    "scales": _scales,
}
