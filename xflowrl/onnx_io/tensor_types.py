"""Element types and tensor types: ONNX's, NumPy's and the engine's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import onnx

from xflowrl._engine import TensorType
from xflowrl.onnx_io.model import Array

CANONICAL_OPSET = 18
UNKNOWN = TensorType("unknown", [])
"""The type of what cannot be typed: no rule matches it."""

_NAMES: Mapping[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.UINT16: "uint16",
    onnx.TensorProto.INT16: "int16",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.STRING: "string",
    onnx.TensorProto.BOOL: "bool",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.DOUBLE: "float64",
    onnx.TensorProto.UINT32: "uint32",
    onnx.TensorProto.UINT64: "uint64",
    onnx.TensorProto.COMPLEX64: "complex64",
    onnx.TensorProto.COMPLEX128: "complex128",
    onnx.TensorProto.BFLOAT16: "bfloat16",
}
_ELEMENTS: Mapping[str, int] = {name: element for element, name in _NAMES.items()}
FLOAT_ELEMENTS = frozenset(
    {
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.DOUBLE,
    }
)
FLOAT_NAMES = frozenset({"float16", "bfloat16", "float32", "float64"})
INTEGER_NAMES = frozenset(
    {"int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool"}
)


def element_name(element: int) -> str:
    """The engine's name of an ONNX element type. Raises ValueError if opset 18 has no such type."""
    if element not in _NAMES:
        try:
            name = onnx.TensorProto.DataType.Name(element)
        except ValueError:
            name = str(element)
        raise ValueError(f"element type {name} does not exist in opset {CANONICAL_OPSET}")
    return _NAMES[element]


def element_of(name: str) -> int:
    """ONNX's number of an element type of the engine."""
    return _ELEMENTS[name]


def numpy_dtype(name: str) -> np.dtype[Any]:
    """What arrays of an engine element type hold; strings are object arrays."""
    if name == "string":
        return np.dtype(object)
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def array_type(array: Array) -> TensorType:
    """The engine type of an array."""
    name = "string" if array.dtype.kind in "OSU" else array.dtype.name
    return TensorType(name, array.shape)


def type_proto(tensor_type: TensorType) -> onnx.TypeProto:
    return onnx.helper.make_tensor_type_proto(
        element_of(tensor_type.dtype), list(tensor_type.shape)
    )


def engine_type(proto: onnx.TypeProto | None) -> TensorType:
    """The engine type of a tensor; `UNKNOWN` where a size, the rank or the element is not known."""
    shape = static_shape(proto) if is_static(proto) else None
    if proto is None or shape is None or proto.tensor_type.elem_type not in _NAMES:
        return UNKNOWN
    try:
        return TensorType(_NAMES[proto.tensor_type.elem_type], shape)
    except ValueError:  # more dimensions or elements than the engine counts
        return UNKNOWN


def static_shape(proto: onnx.TypeProto | None) -> tuple[int, ...]:
    """The sizes of a type; () unless all are known."""
    if proto is None or not is_static(proto):
        return ()
    return tuple(d.dim_value for d in proto.tensor_type.shape.dim)


def is_static(proto: onnx.TypeProto | None) -> bool:
    if proto is None or not proto.HasField("tensor_type"):
        return False
    tensor = proto.tensor_type
    return tensor.HasField("shape") and all(
        d.HasField("dim_value") and d.dim_value >= 0 for d in tensor.shape.dim
    )


def make_tensor(name: str, array: Array, dtype: str) -> onnx.TensorProto:
    """`array` as an initialiser of engine type `dtype`."""
    if dtype == "string":
        flat = [s if isinstance(s, bytes) else str(s).encode() for s in array.ravel()]
        return onnx.helper.make_tensor(name, onnx.TensorProto.STRING, array.shape, flat)
    return onnx.numpy_helper.from_array(
        np.ascontiguousarray(array, dtype=numpy_dtype(dtype)).reshape(array.shape), name
    )


class UniqueNames:
    """Hands out names that do not occur yet; deterministic in the order of asking."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken
        self._next: dict[str, int] = {}

    def add(self, name: str) -> None:
        self._taken.add(name)

    def fresh(self, name: str) -> str:
        """`name` itself if it is free, else with a number behind it."""
        candidate = name
        while candidate in self._taken:
            self._next[name] = self._next.get(name, 1) + 1
            candidate = f"{name}_{self._next[name]}"
        self._taken.add(candidate)
        return candidate


Reader = Callable[[], Array]
