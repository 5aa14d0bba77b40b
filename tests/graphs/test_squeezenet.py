from __future__ import annotations

from collections import Counter

import pytest
from graph_counts import multiply_adds, operators, output_shapes, taso_nodes, trainable_parameters

from xflowrl.graphs.squeezenet import squeezenet


def test_it_is_the_network_of_tasos_figures() -> None:
    graph = squeezenet().graph
    assert taso_nodes(graph) == 97
    assert operators(graph) == Counter(
        Conv=26, Relu=26, MaxPool=3, Concat=8, Dropout=1, AveragePool=1, Reshape=1
    )
    assert output_shapes(graph) == {"logits": (1, 1000)}


def test_published_figures() -> None:
    # 1,235,496 parameters and 0.35 G multiply-adds: torchvision's table for squeezenet1_1;
    # the paper's repository: 2.4x less computation than version 1.0
    graph = squeezenet(bias=True).graph
    assert trainable_parameters(graph) == 1_235_496
    assert multiply_adds(graph) == pytest.approx(0.35e9, rel=0.01)


def test_bias_is_the_only_difference() -> None:
    without, with_bias = squeezenet().graph, squeezenet(bias=True).graph
    assert operators(without) == operators(with_bias)
    assert {name for name in with_bias.weights if name not in without.weights} == {
        f"{node.outputs[0]}/bias" for node in with_bias.nodes() if node.op_type == "Conv"
    }


def test_sizes_are_overridden() -> None:
    graph = squeezenet(batch_size=2, image_size=64, num_labels=5).graph
    assert output_shapes(graph) == {"logits": (2, 5)}


def test_too_small_an_image_is_refused() -> None:
    with pytest.raises(ValueError, match="image_size"):
        squeezenet(image_size=14)
