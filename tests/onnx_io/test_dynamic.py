"""Dynamic dimensions survive: results are right at every size, and priced at a realistic one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.helper import make_node

from xflowrl.agents.greedy import Greedy
from xflowrl.measurement import roofline
from xflowrl.onnx_io import Model, export_onnx, importing, load_onnx
from xflowrl.options import build_option
from xflowrl.problem import Problem, Result

Make = Callable[..., Path]
Run = Callable[[Any, Mapping[str, Any]], list[Any]]
RNG = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def optimised(model: Model) -> Result:
    problem = Problem(model=model, rules=build_option("rules", "core"), objective=roofline())
    (result,) = Greedy().optimize([problem], lambda metrics, step: None)
    return result


def check_sizes(
    path: Path, result: Model, run_model: Run, sizes: list[Mapping[str, tuple[int, ...]]]
) -> onnx.ModelProto:
    """The result is right at each of these shapes of the inputs, and declares the same symbols."""
    original, proto = onnx.load(path), export_onnx(result)
    assert [*proto.graph.input] == [*original.graph.input]
    assert [*proto.graph.output] == [*original.graph.output]
    for shapes in sizes:
        feeds = {name: floats(*shape) for name, shape in shapes.items()}
        for ours, theirs in zip(run_model(path, feeds), run_model(proto, feeds), strict=True):
            np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4)  # sums in another order
    return proto


def attention(make_model: Make, batch: Any, length: Any) -> Path:
    """Heads of a projection, as exporters write them: sizes are read from the input's shape."""
    nodes = [
        make_node("MatMul", ["x", "w"], ["m"]),
        make_node("Add", ["m", "b"], ["a"]),
        make_node("Shape", ["x"], ["shape"]),
        make_node("Gather", ["shape", "zero"], ["n"]),
        make_node("Gather", ["shape", "one"], ["t"]),
        make_node("Unsqueeze", ["n", "axis"], ["n1"]),
        make_node("Unsqueeze", ["t", "axis"], ["t1"]),
        make_node("Concat", ["n1", "t1", "heads"], ["target"], axis=0),
        make_node("Reshape", ["a", "target"], ["r"]),
        make_node("Transpose", ["r"], ["y"], perm=[0, 2, 1, 3]),
    ]
    weights = {
        "w": floats(8, 12), "b": floats(12), "zero": np.int64(0), "one": np.int64(1),
        "axis": np.array([0], np.int64), "heads": np.array([3, 4], np.int64),
    }  # fmt: skip
    return make_model(nodes, {"x": [batch, length, 8]}, {"y": [batch, 3, length, 4]}, weights)


def test_what_depends_on_a_size_stays_computed(make_model: Make, run_model: Run) -> None:
    path = attention(make_model, "n", "t")
    result = optimised(load_onnx(path))
    assert result.trace.steps
    sizes = [{"x": (n, t, 8)} for n, t in ((1, 1), (2, 5), (7, 3))]
    proto = check_sizes(path, result.model, run_model, sizes)
    operators = [node.op_type for node in proto.graph.node]
    assert "Gemm" in operators and "Shape" in operators


def test_the_price_is_that_of_fixed_sizes(make_model: Make) -> None:
    dynamic = optimised(load_onnx(attention(make_model, "n", "t"), input_shapes={"x": [2, 64, 8]}))
    fixed = optimised(load_onnx(attention(make_model, 2, 64)))
    for name in ("cost_initial_ms", "cost_best_ms"):
        assert getattr(dynamic, name) == pytest.approx(getattr(fixed, name), rel=1e-12)


def test_windows_without_pads_make_no_size_another(make_model: Make) -> None:
    """Heights that shrink by a few rows are not the batch by chance, nor priced as it."""
    nodes = [make_node("Conv", ["x" if i == 0 else f"c{i}", "w"], [f"c{i + 1}"]) for i in range(5)]
    costs = []
    for shape in (["n", 3, "h", "t"], [1, 3, 224, 224]):
        path = make_model(nodes, {"x": shape}, {"c5": [None] * 4}, {"w": floats(3, 3, 3, 3)})
        result = optimised(load_onnx(path))
        costs.append((result.cost_initial_ms, result.cost_best_ms))
    assert costs[0] == pytest.approx(costs[1], rel=1e-12)


