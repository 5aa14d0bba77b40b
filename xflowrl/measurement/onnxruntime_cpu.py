"""ONNX Runtime on the CPU: sessions of one thread, bound to buffers, and nothing left behind."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnxruntime

RUNTIME = "onnxruntime_cpu"
"""One thread, the runtime's own optimisations off, fused nodes as the runtime's fused kernels."""

RUNTIME_OPTIMISED = "onnxruntime_cpu_optimised"
"""One thread, all of the runtime's own optimisations: standard ONNX as people deploy it."""

CLOCK_NS = time.thread_time_ns
"""Everything runs on the calling thread, so its own time is what a model takes: on a quiet machine
that of the wall, on a busy one still nearly the same."""

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


class BoundSession:
    """A session bound to its inputs; calling it executes, copying neither inputs nor outputs.

    Output buffers are allocated by the first execution, here, and used again by the later ones.
    bfloat16 feeds are given as their uint16 bits.

    Raises:
        RuntimeError: from construction or a call, as `open_session`.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, feeds: Mapping[str, np.ndarray]
    ) -> None:
        import onnxruntime

        self._session = session
        self._binding = session.io_binding()
        self._lent = []  # the binding does not keep its inputs' memory alive
        for wanted in session.get_inputs():
            value = np.ascontiguousarray(feeds[wanted.name])
            if wanted.type == "tensor(bfloat16)":
                tensor = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(value, _BFLOAT16)
            else:
                tensor = onnxruntime.OrtValue.ortvalue_from_numpy(value)
            self._lent.append(tensor)
            self._binding.bind_ortvalue_input(wanted.name, tensor)
        for output in session.get_outputs():
            self._binding.bind_output(output.name, "cpu")
        self()

    def __call__(self) -> None:
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # as in open_session
            raise RuntimeError(_one_line(error)) from error

    def output_shapes(self) -> list[tuple[int, ...]]:
        """The shapes that the last execution produced."""
        return [tuple(value.shape()) for value in self._binding.get_outputs()]


def return_free_memory() -> None:
    """Gives the memory of dropped sessions back to the system, where the C library keeps it.

    glibc holds on to freed blocks, so that a process that measures now and then seems to grow.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
