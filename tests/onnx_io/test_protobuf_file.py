"""Model files are read and written without their weights in memory."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xflowrl.onnx_io.protobuf_file import read_model, write_model
from xflowrl.onnx_io.reading import tensor_array


def model_of(arrays: dict[str, np.ndarray]) -> onnx.ModelProto:
    x = onnx.helper.make_tensor_value_info("x", 1, ["n"])
    nodes = [onnx.helper.make_node("Relu", ["x"], ["y"], doc_string="é")]
    y = onnx.helper.make_tensor_value_info("y", 1, ["n"])
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [x], [y], tensors))
    model.metadata_props.add(key="k", value="v")
    return model


@given(sizes=st.lists(st.integers(0, 40_000), max_size=4), seed=st.integers(0, 9))
def test_reading_and_writing_are_inverse(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], seed: int
) -> None:
    generator = np.random.default_rng(seed)
    arrays = {f"w{i}": generator.standard_normal(n).astype("f4") for i, n in enumerate(sizes)}
    folder = tmp_path_factory.mktemp("models")
    path, model = folder / "ü.onnx", model_of(arrays)
    path.write_bytes(model.SerializeToString())
    skeleton = read_model(path)
    for tensor in skeleton.graph.initializer:
        np.testing.assert_array_equal(tensor_array(tensor, folder), arrays[tensor.name])
        assert len(tensor.raw_data) <= 2**16
    large = {t.name for t in skeleton.graph.initializer if t.external_data}
    assert large == {name for name, array in arrays.items() if array.nbytes > 2**16}
    for tensor in skeleton.graph.initializer:
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    written = io.BytesIO()
    write_model(skeleton, {name: arrays[name] for name in large}, written)
    assert onnx.ModelProto.FromString(written.getvalue()) == model


def test_a_file_that_is_cut_off_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    whole = model_of({"w": np.ones(30_000, np.float32)}).SerializeToString()
    for length in (*range(0, 200, 3), 100_000, len(whole) - 1):
        path.write_bytes(whole[:length])
        try:
            read = read_model(path)
        except ValueError:
            continue
        # It was cut between two fields: what is there is whole.
        assert read.ByteSize() == length


def test_a_place_that_the_file_says_behind_the_data(tmp_path: Path) -> None:
    """Exporters write `data_location: DEFAULT` though it is; of a field the last value holds."""
    array = np.arange(20_000, dtype="f4")
    model = model_of({"w": array})
    model.graph.initializer[0].data_location = onnx.TensorProto.DEFAULT
    (tmp_path / "said.onnx").write_bytes(model.SerializeToString())
    (tensor,) = read_model(tmp_path / "said.onnx").graph.initializer
    assert tensor.data_location == onnx.TensorProto.EXTERNAL
    np.testing.assert_array_equal(tensor_array(tensor, tmp_path), array)
