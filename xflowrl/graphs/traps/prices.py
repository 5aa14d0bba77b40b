"""What an operator costs under `measurement=roofline`, to draw sizes at which a trap is one.

The prices of an A100 in fp32, which are the default. On other devices most traps still are.
"""

from __future__ import annotations

KERNEL_S, FLOPS_PER_S, BYTES_PER_S = 5e-6, 19.5e12, 1.555e12


def seconds(*, flops: float = 0.0, elements: float) -> float:
    """Of one kernel that reads and writes so many float32 elements in all."""
    return KERNEL_S + max(flops / FLOPS_PER_S, 4.0 * elements / BYTES_PER_S)
