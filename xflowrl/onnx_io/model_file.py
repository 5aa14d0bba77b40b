"""What a model file holds, read without importing it."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from xflowrl.onnx_io.inlining import all_nodes
from xflowrl.onnx_io.protobuf_file import read_model
from xflowrl.onnx_io.reading import all_tensors
from xflowrl.shortage import is_no_memory


@dataclass(frozen=True)
class ModelFile:
    """A model file on disk.

    Attributes:
        operators: how many nodes there are of each type, those in bodies of If, Loop, Scan too.
        data_files: the files of its external data, relative to its folder, each once.
        num_bytes: of the file and its external data.
    """

    operators: Counter[str]
    data_files: tuple[str, ...]
    num_bytes: int


def inspect_file(path: Path) -> ModelFile:
    """Reads the outline of a model file.

    Raises:
        ValueError: it is no ONNX file; or a file of its data is missing.
        OSError: it, or a file of its data, cannot be read.
    """
    try:
        proto = read_model(path)
    except (DecodeError, ValueError) as error:
        if is_no_memory(error):
            raise
        raise ValueError(f'model "{path}" is not an ONNX file; export or copy it again') from None
    places = [
        os.fsdecode(entry.value)  # it is bytes where it is not UTF-8
        for tensor in all_tensors(proto)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location" and entry.value != path.name
    ]
    data_files = tuple(dict.fromkeys(places))
    files = [path, *(path.parent / name for name in data_files)]
    for file in files:
        if not file.exists():
            raise ValueError(
                f'model "{path}" has data in "{file}", which is not there; put it there'
            )
    return ModelFile(
        operators=Counter(node.op_type for node in all_nodes(proto.graph)),
        data_files=data_files,
        num_bytes=sum(file.stat().st_size for file in files),
    )
