from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, parser

from xflowrl.measurement.runtimes import open_runtime
from xflowrl.measurement.runtimes.onnxruntime import open_session
from xflowrl.measurement.runtimes.torch import Torch, _cuda_device, eager


def model_of(op_type: str, element: int = TensorProto.FLOAT) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node(op_type, ["x"], ["y"])],
        "one",
        [helper.make_tensor_value_info("x", element, [2, 3])],
        [helper.make_tensor_value_info("y", element, [2, 3])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_a_bound_module_executes_on_its_feeds() -> None:
    feeds = {"x": np.array([[-1, 0, 1], [2, -3, 4]], np.float32)}
    bound = eager("cpu", 1).compile(model_of("Relu").SerializeToString(), feeds)
    feeds["x"][0, 0] = 7.0  # bound, not copied: the next execution reads it
    bound()
    assert bound.output_shapes() == [(2, 3)]
    np.testing.assert_array_equal(bound.outputs[0].numpy(), [[7, 0, 1], [2, 0, 4]])
    assert not bound.outputs[0].requires_grad


def test_bfloat16_is_bound_by_its_bits() -> None:
    bits = np.full((2, 3), 0x4000, np.uint16)  # 2.0
    model = model_of("Neg", TensorProto.BFLOAT16).SerializeToString()
    bound = eager("cpu", 1).compile(model, {"x": bits})
    assert bound.outputs[0].dtype == torch.bfloat16
    assert bound.outputs[0].float().tolist() == [[-2.0] * 3] * 2


def test_a_model_may_be_a_file_with_external_data(tmp_path) -> None:
    model = model_of("Relu")
    model.graph.node[0].input[0] = "w"
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    path = tmp_path / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    run = eager("cpu", 1).compile(path, {"x": np.ones((2, 3), np.float32)})
    np.testing.assert_array_equal(run.outputs[0].numpy(), weight)


@pytest.mark.parametrize("broken", [b"not a model", model_of("Nothing").SerializeToString()])
def test_a_refused_model_is_one_line(broken: bytes) -> None:
    with pytest.raises(RuntimeError) as error:
        eager("cpu", 1).compile(broken, {"x": np.ones((2, 3), np.float32)})
    assert "\n" not in str(error.value)


def test_feeds_of_another_type_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"an array of float64 for a tensor of torch\.float32"):
        eager("cpu", 1).compile(model_of("Relu").SerializeToString(), {"x": np.ones((2, 3))})


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_its_own_only_while_it_runs(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds = {"x": np.ones((2, 3), np.float32)}
    bound = eager("cpu", threads).compile(model_of("Relu").SerializeToString(), feeds)
    seen = []
    monkeypatch.setattr(bound, "_function", lambda x: (seen.append(torch.get_num_threads()), x))
    before = torch.get_num_threads()
    torch.set_num_threads(3 - threads)
    bound()
    assert (seen, torch.get_num_threads()) == ([threads], 3 - threads)
    torch.set_num_threads(before)


def test_the_version_says_what_a_time_depends_on() -> None:
    assert eager("cpu", 1).version == f"torch {torch.__version__}, cpu, 1 thread"
    assert eager("cpu", 2).version.endswith(", 2 threads")


NETWORK = parser.parse_model(
    '<ir_version: 9, opset_import: ["" : 18]> '
    "one (float[1, 3, 9, 9] x, int64[1] i) => (float[1, 4, 9, 9] y, int64[1] j) "
    "{ c = Conv<pads = [1, 1, 1, 1]>(x, w) r = Relu(c) "
    "f = Cast<to = 1>(i) y = Add(r, f) j = Add(i, i) }"
)
RANDOM = np.random.default_rng(0)
NETWORK.graph.initializer.append(
    onnx.numpy_helper.from_array(RANDOM.standard_normal((4, 3, 3, 3)).astype(np.float32), "w")
)
FEEDS = {
    "x": RANDOM.standard_normal((1, 3, 9, 9)).astype(np.float32),
    "i": np.array([3]),
}


@pytest.mark.parametrize("is_compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("precision", "dtype"), [("fp32", "float32"), ("bf16", "bfloat16")])
def test_a_network_in_a_precision(is_compiled: bool, precision: str, dtype: str) -> None:
    """As ONNX Runtime computes it in single precision; bfloat16 has 8 bits."""
    model = NETWORK.SerializeToString()
    expected, doubled = open_session(model).run(None, FEEDS)
    run = Torch("torch", "cpu", 1, precision, is_compiled).compile(model, FEEDS)
    result, integer = run.outputs
    assert result.dtype == getattr(torch, dtype)
    assert integer.dtype == torch.int64
    np.testing.assert_array_equal(integer.numpy(), doubled)
    tolerance = 1e-5 if precision == "fp32" else 0.03
    np.testing.assert_allclose(result.float().numpy(), expected, atol=tolerance * 10)
    assert run() > 0


def test_what_is_compiled_folds_its_weights() -> None:
    """Frozen: what depends on weights alone is no part of what runs."""
    text = (
        '<ir_version: 9, opset_import: ["" : 18]> one (float[8, 8] x) => (float[8, 8] y) '
        "{ p = MatMul(w, w) m = ReduceMax(p) y = Mul(x, m) }"
    )
    model = parser.parse_model(text)
    weight = onnx.numpy_helper.from_array(np.ones((1500, 1500), np.float32), "w")
    model.graph.initializer.append(weight)
    feeds = {"x": np.ones((8, 8), np.float32)}
    slow, fast = (
        Torch("torch", "cpu", 1, "fp32", is_compiled).compile(model.SerializeToString(), feeds)
        for is_compiled in (False, True)
    )
    assert min(fast() for _ in range(5)) < 0.1 * min(slow() for _ in range(3))


@pytest.mark.parametrize(
    ("version", "reason"),
    [("2.13.0+cpu", r"torch 2\.13\.0\+cpu has no CUDA"), ("2.13.0", "no CUDA device is found")],
)
@pytest.mark.parametrize("name", ["torch", "torch_compile"])
def test_a_machine_without_cuda_is_one_line(
    name: str, version: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda package: version)
    monkeypatch.setattr("shutil.which", lambda command: None)
    for known in (_cuda_device, open_runtime):
        known.cache_clear()
    with pytest.raises(ValueError, match=rf"^judge\.device=cuda: {reason}.* use device=cpu$"):
        open_runtime(name, device="cuda", group="judge")


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16"])
@pytest.mark.parametrize("is_compiled", [False, True])
def test_a_network_on_cuda(is_compiled: bool, precision: str) -> None:
    model = NETWORK.SerializeToString()
    expected, doubled = open_session(model).run(None, FEEDS)
    run = Torch("torch", "cuda", 1, precision, is_compiled).compile(model, FEEDS)
    assert 0 < run() < 10
    result, integer = run.outputs
    np.testing.assert_array_equal(integer.cpu().numpy(), doubled)
    tolerance = {"fp32": 1e-4, "tf32": 0.02, "fp16": 0.02, "bf16": 0.2}[precision]
    np.testing.assert_allclose(result.float().cpu().numpy(), expected, atol=tolerance)


@pytest.mark.gpu
def test_a_model_too_large_for_the_device_is_one_line_and_all_goes_on() -> None:
    size = int((torch.cuda.get_device_properties(0).total_memory / 4 / 3) ** 0.5)
    text = (
        f'<ir_version: 9, opset_import: ["" : 18]> one (float[1, {size}] x) => (float[n, m] y) '
        "{ t = Transpose<perm = [1, 0]>(x) a = Mul(x, t) b = Mul(a, t) "
        "c = Add(a, b) y = Add(c, b) }"
    )
    model = parser.parse_model(text).SerializeToString()
    runtime = Torch("torch", "cuda", 1, "fp32", is_compiled=False)
    feeds = {"x": np.ones((1, size), np.float32)}
    with pytest.raises(RuntimeError, match=r"does not fit on NVIDIA .* GiB of [0-9.]+ are free"):
        runtime.compile(model, feeds)
    runtime.release()
    assert runtime.compile(NETWORK.SerializeToString(), FEEDS)() > 0
