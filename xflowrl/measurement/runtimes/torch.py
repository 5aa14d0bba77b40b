"""PyTorch: eager, as a program calls it, or compiled by Inductor; on the CPU and on CUDA."""

from __future__ import annotations

import copy
import functools
import importlib.metadata
import math
import os
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xflowrl.measurement.device import DeviceLock, cpu_name, device_lock
from xflowrl.measurement.runtimes.runtime import Runtime, clock_ns, refusal, trim_memory
from xflowrl.measurement.runtimes.worker import InWorkers

if TYPE_CHECKING:
    from torch import Tensor

    from xflowrl.measurement.runtimes.onnx_to_torch import OnnxModule

DEVICES = ("cpu", "cuda")
PRECISIONS = ("fp32", "tf32", "fp16", "bf16")

_SAMPLE_MS = 1.0  # of replays of a CUDA graph: an event is known to half a microsecond
_MAX_REPLAYS = 100
_CORES_A_WORKER = 3  # Inductor compiles the kernels of one model side by side


def eager(device: str, threads: int, precision: str = "fp32") -> Runtime:
    """As a user of PyTorch runs a network for inference; on CUDA captured in a CUDA graph."""
    runtime = Torch("torch", device, threads, precision, is_compiled=False)
    return runtime if device == "cpu" else _in_workers(runtime)


def compiled(device: str, threads: int, precision: str = "fp32") -> Runtime:
    """torch.compile with Inductor and freezing; on CUDA captured in a CUDA graph."""
    return _in_workers(Torch("torch_compile", device, threads, precision, is_compiled=True))


@dataclass(frozen=True)
class Torch:
    """PyTorch in this process; see `Runtime`.

    Attributes:
        precision: what tensors of single precision are computed in: fp32, tf32 (products on CUDA
            round their operands to 10 bits), or fp16, bf16 (the tensors themselves are halves).
        is_compiled: exported whole, then compiled by Inductor with freezing, which folds what
            depends on weights alone; else the nodes one after the other.
    """

    name: str
    kind: str  # of device
    threads: int
    precision: str
    is_compiled: bool

    def __post_init__(self) -> None:
        if self.kind == "cuda":
            _cuda_device()

    @property
    def device(self) -> str:
        """The device's name."""
        return cpu_name() if self.kind == "cpu" else _cuda_device()[0]

    @property
    def driver(self) -> str:
        """Of a GPU; "" for the CPU."""
        return "" if self.kind == "cpu" else _cuda_device()[1]

    @property
    def version(self) -> str:
        """For example "torch 2.13.0+cpu, cpu, 1 thread"."""
        version = f"torch {importlib.metadata.version('torch')}, {self.kind}"
        if self.kind == "cpu":
            version += f", {self.threads} thread" + "s" * (self.threads > 1)
        version += ", frozen" if self.is_compiled else ""
        return version if self.precision == "fp32" else f"{version}, {self.precision}"

    @property
    def lock(self) -> DeviceLock:
        """The device's lock; each GPU of a machine has its own."""
        return device_lock("cpu" if self.kind == "cpu" else f"cuda-{_first_visible()}")

    @property
    def fused(self) -> Collection[tuple[str, str, str]]:
        """cuDNN's kernel of a convolution with bias and Relu; a compiler fuses by itself."""
        if self.is_compiled or self.kind == "cpu":
            return frozenset()
        return frozenset({("Conv", "float32", "Relu")})

    @property
    def views(self) -> bool:
        """A compiler fuses an activation behind one with what stands before it."""
        return self.is_compiled

    def compile(self, model: bytes | Path, feeds: Mapping[str, np.ndarray]) -> BoundModule:
        """A module bound to `feeds`, executed once."""
        import onnx
        import torch

        from xflowrl.measurement.runtimes.onnx_to_torch import OnnxModule
        from xflowrl.measurement.runtimes.onnx_to_torch.module import as_tensor

        floats = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(self.precision, torch.float32)
        try:
            proto = onnx.load(model) if isinstance(model, Path) else onnx.load_from_string(model)
            module = OnnxModule(proto, floats=floats).eval()
        except Exception as error:  # protobuf's and ONNX's exceptions share no narrower class
            raise refusal(error) from error
        inputs = [as_tensor(np.asarray(feeds[i.name]), i.given).to(i.dtype) for i in module.inputs]
        if self.kind == "cpu":
            return BoundModule(self._function(module, inputs), inputs, self.threads)
        _allow_tf32(self.precision == "tf32")
        with _one_line_for_the_device(self.device), torch.device("cuda"):
            inputs = [tensor.to("cuda") for tensor in inputs]
            module.to("cuda")
            if self.is_compiled:
                return CapturedModule(self._function(module, inputs), inputs)
            return _faster_layout(module, inputs)

    def release(self) -> None:
        """Gives freed memory back to the system and to the device."""
        if self.kind == "cuda":
            import torch

            torch.cuda.empty_cache()
        trim_memory()

    def _function(self, module: OnnxModule, inputs: Sequence[Tensor]) -> Callable[..., Any]:
        if not self.is_compiled:
            return module
        import torch
        import torch._inductor.config as inductor

        inductor.freezing = True
        try:
            with torch.no_grad(), _threads(self.threads):
                # Exported first: Dynamo need not follow the interpreter of the nodes.
                exported = torch.export.export(module, tuple(inputs), strict=False).module()
                torch.compiler.reset()  # nothing of the models before is looked through again
                function: Callable[..., Any] = torch.compile(exported, dynamic=False)
                function(*inputs)
        except Exception as error:  # what Dynamo and Inductor raise shares no narrower class
            raise refusal(error) from error
        return function


