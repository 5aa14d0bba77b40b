"""NASNet-A (Zoph et al. 2018, figure 4), in its two ImageNet sizes.

What the paper leaves open is as in the authors' code: batch normalisation's epsilon 1e-3; a
separable convolution is applied twice, each time after a relu; the older of a cell's two inputs is
brought to the size of the newer by two paths of strided picks, the second shifted by one pixel; a
normal cell also hands on its older input.

Departures from the paper: the softmax, the auxiliary classifier and drop path are left out, which
act in training only.
"""

from __future__ import annotations

from xflowrl.graphs.layers import LayerBuilder, require_positive
from xflowrl.onnx_io import Model

_EPSILON = 1e-3


def nasnet_a(
    *,
    num_cells: int = 4,
    penultimate_channels: int = 1056,
    stem_channels: int = 32,
    skip_reduction_input: bool = False,
    batch_size: int = 1,
    image_size: int = 224,
    num_labels: int = 1000,
    seed: int = 0,
) -> Model:
    """NASNet-A (num_cells @ penultimate_channels): [N, 3, S, S] to [N, num_labels].

    The default is the mobile network, 4 @ 1056. The large one is 6 @ 4032 with 96 stem channels,
    `skip_reduction_input=True` and 331x331 images.

    Args:
        num_cells: normal cells in each of the three stages.
        penultimate_channels: channels before the classifier, a multiple of 24.
        skip_reduction_input: whether the first cell behind a reduction cell reads, as its older
            input, the one that the reduction cell had instead of the newer one.
    """
    require_positive(num_cells=num_cells, stem_channels=stem_channels)
    if penultimate_channels < 96 or penultimate_channels % 24:
        raise ValueError(
            f"nasnet_a: penultimate_channels {penultimate_channels} is not a multiple of 24, "
            "or below 96"
        )
    channels = penultimate_channels // 24
    net = LayerBuilder("nasnet_a")
    x = net.image_input(batch_size, image_size)
    x = net.conv_bn(x, "stem", stem_channels, 3, stride=2, padding=0, epsilon=_EPSILON)
    stem = _reduction_cell(net, x, x, "stem/reduction1", channels // 4)
    older, x = x, stem
    older, x = x, _reduction_cell(net, x, older, "stem/reduction2", channels // 2)
    for stage in range(3):
        if stage > 0:
            channels *= 2
            reduced = _reduction_cell(net, x, older, f"stage{stage}/reduction", channels)
            older, x = (older if skip_reduction_input else x), reduced
        for cell in range(num_cells):
            name = f"stage{stage}/cell{cell}"
            older, x = x, _normal_cell(net, x, older, name, channels)
    x = net.relu(x, "classifier/relu")
    x = net.flatten(net.spatial_mean(x, "classifier/pool"), "classifier/flatten")
    x = net.dense(x, "classifier/dense", num_labels)
    return net.model({"logits": x}, seed=seed)


def _normal_cell(net: LayerBuilder, x: str, older: str, name: str, channels: int) -> str:
    p = _fitted(net, older, x, f"{name}/older", channels)
    h = _relu_conv_bn(net, x, f"{name}/newer", channels)
    blocks = [
        (
            _separable(net, h, f"{name}/block1/left", channels, 5),
            _separable(net, p, f"{name}/block1/right", channels, 3),
        ),
        (
            _separable(net, p, f"{name}/block2/left", channels, 5),
            _separable(net, p, f"{name}/block2/right", channels, 3),
        ),
        (net.average_pool(h, f"{name}/block3/left", 3), p),
        (
            net.average_pool(p, f"{name}/block4/left", 3),
            net.average_pool(p, f"{name}/block4/right", 3),
        ),
        (_separable(net, h, f"{name}/block5/left", channels, 3), h),
    ]
    sums = [net.add(a, b, f"{name}/block{i}/add") for i, (a, b) in enumerate(blocks, start=1)]
    return net.concat([p, *sums], f"{name}/concat")


def _reduction_cell(net: LayerBuilder, x: str, older: str, name: str, channels: int) -> str:
    p = _fitted(net, older, x, f"{name}/older", channels)
    h = _relu_conv_bn(net, x, f"{name}/newer", channels)
    first = net.add(
        _separable(net, h, f"{name}/block1/left", channels, 5, stride=2),
        _separable(net, p, f"{name}/block1/right", channels, 7, stride=2),
        f"{name}/block1/add",
    )
    second = net.add(
        net.max_pool(h, f"{name}/block2/left", 3, stride=2),
        _separable(net, p, f"{name}/block2/right", channels, 7, stride=2),
        f"{name}/block2/add",
    )
    third = net.add(
        net.average_pool(h, f"{name}/block3/left", 3, stride=2),
        _separable(net, p, f"{name}/block3/right", channels, 5, stride=2),
        f"{name}/block3/add",
    )
    fourth = net.add(
        second, net.average_pool(first, f"{name}/block4/right", 3), f"{name}/block4/add"
    )
    fifth = net.add(
        _separable(net, first, f"{name}/block5/left", channels, 3),
        net.max_pool(h, f"{name}/block5/right", 3, stride=2),
        f"{name}/block5/add",
    )
    return net.concat([second, third, fourth, fifth], f"{name}/concat")


def _relu_conv_bn(net: LayerBuilder, x: str, name: str, channels: int) -> str:
    return net.conv_bn(net.relu(x, f"{name}/relu"), name, channels, 1, epsilon=_EPSILON)


def _separable(
    net: LayerBuilder, x: str, name: str, channels: int, kernel: int, *, stride: int = 1
) -> str:
    """Twice: relu, depthwise convolution, 1x1 convolution, batch normalisation."""
    for index, step in enumerate((stride, 1)):
        part = f"{name}/separable{index + 1}"
        groups = net.shape(x)[1]
        x = net.relu(x, f"{part}/relu")
        x = net.conv(x, f"{part}/depthwise", groups, kernel, stride=step, groups=groups)
        x = net.conv_bn(x, part, channels, 1, epsilon=_EPSILON)
    return x


def _fitted(net: LayerBuilder, older: str, x: str, name: str, channels: int) -> str:
    """The older input with `channels` channels, at the size of `x`."""
    if older == x:
        return older
    _, _, height, width = net.shape(older)
    if (height, width) == net.shape(x)[2:]:
        if net.shape(older)[1] == channels:
            return older
        return _relu_conv_bn(net, older, name, channels)
    older = net.relu(older, f"{name}/relu")
    # padded first: ONNX Runtime cannot start a model with a Pad just before a 1x1 pool
    shifted = net.node(
        "Pad",
        [older],
        f"{name}/shift/pad",
        pads=[0, 0, 0, 0, 0, 0, 1, 1],
        mode="constant",
        value=0.0,
    )
    shifted = net.slice(
        shifted, f"{name}/shift/slice", starts=[1, 1], ends=[height + 1, width + 1], axes=[2, 3]
    )
    paths = []
    half = channels // 2
    for part, picked, width in (("path1", older, half), ("path2", shifted, channels - half)):
        y = net.average_pool(picked, f"{name}/{part}/pick", 1, stride=2, padding=0)
        paths.append(net.conv(y, f"{name}/{part}/conv", width, 1))
    return net.batch_norm(net.concat(paths, f"{name}/concat"), f"{name}/bn", epsilon=_EPSILON)
