"""Products with weights around a skip connection: one product, once it is distributed."""

from __future__ import annotations

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.graphs.random_cells import Draw, Style, gated


def product_trap(net: LayerBuilder, x: str, name: str, draw: Draw, style: Style) -> str | None:
    """(t W + t) V of the pixels t, normalised, in one to three layers.

    Distributed it is t W V + t V, one product more. Then W V is a weight, and so is W V + V.
    """
    batch_size, channels, height, width = net.shape(x)
    y = net.reshape(x, f"{name}/pixels", [batch_size, channels, height * width])
    y = net.transpose(y, f"{name}/tokens", (0, 2, 1))
    for layer in range(draw.integer(1, 3)):
        layer_name, columns = f"{name}/layer{layer}", net.shape(y)[-1]
        z = net.add(net.matmul(y, f"{layer_name}/inner", columns), y, f"{layer_name}/skip")
        y = net.matmul(z, f"{layer_name}/outer", style.width(draw))
        y = net.layer_norm(y, f"{layer_name}/norm", epsilon=1e-6)
    y = net.node("ReduceMean", [y], f"{name}/mean", axes=[1], keepdims=0)
    return gated(net, x, net.linear(y, f"{name}/units", channels), name)
