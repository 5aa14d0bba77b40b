"""PyTorch on the CPU, eager: a model's nodes one after the other, as a program calls them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xflowrl.measurement.device import DeviceLock, cpu_name, device_lock
from xflowrl.measurement.runtimes.runtime import clock_ns, refusal, trim_memory

if TYPE_CHECKING:
    from xflowrl.measurement.runtimes.onnx_to_torch import OnnxModule

DEVICES = ("cpu",)


def eager(device: str, threads: int) -> Torch:
    """As a user of PyTorch runs a network for inference, without torch.compile."""
    return Torch(device, threads)


@dataclass(frozen=True)
class Torch:
    """Eager PyTorch; see `Runtime`. Tensors are contiguous, as they are by default."""

    kind: str  # of device
    threads: int
    name: str = "torch"

    @property
    def device(self) -> str:
        """The CPU's name."""
        return cpu_name()

    @property
    def version(self) -> str:
        """For example "torch 2.13.0+cpu, cpu, 1 thread"."""
        import torch

        return f"torch {torch.__version__}, {self.kind}, {self.threads} thread" + "s" * (
            self.threads > 1
        )

    @property
    def lock(self) -> DeviceLock:
        """The device's lock."""
        return device_lock(self.kind)

    @property
    def fused(self) -> Collection[tuple[str, str, str]]:
        """None: eager PyTorch has no kernels that do both at once."""
        return frozenset()

    def compile(self, model: bytes | Path, feeds: Mapping[str, np.ndarray]) -> BoundModule:
        """A module bound to `feeds`, executed once."""
        import onnx

        from xflowrl.measurement.runtimes.onnx_to_torch import OnnxModule

        try:
            proto = onnx.load(model) if isinstance(model, Path) else onnx.load_from_string(model)
            module = OnnxModule(proto).eval()
        except Exception as error:  # protobuf's and ONNX's exceptions share no narrower class
            raise refusal(error) from error
        return BoundModule(module, feeds, self.threads)

    def release(self) -> None:
        """Gives freed memory back to the system."""
        trim_memory()


class BoundModule:
    """A module bound to its inputs; calling it executes, with gradients off.

    bfloat16 feeds are given as their uint16 bits.

    Raises:
        RuntimeError: from construction or a call; one line names the node.
    """

    def __init__(self, module: OnnxModule, feeds: Mapping[str, np.ndarray], threads: int) -> None:
        from xflowrl.measurement.runtimes.onnx_to_torch.module import as_tensor

        self._module = module
        self._threads = threads
        self._inputs = [as_tensor(np.asarray(feeds[name]), dtype) for name, dtype in module.inputs]
        self()

    def __call__(self) -> float:
        import torch

        try:
            with torch.inference_mode(), _threads(self._threads):
                started_ns = clock_ns(self._threads)
                self.outputs = self._module(*self._inputs)
                return (clock_ns(self._threads) - started_ns) / 1e6
        except RuntimeError as error:
            raise refusal(error) from error

    def output_shapes(self) -> list[tuple[int, ...]]:
        """The shapes that the last execution produced."""
        return [tuple(output.shape) for output in self.outputs]


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
