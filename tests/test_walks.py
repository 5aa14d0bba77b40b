"""End to end: whatever sound rules reach can be exported, run, and computes the same function."""

from __future__ import annotations

import random

import onnx
import pytest
from recompute import random_walk

from xflowrl import _engine
from xflowrl.onnx_io import Model, export_onnx
from xflowrl.options import build_option
from xflowrl.rules import load_core
from xflowrl.verify import verify

# Options that keep a walk's verification short, and the number of walks: 300 in all.
SMALL = {"num_stacks": 2, "num_modules_per_stack": 1, "image_size": 16}
SOURCES: list[tuple[str, dict[str, object], int]] = [
    ("tiny", {}, 20),
    ("nasbench_3x3", SMALL, 30),
    ("nasbench_3x3", {}, 6),
    ("nasbench_inception", SMALL, 20),
    ("squeezenet", {}, 30),
    ("resnet18", {"image_size": 64}, 20),
    ("resnet34", {"image_size": 64}, 10),
    ("resnet50", {"image_size": 64}, 14),
    ("resnet101", {"image_size": 64}, 5),
    ("resnet152", {"image_size": 64}, 5),
    ("resnext50", {"image_size": 64}, 14),
    ("bert", {"num_layers": 2}, 14),
    ("bert_base", {}, 2),
    ("vit_base", {"image_size": 64}, 2),
    ("vgg16", {"image_size": 32}, 4),
    ("vgg19", {"image_size": 32}, 4),
    ("mobilenet_v2", {}, 20),
    ("inception_v3", {}, 6),
    ("nasrnn", {}, 16),
    ("nasnet_a", {}, 8),
    ("onnx_light", {"name": "squeezenet"}, 16),
    ("onnx_light", {"name": "inception_v1"}, 10),
    ("onnx_light", {"name": "inception_v2"}, 6),
    ("onnx_light", {"name": "shufflenet"}, 10),
    ("onnx_light", {"name": "densenet121"}, 2),
    ("onnx_light", {"name": "resnet50"}, 2),
    ("onnx_light", {"name": "alexnet"}, 2),
    ("onnx_light", {"name": "zfnet512"}, 1),
    ("onnx_light", {"name": "vgg19"}, 1),
]
NAMES = ["-".join([name, *map(str, options.values())]) for name, options, _ in SOURCES]
QUICK: list[tuple[str, dict[str, object]]] = [
    ("tiny", {}),
    ("nasbench_3x3", SMALL),
    ("squeezenet", {}),
    ("resnet18", {"image_size": 64}),
    ("mobilenet_v2", {}),
    ("nasrnn", {}),
    ("onnx_light", {"name": "shufflenet"}),
]
COSTS = _engine.CostTable.roofline(19.5e12, 1.555e12, 0.005)


def load(name: str, options: dict[str, object]) -> Model:
    """Returns the model of a graph source."""
    model = build_option("graph", name, options)
    assert isinstance(model, Model)
    return model


def assert_walk_keeps_function(model: Model, seed: int) -> None:
    """Takes 1 to 40 random rewrites and asserts that the end state computes what `model` does."""
    num_steps = random.Random(seed).randint(1, 40)
    rules, graph = [], model.graph
    for parent, index, child in random_walk(
        model.graph, load_core(), COSTS, num_steps=num_steps, seed=seed, max_growth=3.0
    ):
        rules.append(parent.matches()[index].rule)
        graph = child.graph
    result = model.with_graph(graph)
    onnx.checker.check_model(export_onnx(result), full_check=True)
    verdict = verify(model, result, draws=1, seed=seed)
    assert verdict.equal, f"{verdict.detail}: seed {seed}, rules {rules}"


@pytest.mark.parametrize(("name", "options"), QUICK)
def test_one_walk(name: str, options: dict[str, object]) -> None:
    assert_walk_keeps_function(load(name, options), seed=7)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "num_walks"), SOURCES, ids=NAMES)
def test_three_hundred_walks(name: str, options: dict[str, object], num_walks: int) -> None:
    model = load(name, options)
    for seed in range(num_walks):
        assert_walk_keeps_function(model, seed)


def test_there_are_three_hundred_walks() -> None:
    assert sum(num_walks for _, _, num_walks in SOURCES) == 300
