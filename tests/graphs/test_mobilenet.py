from __future__ import annotations

import pytest
from graph_counts import multiply_adds, operators, output_shapes, trainable_parameters

from xflowrl.graphs.mobilenet import mobilenet_v2


def test_published_figures() -> None:
    # Sandler et al. 2018, table 4: 3.4 M parameters, 300 M multiply-adds; torchvision: 3,504,872
    graph = mobilenet_v2().graph
    assert trainable_parameters(graph) == 3_504_872
    assert multiply_adds(graph) == pytest.approx(300e6, rel=0.01)
    assert output_shapes(graph) == {"logits": (1, 1000)}


def test_operators() -> None:
    graph = mobilenet_v2().graph
    counts = operators(graph)
    assert (counts["Conv"], counts["Clip"], counts["Add"]) == (52, 35, 10)
    clips = [node.attributes for node in graph.nodes() if node.op_type == "Clip"]
    assert all((clip["min"], clip["max"]) == (0.0, 6.0) for clip in clips)
    depthwise = [node for node in graph.nodes() if node.outputs[0].endswith("depthwise/conv")]
    assert len(depthwise) == 17
    assert all(n.attributes["group"] == n.output_types[0].shape[1] for n in depthwise)


def test_sizes_are_overridden() -> None:
    graph = mobilenet_v2(batch_size=2, image_size=96, num_labels=5).graph
    assert output_shapes(graph) == {"logits": (2, 5)}
