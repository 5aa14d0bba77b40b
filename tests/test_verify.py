"""Verification: equal functions pass, small errors do not, and what proves nothing is undecided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from xflowrl._engine import Graph, GraphBuilder, TensorType
from xflowrl.onnx_io import Model, StoredWeights
from xflowrl.verify import verify
from xflowrl.weights import DrawnWeights

WINDOW = {"strides": [1, 1], "pads": [1] * 4, "dilations": [1, 1]}


def image_network(build: Callable[[GraphBuilder], Any]) -> Graph:
    """x [1,8,6,6], kernels u, v [8,8,3,3], a bias c [8], a scale s [8,1,1]; output y."""
    builder = GraphBuilder("image")
    builder.add_input("x", TensorType("float32", [1, 8, 6, 6]))
    for name in "uv":
        builder.add_weight(name, TensorType("float32", [8, 8, 3, 3]))
    builder.add_weight("c", TensorType("float32", [8]))
    builder.add_weight("s", TensorType("float32", [8, 1, 1]))
    build(builder)
    builder.set_outputs(["y"])
    return builder.build()


def plain(builder: GraphBuilder) -> None:
    builder.add_node("Conv", ["x", "u", "c"], ["a"], WINDOW)
    builder.add_node("Relu", ["a"], ["b"])
    builder.add_node("Conv", ["b", "v"], ["d"], WINDOW)
    builder.add_node("Mul", ["d", "s"], ["y"])


def fused(builder: GraphBuilder) -> None:
    """The same function: activation fused, the scale folded into the kernel."""
    builder.add_node("Conv", ["x", "u", "c"], ["b"], {**WINDOW, "activation": "Relu"})
    builder.add_node("Unsqueeze", ["s"], ["s4"], {"axes": [3]})
    builder.add_node("Mul", ["v", "s4"], ["w"])
    builder.add_node("Conv", ["b", "w"], ["y"], WINDOW)


def model(build: Callable[[GraphBuilder], Any]) -> Model:
    original = image_network(plain)
    return Model(image_network(build), DrawnWeights(original, 0))


def test_an_equal_result() -> None:
    verdict = verify(model(plain), model(fused))
    assert verdict.equal
    assert verdict.status == "equal"
    assert 0 < verdict.max_rel_error < 1e-5  # a few units in the last place
    assert verdict.max_abs_error > 0
    assert "with its own weights and 3 redrawn ones" in verdict.detail
    assert not verdict.weak
    assert verify(model(plain), model(fused)) == verdict


def wrong_activation(builder: GraphBuilder) -> None:
    builder.add_node("Conv", ["x", "u", "c"], ["b"], {**WINDOW, "activation": "Sigmoid"})
    builder.add_node("Conv", ["b", "v"], ["d"], WINDOW)
    builder.add_node("Mul", ["d", "s"], ["y"])


def forgotten_bias(builder: GraphBuilder) -> None:
    builder.add_node("Conv", ["x", "u"], ["b"], {**WINDOW, "activation": "Relu"})
    builder.add_node("Conv", ["b", "v"], ["d"], WINDOW)
    builder.add_node("Mul", ["d", "s"], ["y"])


def forgotten_scale(builder: GraphBuilder) -> None:
    builder.add_node("Conv", ["x", "u", "c"], ["b"], {**WINDOW, "activation": "Relu"})
    builder.add_node("Conv", ["b", "v"], ["y"], WINDOW)


def swapped_kernels(builder: GraphBuilder) -> None:
    builder.add_node("Conv", ["x", "v", "c"], ["b"], {**WINDOW, "activation": "Relu"})
    builder.add_node("Conv", ["b", "u"], ["d"], WINDOW)
    builder.add_node("Mul", ["d", "s"], ["y"])


def nearly(builder: GraphBuilder) -> None:
    builder.add_literal("almost", TensorType("float32", []), [1.001])
    plain_but(builder, "almost")


def plain_but(builder: GraphBuilder, factor: str) -> None:
    builder.add_node("Conv", ["x", "u", "c"], ["a"], WINDOW)
    builder.add_node("Relu", ["a"], ["b"])
    builder.add_node("Conv", ["b", "v"], ["d"], WINDOW)
    builder.add_node("Mul", ["d", "s"], ["e"])
    builder.add_node("Mul", ["e", factor], ["y"])


@pytest.mark.parametrize(
    "build", [wrong_activation, forgotten_bias, forgotten_scale, swapped_kernels, nearly]
)
def test_a_wrong_result(build: Callable[[GraphBuilder], Any]) -> None:
    verdict = verify(model(plain), model(build))
    assert not verdict.equal
    assert verdict.status == "different"
    assert verdict.max_rel_error > 1e-4
    assert verdict.detail.startswith("with its own weights, draw 1: ")
    assert f'"{verdict.first_difference}" ' in verdict.detail


def test_placeholder_weights_do_not_hide_an_error() -> None:
    """With all weights equal, as in models without data, swapped kernels are the same function."""
    graphs = [image_network(plain), image_network(swapped_kernels)]
    same = {n: np.full(t.shape, 0.02, np.float32) for n, t in graphs[0].weights.items()}
    first, second = (Model(graph, StoredWeights(same)) for graph in graphs)
    assert verify(first, second).status == "different"
    assert verify(first, first).equal


def vector_model(
    build: Callable[[GraphBuilder], Any],
    weights: Mapping[str, Any] | None = None,
    outputs: tuple[str, ...] = ("y",),
    dtype: str = "float32",
    size: int = 40,
) -> Model:
    builder = GraphBuilder("vector")
    builder.add_input("x", TensorType(dtype, [size]))
    for name, array in (weights or {}).items():
        builder.add_weight(name, TensorType(array.dtype.name, array.shape))
    build(builder)
    builder.set_outputs(list(outputs))
    return Model(builder.build(), StoredWeights(weights or {}))


def test_an_error_that_only_the_saved_form_has() -> None:
    """The model's own weights are compared too: here they overflow when they are folded."""
    weights = {"a": np.full(40, 3e38, np.float32), "b": np.full(40, 3e38, np.float32)}

    def separate(b: GraphBuilder) -> None:
        b.add_node("Mul", ["x", "a"], ["t"])
        b.add_node("Div", ["t", "b"], ["y"])

    def folded(b: GraphBuilder) -> None:
        b.add_literal("one", TensorType("float32", []), [1.0])
        b.add_node("Mul", ["a", "b"], ["ab"])
        b.add_node("Div", ["ab", "b"], ["aa"])
        b.add_node("Mul", ["x", "aa"], ["t"])
        b.add_node("Div", ["t", "b"], ["y"])

    verdict = verify(vector_model(separate, weights), vector_model(folded, weights))
    assert verdict.status == "different"
    assert verdict.detail.startswith("with its own weights, draw 1: ")
    assert "is not finite" in verdict.detail


