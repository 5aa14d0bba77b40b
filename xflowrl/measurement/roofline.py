"""The roofline objective: prices by formula from a device's peak rates, without hardware."""

from __future__ import annotations

from dataclasses import dataclass

from xflowrl._engine import CostTable
from xflowrl.measurement.correction import factors_of
from xflowrl.measurement.objective import Objective


@dataclass(frozen=True)
class PriceList:
    """What prices are made of: peak rates of a device, and what launching one kernel costs."""

    flops_per_s: float
    bytes_per_s: float
    overhead_ms: float
    source: str


_LAUNCH_MS = 0.005  # what TASO's published price list charges a kernel, for every GPU alike

PRICE_LISTS: dict[str, PriceList] = {
    "a100_fp32": PriceList(19.5e12, 1.555e12, _LAUNCH_MS, "NVIDIA A100 40GB datasheet, FP32"),
    "a100_tf32": PriceList(156e12, 1.555e12, _LAUNCH_MS, "NVIDIA A100 40GB datasheet, TF32"),
    "v100_fp32": PriceList(15.7e12, 0.9e12, _LAUNCH_MS, "NVIDIA V100 SXM2 datasheet, FP32"),
    "t4_fp32": PriceList(8.1e12, 0.32e12, _LAUNCH_MS, "NVIDIA T4 datasheet, FP32"),
    "h100_fp32": PriceList(67e12, 3.35e12, _LAUNCH_MS, "NVIDIA H100 SXM datasheet, FP32"),
    "h200_fp32": PriceList(67e12, 4.8e12, _LAUNCH_MS, "NVIDIA H200 SXM datasheet, FP32"),
}


def roofline(prices: str = "a100_fp32", *, correction: str | None = "default") -> Objective:
    """The honest price list: what every operator must at least take on the device.

    ms = overhead + 1000 * max(flops / peak flops, bytes / peak bandwidth), summed over nodes,
    where bytes are those of all inputs, weights included, and outputs; 0.005 ms, 19.5e12 and
    1.555e12 for `a100_fp32`. Concat, Split (one kernel, however many outputs), Slice, Transpose,
    Pad, Expand and Gather are copies: no flops. Reshape, Flatten, Squeeze, Unsqueeze, Identity,
    Dropout and every node that depends on constants alone cost 0. A fused activation adds
    nothing. Operators without a flop count are charged their bytes only.

    Args:
        prices: a name of `PRICE_LISTS`.
        correction: the runtime on CUDA that prices are corrected for; "default" and None as for
            `factors_of`.

    Raises:
        ValueError: no such price list or correction; the message lists the known ones.
    """
    found = price_list(prices)
    table = CostTable.roofline(
        found.flops_per_s,
        found.bytes_per_s,
        found.overhead_ms,
        factors_of(correction, prices="roofline", device="cuda"),
    )
    return Objective(table, device=prices)


def price_list(name: str) -> PriceList:
    """The price list of a name.

    Raises:
        ValueError: no such price list; the message lists the known ones.
    """
    if name not in PRICE_LISTS:
        known = ", ".join(PRICE_LISTS)
        raise ValueError(f"measurement.prices={name!r}: no such price list; use one of {known}")
    return PRICE_LISTS[name]
