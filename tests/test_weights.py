"""Drawn weights: the same everywhere, of the right kind, at a scale that keeps networks alive."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from xflowrl._engine import Graph, GraphBuilder, TensorType
from xflowrl.onnx_io import Model, export_onnx
from xflowrl.weights import DrawnWeights, RedrawnWeights, draw_inputs

onnxruntime = pytest.importorskip("onnxruntime")


def residual_network(num_blocks: int, *, channels: int = 32) -> Graph:
    """x = relu(x + bn(conv(relu(bn(conv(x)))))), the pattern in which naive draws explode."""
    builder = GraphBuilder("residual")
    x = builder.add_input("x", TensorType("float32", [2, channels, 8, 8]))
    window = {"strides": [1, 1], "pads": [1] * 4, "dilations": [1, 1]}

    def conv_bn(x: str, name: str) -> str:
        builder.add_weight(f"{name}.w", TensorType("float32", [channels, channels, 3, 3]))
        for part in ("scale", "bias", "mean", "var"):
            builder.add_weight(f"{name}.{part}", TensorType("float32", [channels]))
        builder.add_node("Conv", [x, f"{name}.w"], [f"{name}.conv"], window)
        statistics = [f"{name}.{part}" for part in ("scale", "bias", "mean", "var")]
        builder.add_node("BatchNormalization", [f"{name}.conv", *statistics], [f"{name}.bn"])
        return f"{name}.bn"

    for i in range(num_blocks):
        (h,) = builder.add_node("Relu", [conv_bn(x, f"{i}.a")], [f"{i}.relu"])
        builder.add_node("Add", [x, conv_bn(h, f"{i}.b")], [f"{i}.sum"])
        (x,) = builder.add_node("Relu", [f"{i}.sum"], [f"{i}.out"])
    builder.set_outputs([x])
    return builder.build()


def test_order_and_process_do_not_matter() -> None:
    graph = residual_network(1)
    names = list(graph.weights)
    forth, back = DrawnWeights(graph, 7), DrawnWeights(graph, 7)
    one = {n: forth.get(n) for n in names}
    other = {n: back.get(n) for n in reversed(names)}
    for name in names:
        np.testing.assert_array_equal(one[name], other[name])
    program = (
        "from xflowrl._engine import GraphBuilder, TensorType\n"
        "from xflowrl.weights import DrawnWeights\n"
        "b = GraphBuilder('g'); t = TensorType('float32', [2, 3])\n"
        "b.add_input('x', t); b.add_weight('w', t); b.add_node('Add', ['x', 'w'], ['y'])\n"
        "b.set_outputs(['y']); print(DrawnWeights(b.build(), 1).get('w').tobytes().hex())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(runs) == 1


def test_seed_and_name_matter() -> None:
    graph = residual_network(1)
    a = DrawnWeights(graph, 0).get("0.a.w")
    assert not np.array_equal(a, DrawnWeights(graph, 1).get("0.a.w"))
    assert not np.array_equal(a, DrawnWeights(graph, 0).get("0.b.w"))


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match='weight "nothing" is not in the graph'):
        DrawnWeights(residual_network(1), 0).get("nothing")


def test_roles_are_read_from_the_consumers() -> None:
    weights = DrawnWeights(residual_network(2), 0)
    assert 0.75 <= weights.get("1.a.var").min() <= weights.get("1.a.var").max() <= 1.33
    assert 0.8 <= weights.get("1.a.scale").min() <= weights.get("1.a.scale").max() <= 1.2
    assert abs(weights.get("1.a.mean").mean()) < 0.1
    # 1/sqrt(fan-in) for an input of unit size; the estimate of 9*32 draws is within 5%.
    kernel = weights.get("0.a.w")
    assert kernel.std() == pytest.approx(1 / np.sqrt(32 * 9), rel=0.05)
    assert weights.parameters() == set(residual_network(2).weights)


def test_roles_pass_through_constant_operators() -> None:
    """The pieces of a merged kernel are kernels; what scales it is a scale."""
    builder = GraphBuilder("merged")
    builder.add_input("x", TensorType("float32", [1, 64, 4, 4]))
    for name in ("first", "second"):
        builder.add_weight(name, TensorType("float32", [100, 64, 1, 1]))
    builder.add_weight("gain", TensorType("float32", [200, 1, 1, 1]))
    builder.add_node("Concat", ["first", "second"], ["both"], {"axis": 0})
    builder.add_node("Mul", ["both", "gain"], ["kernel"])
    window = {"strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1]}
    builder.add_node("Conv", ["x", "kernel"], ["y"], window)
    builder.set_outputs(["y"])
    weights = DrawnWeights(builder.build(), 0)
    assert weights.get("first").std() == pytest.approx(1 / 8, rel=0.05)
    assert 0.8 <= weights.get("gain").min() <= weights.get("gain").max() <= 1.2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int64", "bool", "uint8"])
def test_types(dtype: str) -> None:
    builder = GraphBuilder("types")
    builder.add_weight("w", TensorType(dtype, [3, 2]))
    builder.set_outputs(["w"])
    values = DrawnWeights(builder.build(), 0).get("w")
    assert values.shape == (3, 2)
    assert values.dtype.name == dtype
    if dtype in ("int64", "bool", "uint8"):
        assert not values.any()


def root_mean_squares(graph: Graph) -> list[float]:
    proto = export_onnx(Model(graph, DrawnWeights(graph, 0)))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    outputs = session.run(None, draw_inputs(graph, 0))
    return [float(np.sqrt(np.mean(np.square(output)))) for output in outputs]


def test_deep_residual_networks_stay_alive() -> None:
    """A hundred blocks: unscaled draws would grow by sqrt(2) each, to 1e15."""
    (size,) = root_mean_squares(residual_network(100, channels=8))
    assert 0.1 < size < 50


def test_attention_stays_alive() -> None:
    builder = GraphBuilder("attention")
    (x,) = [builder.add_input("x", TensorType("float32", [1, 64, 128]))]
    builder.add_literal("eighth", TensorType("float32", []), [128**-0.5])
    for name in "qkv":
        builder.add_weight(f"w{name}", TensorType("float32", [128, 128]))
        builder.add_node("MatMul", [x, f"w{name}"], [name])
    builder.add_node("Transpose", ["k"], ["kt"], {"perm": [0, 2, 1]})
    builder.add_node("MatMul", ["q", "kt"], ["scores"])
    builder.add_node("Mul", ["scores", "eighth"], ["scaled"])
    builder.add_node("Softmax", ["scaled"], ["p"], {"axis": 2})
    builder.add_node("MatMul", ["p", "v"], ["mixed"])
    builder.add_weight("wo", TensorType("float32", [128, 128]))
    builder.add_node("MatMul", ["mixed", "wo"], ["y"])
    builder.set_outputs(["scaled", "y"])
    scores, result = root_mean_squares(builder.build())
    assert 0.5 < scores < 2
    assert 0.3 < result < 3


def test_redrawn_weights_keep_what_is_no_parameter() -> None:
    builder = GraphBuilder("mixed")
    builder.add_input("x", TensorType("float32", [4, 3]))
    values = {
        "w": np.full((3, 5), 0.02, np.float32),
        "ids": np.arange(70, dtype=np.int64) % 4,
        "grid": np.linspace(0, 1, 70, dtype=np.float32),
    }
    for name, array in values.items():
        builder.add_weight(name, TensorType(array.dtype.name, array.shape))
    builder.add_node("MatMul", ["x", "w"], ["h"])
    builder.add_node("Gather", ["h", "ids"], ["y"])
    builder.set_outputs(["y", "grid"])
    graph = builder.build()

    class Own:
        def get(self, name: str) -> np.ndarray:
            return values[name]

    weights = RedrawnWeights(Own(), graph, 0)
    assert weights.get("w").std() > 0.1
    np.testing.assert_array_equal(weights.get("ids"), values["ids"])
    np.testing.assert_array_equal(weights.get("grid"), values["grid"])


# Inputs


def test_integer_inputs_are_valid_indices() -> None:
    builder = GraphBuilder("bert")
    ids = TensorType("int64", [4, 50])
    for name in ("words", "kinds", "flags"):
        builder.add_input(name, ids)
    for table, size in (("vocabulary", 1000), ("types", 2)):
        builder.add_weight(table, TensorType("float32", [size, 8]))
    builder.add_node("Gather", ["vocabulary", "words"], ["a"])
    builder.add_node("Identity", ["kinds"], ["same"])
    builder.add_node("Gather", ["types", "same"], ["b"])
    builder.add_node("Add", ["a", "b"], ["y"])
    builder.set_outputs(["y"])
    graph = builder.build()
    inputs = draw_inputs(graph, 0)
    assert 500 < inputs["words"].max() < 1000
    assert inputs["words"].min() >= 0
    assert set(np.unique(inputs["kinds"])) == {0, 1}
    again, other = draw_inputs(graph, 0), draw_inputs(graph, 1)
    np.testing.assert_array_equal(inputs["words"], again["words"])
    assert not np.array_equal(inputs["words"], other["words"])


def test_float_inputs_by_attempt() -> None:
    builder = GraphBuilder("plain")
    builder.add_input("x", TensorType("float32", [1000]))
    builder.add_node("Relu", ["x"], ["y"])
    builder.set_outputs(["y"])
    graph = builder.build()
    normal, small, positive = (draw_inputs(graph, 0, i)["x"] for i in range(3))
    assert normal.std() == pytest.approx(1, rel=0.1)  # a thousand draws
    assert small.std() == pytest.approx(0.1, rel=0.1)
    assert 0.5 <= positive.min() <= positive.max() <= 1.5


def test_a_pickle_takes_nothing_along_that_was_drawn() -> None:
    weights = DrawnWeights(residual_network(1), seed=0)
    fresh = pickle.dumps(weights)
    drawn = weights.get("0.a.w")
    pickled = pickle.dumps(weights)
    assert len(pickled) == len(fresh)
    np.testing.assert_array_equal(pickle.loads(pickled).get("0.a.w"), drawn)
