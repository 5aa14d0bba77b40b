from __future__ import annotations

import numpy as np
import pytest

from xflowrl._engine import GraphBuilder, OpSignature, TensorType
from xflowrl.measurement.operand_values import draw, draw_operand


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        ("float32", "float32"),
        ("float16", "float16"),
        ("bool", "bool"),
        ("int64", "int64"),
        ("uint8", "uint8"),
        ("bfloat16", "uint16"),
        ("string", "object"),
    ],
)
def test_drawn_arrays_have_the_type(dtype: str, kind: str) -> None:
    drawn = draw(TensorType(dtype, [2, 0, 3]))
    assert drawn.shape == (2, 0, 3)
    drawn = draw(TensorType(dtype, [70_000]))
    assert drawn.dtype == np.dtype(kind)
    np.testing.assert_array_equal(drawn, draw(TensorType(dtype, [70_000])))


def test_floats_are_positive_and_of_ordinary_size() -> None:
    drawn = draw(TensorType("float32", [1000]))
    assert 0.5 <= drawn.min() < 0.6
    assert 1.4 < drawn.max() <= 1.5
    assert not np.array_equal(drawn, draw(TensorType("float32", [1000]), seed=1))


def test_integers_never_divide_by_zero() -> None:
    assert (draw(TensorType("int32", [5])) == 1).all()


def test_bfloat16_bits_are_those_of_the_floats() -> None:
    bits = draw(TensorType("bfloat16", [100])).astype(np.uint32) << 16
    np.testing.assert_allclose(
        bits.view(np.float32), draw(TensorType("float32", [100])), rtol=2**-7
    )


def signature(op_type: str, types: list[TensorType], output: TensorType, **attributes):
    builder = GraphBuilder()
    names = [builder.add_input(f"x{i}", operand) for i, operand in enumerate(types)]
    builder.add_node(op_type, names, ["y"], attributes, output_types=[output], opaque=True)
    builder.set_outputs(["y"])
    found: OpSignature = builder.build().nodes()[0].signature
    return found


def test_indices_stay_inside_their_axis_and_use_all_of_it() -> None:
    data, indices = TensorType("float32", [4, 7]), TensorType("int64", [200])
    gather = signature("Gather", [data, indices], TensorType("float32", [4, 200]), axis=1)
    assert set(draw_operand(gather, 1)) == set(range(7))
    assert draw_operand(gather, 0).dtype == np.float32


def test_indices_into_several_axes_are_zero() -> None:
    data, indices = TensorType("float32", [1, 1]), TensorType("int64", [3, 2])
    gather = signature("GatherND", [data, indices], TensorType("float32", [3]))
    assert (draw_operand(gather, 1) == 0).all()


def test_shape_operands_are_the_shape_of_the_result() -> None:
    types = [TensorType("float32", [6]), TensorType("int64", [2])]
    reshape = signature("Reshape", types, TensorType("float32", [2, 3]))
    np.testing.assert_array_equal(draw_operand(reshape, 1), [2, 3])
    types = [TensorType("float32", [9]), TensorType("int64", [1])]
    top_k = signature("TopK", types, TensorType("float32", [4]), axis=0)
    np.testing.assert_array_equal(draw_operand(top_k, 1), [4])


def test_scales_and_depths_follow_from_the_result() -> None:
    types = [TensorType("float32", [1, 2, 4, 4]), TensorType("float32", [0])]
    types.append(TensorType("float32", [4]))
    resize = signature("Resize", types, TensorType("float32", [1, 2, 8, 12]))
    np.testing.assert_array_equal(draw_operand(resize, 2), [1.0, 1.0, 2.0, 3.0])
    types = [TensorType("int64", [3]), TensorType("int64", []), TensorType("float32", [2])]
    one_hot = signature("OneHot", types, TensorType("float32", [3, 7]))
    assert draw_operand(one_hot, 1).shape == ()
    assert draw_operand(one_hot, 1) == 7
