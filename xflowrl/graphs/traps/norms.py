"""A normalised sum: its factor must be taken apart and handed to every summand to disappear."""

from __future__ import annotations

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.graphs.random_cells import Draw, Style
from xflowrl.graphs.traps.branches import separate_convs


def norm_trap(net: LayerBuilder, x: str, name: str, draw: Draw, style: Style) -> str | None:
    """A batch normalisation of a sum of two or three convolutions, as before a ResNet v2 block.

    Expanded it is a product and a sum, one kernel more; the product distributed over the k summands
    is k - 1 more. Then each factor folds into its convolution, and what is added into a bias.
    """
    width = style.width(draw)
    convs = separate_convs(net, x, name, draw, [width] * draw.integer(2, 3))
    total = convs[0]
    for index, conv in enumerate(convs[1:]):
        total = net.add(total, conv, f"{name}/add{index}")
    return net.relu(net.batch_norm(total, f"{name}/bn"), f"{name}/relu")
