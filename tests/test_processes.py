"""Problems and results travel between processes, with their models, weights and prices."""

from __future__ import annotations

import copy
import dataclasses
import multiprocessing
import operator
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from xflowrl._engine import Graph, GraphBuilder, OpSignature, TensorType
from xflowrl.agents.greedy import Greedy
from xflowrl.graphs.squeezenet import squeezenet
from xflowrl.measurement import Objective, device_lock, estimated, roofline
from xflowrl.measurement.op_database import OpCost, OpDatabase
from xflowrl.onnx_io import Model, export_onnx, load_onnx
from xflowrl.problem import Problem, Result, replay
from xflowrl.rules import load_core
from xflowrl.weights import DrawnWeights, RedrawnWeights


def copied(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def assert_same_weights(ours: Model, theirs: Model) -> None:
    assert theirs.graph.weights == ours.graph.weights
    for name in ours.graph.weights:
        one, other = ours.weights.get(name), theirs.weights.get(name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def outcome(result: Result) -> dict[str, Any]:
    """A result without what the clock and the memory say."""
    measured = ("original", "model", "improvements", "best_seconds", "optimisation_s", "memory_mb")
    fields = {f.name: getattr(result, f.name) for f in dataclasses.fields(result)}
    graphs = {name: pickle.dumps(fields[name].graph) for name in ("original", "model")}
    when = [(i.iteration, i.cost_ms) for i in result.improvements]
    return {k: v for k, v in fields.items() if k not in measured} | graphs | {"when": when}


def test_a_spawned_process_finds_the_same_result() -> None:
    problem = Problem(model=squeezenet(), rules=load_core(), objective=roofline(), seed=3)
    nowhere = operator.is_  # takes a log's arguments, and can be pickled
    (ours,) = Greedy().optimize([problem], nowhere)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (theirs,) = pool.apply(Greedy().optimize, ([problem], nowhere))
    assert outcome(theirs) == outcome(ours)
    assert theirs.trace.steps
    assert_same_weights(ours.model, theirs.model)
    reached = replay(copied(problem), theirs.trace)
    assert reached.graph.hash == ours.model.graph.hash


def test_a_problem_can_be_copied() -> None:
    problem = Problem(model=squeezenet(), rules=load_core(), objective=roofline())
    twin = copy.deepcopy(problem)
    (ours,), (theirs,) = (Greedy().optimize([p], operator.is_) for p in (problem, twin))
    assert outcome(theirs) == outcome(ours)


# --- weights -------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Model]:
    """Makes a model from a file: weights, one of them external, and two computed constants."""

    def make(**options: Any) -> Model:
        numbers = np.random.default_rng(0)
        values = {
            name: numbers.standard_normal((64, 64)).astype(np.float32)
            for name in ("inner", "outer")
        }
        values["shape"] = np.array([2, 64])
        nodes = [
            onnx.helper.make_node("Identity", ["inner"], ["same"]),
            onnx.helper.make_node("Trilu", ["same"], ["upper"]),
            onnx.helper.make_node("Trilu", ["upper"], ["diagonal"], upper=0),
            onnx.helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
            onnx.helper.make_node("MatMul", ["x", "outer"], ["a"]),
            onnx.helper.make_node("MatMul", ["a", "diagonal"], ["b"]),
            onnx.helper.make_node("Add", ["b", "zeros"], ["y"]),
        ]
        ends = [
            [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 64])]
            for name in "xy"
        ]
        tensors = [onnx.numpy_helper.from_array(value, name) for name, value in values.items()]
        graph = onnx.helper.make_graph(nodes, "stored", *ends, tensors)
        proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
        external = proto.graph.initializer[1]
        (tmp_path / "outer.bin").write_bytes(external.raw_data)
        onnx.external_data_helper.set_external_data(external, "outer.bin")
        external.ClearField("raw_data")
        (tmp_path / "stored.onnx").write_bytes(proto.SerializeToString())
        return load_onnx(tmp_path / "stored.onnx", **options)

    return make


@pytest.mark.parametrize("options", [{}, {"redraw_weights": True, "seed": 4}])
def test_the_weights_of_a_file_are_pickled_with_the_model(
    stored: Callable[..., Model], options: dict[str, Any]
) -> None:
    model = stored(**options)
    assert {"outer", "diagonal", "zeros"} <= model.graph.weights.keys()
    theirs = copied(model)
    assert_same_weights(model, theirs)
    assert export_onnx(theirs) == export_onnx(model)


def test_external_data_are_mapped_again_not_carried(
    stored: Callable[..., Model], tmp_path: Path
) -> None:
    model = stored()
    data = pickle.dumps(model)
    outer = (tmp_path / "outer.bin").read_bytes()
    assert outer not in data
    mapped = pickle.loads(data).weights.get("outer")
    while not isinstance(mapped, np.memmap):
        mapped = mapped.base
    assert bytes(mapped) == outer


def test_drawn_weights_are_drawn_again() -> None:
    model = squeezenet()
    drawn = [DrawnWeights(model.graph, 5), RedrawnWeights(model.weights, model.graph, 6)]
    for weights in drawn:
        ours = Model(model.graph, weights)
        theirs = copied(ours)
        assert_same_weights(ours, theirs)
        assert len(pickle.dumps(theirs)) < 100_000


# --- prices --------------------------------------------------------------------------------------


def relu(size: int) -> tuple[Graph, OpSignature]:
    builder = GraphBuilder()
    builder.add_input("x", TensorType("float32", [size]))
    builder.add_node("Relu", ["x"], ["y"])
    builder.set_outputs(["y"])
    graph = builder.build()
    return graph, graph.nodes()[0].signature


def cost_ms(objective: Objective, graph: Graph) -> float:
    return objective.state(graph, load_core()).cost.ms


def test_the_database_of_an_objective_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "costs.sqlite"
    model = estimated(database=str(path), correction=None)
    database: OpDatabase = model._pricer._database  # type: ignore[union-attr]
    theirs = copied(model)
    graph, signature = relu(4)
    database.put(signature.key, OpCost(0.25, 0.25, 0.25, 9))
    assert cost_ms(theirs, graph) == cost_ms(model, graph) == 0.25
    assert (theirs.num_measured, theirs.device, theirs.runtime) == (0, model.device, model.runtime)
    assert theirs._pricer._database._connection is not database._connection


def test_a_database_in_memory_arrives_empty_but_prices_known_stay() -> None:
    model = estimated(database=None, correction=None)
    (graph, signature), (_, unpriced) = relu(4), relu(5)
    database = model._pricer._database  # type: ignore[union-attr]
    for at in (signature, unpriced):
        database.put(at.key, OpCost(0.25, 0.25, 0.25, 9))
    assert cost_ms(model, graph) == 0.25
    theirs = copied(model)
    assert len(theirs._pricer._database) == 0
    assert cost_ms(theirs, graph) == 0.25


def test_a_lock_is_the_one_of_its_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    lock = device_lock("cpu")
    with lock.exclusive():
        assert copied(lock) is copy.deepcopy(lock) is lock
    assert copied(roofline())._lock is lock
