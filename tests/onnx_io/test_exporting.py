"""Writing models: outputs, fused activations, folding, files."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import pytest

from xflowrl._engine import Graph, GraphBuilder, TensorType, activation_names
from xflowrl.measurement.runtimes import open_runtime
from xflowrl.onnx_io import (
    Model,
    StoredWeights,
    computing,
    export_onnx,
    load_onnx,
    save_onnx,
    saving,
)
from xflowrl.onnx_io.folding import evaluate
from xflowrl.onnx_io.operands import FusedKernels
from xflowrl.weights import DrawnWeights, draw_inputs

KERNELS = open_runtime("onnxruntime_plain", group="measurement").fused
Run = Callable[..., list[Any]]
X = TensorType("float32", [2, 4, 6, 6])
PARAMETERS = {
    "LeakyRelu": [0.1], "Clip": [-0.5, 0.25], "HardSigmoid": [0.3, 0.4], "Swish": [1.5],
}  # fmt: skip
# A window of plain arithmetic for each activation that a node may carry.
REFERENCE: dict[str, Callable[[Any], Any]] = {
    "Relu": lambda x: np.maximum(x, 0),
    "LeakyRelu": lambda x: np.where(x > 0, x, 0.1 * x),
    "Clip": lambda x: np.clip(x, -0.5, 0.25),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Tanh": np.tanh,
    "HardSigmoid": lambda x: np.clip(0.3 * x + 0.4, 0, 1),
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Swish": lambda x: x / (1 + np.exp(-1.5 * x)),
    "Gelu": lambda x: x * 0.5 * (1 + np.vectorize(_erf)(x / np.sqrt(2))),
    "GeluTanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
}


def _erf(x: float) -> float:
    import math

    return math.erf(x)


def conv_graph(**attributes: Any) -> Graph:
    builder = GraphBuilder("convs")
    builder.add_input("x", X)
    builder.add_weight("w", TensorType("float32", [5, 4, 3, 3]))
    builder.add_weight("b", TensorType("float32", [5]))
    builder.add_node(
        "Conv", ["x", "w", "b"], ["y"],
        {"strides": [1, 1], "pads": [1] * 4, "dilations": [1, 1], **attributes},
    )  # fmt: skip
    builder.set_outputs(["y"])
    return builder.build()


def gemm_graph(**attributes: Any) -> Graph:
    builder = GraphBuilder("gemm")
    builder.add_input("x", TensorType("float32", [3, 4]))
    builder.add_weight("w", TensorType("float32", [4, 5]))
    builder.add_node("Gemm", ["x", "w"], ["y"], attributes)
    builder.set_outputs(["y"])
    return builder.build()


def drawn(graph: Graph) -> Model:
    return Model(graph, DrawnWeights(graph, 0))


@pytest.mark.parametrize("kernels", [frozenset(), KERNELS], ids=["standard", "fused"])
@pytest.mark.parametrize("activation", [a for a in activation_names() if a])
@pytest.mark.parametrize("make", [conv_graph, gemm_graph])
def test_fused_activations(
    run_model: Run, make: Callable[..., Graph], activation: str, kernels: FusedKernels
) -> None:
    fused = make(activation=activation, activation_params=PARAMETERS.get(activation, []))
    proto = export_onnx(drawn(fused), fused=kernels)
    feeds = draw_inputs(fused, 0)
    (before,) = run_model(export_onnx(drawn(make())), feeds)
    (after,) = run_model(proto, feeds)
    expected = REFERENCE[activation](before.astype(np.float64))
    np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-5)  # single precision
    if kernels:
        without_kernel = {"Swish", "Gelu", "GeluTanh"}
        if make is gemm_graph:
            without_kernel |= {"Clip", "HardSwish"}
        is_one = activation not in without_kernel
        assert (len(proto.graph.node) == 1) == is_one
        assert any(o.domain == "com.microsoft" for o in proto.opset_import) == is_one
    else:
        onnx.checker.check_model(proto, full_check=True)
        assert [o.domain for o in proto.opset_import] == [""]


def test_a_written_gelu_is_one_kernel_as_deployed(tmp_path: Path) -> None:
    proto = export_onnx(drawn(gemm_graph(activation="Gelu", activation_params=[])))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "deployed.onnx")
    providers = ["CPUExecutionProvider"]
    onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=providers)
    nodes = onnx.load(tmp_path / "deployed.onnx").graph.node
    assert [node.op_type for node in nodes] == ["Gemm", "Gelu"]


def test_operators_of_other_domains_have_a_version_that_knows_them() -> None:
    builder = GraphBuilder("scaled")
    builder.add_input("x", TensorType("float32", [1, 2]))
    builder.add_node(
        "TreeEnsemble", ["x"], ["y"], {"aggregate_function": 1}, domain="ai.onnx.ml",
        output_types=[TensorType("float32", [1, 1])], opaque=True,
    )  # fmt: skip
    builder.set_outputs(["y"])
    imports = {o.domain: o.version for o in export_onnx(drawn(builder.build())).opset_import}
    assert imports["ai.onnx.ml"] == 5


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_gelu_computes_in_its_own_type(dtype: str) -> None:
    builder = GraphBuilder("gelu")
    builder.add_input("x", TensorType(dtype, [50]))
    builder.add_node("Gelu", ["x"], ["h"])
    builder.add_node("Swish", ["h"], ["y"], {"alpha": 0.5})
    builder.set_outputs(["y"])
    proto = export_onnx(drawn(builder.build()))
    onnx.checker.check_model(proto, full_check=True)
    x = np.linspace(-3, 3, 50).astype(dtype)
    # ONNX Runtime has no Erf in double precision; the reference evaluator has.
    (result,) = onnx.reference.ReferenceEvaluator(proto).run(None, {"x": x})
    gelu = REFERENCE["Gelu"](x.astype(np.float64))
    tolerance = 5e-3 if dtype == "float16" else 1e-7  # the evaluator's erf is single
    assert result.dtype == dtype
    np.testing.assert_allclose(result, gelu / (1 + np.exp(-0.5 * gelu)), atol=tolerance)


def test_outputs_get_their_public_names(run_model: Run) -> None:
    """A tensor renamed, one read twice, an input, a weight, and an inner name that is taken."""
    builder = GraphBuilder("outputs")
    builder.add_input("x", TensorType("float32", [3]))
    builder.add_weight("w", TensorType("float32", [3]))
    builder.add_node("Relu", ["x"], ["second"])
    builder.add_node("Neg", ["second"], ["t"])
    builder.add_node("Abs", ["t"], ["u"])
    publics = ["first", "second", "third", "x", "fifth", "sixth"]
    builder.set_outputs(publics, ["second", "t", "t", "x", "w", "u"])
    model = drawn(builder.build())
    proto = export_onnx(model)
    onnx.checker.check_model(proto, full_check=True)
    assert [o.name for o in proto.graph.output] == publics
    x = np.array([-1.0, 0.5, 2.0], np.float32)
    relu = np.maximum(x, 0)
    expected = [relu, -relu, -relu, x, model.weights.get("w"), relu]
    for ours, theirs in zip(expected, run_model(proto, {"x": x}), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(proto.graph.node) == 3 + 2  # an Identity for the copy and one for the weight


# Folding


def weight_arithmetic() -> Model:
    """y = x @ (a * s) where a * s depends on constants alone; d is computed for nobody."""
    builder = GraphBuilder("arithmetic")
    builder.add_input("x", TensorType("float32", [2, 3]))
    for name, shape in (("a", [3, 2]), ("s", [2]), ("b", [3, 2])):
        builder.add_weight(name, TensorType("float32", shape))
    builder.add_literal("two", TensorType("float32", []), [2.0])
    builder.add_node("Mul", ["a", "s"], ["c"])
    builder.add_node("Pow", ["c", "two"], ["d"])
    builder.add_node("Concat", ["c", "d", "b"], ["e"], {"axis": 1})
    builder.add_node("MatMul", ["x", "e"], ["y"])
    builder.set_outputs(["y"])
    return drawn(builder.build())


def test_constants_are_folded(run_model: Run) -> None:
    model = weight_arithmetic()
    assert len(model.graph) == 1
    folded, kept = export_onnx(model), export_onnx(model, fold=False)
    assert [n.op_type for n in folded.graph.node] == ["MatMul"]
    assert [t.name for t in folded.graph.initializer] == ["e"]
    assert sorted(n.op_type for n in kept.graph.node) == ["Concat", "MatMul", "Mul", "Pow"]
    feeds = draw_inputs(model.graph, 0)
    (ours,), (theirs,) = run_model(folded, feeds), run_model(kept, feeds)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)  # order of three products


def test_half_precision_is_folded_in_single() -> None:
    """1 + 1/1024 + ... rounds to 1 in half precision after each step; the sum does not."""
    half = TensorType("float16", [1])
    builder = GraphBuilder("sum")
    builder.add_input("x", half)
    values = {"one": np.ones(1, np.float16), "tiny": np.full(1, 2.0**-12, np.float16)}
    for name in values:
        builder.add_weight(name, half)
    total = "one"
    for step in range(8):
        (total,) = builder.add_node("Add", [total, "tiny"], [f"sum{step}"])
    builder.add_node("Mul", ["x", total], ["y"])
    builder.set_outputs(["y"])
    proto = export_onnx(Model(builder.build(), StoredWeights(values)))
    (tensor,) = proto.graph.initializer
    assert onnx.numpy_helper.to_array(tensor) == np.float16(1 + 2.0**-9)


def test_a_weight_of_another_type_is_refused() -> None:
    graph = gemm_graph()
    wrong = StoredWeights({"w": np.zeros((4, 4), np.float32)})
    with pytest.raises(ValueError, match=r'weight "w" is float32\[4, 4\]; the graph needs float32'):
        export_onnx(Model(graph, wrong))
    with pytest.raises(ValueError, match='weight "w" is not in the model'):
        export_onnx(Model(graph, StoredWeights({})))


# Files


def test_saved_models_load_again(tmp_path: Path, run_model: Run) -> None:
    model, path = weight_arithmetic(), tmp_path / "best.onnx"
    save_onnx(model, path)
    assert [p.name for p in tmp_path.iterdir()] == ["best.onnx"]
    feeds = draw_inputs(model.graph, 0)
    np.testing.assert_array_equal(
        run_model(path, feeds)[0], run_model(export_onnx(load_onnx(path)), feeds)[0]
    )


def test_large_models_have_their_data_beside_them(tmp_path: Path, run_model: Run) -> None:
    builder = GraphBuilder("large")
    builder.add_input("x", TensorType("float32", [1, 40]))
    builder.add_weight("w", TensorType("float32", [40, 50]))
    builder.add_weight("v", TensorType("float32", [50, 60]))
    builder.add_node("MatMul", ["x", "w"], ["h"])
    builder.add_node("MatMul", ["h", "v"], ["y"])
    builder.set_outputs(["y"])
    model, path = drawn(builder.build()), tmp_path / "best.onnx"
    save_onnx(model, path, max_inline_bytes=10_000)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.onnx", "best.onnx.data"]
    assert path.stat().st_size < 2000
    feeds = draw_inputs(model.graph, 0)
    expected = run_model(export_onnx(model), feeds)[0]
    np.testing.assert_array_equal(run_model(path, feeds)[0], expected)
    loaded = load_onnx(path)
    np.testing.assert_array_equal(loaded.weights.get("v"), model.weights.get("v"))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_computed_weights_that_wait_in_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    """The same bytes, and no two computed weights are in memory at once."""
    tensor_type = TensorType(dtype, [50, 60])
    builder = GraphBuilder("sums")
    builder.add_input("x", tensor_type)
    last = "x"
    for i in range(8):
        builder.add_weight(f"w{i}", tensor_type)
        builder.add_node("Add", [f"w{i}", f"w{i}"], [f"twice{i}"])
        (last,) = builder.add_node("Add", [last, f"twice{i}"], [f"y{i}"])
    builder.set_outputs([last])
    model = drawn(builder.build())
    save_onnx(model, tmp_path / "memory.onnx")
    alive: list[weakref.ref[Any]] = []
    counts: list[int] = []

    def watched(*args: Any) -> Any:
        counts.append(sum(ref() is not None for ref in alive))
        results = evaluate(*args)
        alive.extend(weakref.ref(array) for array in results or [])
        return results

    monkeypatch.setattr(computing, "evaluate", watched)
    monkeypatch.setattr(computing, "_BATCH_BYTES", 1)
    monkeypatch.setattr(saving, "_MAX_IN_MEMORY", 1)
    save_onnx(model, tmp_path / "files.onnx")
    assert (tmp_path / "files.onnx").read_bytes() == (tmp_path / "memory.onnx").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["files.onnx", "memory.onnx"]
    assert len(counts) == 8
    assert max(counts) <= 1


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "best.onnx"
    path.write_bytes(b"what was there before")
    with pytest.raises(ValueError, match="is not in the model"):
        save_onnx(Model(gemm_graph(), StoredWeights({})), path)
    invalid = GraphBuilder("invalid")
    invalid.add_input("x", TensorType("float32", [2]))
    types = [TensorType("float32", [2])]
    invalid.add_node("NoSuchOperator", ["x"], ["y"], output_types=types, opaque=True)
    invalid.set_outputs(["y"])
    with pytest.raises(ValueError, match='graph "invalid" is not a valid ONNX model'):
        save_onnx(drawn(invalid.build()), path)
    assert path.read_bytes() == b"what was there before"
    assert [p.name for p in tmp_path.iterdir()] == ["best.onnx"]
