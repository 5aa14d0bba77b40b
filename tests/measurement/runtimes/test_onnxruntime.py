from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from xflowrl.measurement.runtimes.onnxruntime import (
    BoundSession,
    open_session,
    optimised,
    plain,
)


def model_of(op_type: str, elem_type: int = TensorProto.FLOAT, **attributes) -> onnx.ModelProto:
    domain = attributes.pop("domain", "")
    node = helper.make_node(op_type, ["x"], ["y"], domain=domain, **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", elem_type, [2, 3])],
        [helper.make_tensor_value_info("y", elem_type, [2, 3])],
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def test_a_bound_session_executes_on_its_feeds() -> None:
    feeds = {"x": np.array([[-1, 0, 1], [2, -3, 4]], np.float32)}
    bound = BoundSession(open_session(model_of("Relu").SerializeToString()), feeds)
    feeds["x"][0, 0] = 7.0  # bound, not copied: the next execution reads it
    bound()
    assert bound.output_shapes() == [(2, 3)]
    value = bound._binding.get_outputs()[0].numpy()
    np.testing.assert_array_equal(value, [[7, 0, 1], [2, 0, 4]])


def test_output_buffers_are_used_again() -> None:
    bound = BoundSession(
        open_session(model_of("Relu").SerializeToString()), {"x": np.ones((2, 3), np.float32)}
    )
    places = set()
    for _ in range(5):
        bound()
        places.add(bound._binding.get_outputs()[0].data_ptr())
    assert len(places) == 1


@pytest.mark.parametrize("declared", [["n"], [4, "n"], [2, 3]])
def test_an_output_of_another_shape_than_declared(declared: list[int | str]) -> None:
    """The runtime takes such a model and warns, but refuses buffers of the real shape."""
    model = model_of("Relu")
    model.graph.input[0].type.tensor_type.ClearField("shape")
    (result,) = model.graph.output
    result.CopyFrom(helper.make_tensor_value_info(result.name, TensorProto.FLOAT, declared))
    session = open_session(model.SerializeToString())
    name = session.get_inputs()[0].name
    run = BoundSession(session, {name: np.ones((2, 3), np.float32)})
    run()
    assert run.output_shapes() == [(2, 3)]


def test_bfloat16_is_bound_by_its_bits() -> None:
    bits = np.full((2, 3), 0x3F80, np.uint16)  # 1.0
    model = model_of("Identity", TensorProto.BFLOAT16)
    bound = BoundSession(open_session(model.SerializeToString()), {"x": bits})
    assert bound.output_shapes() == [(2, 3)]


def test_a_model_may_be_a_file(tmp_path) -> None:
    onnx.save(model_of("Relu"), tmp_path / "m.onnx")
    for make in (optimised, plain):
        run = make("cpu", 1).compile(tmp_path / "m.onnx", {"x": np.ones((2, 3), np.float32)})
        assert run.output_shapes() == [(2, 3)]


def test_a_refused_model_is_one_line() -> None:
    for broken in (b"not a model", model_of("NoSuchOperator").SerializeToString()):
        with pytest.raises(RuntimeError) as error:
            open_session(broken)
        assert "\n" not in str(error.value)


def test_the_version_says_what_a_time_depends_on() -> None:
    versions = {make("cpu", threads).version for make in (optimised, plain) for threads in (1, 2)}
    assert len(versions) == 4
    assert f"onnxruntime {onnxruntime.__version__}, cpu, 2 threads, optimised" in versions


def test_what_it_fuses_itself_it_is_given_unfused() -> None:
    assert ("Conv", "float16", "Clip") in plain("cpu", 1).fused
    assert ("Gemm", "float32", "Clip") not in plain("cpu", 1).fused
    assert not optimised("cpu", 1).fused
