"""Convolutions of one image with unequal kernels, merged by zeros around the smaller ones."""

from __future__ import annotations

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.graphs.random_cells import Draw, Style
from xflowrl.graphs.traps.branches import pooled
from xflowrl.graphs.traps.prices import seconds

_KERNELS = ((1, 3, 5), (1, 3, 7), (1, 5, 7), (3, 5, 7))
_SAVED_S = (1e-6, 2.5e-6)


def kernel_trap(net: LayerBuilder, x: str, name: str, draw: Draw, style: Style) -> str | None:
    """Three convolutions of one image, with three kernels, whose results go different ways.

    As in `sibling_trap` two of them are not worth a Split, but all three are, although the smaller
    ones then work on zeros: most of the kernel saved pays for that, which is the barrier. None if
    no width makes it so.
    """
    kernels = draw.choice(_KERNELS)
    widths = [
        width
        for width in range(8, 129, 8)
        if _SAVED_S[0] <= _saved_s(kernels, width, net.shape(x)) <= _SAVED_S[1]
    ]
    if not widths:
        return None
    width, total = draw.choice(widths), ""
    for index, kernel in enumerate(kernels):
        branch = f"{name}/branch{index}"
        y = net.relu(net.conv(x, f"{branch}/conv", width, kernel), f"{branch}/relu")
        y = pooled(net, y, branch, index % 3 + 1)
        total = net.add(total, y, f"{branch}/add") if total else y
    return total


def _saved_s(kernels: tuple[int, ...], width: int, image: tuple[int, ...]) -> float:
    """What merging convolutions of these kernels into one and a Split saves."""
    batch_size, _, height, columns = image
    split_s = seconds(elements=2 * len(kernels) * width * batch_size * height * columns)
    merged_s = _conv_s(max(kernels), len(kernels) * width, image)
    return sum(_conv_s(kernel, width, image) for kernel in kernels) - merged_s - split_s


def _conv_s(kernel: int, width: int, image: tuple[int, ...]) -> float:
    batch_size, channels, height, columns = image
    num_pixels, num_weights = batch_size * height * columns, kernel * kernel * channels * width
    return seconds(
        flops=2.0 * num_weights * num_pixels,
        elements=(channels + width) * num_pixels + num_weights,
    )
