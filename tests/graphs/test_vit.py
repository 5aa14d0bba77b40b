from __future__ import annotations

import pytest
from graph_counts import multiply_adds, operators, output_shapes, trainable_parameters

from xflowrl.graphs.vit import vit_base


def test_published_figures() -> None:
    # torchvision's table for vit_b_16: 86,567,656 parameters, 17.56 G multiply-adds;
    # Dosovitskiy et al. 2020, table 1: 86 M
    graph = vit_base().graph
    assert trainable_parameters(graph) == 86_567_656
    assert multiply_adds(graph) == pytest.approx(17.56e9, rel=0.001)
    assert output_shapes(graph) == {"logits": (1, 1000)}


def test_tokens() -> None:
    graph = vit_base().graph
    assert tuple(graph.tensor_type("embedding/add").shape) == (1, 197, 768)
    counts = operators(graph)
    assert (counts["Softmax"], counts["Gelu"], counts["LayerNormalization"]) == (12, 12, 25)


def test_sizes_are_overridden() -> None:
    graph = vit_base(batch_size=2, image_size=64, patch_size=32, num_labels=5).graph
    assert output_shapes(graph) == {"logits": (2, 5)}
    assert tuple(graph.tensor_type("embedding/add").shape) == (2, 5, 768)
    with pytest.raises(ValueError, match="image_size 100 is not a multiple of patch_size 16"):
        vit_base(image_size=100)
