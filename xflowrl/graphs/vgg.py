"""VGG (Simonyan & Zisserman 2014, table 1, columns D and E).

Departures from the paper: the softmax is left out.
"""

from __future__ import annotations

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.onnx_io import Model


def vgg16(
    *, batch_size: int = 1, image_size: int = 224, num_labels: int = 1000, seed: int = 0
) -> Model:
    """VGG-16: [N, 3, S, S] to [N, num_labels]."""
    return _vgg("vgg16", (2, 2, 3, 3, 3), batch_size, image_size, num_labels, seed)


def vgg19(
    *, batch_size: int = 1, image_size: int = 224, num_labels: int = 1000, seed: int = 0
) -> Model:
    """VGG-19: [N, 3, S, S] to [N, num_labels]."""
    return _vgg("vgg19", (2, 2, 4, 4, 4), batch_size, image_size, num_labels, seed)


def _vgg(
    name: str,
    convs: tuple[int, ...],
    batch_size: int,
    image_size: int,
    num_labels: int,
    seed: int,
) -> Model:
    net = LayerBuilder(name)
    x = net.image_input(batch_size, image_size)
    for stage, (num_convs, channels) in enumerate(
        zip(convs, (64, 128, 256, 512, 512), strict=True)
    ):
        for index in range(num_convs):
            layer = f"stage{stage + 1}/conv{index + 1}"
            x = net.conv(x, layer, channels, 3, padding=1, bias=True)
            x = net.relu(x, f"{layer}/relu")
        x = net.max_pool(x, f"stage{stage + 1}/pool", 2, stride=2, padding=0)
    x = net.flatten(x, "classifier/flatten")
    for layer in ("classifier/dense1", "classifier/dense2"):
        x = net.relu(net.dense(x, layer, 4096), f"{layer}/relu")
        x = net.node("Dropout", [x], f"{layer}/dropout")
    x = net.dense(x, "classifier/dense3", num_labels)
    return net.model({"logits": x}, seed=seed)
