"""MobileNet-v2 (Sandler et al. 2018, table 2): inverted residuals with linear bottlenecks.

Batch normalisation's epsilon is 1e-3, as in the authors' code.

Departures from the paper: the softmax is left out.
"""

from __future__ import annotations

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.onnx_io import Model

_EPSILON = 1e-3

# expansion, output channels, repeats, stride of the first
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(
    *, batch_size: int = 1, image_size: int = 224, num_labels: int = 1000, seed: int = 0
) -> Model:
    """MobileNet-v2 of width 1.0: [N, 3, S, S] to [N, num_labels]."""
    net = LayerBuilder("mobilenet_v2")
    x = net.image_input(batch_size, image_size)
    x = _conv_bn_relu6(net, x, "stem", 32, 3, stride=2)
    for stage, (expansion, channels, repeats, first_stride) in enumerate(_STAGES, start=1):
        for block in range(repeats):
            stride = first_stride if block == 0 else 1
            x = _inverted_residual(
                net, x, f"stage{stage}/block{block + 1}", channels, expansion, stride
            )
    x = _conv_bn_relu6(net, x, "head", 1280, 1)
    x = net.flatten(net.spatial_mean(x, "classifier/pool"), "classifier/flatten")
    x = net.dense(x, "classifier/dense", num_labels)
    return net.model({"logits": x}, seed=seed)


def _inverted_residual(
    net: LayerBuilder, x: str, name: str, channels: int, expansion: int, stride: int
) -> str:
    in_channels = net.shape(x)[1]
    wide = expansion * in_channels
    y = x
    if expansion != 1:
        y = _conv_bn_relu6(net, y, f"{name}/expand", wide, 1)
    y = _conv_bn_relu6(net, y, f"{name}/depthwise", wide, 3, stride=stride, groups=wide)
    y = net.conv_bn(y, f"{name}/project", channels, 1, epsilon=_EPSILON)
    return net.add(y, x, f"{name}/add") if stride == 1 and in_channels == channels else y


def _conv_bn_relu6(
    net: LayerBuilder,
    x: str,
    name: str,
    channels: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
) -> str:
    x = net.conv_bn(x, name, channels, kernel, stride=stride, groups=groups, epsilon=_EPSILON)
    return net.node("Clip", [x], f"{name}/relu6", min=0.0, max=6.0)
