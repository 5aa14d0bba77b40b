from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from xflowrl.measurement.runtimes.torch import eager


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
    assert bound.outputs[0].is_inference()


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
    monkeypatch.setattr(bound, "_module", lambda x: (seen.append(torch.get_num_threads()), x))
    before = torch.get_num_threads()
    torch.set_num_threads(3 - threads)
    bound()
    assert (seen, torch.get_num_threads()) == ([threads], 3 - threads)
    torch.set_num_threads(before)


def test_the_version_says_what_a_time_depends_on() -> None:
    assert eager("cpu", 1).version == f"torch {torch.__version__}, cpu, 1 thread"
    assert eager("cpu", 2).version.endswith(", 2 threads")
