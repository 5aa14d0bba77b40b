"""The runtimes: what executes models, one file a program."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass

from xflowrl.measurement.runtimes import onnxruntime, torch
from xflowrl.measurement.runtimes.runtime import Run, Runtime, export_for

__all__ = ["RUNTIMES", "Run", "Runtime", "export_for", "open_runtime", "runtimes_on"]


@dataclass(frozen=True)
class Kind:
    """What can be made of a name: `make(device, threads, precision)` makes it."""

    make: Callable[[str, int, str], Runtime]
    devices: tuple[str, ...]
    precisions: tuple[str, ...]


RUNTIMES: dict[str, Kind] = {
    "onnxruntime": Kind(onnxruntime.optimised, onnxruntime.DEVICES, onnxruntime.PRECISIONS),
    "onnxruntime_plain": Kind(onnxruntime.plain, onnxruntime.DEVICES, onnxruntime.PRECISIONS),
    "torch": Kind(torch.eager, torch.DEVICES, torch.PRECISIONS),
    "torch_compile": Kind(torch.compiled, torch.DEVICES, torch.PRECISIONS),
}


def runtimes_on(device: str, *, group: str) -> list[str]:
    """The names of the runtimes of a device; `group` as in `open_runtime`.

    Raises:
        ValueError: no runtime runs there; the message lists the known devices.
    """
    names = [name for name, kind in RUNTIMES.items() if device in kind.devices]
    if not names:
        known = sorted({device for kind in RUNTIMES.values() for device in kind.devices})
        raise ValueError(f"{group}.device={device!r}: use one of {', '.join(known)}")
    return names


@functools.cache
def open_runtime(
    name: str, *, device: str = "cpu", threads: int = 1, precision: str = "fp32", group: str
) -> Runtime:
    """The runtime of a name, on a device, with so many threads; the same object each time.

    Args:
        precision: what tensors of single precision are computed in.
        group: of the options that these are, "measurement" or "judge", for the messages.

    Raises:
        ValueError: no such runtime, device, precision or number of threads; the message lists the
            known ones. Or its package is not installed; the message says how to.
    """
    if name not in RUNTIMES:
        raise ValueError(f"{group}.runtime={name!r}: use one of {', '.join(RUNTIMES)}")
    package = name.partition("_")[0]
    if importlib.util.find_spec(package) is None:
        raise ValueError(
            f"{group}.runtime={name!r}: {package} is not installed here; pip install {package}"
        )
    kind = RUNTIMES[name]
    if device not in kind.devices:
        raise ValueError(f"{group}.device={device!r}: {name} runs on {', '.join(kind.devices)}")
    if precision not in kind.precisions or (precision == "tf32" and device == "cpu"):
        known = ", ".join(p for p in kind.precisions if device != "cpu" or p != "tf32")
        raise ValueError(f"{group}.precision={precision!r}: {name} computes in {known} there")
    if threads < 1:
        raise ValueError(f"{group}.threads={threads}: give at least 1")
    if threads > (num_cores := os.cpu_count() or threads):  # they would wait for each other
        raise ValueError(f"{group}.threads={threads}: give at most {num_cores}, this machine's")
    try:
        return kind.make(device, threads, precision)
    except ValueError as error:
        raise ValueError(f"{group}.{error}") from None
