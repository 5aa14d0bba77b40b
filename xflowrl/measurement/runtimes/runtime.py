"""What executes a model on a device, and how a model is given to it."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Collection, Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from xflowrl.measurement.device import DeviceLock
from xflowrl.shortage import is_no_memory

if TYPE_CHECKING:
    from xflowrl.onnx_io import Model

_MAX_MODEL_BYTES = 2**31 - 2**27  # a protobuf holds 2 GiB; the rest is for the nodes


class Run(Protocol):
    """A model bound to its inputs; a call executes it and says how long one execution took.

    Attributes:
        layout: of images in memory, where the runtime has tried several: "contiguous",
            "channels_last"; "" elsewhere.
    """

    @property
    def layout(self) -> str: ...

    def __call__(self) -> float:
        """Milliseconds of one execution, device work included.

        Raises:
            RuntimeError: the runtime fails.
        """

    def output_shapes(self) -> list[tuple[int, ...]]:
        """The shapes that the last execution produced."""


class Runtime(Hashable, Protocol):
    """Executes models on one device.

    What executing costs whatever is in a model needs no word of the runtime's own: it is measured
    (`operator_timing.overhead_ms`).

    Attributes:
        name: its key in the table of runtimes.
        device: the device by its full name.
        version: name, version and settings: all that a time depends on beside device and model.
        driver: of the device; "" where there is none.
        precision: what tensors of single precision are computed in.
        lock: of the device; held exclusive while it is timed.
        fused: (operator, dtype, activation) of the kernels that do both at once.
        views: a Split makes views in it, so that activations are better behind.
    """

    @property
    def name(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def driver(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def lock(self) -> DeviceLock: ...
    @property
    def fused(self) -> Collection[tuple[str, str, str]]: ...
    @property
    def views(self) -> bool: ...

    def compile(self, model: bytes | Path, feeds: Mapping[str, np.ndarray]) -> Run:
        """The model, ready to run on `feeds`, by input name; bfloat16 as its uint16 bits.

        Raises:
            RuntimeError: the runtime refuses the model; one line says why.
        """

    def release(self) -> None:
        """Gives the memory of dropped runs back to the system."""


def export_for(runtime: Runtime, model: Model, *, opset: int | None = None) -> bytes:
    """The model as a runtime gets it: with its fused kernels, activations where it wants them.

    Args:
        opset: as for `export_onnx`.

    Raises:
        ValueError: the model has more weights than fit into one file.
    """
    from xflowrl.onnx_io import export_onnx

    num_bytes = sum(weight.num_bytes for weight in model.graph.weights.values())
    if num_bytes > _MAX_MODEL_BYTES:
        raise ValueError(
            f"model {model.name!r} has {num_bytes / 2**30:.1f} GiB of weights: beyond 2 GiB it "
            "cannot be measured; run with judge.measure=false"
        )
    proto = export_onnx(model, fused=runtime.fused, opset=opset, views=runtime.views)
    exported: bytes = proto.SerializeToString()
    return exported


def clock_ns(threads: int) -> int:
    """The clock that an execution on so many threads of the CPU is timed with.

    One thread is the calling one, whose own time is what a model takes: it stops while another
    process has the CPU. On a machine shared with four busy processes it gave 9.1 ms for a network
    of 8.7 ms, and the clock on the wall 41 ms.
    """
    return time.thread_time_ns() if threads == 1 else time.perf_counter_ns()


def trim_memory() -> None:
    """Gives freed memory back to the system, where the C library keeps it.

    glibc holds on to freed blocks, so that a process that measures now and then seems to grow.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def refusal(error: Exception) -> MemoryError | RuntimeError:
    """Its message without line breaks; memory that ran out says nothing about the model."""
    text = " ".join(str(error).split())
    return MemoryError(text) if is_no_memory(error) else RuntimeError(text)
