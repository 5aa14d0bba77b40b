"""TASO as an agent, tested with a stand-in that has TASO's interface and its manners."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.graphs.random_networks import random_network
from xflowrl.measurement import roofline
from xflowrl.onnx_io import Model, export_onnx, load_onnx
from xflowrl.problem import Budget, Problem, Result, StopReason
from xflowrl.rules import load_core
from xflowrl.taso.native import TasoNative, make_readable, make_valid
from xflowrl.verify import verify


def no_log(metrics: Mapping[str, float], step: int) -> None:
    pass


def network() -> Model:
    """Two inputs of different shapes, two outputs; what TASO reads, and three relus too many."""
    net = LayerBuilder("both")
    x, v = net.image_input(1, 8), net.input("vector", [1, 6])
    x = net.conv_bn_relu(x, "stem", 8, 3)
    pooled = [net.max_pool(x, f"b{i}/pool", 3 + 2 * i) for i in range(3)]
    branches = [net.relu(net.relu(y, f"{y}/relu1"), f"{y}/relu2") for y in pooled]
    branches += [net.conv(x, f"c{i}", 4, 1) for i in range(5)]
    y = net.concat(branches, "concat")
    y = net.node("ReduceMean", [y], "mean", axes=[2, 3], keepdims=1)
    y = net.node("Squeeze", [y], "squeeze", axes=[2, 3])
    w = net.dense(v, "dense", 4)
    return net.model({"image": net.linear(y, "classifier", 5), "vector_out": w}, seed=0)


def optimised(model: Model, log: Any = no_log, *, alpha: float = 1.05, **limits: Any) -> Result:
    problem = Problem(
        model=model, rules=load_core(), cost_model=roofline(), budget=Budget(**limits)
    )
    (result,) = TasoNative(alpha=alpha).optimize([problem], log)
    return result


def test_goes_there_and_back(install_taso: Callable[..., Path]) -> None:
    calls = install_taso()
    last: dict[str, float] = {}
    model = network()
    result = optimised(model, lambda metrics, step: last.update(metrics), alpha=1.2)
    assert calls.read_text().split() == ["1.2", "999"]  # expands one more than its budget
    assert result.num_kernels_best == result.num_kernels_initial - 3
    assert result.cost_best_ms == last["search/current_cost_ms"] < result.cost_initial_ms
    assert result.model.graph.inputs == model.graph.inputs
    assert result.model.graph.outputs == model.graph.outputs
    verdict = verify(model, result.model, draws=2)
    assert verdict.equal, verdict.detail
    onnx.checker.check_model(export_onnx(result.model), full_check=True)


def test_says_honestly_what_is_not_known(
    install_taso: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    install_taso()
    with caplog.at_level(logging.INFO, "xflowrl.taso.native"):
        result = optimised(network())
    assert result.trace.steps == ()
    assert (result.stop_reason, result.iterations, result.candidates) == (
        StopReason.EXHAUSTED,
        1,
        0,
    )
    assert "its steps are not known" in caplog.text
    assert result.memory_mb > 10  # of the other process


def test_a_dearer_graph_is_priced_and_not_taken(install_taso: Callable[..., Path]) -> None:
    install_taso(
        """
    last = graph.graph.node[-1]
    name, last.output[0] = last.output[0], "before"
    for i in range(5):
        given = "before" if i == 0 else f"copy{i}"
        made = name if i == 4 else f"copy{i + 1}"
        graph.graph.node.append(onnx.helper.make_node("Mul", [given, "one"], [made]))
    one = onnx.helper.make_tensor("one", 1, [5], [1.0] * 5)
    graph.graph.initializer.append(one)
"""
    )
    last: dict[str, float] = {}
    net = LayerBuilder("plain")
    x = net.linear(net.input("input", [4, 5]), "layer", 5)
    model = net.model({"output": net.relu(x, "relu")}, seed=0)
    result = optimised(model, lambda metrics, step: last.update(metrics))
    assert last["search/current_cost_ms"] > result.cost_initial_ms == result.cost_best_ms
    assert result.model.graph.hash == model.graph.hash


def test_a_wrong_result_does_not_verify(install_taso: Callable[..., Path]) -> None:
    """The check sees TASO's own weights, although the original has weights of those names."""
    install_taso(
        """
    for tensor in graph.graph.initializer:
        if tensor.name == "classifier/bias":
            values = onnx.numpy_helper.to_array(tensor) * 1.1
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
"""
    )
    model = network()
    result = optimised(model)
    assert result.cost_best_ms < result.cost_initial_ms
    assert not verify(model, result.model, draws=1).equal


def test_without_taso_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"^agent=taso_native needs the package taso") as caught:
        TasoNative()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("import os; os.abort()", r"both: TASO's process died \(SIGABRT\): it said nothing"),
        (
            "raise AssertionError('n < 6')",
            "both: TASO failed: AssertionError: n < 6; agent=taso has no such limits",
        ),
        (
            "del graph.graph.output[1:]",
            r"with the outputs float32\[1,5\]; the original has float32\[1,5\], float32\[1,4\]",
        ),
        ("graph.graph.node[0].op_type = 'Cnov'", "what TASO gave back cannot be read: .*Cnov"),
    ],
)
def test_what_goes_wrong_is_one_line(
    more: str, message: str, install_taso: Callable[..., Path]
) -> None:
    install_taso(more)
    with pytest.raises(ValueError, match=message) as caught:
        optimised(network())
    assert "\n" not in str(caught.value)