class BoundModule:
    """A function of tensors bound to them; calling it executes, with gradients off.

    Raises:
        RuntimeError: from construction or a call; one line names the node.
    """

    layout = ""

    def __init__(
        self, function: Callable[..., Any], inputs: Sequence[Tensor], threads: int
    ) -> None:
        self._function = function
        self._inputs = inputs
        self._threads = threads
        self()

    def __call__(self) -> float:
        import torch

        try:
            with torch.no_grad(), _threads(self._threads):
                started_ns = clock_ns(self._threads)
                self.outputs = self._function(*self._inputs)
                return (clock_ns(self._threads) - started_ns) / 1e6
        except RuntimeError as error:
            raise refusal(error) from error

    def output_shapes(self) -> list[tuple[int, ...]]:
        """The shapes that the last execution produced."""
        return [tuple(output.shape) for output in self.outputs]


class CapturedModule(BoundModule):
    """The same on CUDA, captured in a CUDA graph; a call replays it for about a millisecond."""

    def __init__(self, function: Callable[..., Any], inputs: Sequence[Tensor]) -> None:
        import torch

        self._function = function  # its weights must outlive the graph
        self._inputs = inputs
        self._num_replays = 1
        stream = _warmup_stream()
        stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.no_grad():
                with torch.cuda.stream(stream):
                    for _ in range(3):
                        function(*inputs)
                torch.cuda.current_stream().wait_stream(stream)
                self._graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self._graph):
                    self.outputs = function(*inputs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise refusal(error) from error
        once_ms = min(self() for _ in range(3))
        self._num_replays = min(_MAX_REPLAYS, max(1, math.ceil(_SAMPLE_MS / once_ms)))

    def __call__(self) -> float:
        import torch

        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._graph.replay()  # what ran between has left its data in the caches
        start.record()
        for _ in range(self._num_replays):
            self._graph.replay()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / self._num_replays


def _faster_layout(module: OnnxModule, inputs: Sequence[Tensor]) -> CapturedModule:
    import torch

    found = [CapturedModule(module, inputs)]
    found[0].layout = "contiguous"
    ranks = {tensor.ndim for tensor in (*inputs, *module.buffers())}
    if 4 in ranks and 5 not in ranks:
        other = copy.deepcopy(module)  # the graph that is captured reads the weights where they are
        last = CapturedModule(
            other.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
            [t.to(memory_format=torch.channels_last) if t.ndim == 4 else t for t in inputs],
        )
        last.layout = "channels_last"
        found.append(last)
    return min(found, key=lambda run: min(run() for _ in range(5)))


@contextmanager
def _one_line_for_the_device(name: str) -> Iterator[None]:
    """A model that is too large for the device is refused with the numbers; all goes on."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):  # of the device, or of a node that says so
        free, total = (number / 2**30 for number in torch.cuda.mem_get_info())
        held = torch.cuda.memory_allocated() / 2**30
        raise RuntimeError(
            f"the model does not fit on {name}: it took {held:.1f} GiB and wanted more; "
            f"{free:.1f} GiB of {total:.1f} are free"
        ) from None


def _allow_tf32(is_allowed: bool) -> None:
    """For this process, which is a worker of one precision."""
    import torch

    torch.set_float32_matmul_precision("high" if is_allowed else "highest")
    torch.backends.cudnn.allow_tf32 = is_allowed


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """PyTorch has one number of threads a process: others get theirs back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_workers(runtime: Torch) -> InWorkers:
    num_workers = max(1, len(os.sched_getaffinity(0)) // _CORES_A_WORKER)
    environment = (("TORCHINDUCTOR_COMPILE_THREADS", str(_CORES_A_WORKER)),)
    return InWorkers(runtime, num_workers, environment)


@functools.cache
def _warmup_stream() -> Any:
    """One for all models: cuBLAS keeps a workspace of 32 MB for each stream it has seen."""
    import torch

    return torch.cuda.Stream()


def _first_visible() -> str:
    """Index or identity of the GPU that PyTorch takes."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]


@functools.cache
def _cuda_device() -> tuple[str, str]:
    """Name and driver of the GPU; asked without PyTorch, whose context would stay in memory.

    Raises:
        ValueError: there is none, or this PyTorch has no CUDA.
    """
    version = importlib.metadata.version("torch")
    if version.endswith("+cpu"):
        raise ValueError(
            f"device=cuda: torch {version} has no CUDA; install one that has, or use device=cpu"
        )
    command = shutil.which("nvidia-smi")
    query = ["--query-gpu=name,driver_version", "--format=csv,noheader", "-i", _first_visible()]
    found = subprocess.run([command, *query], capture_output=True, text=True) if command else None
    if found is None or found.returncode != 0:
        raise ValueError("device=cuda: no CUDA device is found (nvidia-smi); use device=cpu")
    name, _, driver = found.stdout.strip().rpartition(", ")
    return name, driver
