"""Inception-v3 (Szegedy et al. 2015, table 1 and figures 5-7), without the auxiliary classifier.

Kernel sizes and channels of the branches, which the paper leaves open, are those of the authors'
code, as is batch normalisation's epsilon, 1e-3; average pools do not count their padding.

Departures from the paper: the softmax is left out.
"""

from __future__ import annotations

from functools import partial

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.onnx_io import Model


def inception_v3(
    *, batch_size: int = 1, image_size: int = 299, num_labels: int = 1000, seed: int = 0
) -> Model:
    """Inception-v3: [N, 3, S, S] to [N, num_labels]; S is at least 75."""
    net = LayerBuilder("inception_v3")
    x = net.image_input(batch_size, image_size)
    x = _conv(net, x, "stem/conv1", 32, 3, stride=2, padding=0)
    x = _conv(net, x, "stem/conv2", 32, 3, padding=0)
    x = _conv(net, x, "stem/conv3", 64, 3)
    x = net.max_pool(x, "stem/pool1", 3, stride=2, padding=0)
    x = _conv(net, x, "stem/conv4", 80, 1)
    x = _conv(net, x, "stem/conv5", 192, 3, padding=0)
    x = net.max_pool(x, "stem/pool2", 3, stride=2, padding=0)
    for index, pool_channels in enumerate((32, 64, 64)):
        x = _square_module(net, x, f"mixed{index}", pool_channels)
    x = _square_reduction(net, x, "mixed3")
    for index, width in enumerate((128, 160, 160, 192), start=4):
        x = _factorised_module(net, x, f"mixed{index}", width)
    x = _factorised_reduction(net, x, "mixed8")
    x = _expanded_module(net, x, "mixed9")
    x = _expanded_module(net, x, "mixed10")
    x = net.spatial_mean(x, "classifier/pool")
    x = net.node("Dropout", [x], "classifier/dropout")
    x = net.dense(net.flatten(x, "classifier/flatten"), "classifier/dense", num_labels)
    return net.model({"logits": x}, seed=seed)


_conv = partial(LayerBuilder.conv_bn_relu, epsilon=1e-3)


def _square_module(net: LayerBuilder, x: str, name: str, pool_channels: int) -> str:
    """Figure 5: 5x5 and double 3x3 branches at 35x35 pixels."""
    one = _conv(net, x, f"{name}/branch1x1", 64, 1)
    five = _conv(net, x, f"{name}/branch5x5/conv1", 48, 1)
    five = _conv(net, five, f"{name}/branch5x5/conv2", 64, 5)
    three = _conv(net, x, f"{name}/branch3x3/conv1", 64, 1)
    three = _conv(net, three, f"{name}/branch3x3/conv2", 96, 3)
    three = _conv(net, three, f"{name}/branch3x3/conv3", 96, 3)
    pool = _pooled(net, x, f"{name}/branch_pool", pool_channels)
    return net.concat([one, five, three, pool], f"{name}/concat")


def _square_reduction(net: LayerBuilder, x: str, name: str) -> str:
    three = _conv(net, x, f"{name}/branch3x3", 384, 3, stride=2, padding=0)
    double = _conv(net, x, f"{name}/branch3x3_double/conv1", 64, 1)
    double = _conv(net, double, f"{name}/branch3x3_double/conv2", 96, 3)
    double = _conv(net, double, f"{name}/branch3x3_double/conv3", 96, 3, stride=2, padding=0)
    pool = net.max_pool(x, f"{name}/branch_pool", 3, stride=2, padding=0)
    return net.concat([three, double, pool], f"{name}/concat")


def _factorised_module(net: LayerBuilder, x: str, name: str, width: int) -> str:
    """Figure 6: 7x7 convolutions factorised into 1x7 and 7x1, at 17x17 pixels."""
    one = _conv(net, x, f"{name}/branch1x1", 192, 1)
    seven = _conv(net, x, f"{name}/branch7x7/conv1", width, 1)
    seven = _conv(net, seven, f"{name}/branch7x7/conv2", width, (1, 7))
    seven = _conv(net, seven, f"{name}/branch7x7/conv3", 192, (7, 1))
    double = _conv(net, x, f"{name}/branch7x7_double/conv1", width, 1)
    for index, kernel in enumerate(((7, 1), (1, 7), (7, 1)), start=2):
        double = _conv(net, double, f"{name}/branch7x7_double/conv{index}", width, kernel)
    double = _conv(net, double, f"{name}/branch7x7_double/conv5", 192, (1, 7))
    pool = _pooled(net, x, f"{name}/branch_pool", 192)
    return net.concat([one, seven, double, pool], f"{name}/concat")


def _factorised_reduction(net: LayerBuilder, x: str, name: str) -> str:
    three = _conv(net, x, f"{name}/branch3x3/conv1", 192, 1)
    three = _conv(net, three, f"{name}/branch3x3/conv2", 320, 3, stride=2, padding=0)
    seven = _conv(net, x, f"{name}/branch7x7/conv1", 192, 1)
    seven = _conv(net, seven, f"{name}/branch7x7/conv2", 192, (1, 7))
    seven = _conv(net, seven, f"{name}/branch7x7/conv3", 192, (7, 1))
    seven = _conv(net, seven, f"{name}/branch7x7/conv4", 192, 3, stride=2, padding=0)
    pool = net.max_pool(x, f"{name}/branch_pool", 3, stride=2, padding=0)
    return net.concat([three, seven, pool], f"{name}/concat")


def _expanded_module(net: LayerBuilder, x: str, name: str) -> str:
    """Figure 7: 3x3 convolutions split into a 1x3 and a 3x1 side by side, at 8x8 pixels."""
    one = _conv(net, x, f"{name}/branch1x1", 320, 1)
    three = _conv(net, x, f"{name}/branch3x3/conv1", 384, 1)
    double = _conv(net, x, f"{name}/branch3x3_double/conv1", 448, 1)
    double = _conv(net, double, f"{name}/branch3x3_double/conv2", 384, 3)
    halves = []
    for branch, y in (("branch3x3", three), ("branch3x3_double", double)):
        wide = _conv(net, y, f"{name}/{branch}/conv1x3", 384, (1, 3))
        high = _conv(net, y, f"{name}/{branch}/conv3x1", 384, (3, 1))
        halves.append(net.concat([wide, high], f"{name}/{branch}/concat"))
    pool = _pooled(net, x, f"{name}/branch_pool", 192)
    return net.concat([one, *halves, pool], f"{name}/concat")


def _pooled(net: LayerBuilder, x: str, name: str, channels: int) -> str:
    x = net.average_pool(x, f"{name}/pool", 3)
    return _conv(net, x, name, channels, 1)
