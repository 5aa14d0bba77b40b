"""Writes models: `export_onnx` in memory, `save_onnx` to a file."""

from __future__ import annotations

import tempfile
from functools import partial
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx

from xflowrl.onnx_io.exporting import Exporter
from xflowrl.onnx_io.model import Array, Model
from xflowrl.onnx_io.operands import FusedKernels
from xflowrl.onnx_io.protobuf_file import set_place, write_model

MAX_INLINE_BYTES = 2**31 - 2**27  # a protobuf holds 2 GiB; the rest is for the nodes
_ALIGNMENT = 4096
_MAX_IN_MEMORY = 2**22  # bytes of a computed weight that waits in memory until it is written


def export_onnx(
    model: Model,
    *,
    fold: bool = True,
    fused: FusedKernels = frozenset(),
    opset: int | None = None,
    views: bool = False,
) -> onnx.ModelProto:
    """The model in the opset of its file, or in 18.

    Args:
        model: the graph and its weights.
        fold: compute what rewrites made of constants; False keeps those operators.
        fused: the fused activations to write as attributes of ONNX Runtime's FusedConv and
            FusedGemm (domain com.microsoft), for measurement. The standard form, the default,
            writes each as an operator of its own.
        opset: another one, for a model that has no file.
        views: for a runtime in which a Split makes views: what rewrites put before one of
            activations is written behind it.

    Raises:
        ValueError: for a weight that `model.weights` does not have, or of another type; for a
            rewrite that holds at a fixed size alone (`NeedsFixedSize`).
    """
    exporter = Exporter(model, fold=fold, fused=fused, opset=opset, views=views)
    proto = exporter.model_proto()
    for tensor in proto.graph.initializer:
        if tensor.name in exporter.large:
            array = exporter.large[tensor.name]
            tensor.raw_data = np.ascontiguousarray(array).tobytes()
    return proto


def save_onnx(
    model: Model,
    path: str | PathLike[str],
    *,
    max_inline_bytes: int = MAX_INLINE_BYTES,
    views: bool = False,
) -> None:
    """Writes the model to `path`, all of it or nothing.

    Weights of more than `max_inline_bytes` in total go to `<file name>.data` beside it. They are
    copied from file to file, one after the other. `views` is as for `export_onnx`.

    Raises:
        ValueError: as `export_onnx`; if ONNX's checker refuses what was no file before.
    """
    path = Path(path)
    data_name = f"{path.name}.data"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name[:100]}.") as folder:
        written, data = Path(folder) / path.name, Path(folder) / data_name
        exporter = Exporter(model, fold=True, keep=partial(_put_aside, Path(folder)), views=views)
        proto = exporter.model_proto()
        if sum(array.nbytes for array in exporter.large.values()) > max_inline_bytes:
            with data.open("wb") as file:
                for tensor in proto.graph.initializer:
                    if tensor.name in exporter.large:
                        _write_external(tensor, exporter.large[tensor.name], file, data_name)
            written.write_bytes(proto.SerializeToString())
        else:
            with written.open("wb") as file:
                write_model(proto, exporter.large, file)
        del proto
        if model.source is None:
            _check(written, model.name)
        if data.exists():
            data.replace(path.parent / data_name)
        written.replace(path)


def initializers(model: Model) -> dict[str, Array]:
    """Values that `save_onnx` writes, by name, but for those that it copies from the file.

    So with other weights in `model` the file can be given these instead of being written anew.

    Raises:
        ValueError: as `export_onnx`.
    """
    return dict(Exporter(model, fold=True).weights())


def _check(path: Path, name: str) -> None:
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f'graph "{name}" is not a valid ONNX model: {reason}') from None


def _put_aside(folder: Path, array: Array) -> Array:
    """The same array; a large one in a file without a name, which is gone when it is let go of."""
    if array.nbytes < _MAX_IN_MEMORY or array.dtype.hasobject:
        return array
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        file.flush()
        content = np.asarray(np.memmap(file, np.uint8, "r"))
    return content.view(array.dtype).reshape(array.shape)


def _write_external(tensor: onnx.TensorProto, array: Array, data: BinaryIO, location: str) -> None:
    data.write(b"\0" * (-data.tell() % _ALIGNMENT))
    content = np.ascontiguousarray(array)
    set_place(tensor, location, data.tell(), content.nbytes)
    data.write(content.reshape(-1).view(np.uint8).data)
