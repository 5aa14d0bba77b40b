"""An activation behind a Concat, which each of the operands could take up but the Concat cannot."""

from __future__ import annotations

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.graphs.random_cells import Draw, Style, activated
from xflowrl.graphs.traps.branches import separate_convs


def activation_trap(net: LayerBuilder, x: str, name: str, draw: Draw, style: Style) -> str | None:
    """Two to four convolutions side by side, activated together, as in DenseNet.

    The activation of each operand is k - 1 kernels more; then all k are fused.
    """
    channels = [style.width(draw) for _ in range(draw.integer(2, 4))]
    convs = separate_convs(net, x, name, draw, channels)
    return activated(net, net.concat(convs, f"{name}/concat"), name, draw)
