"""Channels last in between: the way back cancels the ways there once it is taken by each alone."""

from __future__ import annotations

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.graphs.random_cells import Draw, Style
from xflowrl.graphs.traps.branches import pooled

_THERE, _BACK = (0, 2, 3, 1), (0, 3, 1, 2)


def layout_trap(net: LayerBuilder, x: str, name: str, draw: Draw, style: Style) -> str | None:
    """Images transposed to channels last, joined with a layer-normalised one, transposed back.

    Passing the Concat, the Transpose back becomes one of each operand, k - 1 kernels more; then all
    but one cancel with a Transpose there.
    """
    y = net.transpose(x, f"{name}/there", _THERE)
    operands = [net.layer_norm(y, f"{name}/norm", epsilon=1e-6)]
    for index in range(draw.integer(2, 3)):
        branch = f"{name}/branch{index}"
        y = pooled(net, x, branch, index)
        y = net.conv_bn_relu(y, branch, style.width(draw), draw.choice((1, 3)))
        operands.append(net.transpose(y, f"{branch}/there", _THERE))
    y = net.concat(operands, f"{name}/concat", axis=3)
    return net.transpose(y, f"{name}/back", _BACK)