def test_evidence_is_weak_when_nothing_shows() -> None:
    """A tensor that never changes proves nothing about the weights."""

    def hidden(b: GraphBuilder) -> None:
        b.add_literal("zero", TensorType("float32", [40]), [0.0] * 40)
        b.add_node("Mul", ["x", "zero"], ["y"])

    verdict = verify(vector_model(hidden), vector_model(hidden))
    assert verdict.equal
    assert verdict.weak.startswith("weak evidence: ")
    assert verdict.weak in verdict.detail


def test_undecided_when_nothing_is_finite() -> None:
    def roots_of_negatives(b: GraphBuilder) -> None:
        b.add_node("Abs", ["x"], ["a"])
        b.add_node("Neg", ["a"], ["n"])
        b.add_node("Sqrt", ["n"], ["y"])

    verdict = verify(vector_model(roots_of_negatives), vector_model(roots_of_negatives))
    assert verdict.status == "undecided"
    assert "not finite" in verdict.detail


def test_positive_inputs_where_others_give_nothing() -> None:
    def logarithm(b: GraphBuilder) -> None:
        b.add_node("Log", ["x"], ["t"])
        b.add_node("Mul", ["t", "w"], ["y"])

    weights = {"w": np.ones(40, np.float32)}
    assert verify(vector_model(logarithm, weights), vector_model(logarithm, weights)).equal


def test_a_network_without_weights() -> None:
    def squares(b: GraphBuilder) -> None:
        b.add_node("Mul", ["x", "x"], ["y"])

    def absolute(b: GraphBuilder) -> None:
        b.add_node("Abs", ["x"], ["a"])
        b.add_node("Mul", ["a", "a"], ["y"])

    verdict = verify(vector_model(squares), vector_model(absolute))
    assert verdict.equal
    assert 'input "x" changed by 10%' in verdict.detail


def test_a_network_that_lets_only_positive_numbers_through() -> None:
    def relus(count: int) -> Callable[[GraphBuilder], Any]:
        def build(b: GraphBuilder) -> None:
            x = "x"
            for i in range(count):
                (x,) = b.add_node("Relu", [x], ["y" if i == count - 1 else f"r{i}"])

        return build

    for seed in range(5):
        assert verify(vector_model(relus(4)), vector_model(relus(1)), seed=seed).equal


