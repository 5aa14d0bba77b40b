"""A grouped convolution beside an ordinary one, which are one once the groups are given up."""

from __future__ import annotations

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.graphs.random_cells import Draw, Style
from xflowrl.graphs.traps.prices import seconds

_BARRIER_S = (2.5e-6, 6e-6)


def group_trap(net: LayerBuilder, x: str, name: str, draw: Draw, style: Style) -> str | None:
    """The sum of a grouped and an ordinary convolution of one image.

    Merging groups doubles the work, which must be what the convolution costs. Without groups the
    two kernels add up to one, and the convolution and the sum are saved. None if no width is such.
    """
    batch_size, _, height, width = net.shape(x)
    groups, num_pixels = draw.choice((2, 4)), batch_size * height * width
    widths = [
        channels
        for channels in range(32, 257, 16)
        if _BARRIER_S[0] <= _dearer_s(channels, groups, num_pixels) <= _BARRIER_S[1]
    ]
    if not widths:
        return None
    channels = draw.choice(widths)
    y = net.conv_bn_relu(x, f"{name}/expand", channels, 1)
    a = net.conv(y, f"{name}/grouped", channels, 3, groups=groups, bias=draw.chance(0.5))
    b = net.conv(y, f"{name}/ordinary", channels, 3, bias=draw.chance(0.5))
    y = net.relu(net.add(a, b, f"{name}/add"), f"{name}/relu")
    return net.conv_bn_relu(y, f"{name}/project", style.width(draw), 1)


def _dearer_s(channels: int, groups: int, num_pixels: int) -> float:
    """By how much the convolution is dearer without groups."""
    return _conv_s(channels, 1, num_pixels) - _conv_s(channels, groups, num_pixels)


def _conv_s(channels: int, groups: int, num_pixels: int) -> float:
    num_weights = 9 * channels * channels // groups
    return seconds(
        flops=2.0 * num_weights * num_pixels, elements=2 * channels * num_pixels + num_weights
    )