@pytest.mark.parametrize("batch", [2, "n"])
def test_a_reshape_that_copies_sizes_follows_its_operand(
    make_model: Make, run_model: Run, batch: Any
) -> None:
    """A 0 copies a size of the operand, and here the operand becomes another tensor's."""
    nodes = [
        make_node("MatMul", ["x", "w"], ["m"]),
        make_node("Add", ["m", "b"], ["a"]),
        make_node("Reshape", ["a", "target"], ["y"]),
    ]
    weights = {"w": floats(8, 12), "b": floats(12), "target": np.array([0, 0, 3, 4], np.int64)}
    path = make_model(nodes, {"x": [batch, 5, 8]}, {"y": [batch, 5, 3, 4]}, weights)
    result = optimised(load_onnx(path))
    assert any(node.op_type == "Gemm" for node in result.model.graph.nodes())
    sizes = [{"x": (2, 5, 8)}, *([{"x": (4, 5, 8)}] if batch == "n" else [])]
    check_sizes(path, result.model, run_model, sizes)


def test_padding_that_depends_on_a_size_stays_automatic(make_model: Make, run_model: Run) -> None:
    nodes = [
        make_node("Conv", ["x", "w"], ["c"], strides=[2, 2], auto_pad="SAME_UPPER"),
        make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["y"]),
    ]
    weights = {"w": floats(4, 3, 3, 3), **{n: floats(4) ** 2 + 0.5 for n in "sbmv"}}
    path = make_model(nodes, {"x": ["n", 3, "h", "w_"]}, {"y": ["n", 4, None, None]}, weights)
    result = optimised(load_onnx(path))
    sizes = [{"x": (n, 3, h, w)} for n, h, w in ((1, 8, 9), (2, 7, 12), (3, 15, 15))]
    proto = check_sizes(path, result.model, run_model, sizes)
    assert [node.op_type for node in proto.graph.node] == ["Conv"]


def test_unnamed_dimensions_and_channels_bind_themselves(make_model: Make, run_model: Run) -> None:
    nodes = [make_node("Conv", ["x", "w"], ["c"]), make_node("Relu", ["c"], ["y"])]
    path = make_model(
        nodes, {"x": [None] * 4}, {"y": [None] * 4}, {"w": floats(4, 3, 1, 1)}
    )  # fmt: skip
    model = load_onnx(path)
    assert [model.input_shapes(k)["x"][1] for k in range(model.num_sizes)] == [3] * model.num_sizes
    check_sizes(path, model, run_model, [{"x": (2, 3, 5, 4)}])


