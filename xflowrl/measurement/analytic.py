"""Price lists: costs from a formula for a named device, deterministic and without hardware."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xflowrl._engine import CostTable
from xflowrl.measurement.cost_model import CostModel


@dataclass(frozen=True)
class DevicePreset:
    """Peak rates of a device, and what launching one kernel costs."""

    flops_per_s: float
    bytes_per_s: float
    overhead_ms: float
    source: str


_LAUNCH_MS = 0.005  # what TASO's published price list charges a kernel, for every GPU alike

PRESETS: dict[str, DevicePreset] = {
    "a100_fp32": DevicePreset(19.5e12, 1.555e12, _LAUNCH_MS, "NVIDIA A100 40GB datasheet, FP32"),
    "a100_tf32": DevicePreset(156e12, 1.555e12, _LAUNCH_MS, "NVIDIA A100 40GB datasheet, TF32"),
    "v100_fp32": DevicePreset(15.7e12, 0.9e12, _LAUNCH_MS, "NVIDIA V100 SXM2 datasheet, FP32"),
    "t4_fp32": DevicePreset(8.1e12, 0.32e12, _LAUNCH_MS, "NVIDIA T4 datasheet, FP32"),
    "h100_fp32": DevicePreset(67e12, 3.35e12, _LAUNCH_MS, "NVIDIA H100 SXM datasheet, FP32"),
    "h200_fp32": DevicePreset(67e12, 4.8e12, _LAUNCH_MS, "NVIDIA H200 SXM datasheet, FP32"),
}


def roofline(device: str = "a100_fp32") -> CostModel:
    """The honest price list: what every operator must at least take on the device.

    ms = overhead + 1000 * max(flops / peak flops, bytes / peak bandwidth), summed over nodes,
    where bytes are those of all inputs, weights included, and outputs; 0.005 ms, 19.5e12 and
    1.555e12 for `a100_fp32`. Concat, Split (one kernel, however many outputs), Slice, Transpose,
    Pad, Expand and Gather are copies: no flops. Reshape, Flatten, Squeeze, Unsqueeze, Identity,
    Dropout and every node that depends on constants alone cost 0. A fused activation adds
    nothing. Operators without a flop count are charged their bytes only.

    Raises:
        ValueError: unknown device; the message lists the known ones.
    """
    return price_list("roofline", CostTable.roofline, device)


def price_list(
    name: str, table_fn: Callable[[float, float, float], CostTable], device: str
) -> CostModel:
    """Costs by a formula of a device's FLOP/s, bytes/s and milliseconds a kernel.

    Raises:
        ValueError: unknown device; the message lists the known ones.
    """
    if device not in PRESETS:
        raise ValueError(
            f"measurement.device={device!r}: no such price list; use one of {', '.join(PRESETS)}"
        )
    preset = PRESETS[device]
    table = table_fn(preset.flops_per_s, preset.bytes_per_s, preset.overhead_ms)
    return CostModel(name, table, device=device)
