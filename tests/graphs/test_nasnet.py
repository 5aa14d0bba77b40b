from __future__ import annotations

import pytest
from graph_counts import (
    batch_norm_channels,
    multiply_adds,
    operators,
    output_shapes,
    trainable_parameters,
)

from xflowrl.graphs.nasnet import nasnet_a

LARGE = {
    "num_cells": 6,
    "penultimate_channels": 4032,
    "stem_channels": 96,
    "skip_reduction_input": True,
    "image_size": 331,
}


@pytest.mark.parametrize(
    ("arguments", "all_parameters", "published_multiply_adds"),
    [
        # Zoph et al. 2018, table 2: 5.3 M, 564 M and 88.9 M, 23.8 G; Keras, with running
        # statistics: 5,326,716 and 88,949,818
        ({}, 5_326_716, 564e6),
        (LARGE, 88_949_818, 23.8e9),
    ],
)
def test_published_figures(
    arguments: dict[str, int], all_parameters: int, published_multiply_adds: float
) -> None:
    graph = nasnet_a(**arguments).graph
    assert trainable_parameters(graph) + 2 * batch_norm_channels(graph) == all_parameters
    assert multiply_adds(graph) == pytest.approx(published_multiply_adds, rel=0.002)
    assert output_shapes(graph) == {"logits": (1, 1000)}


def test_cells_grow_and_shrink() -> None:
    graph = nasnet_a().graph
    shapes = [tuple(graph.tensor_type(f"stage{i}/cell3/concat").shape) for i in range(3)]
    assert shapes == [(1, 264, 28, 28), (1, 528, 14, 14), (1, 1056, 7, 7)]


def test_the_second_path_is_shifted_by_one_pixel() -> None:
    graph = nasnet_a().graph
    assert operators(graph)["Pad"] == 4  # behind either stem reduction and either other one
    (cut,) = [n for n in graph.nodes() if n.outputs[0] == "stage1/cell0/older/shift/slice"]
    assert (cut.attributes["starts"], cut.attributes["axes"]) == ([1, 1], [2, 3])


def test_sizes_are_overridden() -> None:
    graph = nasnet_a(num_cells=1, batch_size=2, image_size=64, num_labels=5).graph
    assert output_shapes(graph) == {"logits": (2, 5)}
    with pytest.raises(ValueError, match="penultimate_channels 100 is not a multiple of 24"):
        nasnet_a(penultimate_channels=100)