def test_seconds_end_it_with_the_original(install_taso: Callable[..., Path]) -> None:
    install_taso("import time; time.sleep(60)")
    result = optimised(network(), max_seconds=0.5)
    assert result.stop_reason is StopReason.SECONDS
    assert result.cost_best_ms == result.cost_initial_ms


def test_needs_a_number_of_iterations(install_taso: Callable[..., Path]) -> None:
    install_taso()
    with pytest.raises(ValueError, match=r"needs budget\.max_iterations"):
        optimised(network(), max_iterations=None)


def test_refuses_what_taso_would_skip_or_ignore(install_taso: Callable[..., Path]) -> None:
    install_taso()
    net = LayerBuilder("skips")
    x = net.node("Sigmoid", [net.input("input", [4, 5])], "sigmoid")
    with pytest.raises(ValueError, match=r'Sigmoid "sigmoid": TASO skips it with everything'):
        optimised(net.model({"output": net.relu(x, "relu")}, seed=0))
    net = LayerBuilder("dilated")
    x, w = net.image_input(1, 8), net.weight("conv/weight", [4, 3, 3, 3])
    attributes = {"strides": [1, 1], "pads": [0] * 4, "dilations": [2, 2], "group": 1}
    x = net.node("Conv", [x, w], "conv", **attributes)
    with pytest.raises(ValueError, match=r"TASO ignores dilations \[2, 2\]"):
        optimised(net.model({"output": x}, seed=0))


def test_the_readable_form_is_opset_11_and_computes_the_same(tmp_path: Path) -> None:
    model = random_network(
        num_nodes=80, families={"dag": 1, "inception": 1, "residual": 1}, channels=8, image_size=8
    )
    proto = export_onnx(model)
    make_readable(proto)
    assert [opset.version for opset in proto.opset_import] == [11]
    epsilons = {
        attribute.f
        for node in proto.graph.node
        for attribute in node.attribute
        if attribute.name == "epsilon"
    }
    assert epsilons == {0.0}
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, tmp_path / "given.onnx")
    given = load_onnx(tmp_path / "given.onnx")
    draw = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    ours, theirs = (evaluated(each, draw) for each in (model, given))
    # one rounding of the variance more, through a dozen layers
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def evaluated(model: Model, image: np.ndarray) -> np.ndarray:
    from onnx.reference import ReferenceEvaluator

    (output,) = ReferenceEvaluator(export_onnx(model)).run(None, {"input": image})
    assert isinstance(output, np.ndarray)
    return output


@pytest.mark.parametrize("num_inputs", [2, 6, 7, 11, 12, 40])
def test_wide_concats_are_nested(num_inputs: int) -> None:
    names = [f"x{i}" for i in range(num_inputs)]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in names]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2 * num_inputs, 3])
    node = helper.make_node("Concat", names, ["y"], axis=0)
    proto = helper.make_model(helper.make_graph([node], "wide", inputs, [output]))
    make_readable(proto)
    onnx.checker.check_model(proto, full_check=True)
    assert all(len(node.input) <= 6 for node in proto.graph.node)
    assert len(proto.graph.node) == max(1, math.ceil((num_inputs - 1) / 5))
    order = {name: [name] for name in names}
    for node in proto.graph.node:
        order[node.output[0]] = [name for x in node.input for name in order[x]]
    assert order["y"] == names
    make_valid(proto)
    assert [list(node.input) for node in proto.graph.node] == [names]


def test_a_concat_that_others_read_stays() -> None:
    nodes = [
        helper.make_node("Concat", ["x", "x"], ["a"], axis=0),
        helper.make_node("Concat", ["a", "a"], ["b"], axis=0),
        helper.make_node("Concat", ["b", "x"], ["c"], axis=0),
        helper.make_node("Concat", ["c", "c1"], ["y"], axis=1),
        helper.make_node("Relu", ["c"], ["c1"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    proto = helper.make_model(helper.make_graph(nodes, "nested", [x], [y]))
    make_valid(proto)
    found = {node.output[0]: list(node.input) for node in proto.graph.node}
    assert found == {"a": ["x", "x"], "c": ["a", "a", "x"], "y": ["c", "c1"], "c1": ["c"]}


def test_split_and_reduce_operands_become_attributes() -> None:
    sizes = numpy_helper.from_array(np.array([1, 3]), "sizes")
    axes = numpy_helper.from_array(np.array([1]), "axes")
    nodes = [
        helper.make_node("Split", ["x", "sizes"], ["a", "b"], axis=1),
        helper.make_node("ReduceSum", ["b", "axes"], ["c"], keepdims=1),
        helper.make_node("Add", ["a", "c"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 1])
    graph = helper.make_graph(nodes, "old", [x], [y], [sizes, axes])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    make_readable(proto)
    onnx.checker.check_model(proto, full_check=True)
    found = {
        node.op_type: helper.get_attribute_value(attribute)
        for node in proto.graph.node
        for attribute in node.attribute
        if attribute.name in ("split", "axes")
    }
    assert found == {"Split": [1, 3], "ReduceSum": [1]}
    assert not proto.graph.initializer
