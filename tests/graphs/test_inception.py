from __future__ import annotations

import pytest
from graph_counts import (
    batch_norm_channels,
    multiply_adds,
    operators,
    output_shapes,
    trainable_parameters,
)

from xflowrl.graphs.inception import inception_v3


def test_published_figures() -> None:
    graph = inception_v3().graph
    # torchvision: 27,161,264 parameters, 3,326,696 of them in the auxiliary classifier; 5.71 G
    # multiply-adds
    assert trainable_parameters(graph) == 27_161_264 - 3_326_696
    assert multiply_adds(graph) == pytest.approx(5.71e9, rel=0.001)
    # Keras: 23,851,784, without scales but with running statistics
    channels = batch_norm_channels(graph)
    assert trainable_parameters(graph) - channels + 2 * channels == 23_851_784


def test_grid_sizes_of_table_1() -> None:
    graph = inception_v3().graph
    shapes = {
        f"mixed{index}": tuple(graph.tensor_type(f"mixed{index}/concat").shape[1:])
        for index in (0, 2, 3, 7, 8, 10)
    }
    assert shapes == {
        "mixed0": (256, 35, 35),
        "mixed2": (288, 35, 35),
        "mixed3": (768, 17, 17),
        "mixed7": (768, 17, 17),
        "mixed8": (1280, 8, 8),
        "mixed10": (2048, 8, 8),
    }
    assert operators(graph)["Conv"] == 94


def test_sizes_are_overridden() -> None:
    graph = inception_v3(batch_size=2, image_size=75, num_labels=5).graph
    assert output_shapes(graph) == {"logits": (2, 5)}
    with pytest.raises(ValueError, match="image_size"):
        inception_v3(image_size=74)