def test_a_softmax_that_saturates_does_not_hide_its_operand() -> None:
    """exp of a hundred: the probabilities are all 0 or 1, the logits differ."""

    def classify(slope: float) -> Callable[[GraphBuilder], Any]:
        def build(b: GraphBuilder) -> None:
            b.add_literal("steep", TensorType("float32", []), [slope])
            b.add_node("Mul", ["x", "w"], ["t"])
            b.add_node("Mul", ["t", "steep"], ["logits"])
            b.add_node("Softmax", ["logits"], ["p"], {"axis": 0})
            b.add_node("Reshape", ["p"], ["y"], {"shape": [1, 40]})

        return build

    weights = {"w": np.ones(40, np.float32)}
    steep, steeper = (vector_model(classify(s), weights) for s in (1e4, 1.01e4))
    verdict = verify(steep, steeper)
    assert verdict.status == "different"
    assert verdict.first_difference == "logits"
    assert verify(steep, steep).equal


def test_integer_outputs_must_be_equal() -> None:
    def compare(op: str) -> Callable[[GraphBuilder], Any]:
        def build(b: GraphBuilder) -> None:
            b.add_node("Add", ["x", "w"], ["t"])
            b.add_node(op, ["t", "w"], ["z"])
            b.add_node("Relu", ["t"], ["y"])

        return build

    weights = {"w": np.ones(40, np.float32)}
    greater, less = (vector_model(compare(op), weights, ("y", "z")) for op in ("Greater", "Less"))
    assert verify(greater, greater).equal
    verdict = verify(greater, less)
    assert verdict.status == "different"
    assert 'output "z" differs in 40 of 40 elements' in verdict.detail


@pytest.mark.parametrize(
    ("dtype", "factor", "expected"),
    [
        ("float16", 1.004, "equal"),
        ("float16", 1.1, "different"),
        ("float32", 1.00001, "equal"),
        ("float32", 1.001, "different"),
        ("float64", 1.00001, "different"),
    ],
)
def test_tolerance_by_type(dtype: str, factor: float, expected: str) -> None:
    def product(number: float) -> Callable[[GraphBuilder], Any]:
        def build(b: GraphBuilder) -> None:
            b.add_literal("number", TensorType(dtype, []), [number])
            b.add_node("Mul", ["x", "w"], ["t"])
            b.add_node("Mul", ["t", "number"], ["y"])

        return build

    weights = {"w": np.ones(40, dtype)}
    first, second = (vector_model(product(n), weights, dtype=dtype) for n in (1.0, factor))
    assert verify(first, second).status == expected


def test_a_result_of_other_weights_is_compared_as_it_is() -> None:
    """A folded model read from a file has no weight in common with its original."""
    original = model(plain)
    u, c = original.weights.get("u"), original.weights.get("c")
    scaled = original.weights.get("v") * original.weights.get("s").reshape(8, 1, 1, 1)

    def result(b: GraphBuilder) -> None:
        for name, shape in (("k1", [8, 8, 3, 3]), ("k2", [8, 8, 3, 3]), ("k3", [8])):
            b.add_weight(name, TensorType("float32", shape))
        b.add_node("Conv", ["x", "k1", "k3"], ["b"], {**WINDOW, "activation": "Relu"})
        b.add_node("Conv", ["b", "k2"], ["y"], WINDOW)

    folded = Model(image_network(result), StoredWeights({"k1": u, "k2": scaled, "k3": c}))
    assert verify(original, folded).equal
    wrong = Model(folded.graph, StoredWeights({"k1": u, "k2": scaled * 1.01, "k3": c}))
    assert verify(original, wrong).status == "different"


def test_other_interfaces_are_no_candidates() -> None:
    def build(name: str) -> Callable[[GraphBuilder], Any]:
        return lambda b: b.add_node("Relu", ["x"], [name])

    y, z = vector_model(build("y")), vector_model(build("z"), outputs=("z",))
    with pytest.raises(ValueError, match=r"the outputs of the result are \['z'\]; the original"):
        verify(y, z)
    with pytest.raises(ValueError, match=r'tensor "x" of the result is float32\[3\]; the original'):
        verify(y, vector_model(build("y"), size=3))


def test_what_onnx_runtime_cannot_run_is_undecided() -> None:
    def double_erf(b: GraphBuilder) -> None:
        b.add_node("Erf", ["x"], ["y"])

    one = vector_model(double_erf, dtype="float64")
    verdict = verify(one, one)
    assert verdict.status == "undecided"
    assert "ONNX Runtime cannot run the original" in verdict.detail
