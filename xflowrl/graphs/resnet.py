"""Residual networks: ResNet v1 (He et al. 2015, table 1) and ResNeXt (Xie et al. 2017, table 1).

As in the paper of 2015, a stage's stride is on the first convolution of its first block, which in
a bottleneck is the 1x1; ResNeXt has it on the 3x3. Batch normalisation follows every convolution,
no convolution has a bias, shortcuts that change shape are 1x1 convolutions. The classifier is
MatMul(x, Transpose(W)) + b, which a rule may merge.

These are the networks of TASO's published figures: 176, 312, 447, 1297 nodes for 18, 34, 50, 152
layers, counting inputs, weights and a weight for each pool.

Departures from the papers: the softmax is left out.
"""

from __future__ import annotations

from collections.abc import Callable

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.onnx_io import Model

# (net, x, name, width, stride) -> the block's branch, before the addition
_Branch = Callable[[LayerBuilder, str, str, int, int], str]


def resnet18(
    *, batch_size: int = 1, image_size: int = 224, num_labels: int = 1000, seed: int = 0
) -> Model:
    """ResNet-18: [N, 3, S, S] to [N, num_labels]."""
    return _resnet("resnet18", _basic, 1, (2, 2, 2, 2), batch_size, image_size, num_labels, seed)


def resnet34(
    *, batch_size: int = 1, image_size: int = 224, num_labels: int = 1000, seed: int = 0
) -> Model:
    """ResNet-34: [N, 3, S, S] to [N, num_labels]."""
    return _resnet("resnet34", _basic, 1, (3, 4, 6, 3), batch_size, image_size, num_labels, seed)


def resnet50(
    *, batch_size: int = 1, image_size: int = 224, num_labels: int = 1000, seed: int = 0
) -> Model:
    """ResNet-50: [N, 3, S, S] to [N, num_labels]."""
    blocks = (3, 4, 6, 3)
    return _resnet("resnet50", _bottleneck, 4, blocks, batch_size, image_size, num_labels, seed)


def resnet101(
    *, batch_size: int = 1, image_size: int = 224, num_labels: int = 1000, seed: int = 0
) -> Model:
    """ResNet-101: [N, 3, S, S] to [N, num_labels]."""
    blocks = (3, 4, 23, 3)
    return _resnet("resnet101", _bottleneck, 4, blocks, batch_size, image_size, num_labels, seed)


def resnet152(
    *, batch_size: int = 1, image_size: int = 224, num_labels: int = 1000, seed: int = 0
) -> Model:
    """ResNet-152: [N, 3, S, S] to [N, num_labels]."""
    blocks = (3, 8, 36, 3)
    return _resnet("resnet152", _bottleneck, 4, blocks, batch_size, image_size, num_labels, seed)


def resnext50(
    *, batch_size: int = 1, image_size: int = 224, num_labels: int = 1000, seed: int = 0
) -> Model:
    """ResNeXt-50 (32x4d): [N, 3, S, S] to [N, num_labels]."""
    blocks = (3, 4, 6, 3)
    return _resnet("resnext50", _grouped, 4, blocks, batch_size, image_size, num_labels, seed)


def _resnet(
    name: str,
    branch: _Branch,
    expansion: int,
    blocks: tuple[int, ...],
    batch_size: int,
    image_size: int,
    num_labels: int,
    seed: int,
) -> Model:
    net = LayerBuilder(name)
    x = net.image_input(batch_size, image_size)
    x = net.conv_bn_relu(x, "stem", 64, 7, stride=2, padding=3)
    x = net.max_pool(x, "stem/pool", 3, stride=2, padding=1)
    for stage, num_blocks in enumerate(blocks):
        width = 64 * 2**stage
        for block in range(num_blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            block_name = f"stage{stage + 1}/block{block + 1}"
            y = branch(net, x, block_name, width, stride)
            if stride > 1 or net.shape(x)[1] != width * expansion:
                shortcut = f"{block_name}/shortcut"
                x = net.conv_bn(x, shortcut, width * expansion, 1, stride=stride, padding=0)
            x = net.relu(net.add(y, x, f"{block_name}/add"), f"{block_name}/relu")
    x = net.spatial_mean(x, "classifier/pool")
    x = net.flatten(x, "classifier/flatten")
    w = net.weight("classifier/weight", [num_labels, net.shape(x)[1]])
    w = net.transpose(w, "classifier/transpose", (1, 0))
    x = net.node("MatMul", [x, w], "classifier/matmul")
    x = net.add(x, net.weight("classifier/bias", [num_labels]), "classifier/add")
    return net.model({"logits": x}, seed=seed)


def _basic(net: LayerBuilder, x: str, name: str, width: int, stride: int) -> str:
    x = net.conv_bn_relu(x, f"{name}/conv1", width, 3, stride=stride, padding=1)
    return net.conv_bn(x, f"{name}/conv2", width, 3, padding=1)


def _bottleneck(net: LayerBuilder, x: str, name: str, width: int, stride: int) -> str:
    x = net.conv_bn_relu(x, f"{name}/conv1", width, 1, stride=stride, padding=0)
    x = net.conv_bn_relu(x, f"{name}/conv2", width, 3, padding=1)
    return net.conv_bn(x, f"{name}/conv3", 4 * width, 1, padding=0)


def _grouped(net: LayerBuilder, x: str, name: str, width: int, stride: int) -> str:
    x = net.conv_bn_relu(x, f"{name}/conv1", 2 * width, 1, padding=0)
    x = net.conv_bn_relu(x, f"{name}/conv2", 2 * width, 3, stride=stride, padding=1, groups=32)
    return net.conv_bn(x, f"{name}/conv3", 4 * width, 1, padding=0)
