"""A convolution of a weighted sum, into which the factors fold once it is done twice."""

from __future__ import annotations

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.graphs.random_cells import Draw, Style
from xflowrl.graphs.traps.branches import pooled


def weighted_trap(net: LayerBuilder, x: str, name: str, draw: Draw, style: Style) -> str | None:
    """A convolution of two images, each times a weight per channel, summed: as in EfficientDet.

    Convolved apart and then summed it is one convolution more. Then each factor folds into its
    convolution, and the two are one of both images side by side.
    """
    factors = []
    for index in range(2):
        y = pooled(net, x, f"{name}/branch{index}", index)
        weight = net.weight(f"{name}/branch{index}/scale", [net.shape(x)[1], 1, 1])
        factors.append(net.node("Mul", [y, weight], f"{name}/branch{index}/scaled"))
    y = net.add(factors[0], factors[1], f"{name}/add")
    y = net.conv_bn(y, name, style.width(draw), draw.choice((1, 3)))
    return net.max_pool(y, f"{name}/pool", 3)
