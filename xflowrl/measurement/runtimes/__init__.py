"""The runtimes: what executes models, one file a program."""

from __future__ import annotations

from collections.abc import Callable

from xflowrl.measurement.runtimes import onnxruntime, torch
from xflowrl.measurement.runtimes.runtime import Run, Runtime, export_for

__all__ = ["RUNTIMES", "Run", "Runtime", "export_for", "open_runtime", "runtimes_on"]

# Name -> the devices it runs on, and what makes it from one of them and a number of threads.
RUNTIMES: dict[str, tuple[tuple[str, ...], Callable[[str, int], Runtime]]] = {
    "onnxruntime": (onnxruntime.DEVICES, onnxruntime.optimised),
    "onnxruntime_plain": (onnxruntime.DEVICES, onnxruntime.plain),
    "torch": (torch.DEVICES, torch.eager),
}


def runtimes_on(device: str, *, group: str) -> list[str]:
    """The names of the runtimes of a device; `group` as in `open_runtime`.

    Raises:
        ValueError: no runtime runs there; the message lists the known devices.
    """
    names = [name for name, (devices, _) in RUNTIMES.items() if device in devices]
    if not names:
        known = sorted({device for devices, _ in RUNTIMES.values() for device in devices})
        raise ValueError(f"{group}.device={device!r}: use one of {', '.join(known)}")
    return names


def open_runtime(name: str, *, device: str = "cpu", threads: int = 1, group: str) -> Runtime:
    """The runtime of a name, on a device, with so many threads.

    Args:
        group: of the options that these are, "measurement" or "judge", for the messages.

    Raises:
        ValueError: no such runtime, device or number of threads; the message lists the known.
    """
    if name not in RUNTIMES:
        raise ValueError(f"{group}.runtime={name!r}: use one of {', '.join(RUNTIMES)}")
    devices, make = RUNTIMES[name]
    if device not in devices:
        raise ValueError(f"{group}.device={device!r}: {name} runs on {', '.join(devices)}")
    if threads < 1:
        raise ValueError(f"{group}.threads={threads}: give at least 1")
    return make(device, threads)
