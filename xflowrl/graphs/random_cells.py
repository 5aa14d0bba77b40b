"""Cells of random networks: what the built-in families are made of, with drawn sizes.

Every cell is a function (net, x, name, draw, style) -> y from an image [N, C, H, W] to an image of
the same height and width. All channel counts are multiples of eight if those of `x` are.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from xflowrl.graphs.bert import self_attention
from xflowrl.graphs.layers import LayerBuilder, Size2d

T = TypeVar("T")


class Draw:
    """Reproducible draws: the same in every process and in every version of Python and NumPy.

    Only `random()` is used, the one generator whose sequence Python promises to keep.
    """

    def __init__(self, seed: int) -> None:
        self._random_fn = random.Random(seed).random

    def fraction(self) -> float:
        """Uniform from 0 to 1, the latter not included."""
        return self._random_fn()

    def integer(self, low: int, high: int) -> int:
        """Uniform, both ends included."""
        return low + int(self._random_fn() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return self._random_fn() < probability

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, uniform."""
        return options[self.integer(0, len(options) - 1)]

    def weighted(self, shares: Mapping[str, float]) -> str:
        """One of the keys, in proportion to its share."""
        point = self._random_fn() * sum(shares.values())
        for name, share in shares.items():
            point -= share
            if point < 0:
                return name
        return next(name for name in reversed([*shares]) if shares[name] > 0)

    def seed(self) -> int:
        """For a draw of its own."""
        return self.integer(0, 2**48)


