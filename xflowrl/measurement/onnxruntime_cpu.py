"""ONNX Runtime on the CPU: sessions of one thread, bound to buffers, and nothing left behind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xflowrl.measurement.timer import Run

if TYPE_CHECKING:
    import onnxruntime

RUNTIME = "onnxruntime_cpu"
"""One thread, the runtime's own optimisations off, fused nodes as the runtime's fused kernels."""

RUNTIME_OPTIMISED = "onnxruntime_cpu_optimised"
"""One thread, all of the runtime's own optimisations: standard ONNX as people deploy it."""

_BFLOAT16 = 16  # TensorProto.DataType; NumPy has no such type
_FATAL = 4


def version() -> str:
    """The runtime's name and version, e.g. "onnxruntime 1.31.1"."""
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


def open_session(model: bytes | Path, *, optimised: bool = False) -> onnxruntime.InferenceSession:
    """A session of one thread, sequential, without memory arena.

    Memory is given back when the session is dropped; with the arena some would stay.
    A path is needed for models beyond protobuf's 2 GB.

    Raises:
        RuntimeError: the runtime refuses the model; onnxruntime's exceptions are all made such,
            with the runtime's message.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = False
    options.log_severity_level = _FATAL
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    source = str(model) if isinstance(model, Path) else model
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions share no narrower base class
        raise RuntimeError(_one_line(error)) from error


def bind(session: onnxruntime.InferenceSession, feeds: Mapping[str, np.ndarray]) -> Run:
    """A function that executes the session on `feeds`, copying neither inputs nor outputs.

    Output buffers are allocated by the first execution and used again by the later ones.
    bfloat16 feeds are given as their uint16 bits.

    Raises:
        RuntimeError: from here or from the function, as `open_session`.
    """
    import onnxruntime

    binding = session.io_binding()
    tensors = []  # they lend their memory, the binding does not keep it alive
    for wanted in session.get_inputs():
        value = np.ascontiguousarray(feeds[wanted.name])
        if wanted.type == "tensor(bfloat16)":
            tensor = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(value, _BFLOAT16)
        else:
            tensor = onnxruntime.OrtValue.ortvalue_from_numpy(value)
        tensors.append(tensor)
        binding.bind_ortvalue_input(wanted.name, tensor)
    for output in session.get_outputs():
        binding.bind_output(output.name, "cpu")

    def run(_kept_alive: list[onnxruntime.OrtValue] = tensors) -> None:
        session.run_with_iobinding(binding)

    try:
        run()
    except Exception as error:
        raise RuntimeError(_one_line(error)) from error
    return run


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
