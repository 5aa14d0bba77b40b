"""Whatever is wrong with a model file, the user gets one line that names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.helper import make_node

from xflowrl.onnx_io import export_onnx, load_onnx

Make = Callable[..., Path]
RELU = make_node("Relu", ["x"], ["y"])


def refused(path: Path | str, message: str, **options: Any) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_onnx(path, **options)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.onnx", "does not exist; check graph.path")
    refused(tmp_path, "is not a file")


@pytest.mark.parametrize("content", [b"", b"hello, world", b"\x08\x07", b"PK\x03\x04" + b"x" * 99])
def test_not_an_onnx_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.onnx"
    path.write_bytes(content)
    refused(path, "is not an ONNX file")


def test_truncated_anywhere(make_model: Make) -> None:
    path = make_model(
        [make_node("MatMul", ["x", "w"], ["y"])], {"x": [1, 8]}, {"y": [1, 8]},
        {"w": np.ones((8, 8), np.float32)},
    )  # fmt: skip
    whole = path.read_bytes()
    load_onnx(path)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        refused(path, "is not an ONNX file|not a valid ONNX model")


def test_wrong_opsets(make_model: Make) -> None:
    refused(make_model([RELU], {"x": [2]}, {"y": [2]}, opset=6), "uses opset 6; at least 7")
    refused(make_model([RELU], {"x": [2]}, {"y": [2]}, opset=999), "uses opset 999; the installed")


def test_a_tensor_that_nothing_computes(make_model: Make) -> None:
    nodes = [make_node("Relu", ["nowhere"], ["y"])]
    refused(make_model(nodes, {"x": [2]}, {"y": [2]}), '"nowhere".*nothing before it defines it')


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (make_node("Cast", ["x"], ["y"]), r'\(Cast\): attribute "to" is missing'),
        (make_node("Softmax", ["x"], ["y"], axis=[1]), r'attribute "axis" is of another type'),
        (make_node("Gemm", ["x"], ["y"]), r"\(Gemm\): operands or results are missing"),
        (make_node("Constant", [], ["y"]), r"\(Constant\) has no value"),
        (make_node("Swish", ["x"], ["y"]), r"\(Swish\) is not in opset 18"),
        (make_node("Relu", ["x"], []), "operands or results are missing"),
    ],
)
def test_a_node_against_its_schema(make_model: Make, node: onnx.NodeProto, message: str) -> None:
    refused(make_model([node], {"x": [2]}, {"y": [2]}), message)
    branch = onnx.helper.make_graph([node], "b", [], [])
    outer = make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    inputs = {"x": [2], "c": (TensorProto.BOOL, [])}
    refused(make_model([outer], inputs, {"y": [2]}), message)


def test_a_name_that_is_not_utf8(make_model: Make) -> None:
    nodes = [make_node("Relu", ["x"], ["ZZ"]), make_node("Relu", ["ZZ"], ["y"])]
    path = make_model(nodes, {"x": [2]}, {"y": [2]})
    path.write_bytes(path.read_bytes().replace(b"ZZ", b"\xff\xfe"))
    refused(path, r"output b'\\xff\\xfe' is not UTF-8")


def kept_as_it_is(path: Path) -> None:
    """The nodes come back as they are; what they compute has no known type."""
    model = load_onnx(path)
    assert model.graph.tensor_type(model.graph.output_tensors[0]).dtype == "unknown"
    assert list(export_onnx(model).graph.node) == list(onnx.load(path).graph.node)


def test_impossible_operands(make_model: Make) -> None:
    nodes = [make_node("MatMul", ["x", "x"], ["y"], name="product")]
    path = make_model(nodes, {"x": [2, 3]}, {"y": [2, 3]})
    kept_as_it_is(path)
    source = load_onnx(path).source
    assert source is not None
    assert 'node "product" (MatMul) has impossible operands' in source.failures[0]


def test_data_dependent_shape(make_model: Make) -> None:
    nodes = [make_node("NonZero", ["x"], ["y"], name="search")]
    kept_as_it_is(make_model(nodes, {"x": [2, 3]}, {"y": (TensorProto.INT64, [2, "n"])}))


def test_sequences(make_model: Make) -> None:
    element = onnx.helper.make_tensor_type_proto(TensorProto.FLOAT, [2])
    sequence = onnx.helper.make_sequence_type_proto(element)
    nodes = [make_node("SequenceConstruct", ["x"], ["y"])]
    kept_as_it_is(make_model(nodes, {"x": [2]}, {"y": sequence}))


# Dynamic shapes


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ([1, 3], {"batch_size": 2}, r'graph.batch_size=2: no input has a dynamic leading'),
        (["n", 3], {"batch_size": 0}, r"graph.batch_size=0 must be at least 1"),
        (["n", 3], {"input_shapes": {"z": [1]}}, r'no input "z"; the inputs are "x"'),
        (["n", 3], {"input_shapes": {"x": [1]}}, r"has 1 dimensions; the input has 2"),
        (["n", 3], {"input_shapes": {"x": [-1, 3]}}, r"sizes are positive integers"),
    ],
)  # fmt: skip
def test_impossible_sizes(
    make_model: Make, shape: list[Any], options: Mapping[str, Any], message: str
) -> None:
    refused(make_model([RELU], {"x": shape}, {"y": shape}), message, **options)


def test_bound_dimensions(make_model: Make) -> None:
    nodes = [make_node("Concat", ["x", "m"], ["y"], axis=1)]
    path = make_model(nodes, {"x": ["n", "t"], "m": ["n", 4]}, {"y": ["n", "u"]})
    model = load_onnx(path, batch_size=3, input_shapes={"x": [3, 5]})
    # A symbol bound by one input is bound in the others.
    assert model.input_shapes() == {"x": (3, 5), "m": (3, 4)}
    refused(path, '"n" is 3 here and 2', input_shapes={"x": [2, 5], "m": [3, 4]})
    path = make_model([RELU], {"x": [1, 3]}, {"y": [1, 3]})
    refused(path, "dimension 0 is 1 in the file", input_shapes={"x": [4, 3]})


# External data


@pytest.fixture
def external(make_model: Make) -> Callable[..., Path]:
    """A model whose weight lies in a file of that name, with that many of its 256 bytes."""

    def make(location: str, num_bytes: int = 256, **entries: str) -> Path:
        tensor = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[8, 8])
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in {"location": location, **entries}.items():
            tensor.external_data.add(key=key, value=value)
        path = make_model(
            [make_node("MatMul", ["x", "w"], ["y"])], {"x": [1, 8]}, {"y": [1, 8]}, {"w": tensor}
        )
        (path.parent / "w.bin").write_bytes(np.ones(64, np.float32).tobytes()[:num_bytes])
        return path

    return make


def test_external_data_are_mapped(external: Callable[..., Path]) -> None:
    values = load_onnx(external("w.bin")).weights.get("w")
    np.testing.assert_array_equal(values, np.ones((8, 8), np.float32))
    assert not values.flags.writeable
    assert not values.flags.owndata


@pytest.mark.parametrize("location", ["../w.bin", "/etc/hostname", "a/../../w.bin", ""])
def test_external_data_outside_the_folder(external: Callable[..., Path], location: str) -> None:
    refused(external(location), 'weight "w" is stored in .*outside the folder of the model')


def test_external_data_through_a_link(external: Callable[..., Path], tmp_path: Path) -> None:
    path = external("link.bin")
    (tmp_path / "link.bin").symlink_to("/etc/hostname")
    refused(path, "outside the folder of the model")


def test_external_data_that_do_not_fit(external: Callable[..., Path]) -> None:
    refused(external("none.bin"), 'stored in "none.bin", which does not exist')
    refused(external("w.bin", 100), "which has only 100: the data file is truncated")
    refused(external("w.bin", offset="4"), "ends at byte 260")
    refused(external("w.bin", length="8"), "has 8 bytes of external data, its type needs 256")
    refused(external("w.bin", offset="one"), "must be integers")


def test_external_data_of_an_attribute_are_read(
    external: Callable[..., Path], make_model: Make
) -> None:
    tensor = onnx.load(external("w.bin"), load_external_data=False).graph.initializer[0]
    constant = make_node("Constant", [], ["w"], value=tensor)
    nodes = [constant, make_node("MatMul", ["x", "w"], ["y"])]
    path = make_model(nodes, {"x": [1, 8]}, {"y": [1, 8]})
    values = load_onnx(path).weights.get("w")
    np.testing.assert_array_equal(values, np.ones((8, 8), np.float32))


def test_an_output_twice(make_model: Make) -> None:
    graph = onnx.helper.make_graph(
        [RELU], "g",
        [onnx.helper.make_tensor_value_info("x", 1, [2])],
        [onnx.helper.make_tensor_value_info("y", 1, [2])] * 2,
    )  # fmt: skip
    path = make_model([RELU], {"x": [2]}, {"y": [2]})
    proto = onnx.load(path)
    proto.graph.CopyFrom(graph)
    path.write_bytes(proto.SerializeToString())
    refused(path, '"y"')
