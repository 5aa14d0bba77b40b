"""Convolutions that no rule computes together: their images and their kernels all differ."""

from __future__ import annotations

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.graphs.random_cells import Draw


def pooled(net: LayerBuilder, x: str, name: str, index: int) -> str:
    """An image of the size of x: x itself for index 0, another one for each of 1 to 3."""
    if index == 0:
        return x
    pool_fn = net.average_pool if index == 2 else net.max_pool
    return pool_fn(x, f"{name}/pool", 5 if index == 3 else 3)


def separate_convs(
    net: LayerBuilder, x: str, name: str, draw: Draw, channels: list[int]
) -> list[str]:
    """Two to four convolutions, with a bias or none, of x and of its pooled images."""
    kernels, convs = [1, 3, 5, 7], []
    for index, width in enumerate(channels):
        branch = f"{name}/branch{index}"
        y = pooled(net, x, branch, index)
        kernel = kernels.pop(draw.integer(0, len(kernels) - 2))
        convs.append(net.conv(y, f"{branch}/conv", width, kernel, bias=draw.chance(0.5)))
    return convs
