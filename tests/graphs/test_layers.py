from __future__ import annotations

import pytest

from xflowrl.graphs.layers import LayerBuilder, require_positive


def builder(height: int, width: int) -> tuple[LayerBuilder, str]:
    net = LayerBuilder("net")
    return net, net.input("x", [1, 4, height, width])


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads"),
    [
        (8, 3, 1, [1, 1, 1, 1]),
        (8, 3, 2, [0, 0, 1, 1]),  # TensorFlow's SAME puts the odd pixel behind
        (9, 3, 2, [1, 1, 1, 1]),
        (8, 2, 2, [0, 0, 0, 0]),
        (7, 2, 2, [0, 0, 1, 1]),
        (8, 1, 2, [0, 0, 0, 0]),
        (1, 7, 2, [3, 3, 3, 3]),
    ],
)
def test_same_padding(size: int, kernel: int, stride: int, pads: list[int]) -> None:
    net, x = builder(size, size)
    y = net.conv(x, "conv", 6, kernel, stride=stride)
    model = net.model({"y": y}, seed=0)
    (node,) = model.graph.nodes()
    assert node.attributes["pads"] == pads
    assert net.shape(y) == (1, 6, -(-size // stride), -(-size // stride))


def test_padding_by_axis_follows_the_kernel() -> None:
    net, x = builder(6, 5)
    same = net.conv(x, "same", 4, (1, 7))
    given = net.conv(x, "given", 4, (3, 3), padding=(1, 0))
    assert net.shape(same) == (1, 4, 6, 5)
    assert net.shape(given) == (1, 4, 6, 3)


def test_names_and_shapes_of_a_convolution_layer() -> None:
    net, x = builder(8, 8)
    y = net.conv_bn_relu(x, "stem", 6, 3, groups=2, epsilon=1e-3)
    graph = net.model({"y": y}, seed=0).graph
    assert [node.outputs for node in graph.nodes()] == [["stem/conv"], ["stem/bn"], ["stem/relu"]]
    assert {name: tuple(type_.shape) for name, type_ in graph.weights.items()} == {
        "stem/conv/weight": (6, 2, 3, 3),
        "stem/bn/scale": (6,),
        "stem/bn/bias": (6,),
        "stem/bn/mean": (6,),
        "stem/bn/variance": (6,),
    }
    assert graph.nodes()[1].attributes["epsilon"] == pytest.approx(1e-3, rel=1e-6)  # one float32


def test_average_pool_does_not_count_padding() -> None:
    net, x = builder(8, 8)
    graph = net.model({"y": net.average_pool(x, "pool", 3)}, seed=0).graph
    assert graph.nodes()[0].attributes["count_include_pad"] == 0


@pytest.mark.parametrize("make", ["conv", "max_pool"])
def test_window_that_does_not_fit_is_refused(make: str) -> None:
    net, x = builder(2, 8)
    arguments = (4, 3) if make == "conv" else (3,)
    with pytest.raises(ValueError, match=r"net: the 3x3 window of stem .* larger image_size"):
        getattr(net, make)(x, "stem", *arguments, padding=0)


def test_indivisible_groups_are_refused() -> None:
    net, x = builder(8, 8)
    with pytest.raises(ValueError, match="4 channels in and 6 out into 4 groups"):
        net.conv(x, "stem", 6, 3, groups=4)


def test_require_positive_names_the_first_offender() -> None:
    require_positive(a=1, b=2)
    with pytest.raises(ValueError, match="batch_size: 0 is not positive"):
        require_positive(a=1, batch_size=0)


def test_images_must_have_pixels() -> None:
    with pytest.raises(ValueError, match="image_size: -3"):
        LayerBuilder("net").image_input(1, -3)
