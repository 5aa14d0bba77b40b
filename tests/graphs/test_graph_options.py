"""The options of the configuration group `graph` say what the functions do."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from graph_counts import multiply_adds

from xflowrl._engine import Graph

FOLDER = Path(__file__).parents[2] / "conf" / "graph"
OPTIONS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
NO_NETWORK = {"networks", "onnx", "onnx_light", "training_set"}
BUILT_IN = [
    option for option in OPTIONS if option not in NO_NETWORK and not option.startswith("unseen_")
]


def read(option: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function of an option and its arguments, for a run of seed 0."""
    text = (FOLDER / f"{option}.yaml").read_text()
    assert "\nseed: ${seed}" in text
    arguments = yaml.safe_load(text.replace("${seed}", "0"))
    module, function = arguments.pop("_target_").rsplit(".", 1)
    return getattr(importlib.import_module(module), function), arguments


def build(option: str) -> Graph:
    function, arguments = read(option)
    graph: Graph = function(**arguments).graph
    return graph


def test_all_options_are_there() -> None:
    assert set(OPTIONS) >= {
        "nasbench_3x3",
        "nasbench_inception",
        "networks",
        "onnx",
        "onnx_light",
        "tiny",
        "squeezenet",
        "bert",
        "bert_base",
        *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
        "resnext50",
        "vgg16",
        "vgg19",
        "inception_v3",
        "mobilenet_v2",
        "nasnet_a",
        "nasrnn",
        "vit_base",
    }


@pytest.mark.parametrize("option", BUILT_IN)
def test_graph_is_called_as_its_option(option: str) -> None:
    assert build(option).name == option


@pytest.mark.parametrize("option", BUILT_IN)
def test_names_are_readable_and_follow_the_structure(option: str) -> None:
    graph = build(option)
    tensors = [output for node in graph.nodes() for output in node.outputs]
    names = [*tensors, *graph.weights, *graph.inputs]
    assert len(set(names)) == len(names)
    assert all(part and part.isidentifier() for name in names for part in name.split("/"))
    weights = [name for name in graph.weights if "/" in name]
    assert len(weights) == len(graph.weights)
    assert all(
        name.rsplit("/", 1)[1]
        in {
            *("weight", "bias", "scale", "mean", "variance"),
            *("input_weight", "recurrent_weight", "class_token", "positions"),
        }
        for name in weights
    )


@pytest.mark.parametrize("option", BUILT_IN)
def test_building_twice_gives_the_same_graph(option: str) -> None:
    first, second = build(option), build(option)
    assert (first.hash, first.merkle_hash) == (second.hash, second.merkle_hash)
    assert list(first.weights) == list(second.weights)


@pytest.mark.parametrize("option", BUILT_IN)
def test_no_weight_is_drawn_twice_nor_unused(option: str) -> None:
    graph = build(option)
    used = {name for node in graph.nodes() for name in node.inputs}
    assert set(graph.weights) <= used


@pytest.mark.parametrize("option", BUILT_IN)
def test_the_engines_flops_are_two_per_multiply_add(option: str) -> None:
    graph = build(option)
    flops = sum(
        node.signature.flops
        for node in graph.nodes()
        if node.op_type in ("Conv", "MatMul", "Gemm") and not node.is_constant
    )
    assert flops == 2 * multiply_adds(graph)
