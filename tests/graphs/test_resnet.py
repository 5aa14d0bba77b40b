from __future__ import annotations

from collections.abc import Callable

import pytest
from graph_counts import multiply_adds, operators, output_shapes, taso_nodes, trainable_parameters

from xflowrl.graphs import resnet
from xflowrl.onnx_io import Model


@pytest.mark.parametrize(
    ("build", "num_nodes"),
    [
        (resnet.resnet18, 176),
        (resnet.resnet34, 312),
        (resnet.resnet50, 447),
        (resnet.resnet152, 1297),
    ],
)
def test_they_are_the_networks_of_tasos_figures(
    build: Callable[..., Model], num_nodes: int
) -> None:
    assert taso_nodes(build().graph) == num_nodes


@pytest.mark.parametrize(
    ("build", "parameters", "published_multiply_adds"),
    [
        # parameters: torchvision's table, exact; multiply-adds: He et al. 2015, table 1 ("FLOPs",
        # given to two digits), ResNeXt: torchvision's table (4.23 G; the paper says 4.2)
        (resnet.resnet18, 11_689_512, 1.8e9),
        (resnet.resnet34, 21_797_672, 3.6e9),
        (resnet.resnet50, 25_557_032, 3.8e9),
        (resnet.resnet101, 44_549_160, 7.6e9),
        (resnet.resnet152, 60_192_808, 11.3e9),
        (resnet.resnext50, 25_028_904, 4.23e9),
    ],
)
def test_published_figures(
    build: Callable[..., Model], parameters: int, published_multiply_adds: float
) -> None:
    graph = build().graph
    assert trainable_parameters(graph) == parameters
    # 2%: the last published digit
    assert multiply_adds(graph) == pytest.approx(published_multiply_adds, rel=0.02)
    assert output_shapes(graph) == {"logits": (1, 1000)}


def test_convolutions_and_relus_of_resnet50() -> None:
    counts = operators(resnet.resnet50().graph)
    assert (counts["Conv"], counts["BatchNormalization"], counts["Relu"]) == (53, 53, 49)


def test_where_the_stride_is() -> None:
    # v1: on the first 1x1 of a bottleneck; ResNeXt: on its 3x3
    def strided(model: Model) -> list[str]:
        return [
            node.outputs[0]
            for node in model.graph.nodes()
            if node.op_type == "Conv"
            and node.attributes["strides"] == [2, 2]
            and node.outputs[0].startswith("stage2")
        ]

    shortcut = "stage2/block1/shortcut/conv"
    assert sorted(strided(resnet.resnet50())) == ["stage2/block1/conv1/conv", shortcut]
    assert sorted(strided(resnet.resnext50())) == ["stage2/block1/conv2/conv", shortcut]


def test_resnext_is_grouped() -> None:
    groups = [
        node.attributes["group"]
        for node in resnet.resnext50().graph.nodes()
        if node.op_type == "Conv" and node.outputs[0].endswith("conv2/conv")
    ]
    assert groups == [32] * 16


def test_sizes_are_overridden() -> None:
    graph = resnet.resnet18(batch_size=3, image_size=64, num_labels=5).graph
    assert output_shapes(graph) == {"logits": (3, 5)}
