"""The nine real networks inside the onnx package: opset 9, weights by ConstantOfShape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from xflowrl.onnx_io import export_onnx, load_onnx
from xflowrl.weights import draw_inputs

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
SMALL = ["squeezenet", "shufflenet", "resnet50", "inception_v2", "densenet121"]
LARGE = ["bvlc_alexnet", "inception_v1", "vgg19", "zfnet512"]


@pytest.mark.parametrize(
    "name", [*SMALL, *[pytest.param(n, marks=pytest.mark.slow) for n in LARGE]]
)
def test_round_trip(name: str, round_trip: Callable[..., Any]) -> None:
    """With its own placeholder weights; the numbers that prove something are drawn below."""
    path = LIGHT / f"light_{name}.onnx"
    model = round_trip(path)
    assert not any(node.is_opaque for node in model.graph.nodes())
    source = onnx.load(path)
    weights = {t.name for t in source.graph.initializer}
    assert model.graph.inputs == [i.name for i in source.graph.input if i.name not in weights]
    assert model.graph.outputs == [o.name for o in source.graph.output]
    counted = Counter(node.op_type for node in source.graph.node)
    kept = Counter(node.op_type for node in model.graph.nodes())
    for operator in ("Conv", "BatchNormalization", "Relu", "MaxPool", "Concat", "Gemm"):
        assert kept[operator] == counted[operator]


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "resnet50", "inception_v2"])
def test_redrawn_weights_keep_activations_alive(
    name: str, run_model: Callable[..., list[Any]]
) -> None:
    model = load_onnx(LIGHT / f"light_{name}.onnx", redraw_weights=True, seed=3)
    proto = export_onnx(model)
    onnx.checker.check_model(proto, full_check=True)
    softmax = next(n for n in proto.graph.node if n.op_type == "Softmax")
    proto.graph.output.append(onnx.helper.make_empty_tensor_value_info(softmax.input[0]))
    probabilities, logits = run_model(proto, draw_inputs(model.graph, 0))
    assert np.isfinite(logits).all()
    assert 0.1 < logits.std() < 10
    assert probabilities.max() < 0.99


def test_a_seed_draws_one_set_of_weights() -> None:
    path = LIGHT / "light_squeezenet.onnx"
    first, second, other = (load_onnx(path, redraw_weights=True, seed=s) for s in (1, 1, 2))
    name = "conv1_w_0"
    np.testing.assert_array_equal(first.weights.get(name), second.weights.get(name))
    assert not np.array_equal(first.weights.get(name), other.weights.get(name))
    assert load_onnx(path).weights.get(name).ravel()[0] == pytest.approx(0.02)


def test_placeholder_weights_take_no_memory() -> None:
    weights = load_onnx(LIGHT / "light_vgg19.onnx").weights.get("fc6_w_0")
    assert weights.shape == (4096, 25088)
    assert weights.base is not None
    assert weights.strides == (0, 0)