def test_batches_that_must_be_equal_are_found_at_once(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two inputs, each with a batch of its own name, meet in a Concat."""
    num_tried = 0

    def counted(*arguments: Any) -> Any:
        nonlocal num_tried
        num_tried += 1
        return _translated(*arguments)

    _translated = importing._translated
    monkeypatch.setattr(importing, "_translated", counted)
    path = make_model(
        [make_node("Concat", ["a", "b"], ["y"], axis=1)],
        {"a": ["n", 3], "b": ["m", 4]}, {"y": [None, 7]},
    )  # fmt: skip
    model = load_onnx(path)
    assert model.source is not None and not model.source.failures
    assert {shape[0] for shape in model.input_shapes(1).values()} == {2}
    assert num_tried < 20


@pytest.mark.parametrize("shape", [["n", "samples"], ["n", "t"]])
def test_a_window_decides_the_least_size(make_model: Make, shape: list[str]) -> None:
    """128 is a usual length, but no window of 400 fits into it; of sound there is a second."""
    nodes = [
        make_node("Unsqueeze", ["x", "axis"], ["u"]),
        make_node("Conv", ["u", "w"], ["c"], strides=[300]),
        make_node("Relu", ["c"], ["y"]),
    ]
    weights = {"axis": np.array([1], np.int64), "w": floats(8, 1, 400)}
    model = load_onnx(make_model(nodes, {"x": shape}, {"y": ["n", 8, None]}, weights))
    assert model.source is not None and model.source.num_typed == 3
    assert model.input_shapes() == {"x": (1, 16000 if "samples" in shape else 512)}


def test_what_belongs_to_the_file_comes_back(make_model: Make) -> None:
    inner = onnx.helper.make_function(
        "acme", "Twice", ["a"], ["b"], [make_node("Add", ["a", "a"], ["b"])],
        [onnx.helper.make_opsetid("", 20)],
    )  # fmt: skip
    branch = onnx.helper.make_graph(
        [make_node("Twice", ["z"], ["r"], domain="acme")], "body", [],
        [onnx.helper.make_tensor_value_info("r", TensorProto.FLOAT, None)],
    )  # fmt: skip
    nodes = [
        make_node("Relu", ["x"], ["a"]),
        make_node("Relu", ["a"], ["twice"]),
        make_node("Neg", ["x"], ["z"], name="kept", doc_string="as it is"),
        make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch),
    ]
    inputs = {"x": ["n", 4], "c": (TensorProto.BOOL, [])}
    outputs = {"twice": ["n", 4], "y": ["n", 4]}
    path = make_model(
        nodes, inputs, outputs, opset=20, opsets={"acme": 1}, functions=[inner], ir_version=9,
        value_info={"z": ["n", 4]},
    )  # fmt: skip
    proto = onnx.load(path)
    proto.producer_name, proto.producer_version, proto.domain = "maker", "7", "my.domain"
    proto.model_version, proto.doc_string = 42, "what it is for"
    onnx.helper.set_model_props(proto, {"author": "me"})
    path.write_bytes(proto.SerializeToString())
    result = optimised(load_onnx(path))
    assert [step.rule for step in result.trace.steps]
    written = export_onnx(result.model)
    assert len(written.graph.node) == 3
    assert all(node in list(written.graph.node) for node in list(proto.graph.node)[2:])
    for part in (written, proto):
        part.graph.ClearField("node")
    assert written == proto


@pytest.mark.parametrize(
    ("attributes", "dynamic", "left"),
    [
        ({"strides": [2, 2], "pads": [1, 0, 0, 1], "output_padding": [1, 0]}, True, 1),
        ({"strides": [2, 2], "auto_pad": "SAME_UPPER", "group": 2}, True, 1),
        ({"strides": [2, 3], "auto_pad": "SAME_LOWER", "dilations": [2, 1]}, True, 1),
        ({"strides": [3, 3], "auto_pad": "VALID", "group": 4}, True, 1),
        ({"strides": [2, 2], "auto_pad": "SAME_LOWER", "output_padding": [1, 0]}, True, 2),
        ({"strides": [2, 2], "output_shape": [9, 10], "group": 2}, False, 1),
        ({"strides": [2, 2], "output_shape": [200, 206]}, True, 2),  # whose pads depend on the size
    ],
    ids=str,
)
def test_conv_transpose_takes_up_what_follows(
    attributes: dict[str, Any], dynamic: bool, left: int, make_model: Make, run_model: Run
) -> None:
    made = 3 * attributes.get("group", 1)
    nodes = [
        make_node("ConvTranspose", ["x", "w"], ["c"], **attributes),
        make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["y"]),
    ]
    weights = {"w": floats(4, 3, 3, 3), **{n: floats(made) ** 2 + 0.5 for n in "sbmv"}}
    image = ["h", "w_"] if dynamic else [5, 5]
    path = make_model(nodes, {"x": ["n", 4, *image]}, {"y": ["n", made, None, None]}, weights)
    images = [(101, 104), (103, 110)] if dynamic else [(5, 5)] * 2
    sizes = [{"x": (n, 4, *image)} for n, image in enumerate(images, 1)]
    proto = check_sizes(path, optimised(load_onnx(path)).model, run_model, sizes)
    assert len(proto.graph.node) == left
