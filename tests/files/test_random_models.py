"""Random rewrites of random model files: never wrong, never refused, never a traceback."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from delivering import deliver
from judge import complaints
from random_models import random_model

NUM_SEEDS, NUM_SLOW_SEEDS = 40, 400


@pytest.mark.parametrize("seed", range(NUM_SEEDS))
def test_delivered_and_equal(tmp_path: Path, seed: int) -> None:
    _check(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(NUM_SEEDS, NUM_SLOW_SEEDS))
def test_delivered_and_equal_at_length(tmp_path: Path, seed: int) -> None:
    _check(tmp_path, seed)


def test_traits_occur() -> None:
    models = [random_model(seed) for seed in range(NUM_SEEDS)]
    operators = {node.op_type for model in models for node in model.graph.node}
    assert operators >= {"If", "Loop", "QuantizeLinear", "Shape", "Gelu", "Swish", "Split"}
    opsets = {model.opset_import[0].version for model in models}
    assert min(opsets) < 11 and max(opsets) > 20
    assert any(model.graph.input[0].type.tensor_type.elem_type == 10 for model in models)


def _check(folder: Path, seed: int) -> None:
    onnx.save(random_model(seed), folder / "model.onnx")
    deliver(
        folder / "model.onnx",
        folder / "result.onnx",
        agent="random_search",
        seed=seed,
        max_iterations=20,
    )
    assert complaints(folder / "model.onnx", folder / "result.onnx") == []
