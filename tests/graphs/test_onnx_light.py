from __future__ import annotations

import numpy as np
import pytest

from xflowrl.graphs.onnx_light import NAMES, onnx_light


@pytest.mark.parametrize(
    ("name", "num_convs"),
    [
        ("alexnet", 5),
        ("densenet121", 121),
        ("inception_v1", 57),
        ("inception_v2", 69),
        ("resnet50", 53),
        ("shufflenet", 49),
        ("squeezenet", 26),
        ("vgg19", 16),
        ("zfnet512", 5),
    ],
)
def test_all_nine_are_read(name: str, num_convs: int) -> None:
    graph = onnx_light(name).graph
    assert [node.op_type for node in graph.nodes()].count("Conv") == num_convs
    assert len(graph.inputs) == 1
    assert not any(node.is_opaque for node in graph.nodes())


def test_there_are_nine() -> None:
    assert len(NAMES) == 9


def test_weights_are_drawn_from_the_seed() -> None:
    def kernel(seed: int) -> np.ndarray:
        model = onnx_light("squeezenet", seed=seed)
        name = next(node.inputs[1] for node in model.graph.nodes() if node.op_type == "Conv")
        return model.weights.get(name)

    first, again, other = kernel(0), kernel(0), kernel(1)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.unique(first).size > first.size // 2  # the file's own are all 0.02


def test_unknown_name_lists_the_names() -> None:
    with pytest.raises(ValueError, match=r"'vgg16' is unknown; give one of alexnet, .*zfnet512"):
        onnx_light("vgg16")
