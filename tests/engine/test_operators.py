"""Type inference against ONNX's own, for every operator the engine infers."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from operator_cases import cases, special_operators

from xflowrl._engine import (
    Graph,
    GraphBuilder,
    TensorType,
    activation_names,
    canonical_attributes,
    infer_types,
    inferable_operators,
    operator_names,
)
from xflowrl.onnx_io import Model, export_onnx
from xflowrl.weights import DrawnWeights

TYPES: dict[str, int] = {"float32": 1, "bool": 9, "int64": 7}


def one_node(op: str, types: list[TensorType | None], attributes: dict[str, Any]) -> Graph:
    builder = GraphBuilder(op)
    names = []
    for index, tensor_type in enumerate(types):
        assert tensor_type is not None
        names.append(builder.add_input(f"x{index}", tensor_type))
    outputs = [f"y{index}" for index in range(len(infer_types(op, types, attributes)))]
    builder.add_node(op, names, outputs, attributes)
    builder.set_outputs(outputs)
    return builder.build()


def inferred_by_onnx(graph: Graph) -> list[tuple[int, tuple[int, ...]]]:
    """Element type and shape of each output, which the model given to ONNX does not say."""
    model = export_onnx(Model(graph, DrawnWeights(graph, 0)))
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    known = onnx.shape_inference.infer_shapes(
        model, check_type=True, strict_mode=True, data_prop=True
    )
    result = []
    for output in known.graph.output:
        dims = output.type.tensor_type.shape.dim
        assert all(dim.HasField("dim_value") for dim in dims), output
        result.append((output.type.tensor_type.elem_type, tuple(dim.dim_value for dim in dims)))
    return result


@pytest.mark.parametrize("op", inferable_operators())
def test_inference_agrees_with_onnx(op: str) -> None:
    examples = 12 if op in special_operators() else 3
    num_compared = 0

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(op))
    def compare(case: tuple[list[TensorType | None], dict[str, Any]]) -> None:
        nonlocal num_compared
        types, attributes = case
        try:
            ours = infer_types(op, types, attributes)
        except ValueError:
            assume(False)
        theirs = inferred_by_onnx(one_node(op, types, attributes))
        assert [(TYPES[t.dtype], t.shape) for t in ours] == theirs, (types, attributes)
        num_compared += 1

    compare()
    assert num_compared >= examples // 2, "the engine refused most of what should fit"


def f32(*shape: int) -> TensorType:
    return TensorType("float32", shape)


def i64(*shape: int) -> TensorType:
    return TensorType("int64", shape)


WINDOW = {"strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1]}
POOL = {**WINDOW, "kernel_shape": [2, 2]}
IMAGE = f32(1, 4, 5, 5)

# Each must be refused; what is said must name the reason.
REFUSED = [
    ("Conv", [IMAGE, f32(4, 3, 1, 1)], WINDOW, "channels"),
    ("Conv", [IMAGE, f32(3, 2, 1, 1)], {**WINDOW, "group": 2}, "group"),
    ("Conv", [IMAGE, f32(4, 4, 1, 1)], {**WINDOW, "group": 0}, "group"),
    ("Conv", [IMAGE, f32(4, 4, 1)], WINDOW, "rank"),
    ("Conv", [IMAGE, f32(4, 4, 6, 1)], WINDOW, "larger than"),
    ("Conv", [IMAGE, f32(4, 4, 1, 1), f32(3)], WINDOW, "bias"),
    ("Conv", [IMAGE, f32(4, 4, 1, 1)], {**WINDOW, "strides": [1]}, "strides"),
    ("Conv", [IMAGE, f32(4, 4, 1, 1)], {**WINDOW, "strides": [0, 1]}, "larger than|stride"),
    ("Conv", [i64(1, 4, 5, 5), i64(4, 4, 1, 1)], WINDOW, "element type"),
    ("MaxPool", [IMAGE], {**POOL, "kernel_shape": [6, 2]}, "larger than"),
    ("MaxPool", [f32(4, 4)], POOL, "spatial"),
    ("MatMul", [f32(2, 3), f32(2, 3)], {}, "inner"),
    ("MatMul", [f32(), f32(2, 3)], {}, "scalar"),
    ("MatMul", [f32(2, 2, 3), f32(3, 3, 1)], {}, "batch"),
    ("Gemm", [f32(2, 3), f32(2, 3)], {}, "inner"),
    ("Gemm", [f32(2, 3), f32(3, 4), f32(3)], {}, "third operand"),
    ("Gemm", [f32(2, 3), f32(3, 4), f32(2, 2, 4)], {}, "third operand"),
    ("Gemm", [f32(1, 2, 3), f32(3, 4)], {}, "matrix"),
    ("Add", [f32(2), f32(3)], {}, "broadcast"),
    ("Add", [f32(2), i64(2)], {}, "element type"),
    ("Where", [f32(2), f32(2), f32(2)], {}, "boolean"),
    ("PRelu", [f32(2, 3), f32(2, 2, 3)], {}, "slope"),
    ("BatchNormalization", [IMAGE, *[f32(4)] * 3, f32(5)], {}, "channels"),
    ("LayerNormalization", [f32(2, 3), f32(4)], {"axis": 1}, "parameter"),
    ("LayerNormalization", [f32(2, 3), f32(3)], {"axis": 2}, "axis"),
    ("Concat", [f32(2, 3), f32(2, 4)], {"axis": 0}, "not joined"),
    ("Concat", [f32(2, 3), f32(2)], {"axis": 0}, "rank"),
    ("Concat", [f32(2, 3)], {"axis": -1}, "axis"),
    ("Concat", [], {"axis": 0}, "number of operands"),
    ("Split", [f32(4)], {"axis": 0, "split": [1, 2]}, "add up"),
    ("Split", [f32(4)], {"axis": 0, "split": [5, -1]}, "add up"),
    ("Slice", [f32(4)], {"starts": [0], "ends": [1], "axes": [0], "steps": [-1]}, "canonical"),
    ("Slice", [f32(4)], {"starts": [0], "ends": [1], "axes": [1], "steps": [1]}, "axis"),
    ("Slice", [f32(4)], {"starts": [0], "ends": [], "axes": [0], "steps": [1]}, "length"),
    ("Pad", [f32(4)], {"pads": [-3, -2]}, "cut away"),
    ("Pad", [f32(4)], {"pads": [1]}, "rank"),
    ("Transpose", [f32(2, 3)], {"perm": [0, 0]}, "permutation"),
    ("Transpose", [f32(2, 3)], {"perm": [0]}, "rank"),
    ("Reshape", [f32(2, 3)], {"shape": [5]}, "number of elements"),
    ("Reshape", [f32(2, 3)], {"shape": [-2, -3]}, "negative"),
    ("Reshape", [f32(1)], {"shape": [1] * 9}, "too many dimensions"),
    ("Flatten", [f32(2, 3)], {"axis": 3}, "axis"),
    ("Squeeze", [f32(2, 1)], {"axes": [0]}, "not 1"),
    ("Squeeze", [f32(2, 1)], {"axes": [1, 1]}, "repeated"),
    ("Squeeze", [f32(2, 1)], {"axes": [2]}, "range"),
    ("Unsqueeze", [f32(2)], {"axes": [3]}, "range"),
    ("Unsqueeze", [f32(2)], {"axes": [0, 0]}, "repeated"),
    ("Expand", [f32(2, 3)], {"shape": [2, 4]}, "broadcast"),
    ("Expand", [f32(2, 3)], {"shape": [3]}, "broadcast"),
    ("Tile", [f32(2, 3)], {"repeats": [2]}, "rank"),
    ("Tile", [f32(2)], {"repeats": [-1]}, "negative"),
    ("ReduceSum", [f32(2, 3)], {"axes": [2]}, "axis"),
    ("ReduceSum", [f32(2, 3)], {"axes": []}, "axes"),
    ("Softmax", [f32(2, 3)], {"axis": -1}, "axis"),
    ("Gather", [f32(2, 3), i64(1)], {"axis": 2}, "axis"),
    ("Relu", [TensorType("bool", [2])], {}, "element type"),
    ("Sigmoid", [i64(2)], {}, "element type"),
    ("Not", [f32(2)], {}, "element type"),
    ("MatMul", [i64(2, 2), i64(2, 2)], {"activation": "Sigmoid"}, "element type"),
    ("Relu", [None], {}, "missing"),
    ("Relu", [f32(2), f32(2)], {}, "number of operands"),
]


@pytest.mark.parametrize(("op", "types", "attributes", "reason"), REFUSED)
def test_what_does_not_fit_is_refused_with_the_reason(
    op: str, types: list[TensorType | None], attributes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        infer_types(op, types, attributes)
    assert op in str(caught.value)


def test_a_pooling_window_may_not_start_in_the_end_padding() -> None:
    """ONNX Runtime's rule (and ONNX's own since opset 22): 3 windows of 2 every 2 in 1 + 5 + 1."""
    attributes = {"kernel_shape": [2], "strides": [2], "pads": [1, 1], "dilations": [1]}
    for op in ("MaxPool", "AveragePool"):
        assert infer_types(op, [f32(1, 1, 5)], {**attributes, "ceil_mode": 1}) == [f32(1, 1, 3)]
        assert infer_types(op, [f32(1, 1, 4)], {**attributes, "ceil_mode": 1}) == [f32(1, 1, 3)]
        assert infer_types(op, [f32(1, 1, 5)], {**attributes, "ceil_mode": 0}) == [f32(1, 1, 3)]
        padded = {**attributes, "pads": [1, 0], "ceil_mode": 1}
        assert infer_types(op, [f32(1, 1, 4)], padded) == [f32(1, 1, 3)]


def test_defaults_are_those_of_onnx() -> None:
    """Canonical defaults may not change what a node means; ONNX's schema says what that is."""
    own = {"activation", "activation_params", "min", "max", "value", "pads", "axis", "dilations"}
    num_compared = 0
    for op in inferable_operators():
        if not onnx.defs.has(op, 18):
            continue
        schema = onnx.defs.get_schema(op, 18)
        for name, value in canonical_attributes(op).items():
            if value is None or name in own or name not in schema.attributes:
                continue
            default = schema.attributes[name].default_value
            if not default.type:
                continue
            theirs = onnx.helper.get_attribute_value(default)
            theirs = theirs.decode() if isinstance(theirs, bytes) else theirs
            if isinstance(value, float):
                theirs = pytest.approx(theirs, rel=1e-6)  # ONNX keeps float32
            assert value == theirs, (op, name)
            num_compared += 1
    assert num_compared >= 20


@given(
    st.sampled_from(operator_names()), st.lists(st.sampled_from([None, IMAGE, i64(2)]), max_size=6)
)
@settings(max_examples=300, deadline=None)
def test_nonsense_is_refused_not_crashed(op: str, types: list[TensorType | None]) -> None:
    try:
        attributes = {
            name: value for name, value in canonical_attributes(op).items() if value is not None
        }
        infer_types(op, types, attributes)
    except ValueError as error:
        assert str(error)


def test_every_fused_activation_is_an_operator() -> None:
    for name in activation_names()[1:]:
        assert name.removesuffix("Tanh") in {*operator_names(), ""}, name