@dataclass(frozen=True)
class Style:
    """What the cells of one network have in common.

    Attributes:
        channels: the usual width, a multiple of eight.
        width_mix: probability that a layer draws a width of its own, half to twice the usual one.
        max_branches: side by side in one cell, at least 2.
        max_depth: layers in a row in one branch.
    """

    channels: int
    width_mix: float
    max_branches: int
    max_depth: int

    def width(self, draw: Draw) -> int:
        """The channels of one layer."""
        if not draw.chance(self.width_mix):
            return self.channels
        return max(8, 8 * (self.channels * draw.integer(2, 8) // 32))


_KERNELS: tuple[Size2d, ...] = (3, 5, (1, 7), (7, 1))

Cell = Callable[[LayerBuilder, str, str, Draw, Style], str]


def plain_cell(net: LayerBuilder, x: str, name: str, draw: Draw, style: Style) -> str:
    """Convolutions in a row, as in VGG: with a bias, or batch-normalised."""
    for layer in range(draw.integer(1, style.max_depth)):
        layer_name = f"{name}/layer{layer}"
        kernel = draw.choice((1, 3, 3, 5))
        if draw.chance(0.5):
            x = net.conv(x, f"{layer_name}/conv", style.width(draw), kernel, bias=True)
        else:
            x = net.conv_bn(x, layer_name, style.width(draw), kernel)
        x = activated(net, x, layer_name, draw)
    return x


def dag_cell(net: LayerBuilder, x: str, name: str, draw: Draw, style: Style) -> str:
    """Vertices that read one or two earlier ones, as in NAS-Bench-101; the ends side by side."""
    width = style.width(draw)
    vertices = [x]
    unread: list[int] = []
    # Equal sums and pools of equal tensors would be one when the network is read back.
    sums: dict[tuple[str, ...], str] = {}
    pooled: set[str] = set()
    for vertex in range(1, draw.integer(3, style.max_branches + 2)):
        vertex_name = f"{name}/vertex{vertex}"
        sources = sorted({draw.integer(0, vertex - 1) for _ in range(draw.integer(1, 2))})
        terms = []
        for source in sources:
            term = vertices[source]
            if source == 0:
                term = net.conv_bn_relu(x, f"{vertex_name}/projection", width, 1)
            terms.append(term)
        y = sums.get(tuple(terms), terms[0])
        if len(terms) > 1 and tuple(terms) not in sums:
            y = sums[tuple(terms)] = net.add(terms[0], terms[1], f"{vertex_name}/add")
        kind = draw.choice(("conv3x3", "conv3x3", "conv1x1", "pool"))
        if kind == "pool" and y not in pooled:
            pooled.add(y)
            y = net.max_pool(y, f"{vertex_name}/pool", 3)
        else:
            y = net.conv_bn_relu(y, vertex_name, width, 3 if kind == "conv3x3" else 1)
        vertices.append(y)
        unread = [v for v in unread if v not in sources] + [vertex]
    return net.concat([vertices[v] for v in unread], f"{name}/concat")


def inception_cell(net: LayerBuilder, x: str, name: str, draw: Draw, style: Style) -> str:
    """Branches of various depths, kernels and widths side by side, as in Inception-v3."""
    branches = []
    num_branches = draw.integer(2, style.max_branches)
    pooled = draw.integer(0, 2 * num_branches)  # none, where it is no branch's number
    for branch in range(num_branches):
        branch_name = f"{name}/branch{branch}"
        y = net.average_pool(x, f"{branch_name}/pool", 3) if branch == pooled else x
        y = net.conv_bn_relu(y, f"{branch_name}/conv0", style.width(draw), 1)
        for layer in range(1, draw.integer(1, style.max_depth)):
            kernel = draw.choice(_KERNELS)
            y = net.conv_bn_relu(y, f"{branch_name}/conv{layer}", style.width(draw), kernel)
        branches.append(y)
    return net.concat(branches, f"{name}/concat")


def residual_cell(net: LayerBuilder, x: str, name: str, draw: Draw, style: Style) -> str:
    """A basic, bottleneck or grouped residual block, as in ResNet and ResNeXt."""
    kind, out_channels = draw.choice(("basic", "bottleneck", "grouped")), style.width(draw)
    if kind == "basic":
        y = net.conv_bn_relu(x, f"{name}/conv1", out_channels, 3)
        y = net.conv_bn(y, f"{name}/conv2", out_channels, 3)
    else:
        inner = style.width(draw)
        groups = draw.choice((2, 4, 8)) if kind == "grouped" else 1
        y = net.conv_bn_relu(x, f"{name}/conv1", inner, 1)
        y = net.conv_bn_relu(y, f"{name}/conv2", inner, 3, groups=groups)
        y = net.conv_bn(y, f"{name}/conv3", out_channels, 1)
    if net.shape(x)[1] != out_channels:
        x = net.conv_bn(x, f"{name}/shortcut", out_channels, 1)
    return net.relu(net.add(y, x, f"{name}/add"), f"{name}/relu")


def depthwise_cell(net: LayerBuilder, x: str, name: str, draw: Draw, style: Style) -> str:
    """An inverted residual, as in MobileNet-v2, whose depthwise kernel and activation vary."""
    channels = net.shape(x)[1]
    wide, out_channels = channels * draw.integer(1, 4), style.width(draw)
    y = x
    if wide != channels:
        y = net.conv_bn(y, f"{name}/expand", wide, 1)
        y = net.node("Clip", [y], f"{name}/expand/relu6", min=0.0, max=6.0)
    y = net.conv_bn(y, f"{name}/depthwise", wide, draw.choice((3, 5)), groups=wide)
    y = activated(net, y, f"{name}/depthwise", draw)
    y = net.conv_bn(y, f"{name}/project", out_channels, 1)
    return net.add(y, x, f"{name}/add") if out_channels == channels else y


def attention_cell(net: LayerBuilder, x: str, name: str, draw: Draw, style: Style) -> str:
    """A transformer layer over the image's pixels, pooled to at most 256, added to the image."""
    batch_size, channels, height, width = net.shape(x)
    y = x
    while height * width > 256 and height % 2 == width % 2 == 0:
        y = net.average_pool(y, f"{name}/pool{height}", 2, stride=2)
        _, _, height, width = net.shape(y)
    y = net.reshape(y, f"{name}/pixels", [batch_size, channels, height * width])
    y = net.transpose(y, f"{name}/tokens", (0, 2, 1))
    z = net.layer_norm(y, f"{name}/norm1", epsilon=1e-5)
    z = self_attention(net, z, f"{name}/attention", draw.choice((1, 2, 4)))
    y = net.add(z, y, f"{name}/attention/residual")
    if draw.chance(0.5):
        z = net.layer_norm(y, f"{name}/norm2", epsilon=1e-5)
        z = net.linear(z, f"{name}/mlp/linear1", channels * draw.integer(1, 4))
        z = net.linear(activated(net, z, f"{name}/mlp", draw), f"{name}/mlp/linear2", channels)
        y = net.add(z, y, f"{name}/mlp/residual")
    y = net.node("ReduceMean", [y], f"{name}/mean", axes=[1], keepdims=0)
    return gated(net, x, y, name)


def recurrent_cell(net: LayerBuilder, x: str, name: str, draw: Draw, style: Style) -> str:
    """A gated recurrence over horizontal strips of the image, as in NasRNN, gates its channels."""
    batch_size, channels, height, _ = net.shape(x)
    num_strips = min(height, draw.integer(2, max(2, style.max_depth)))
    strips = []
    for strip in range(num_strips):
        bounds = [height * i // num_strips for i in (strip, strip + 1)]
        strip_name = f"{name}/strip{strip}"
        y = net.slice(x, strip_name, starts=bounds[:1], ends=bounds[1:], axes=[2])
        y = net.node("GlobalAveragePool", [y], f"{strip_name}/mean")
        strips.append(net.reshape(y, f"{strip_name}/vector", [batch_size, channels]))
    square = [channels, channels]
    activations = [draw.choice(("Sigmoid", "Tanh", "Relu")) for _ in range(draw.integer(2, 4))]
    gates = [
        [net.weight(f"{name}/gate{gate}/{role}_weight", square) for role in ("input", "recurrent")]
        for gate in range(len(activations))
    ]
    state = strips[0]
    for step, strip_mean in enumerate(strips[1:], start=1):
        values = []
        for gate, (w, u) in enumerate(gates):
            gate_name = f"{name}/step{step}/gate{gate}"
            of_input = net.node("MatMul", [strip_mean, w], f"{gate_name}/input")
            of_state = net.node("MatMul", [state, u], f"{gate_name}/recurrent")
            y = net.add(of_input, of_state, f"{gate_name}/add")
            values.append(net.node(activations[gate], [y], f"{gate_name}/value"))
        kept = net.node("Mul", [state, values[0]], f"{name}/step{step}/kept")
        for gate, value in enumerate(values[1:], start=1):
            kept = net.add(kept, value, f"{name}/step{step}/with_gate{gate}")
        state = net.node("Tanh", [kept], f"{name}/step{step}/state")
    return gated(net, x, state, name)


FAMILIES: dict[str, Cell] = {
    "plain": plain_cell,
    "dag": dag_cell,
    "inception": inception_cell,
    "residual": residual_cell,
    "depthwise": depthwise_cell,
    "attention": attention_cell,
    "recurrent": recurrent_cell,
}


def activated(net: LayerBuilder, x: str, name: str, draw: Draw) -> str:
    """An activation: mostly relu, at times one of those of mobile networks."""
    match draw.choice(("relu", "relu", "relu", "leaky_relu", "relu6", "hard_swish")):
        case "leaky_relu":
            return net.node("LeakyRelu", [x], f"{name}/leaky_relu", alpha=0.1)
        case "relu6":
            return net.node("Clip", [x], f"{name}/relu6", min=0.0, max=6.0)
        case "hard_swish":
            return net.node("HardSwish", [x], f"{name}/hard_swish")
    return net.relu(x, f"{name}/relu")


def gated(net: LayerBuilder, x: str, vector: str, name: str) -> str:
    """x [N, C, H, W] times the sigmoid of a vector [N, C]."""
    gate = net.node("Sigmoid", [vector], f"{name}/gate/sigmoid")
    gate = net.reshape(gate, f"{name}/gate/reshape", [*net.shape(vector), 1, 1])
    return net.node("Mul", [x, gate], f"{name}/gate/product")
