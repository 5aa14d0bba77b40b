"""What stands in for ONNX's reference evaluator where that is wrong, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from xflowrl._engine import GraphBuilder, TensorType
from xflowrl.onnx_io import Model, StoredWeights, export_onnx
from xflowrl.soundness.reference import evaluate_graph


@pytest.mark.parametrize("group", [1, 2, 3])
@pytest.mark.parametrize("kernel", [(3,), (2, 3)])
def test_conv_transpose(group: int, kernel: tuple[int, ...]) -> None:
    rng, rank = np.random.default_rng(group), len(kernel)
    weights = {
        "w": rng.integers(-4, 5, (2 * group, 2, *kernel)).astype(np.float32),
        "b": rng.integers(-4, 5, 2 * group).astype(np.float32),
    }
    feeds = {"x": rng.integers(-4, 5, (2, 2 * group, *(3, 4)[:rank])).astype(np.float32)}
    builder = GraphBuilder("transposed")
    builder.add_input("x", TensorType("float32", feeds["x"].shape))
    for name, array in weights.items():
        builder.add_weight(name, TensorType("float32", array.shape))
    attributes = {
        "strides": [2, 3][:rank],
        "dilations": [2, 1][:rank],
        "pads": [1, 0, 0, 1][: 2 * rank],
        "output_padding": [1, 2][:rank],
        "group": group,
    }
    builder.add_node("ConvTranspose", ["x", "w", "b"], ["y"], attributes)
    builder.set_outputs(["y"])
    graph = builder.build()
    exported = export_onnx(Model(graph, StoredWeights(weights))).SerializeToString()
    (theirs,) = onnxruntime.InferenceSession(exported).run(None, feeds)
    (ours,) = evaluate_graph(graph, feeds, weights)
    np.testing.assert_array_equal(ours, theirs)  # whole numbers: nothing rounds
