from __future__ import annotations

from collections.abc import Callable

import pytest
from graph_counts import multiply_adds, operators, output_shapes, trainable_parameters

from xflowrl.graphs.vgg import vgg16, vgg19
from xflowrl.onnx_io import Model


@pytest.mark.parametrize(
    ("build", "convs", "parameters", "published_multiply_adds"),
    [
        # torchvision's table; Simonyan & Zisserman 2014, table 2: 138 M and 144 M parameters
        (vgg16, 13, 138_357_544, 15.47e9),
        (vgg19, 16, 143_667_240, 19.63e9),
    ],
)
def test_published_figures(
    build: Callable[..., Model], convs: int, parameters: int, published_multiply_adds: float
) -> None:
    graph = build().graph
    assert trainable_parameters(graph) == parameters
    assert multiply_adds(graph) == pytest.approx(published_multiply_adds, rel=0.001)
    assert operators(graph)["Conv"] == convs
    assert output_shapes(graph) == {"logits": (1, 1000)}


def test_sizes_are_overridden() -> None:
    graph = vgg16(batch_size=2, image_size=32, num_labels=5).graph
    assert output_shapes(graph) == {"logits": (2, 5)}
