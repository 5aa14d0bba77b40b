"""Convolutions of one image, of which only the third and every further one pays to merge."""

from __future__ import annotations

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.graphs.random_cells import Draw, Style
from xflowrl.graphs.traps.prices import BYTES_PER_S, KERNEL_S


def sibling_trap(net: LayerBuilder, x: str, name: str, draw: Draw, style: Style) -> str | None:
    """Three or more convolutions of one image whose results go different ways.

    Merged into one they need a kernel for it and one for the Split: two kernels instead of k. But
    rules merge two at a time, and two merged are still two kernels, with what the Split copies on
    top; the next merge copies again. Only the step after that, which makes one Split of two, saves
    a kernel. So k - 1 dearer steps lead to each gain.

    The copies (each result read and written) must cost more than reading x once less, or the first
    step would pay already, and less than the kernels saved. None if no width does both.
    """
    batch_size, channels, height, width = net.shape(x)
    num_siblings = draw.integer(3, 3 + draw.integer(0, 2))
    siblings_channels = next(
        (
            c
            for c in (style.width(draw), style.channels, channels, channels // 2)
            if 4 * c > channels
            and 8 * num_siblings * c * batch_size * height * width
            < 0.7 * (num_siblings - 2) * KERNEL_S * BYTES_PER_S
        ),
        None,
    )
    if siblings_channels is None:
        return None
    kernel, has_norm = draw.choice((1, 1, 3)), draw.chance(0.5)
    total = ""
    for sibling in range(num_siblings):
        sibling_name = f"{name}/sibling{sibling}"
        y = net.conv(x, f"{sibling_name}/conv", siblings_channels, kernel, bias=not has_norm)
        if has_norm:
            y = net.batch_norm(y, f"{sibling_name}/bn")
        y = net.relu(y, f"{sibling_name}/relu")
        pool = net.average_pool if sibling % 2 else net.max_pool
        y = pool(y, f"{sibling_name}/pool", 3 + 2 * (sibling // 2))
        total = net.add(total, y, f"{sibling_name}/add") if total else y
    return total
