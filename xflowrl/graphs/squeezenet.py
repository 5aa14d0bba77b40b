"""SqueezeNet 1.1 (Iandola et al. 2016, and the authors' repository for version 1.1)."""

from __future__ import annotations

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.onnx_io import Model

# One fire module each: channels of the squeeze layer and of either expand layer; None: max pool.
_FIRES = (
    *((16, 64), (16, 64), None),
    *((32, 128), (32, 128), None),
    *((48, 192), (48, 192), (64, 256), (64, 256)),
)


def squeezenet(
    *,
    batch_size: int = 1,
    image_size: int = 224,
    num_labels: int = 1000,
    bias: bool = False,
    seed: int = 0,
) -> Model:
    """SqueezeNet 1.1 without the final softmax: [N, 3, S, S] to [N, num_labels].

    Without biases, the default, this is the network of TASO's published figures: 97 nodes where
    inputs, weights and a weight for each pool are counted. With `bias=True` it is the authors'.

    Departures from the paper: the softmax is left out.
    """
    net = LayerBuilder("squeezenet")
    x = net.image_input(batch_size, image_size)
    x = _conv_relu(net, x, "stem", 64, 3, bias=bias, stride=2, padding=0)
    x = net.max_pool(x, "stem/pool", 3, stride=2, padding=0)
    index = 2
    for fire in _FIRES:
        if fire is None:
            x = net.max_pool(x, f"pool{index - 1}", 3, stride=2, padding=0)
            continue
        name, (squeeze, expand) = f"fire{index}", fire
        x = _conv_relu(net, x, f"{name}/squeeze1x1", squeeze, 1, bias=bias)
        wide = _conv_relu(net, x, f"{name}/expand1x1", expand, 1, bias=bias)
        high = _conv_relu(net, x, f"{name}/expand3x3", expand, 3, bias=bias)
        x = net.concat([wide, high], f"{name}/concat")
        index += 1
    x = net.node("Dropout", [x], "classifier/dropout")
    x = _conv_relu(net, x, "classifier", num_labels, 1, bias=bias)
    x = net.spatial_mean(x, "classifier/pool")
    x = net.flatten(x, "classifier/flatten")
    return net.model({"logits": x}, seed=seed)


def _conv_relu(
    net: LayerBuilder,
    x: str,
    name: str,
    channels: int,
    kernel: int,
    *,
    bias: bool,
    stride: int = 1,
    padding: int | None = None,
) -> str:
    pad = kernel // 2 if padding is None else padding
    x = net.conv(x, f"{name}/conv", channels, kernel, stride=stride, padding=pad, bias=bias)
    return net.relu(x, f"{name}/relu")
