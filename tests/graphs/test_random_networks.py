"""Drawn networks: reproducible, of exactly the size asked for, valid, exportable."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xflowrl._engine import CostTable, Graph, State
from xflowrl.graphs.random_networks import random_network
from xflowrl.graphs.traps import TRAPS
from xflowrl.onnx_io import Model, load_onnx, save_onnx
from xflowrl.rules import load_core
from xflowrl.verify import verify

DEFAULT_SEEDS, ALL_SEEDS = range(12), range(1000)


def small_network(seed: int) -> Model:
    """Of 50 to 120 operators, with traps, quick to run."""
    return random_network(
        num_nodes=50 + seed * 7 % 71, trap=0.2, channels=16, image_size=16, seed=seed
    )


def rewritten(graph: Graph, seed: int) -> Graph:
    """The graph after up to twenty random rewrites."""
    draw = np.random.default_rng(seed)
    state = State(graph, load_core(), CostTable.roofline(19.5e12, 1.555e12, 0.005))
    for _ in range(20):
        matches = state.matches()
        if not matches:
            break
        state = state.apply(matches[int(draw.integers(len(matches)))])
    return state.graph


def structure(graph: Graph) -> list[tuple[Any, ...]]:
    """All of a graph but the name of the output tensor and the digits float32 does not keep."""

    def value(attribute: Any) -> Any:
        return np.float32(attribute) if isinstance(attribute, float) else attribute

    return [
        (
            node.op_type,
            node.inputs,
            sorted((name, value(attribute)) for name, attribute in node.attributes.items()),
            node.output_types,
        )
        for node in graph.nodes()
    ]


def check_network(seed: int, folder: Path) -> None:
    check_model(small_network(seed), seed, folder)


def check_model(model: Model, seed: int, folder: Path) -> None:
    """Exported, checked and read back it is the same; rewritten, it computes the same."""
    save_onnx(model, folder / "random.onnx")  # refuses what ONNX's checker does
    read = load_onnx(folder / "random.onnx")
    assert structure(read.graph) == structure(model.graph)
    assert list(read.graph.weights) == list(model.graph.weights)
    result = model.with_graph(rewritten(model.graph, seed))
    assert result.graph.hash != model.graph.hash
    verdict = verify(model, result, draws=1, seed=seed)
    assert verdict.equal, verdict.detail


@pytest.mark.parametrize("seed", DEFAULT_SEEDS)
def test_exports_and_computes_the_same_when_rewritten(seed: int, tmp_path: Path) -> None:
    check_network(seed, tmp_path)


@pytest.mark.parametrize("kind", TRAPS)
def test_traps_of_each_kind_export_and_compute_the_same(kind: str, tmp_path: Path) -> None:
    options = {"trap": 1.0, "traps": {kind: 1}, "channels": 16, "image_size": 16}
    check_model(random_network(num_nodes=60, **options, seed=1), 1, tmp_path)


def test_default_networks_stay_what_they_were() -> None:
    """Those that results were made with: of each, its operators and the sizes of their tensors."""
    digest = hashlib.sha256()
    for seed in range(6):
        graph = random_network(num_nodes=100 + 30 * seed, trap=seed / 5, seed=seed).graph
        for node in graph.nodes():
            shapes = [output_type.shape for output_type in node.output_types]
            digest.update(f"{node.op_type} {node.inputs} {shapes}".encode())
    assert digest.hexdigest()[:16] == "070901db6723fd2f"


@pytest.mark.slow
@pytest.mark.parametrize("seed", ALL_SEEDS)
def test_every_seed(seed: int, tmp_path: Path) -> None:
    check_network(seed, tmp_path)


@pytest.mark.parametrize("num_nodes", [12, 50, 51, 52, 53, 200, 1000, 2000])
def test_has_the_size_asked_for(num_nodes: int) -> None:
    for trap in (0.0, 1.0):
        assert len(random_network(num_nodes=num_nodes, trap=trap, seed=num_nodes).graph) == (
            num_nodes
        )


@pytest.mark.slow
def test_twenty_thousand_nodes_export_and_verify(tmp_path: Path) -> None:
    model = random_network(num_nodes=20_000, trap=0.1, channels=16, image_size=16)
    assert len(model.graph) == 20_000
    save_onnx(model, tmp_path / "random.onnx")
    assert structure(load_onnx(tmp_path / "random.onnx").graph) == structure(model.graph)
    verdict = verify(model, model.with_graph(rewritten(model.graph, 0)), draws=1)
    assert verdict.equal, verdict.detail


def test_every_node_is_used() -> None:
    graph = random_network(num_nodes=2000, trap=0.2).graph
    read = Counter(name for node in graph.nodes() for name in node.inputs)
    tensors = [output for node in graph.nodes() for output in node.outputs]
    assert not set(tensors) - read.keys() - set(graph.output_tensors)
    assert not set(graph.weights) - read.keys()


def test_same_seed_same_graph_in_another_process() -> None:
    code = (
        "from xflowrl.graphs.random_networks import random_network;"
        "print(random_network(num_nodes=300, trap=0.3, seed=5).graph.hash)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "77"},
    )
    same = random_network(num_nodes=300, trap=0.3, seed=5).graph.hash
    assert done.stdout.strip() == same
    assert random_network(num_nodes=300, trap=0.3, seed=6).graph.hash != same


def test_all_families_occur_and_one_alone_can_be_asked_for() -> None:
    mixed = Counter(node.op_type for node in random_network(num_nodes=2000).graph.nodes())
    assert {"Softmax", "Tanh", "Concat", "Clip", "AveragePool", "MaxPool"} <= mixed.keys()
    alone = random_network(num_nodes=500, families={"attention": 1}).graph
    softmaxes = sum(node.op_type == "Softmax" for node in alone.nodes())
    assert softmaxes > 10
    plain = random_network(num_nodes=500, families={"residual": 2.0, "dag": 1.0}).graph
    assert not {"Softmax", "Tanh", "Slice"} & {node.op_type for node in plain.nodes()}


def test_fan_out_makes_more_readers() -> None:
    def readers(fan_out: float) -> float:
        graph = random_network(num_nodes=2000, fan_out=fan_out, families={"plain": 1}).graph
        counts = Counter(name for node in graph.nodes() for name in node.inputs)
        return max(counts.values())

    assert readers(0.0) == 2  # a residual group's start, by its first cell and its end
    assert readers(1.0) > 2


def test_width_mix_makes_more_widths() -> None:
    def widths(width_mix: float) -> set[int]:
        graph = random_network(num_nodes=500, width_mix=width_mix, families={"plain": 1}).graph
        return {node.output_types[0].shape[1] for node in graph.nodes() if node.op_type == "Conv"}

    assert widths(0.0) == {32}
    assert widths(1.0) == {8 * i for i in range(2, 9)}


def test_batches_and_other_images() -> None:
    graph = random_network(batch_size=3, image_size=64, num_labels=7, num_stages=4).graph
    assert graph.tensor_type("input").shape == (3, 3, 64, 64)
    assert graph.tensor_type(graph.output_tensors[0]).shape == (3, 7)


def test_values_neither_vanish_nor_explode() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from xflowrl.onnx_io import export_onnx

    model = random_network(num_nodes=2000, trap=0.1, channels=16, image_size=16)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        export_onnx(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    draw = np.random.default_rng(0)
    shape = model.graph.tensor_type("input").shape
    first, second = (
        session.run(None, {"input": draw.standard_normal(shape).astype(np.float32)})[0]
        for _ in range(2)
    )
    assert math.isfinite(first.sum())
    # two inputs are told apart, by far more than rounding, and without overflow
    assert 0.01 < (first - second).std() < 100
    assert first.std() < 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_nodes": 11}, "num_nodes is 11; give at least 12"),
        ({"trap": 1.5}, "trap is 1.5"),
        ({"fan_out": -0.1}, "fan_out is -0.1"),
        ({"max_branches": 1}, "max_branches is 1"),
        ({"max_depth": 0}, "max_depth: 0 is not positive"),
        ({"image_size": 30}, "image_size is 30"),
        ({"image_size": 4}, "image_size is 4"),
        ({"families": {"resnet": 1}}, "family 'resnet' is unknown"),
        ({"families": {"dag": -1}}, "share of dag is -1"),
        ({"families": {"dag": 0}}, "no family has a share"),
        ({"traps": {"bog": 1}}, "trap 'bog' is unknown; give some of chain, siblings, act"),
        ({"traps": {"norms": -1}}, "share of norms is -1"),
        ({"traps": {}}, "no trap has a share"),
    ],
)
def test_refuses_options_without_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        random_network(**options)
