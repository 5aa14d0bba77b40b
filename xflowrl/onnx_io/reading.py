"""Reads a model file, with its external data, or says in one line why that cannot be done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]

from xflowrl.onnx_io.model import Array
from xflowrl.onnx_io.protobuf_file import read_model
from xflowrl.onnx_io.tensor_types import element_name, numpy_dtype
from xflowrl.onnx_io.well_formed import check_nodes, check_text
from xflowrl.shortage import is_no_memory

OLDEST_OPSET = 7


def read_proto(path: Path) -> onnx.ModelProto:
    """The model at `path`; external data are checked but stay on disk.

    Raises ValueError with the path and the remedy if this is no usable ONNX model.
    """
    if not path.exists():
        raise ValueError(f'model "{path}" does not exist; check graph.path')
    if not path.is_file():
        raise ValueError(f'model "{path}" is not a file; give the path of one .onnx file')
    try:
        proto = read_model(path)
    except (DecodeError, ValueError) as error:
        if is_no_memory(error):
            raise
        raise ValueError(
            f'model "{path}" is not an ONNX file, or is truncated ({path.stat().st_size} bytes); '
            "export or copy it again"
        ) from None
    if not proto.HasField("graph") or not proto.graph.output or not proto.opset_import:
        raise ValueError(
            f'model "{path}" is not an ONNX file, or is truncated: it has no graph or no '
            "operator set; export or copy it again"
        )
    _check_opset(proto, path)
    try:
        check_text(proto)
        check_nodes(proto.graph.node, opset_of(proto.opset_import))
        for function in proto.functions:
            check_nodes(function.node, opset_of(function.opset_import))
    except ValueError as error:
        raise ValueError(f'model "{path}": {error}') from None
    external = [t for t in all_tensors(proto) if t.data_location == onnx.TensorProto.EXTERNAL]
    for tensor in external:
        _check_external(tensor, path)
    if proto.graph.sparse_initializer:
        name = proto.graph.sparse_initializer[0].values.name
        raise ValueError(f'model "{path}": weight "{name}" is sparse; store it densely')
    weights = {id(tensor) for tensor in proto.graph.initializer}
    for tensor in external:
        if id(tensor) not in weights:  # in an attribute or a body: kept with its node, so read now
            onnx.external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
            tensor.data_location = onnx.TensorProto.DEFAULT
            tensor.ClearField("external_data")
    return proto


def opset_of(opset_imports: object) -> int:
    """The version of ONNX's own operator set in a list of operator sets; 0 if it is not there."""
    versions = [o.version for o in opset_imports if o.domain in ("", "ai.onnx")]  # type: ignore[attr-defined]
    return max(versions, default=0)


def _check_opset(proto: onnx.ModelProto, path: Path) -> None:
    version, latest = opset_of(proto.opset_import), onnx.defs.onnx_opset_version()
    if version > latest:
        raise ValueError(
            f'model "{path}" uses opset {version}; the installed onnx package knows up to '
            f"{latest}: install a newer one"
        )
    if version < OLDEST_OPSET and any(o.domain in ("", "ai.onnx") for o in proto.opset_import):
        raise ValueError(
            f'model "{path}" uses opset {version}; at least {OLDEST_OPSET} is needed: '
            "export it with a newer opset"
        )


def all_tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model: initialisers, attributes, in bodies and in functions."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None or field.name in ("value_info", "metadata_props"):
            continue
        for item in [value] if isinstance(value, Message) else value:
            if isinstance(item, Message):
                yield from all_tensors(item)


def _check_external(tensor: onnx.TensorProto, path: Path) -> None:
    what = f'model "{path}": weight "{tensor.name}"'
    try:
        location, offset, length = _external_place(tensor)
    except ValueError:
        raise ValueError(f"{what}: offset and length of its data must be integers") from None
    folder = path.parent.resolve()
    file = (folder / location).resolve()
    if not location or not file.is_relative_to(folder):
        raise ValueError(
            f'{what} is stored in "{location}", outside the folder of the model; '
            "move the data beside the model"
        )
    if not file.is_file():
        raise ValueError(f'{what} is stored in "{location}", which does not exist beside the model')
    expected = _num_bytes(tensor)
    if length not in (0, expected):
        raise ValueError(f"{what} has {length} bytes of external data, its type needs {expected}")
    if offset < 0 or offset + expected > file.stat().st_size:
        raise ValueError(
            f'{what} ends at byte {offset + expected} of "{location}", which has only '
            f"{file.stat().st_size}: the data file is truncated; copy it again"
        )


def _external_place(tensor: onnx.TensorProto) -> tuple[str, int, int]:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    return (
        entries.get("location", ""),
        int(entries.get("offset", 0)),
        int(entries.get("length", 0)),
    )


def _num_bytes(tensor: onnx.TensorProto) -> int:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    bits = 4 if "int4" in dtype.name or "float4" in dtype.name else 8 * dtype.itemsize
    return (int(np.prod(tensor.dims, dtype=np.int64)) * bits + 7) // 8


def raw_array(tensor: onnx.TensorProto, folder: Path) -> Array:
    """The bytes of an initialiser with external data, mapped into memory."""
    location, offset, _ = _external_place(tensor)
    if not _num_bytes(tensor):
        return np.zeros(0, np.uint8)
    return np.asarray(np.memmap(folder / location, np.uint8, "r", offset, (_num_bytes(tensor),)))


def tensor_array(tensor: onnx.TensorProto, folder: Path) -> Array:
    """The value of an initialiser; external data are mapped into memory, not read.

    Raises ValueError for an element type that opset 18 does not have.
    """
    try:
        name = element_name(tensor.data_type)
    except ValueError as error:
        raise ValueError(f'weight "{tensor.name}": {error}') from None
    shape = tuple(tensor.dims)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        # Bytes, not elements, are mapped: an offset need not be a multiple of the element's size.
        return raw_array(tensor, folder).view(numpy_dtype(name)).reshape(shape)
    if name == "string":
        return np.array(list(tensor.string_data), dtype=object).reshape(shape)
    return np.asarray(onnx.numpy_helper.to_array(tensor)).reshape(shape)
