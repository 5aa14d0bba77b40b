"""Model files read and written without their weights in memory.

A protobuf message is a sequence of fields, each a tag, a length and that many bytes, in any order.
So the raw data of large initialisers can be left where they are in the file, and be copied from
there into another: they look like external data whose file is the model itself.
Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx

from xflowrl.onnx_io.model import Array

_GRAPH = onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALIZER = onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_RAW_DATA = onnx.TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number
_LENGTH_DELIMITED = 2
_SMALL_BYTES = 4096  # smaller initialisers are read


def read_model(path: Path) -> onnx.ModelProto:
    """The model at `path`, the raw data of its larger initialisers as places in that file.

    A file whose name is not UTF-8 is read whole: ONNX knows no other names of places.

    Raises ValueError or DecodeError if this is no protobuf message or it is cut off.
    """
    if not _is_utf8(path.name):
        return onnx.load(path, load_external_data=False)
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise ValueError("the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _model(data, path.name)


def _is_utf8(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _model(data: mmap.mmap, location: str) -> onnx.ModelProto:
    model = onnx.ModelProto()
    for number, begin, start, end in _fields(data, 0, len(data)):
        if number != _GRAPH:
            model.MergeFromString(data[begin:end])
            continue
        model.graph.SetInParent()
        for inner, inner_begin, inner_start, inner_end in _fields(data, start, end):
            if inner != _INITIALIZER or inner_end - inner_start <= _SMALL_BYTES:
                model.graph.MergeFromString(data[inner_begin:inner_end])
            else:
                _read_tensor(data, inner_start, inner_end, model.graph.initializer.add(), location)
    return model


def _read_tensor(
    data: mmap.mmap, start: int, end: int, tensor: onnx.TensorProto, location: str
) -> None:
    for number, begin, value, value_end in _fields(data, start, end):
        if number != _RAW_DATA or value_end - value <= _SMALL_BYTES:
            tensor.MergeFromString(data[begin:value_end])
            continue
        places = {"location": location, "offset": value, "length": value_end - value}
        for key, place in places.items():
            tensor.external_data.add(key=key, value=str(place))
    if tensor.external_data:  # set last: a file may say the default behind its raw data
        tensor.data_location = onnx.TensorProto.EXTERNAL


def _fields(data: mmap.mmap, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, begin, start of the value and end of each field of a message."""
    while position < end:
        begin = position
        tag, position = _varint(data, position, end)
        kind = tag & 7
        if kind == _LENGTH_DELIMITED:
            length, position = _varint(data, position, end)
        elif kind == 0:
            length = _varint(data, position, end)[1] - position
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError("it is no protobuf message")
        if position + length > end or not tag >> 3:
            raise ValueError("it is cut off, or no protobuf message")
        yield tag >> 3, begin, position, position + length
        position += length


def _varint(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end and shift < 64:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position
    raise ValueError("it is cut off, or no protobuf message")


def write_model(model: onnx.ModelProto, raw_data: Mapping[str, Array], file: BinaryIO) -> None:
    """Writes a model; `raw_data` are the values of initialisers that lack them, by name."""
    head, graph, tensors = onnx.ModelProto(), onnx.GraphProto(), list(model.graph.initializer)
    head.CopyFrom(model)
    graph.CopyFrom(model.graph)
    head.ClearField("graph")
    del graph.initializer[:]
    body = graph.SerializeToString()
    sizes = [_tensor_bytes(t.SerializeToString(), raw_data.get(t.name)) for t in tensors]
    length = len(body) + sum(len(_tag(_INITIALIZER, size)) + size for size in sizes)
    file.write(head.SerializeToString() + _tag(_GRAPH, length) + body)
    for tensor, size in zip(tensors, sizes, strict=True):
        file.write(_tag(_INITIALIZER, size) + tensor.SerializeToString())
        array = raw_data.get(tensor.name)
        if array is not None:
            content = np.ascontiguousarray(array)
            file.write(_tag(_RAW_DATA, content.nbytes))
            file.write(content.reshape(-1).view(np.uint8).data)


def _tensor_bytes(fields: bytes, array: Array | None) -> int:
    raw = 0 if array is None else len(_tag(_RAW_DATA, array.nbytes)) + array.nbytes
    return len(fields) + raw


def _tag(number: int, length: int) -> bytes:
    return _encoded(number << 3 | _LENGTH_DELIMITED) + _encoded(length)


def _encoded(value: int) -> bytes:
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    groups.append(value)
    return bytes(groups)
