"""Inputs fit what the model does with them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from xflowrl.proof.inputs import ATTEMPTS, draw_inputs

HEAD = '<ir_version: 8, opset_import: ["" : 18, "com.microsoft" : 1, "own" : 1]>\n'


def drawn(text: str, draw: int = 0, attempt: int = 0, **shapes: list[int]) -> dict[str, np.ndarray]:
    model = onnx.parser.parse_model(HEAD + text)
    return draw_inputs(model, shapes, seed=0, draw=draw, attempt=attempt)


TABLE = "<float[5,2] table = {0,1,2,3,4,5,6,7,8,9}>"


@pytest.mark.parametrize(
    "body",
    [
        "y = Gather(table, ids)",
        "a = Unsqueeze(ids, axis) b = Cast<to=6>(a) y = Gather(table, b)",
        "y = own.look(ids, table)",
        "i = GreaterOrEqual(x, x) c = ReduceMax<keepdims=0>(x) b = Cast<to=9>(c) "
        "y = If(b) <then_branch = g () => (float y1) { y1 = Gather(table, ids) }, "
        "else_branch = h () => (float y2) { y2 = Gather(table, ids) }>",
    ],
)
def test_token_ids_are_below_the_length_of_the_table(body: str) -> None:
    text = (
        "g (int64[200] ids, float[3] x) => (float y) "
        "<float[5,2] table = {0,1,2,3,4,5,6,7,8,9}, int64[1] axis = {0}> { " + body + " }\n"
        '<domain: "own", opset_import: ["" : 18]> look (a, t) => (b) { b = Gather(t, a) }'
    )
    ids = drawn(text, ids=[200], x=[3])["ids"]
    assert set(np.unique(ids)) == {0, 1, 2, 3, 4}
    assert ids.dtype == np.int64


def test_a_table_that_is_indexed_along_an_inner_axis() -> None:
    text = f"g (int64[90] ids) => (float y) {TABLE} {{ y = Gather<axis=1>(table, ids) }}"
    assert set(np.unique(drawn(text, ids=[90])["ids"])) == {0, 1}


@pytest.mark.parametrize(
    "body",
    [
        "b = Cast<to=9>(m) y = Where(b, x, x)",
        "f = Cast<to=1>(m) d = Sub(one, f) s = Mul(d, low) y = Add(x, s)",
        "b = Equal(m, zero) y = Where(b, x, x)",
    ],
)
def test_masks_are_of_zeros_and_ones(body: str) -> None:
    text = (
        "g (int64[90] m, float[90] x) => (float y) "
        "<float one = {1}, float low = {-10000}, int64 zero = {0}> { " + body + " }"
    )
    assert set(np.unique(drawn(text, m=[90], x=[90])["m"])) == {0, 1}


def test_a_float_mask() -> None:
    text = (
        "g (float[90] m, float[90] x) => (float y) <float one = {1}, float low = {-1e9}> "
        "{ d = Sub(one, m) s = Mul(d, low) y = Add(x, s) }"
    )
    assert set(np.unique(drawn(text, m=[90], x=[90])["m"])) == {0, 1}


def test_images_fill_their_range() -> None:
    text = "g (uint8[4000] image) => (float[4000] y) { y = Cast<to=1>(image) }"
    image = drawn(text, image=[4000])["image"]
    assert (image.min(), image.max()) == (0, 255)


def test_a_switch_is_tried_in_both_positions() -> None:
    text = "g (bool flag, float[2] x) => (float[2] y) { y = Where(flag, x, x) }"
    flags = [drawn(text, draw, flag=[], x=[2])["flag"] for draw in (0, 1)]
    assert all(flag.shape == () and flag.dtype == bool for flag in flags)
    assert sorted(map(bool, flags)) == [False, True]


def test_sizes_are_small_and_positive() -> None:
    text = "g (float[1,4] x, int64[1] k) => (float v, int64 i) { v, i = TopK(x, k) }"
    for draw in range(3):
        for attempt in range(ATTEMPTS):
            assert drawn(text, draw, attempt, x=[1, 4], k=[1])["k"] in ([1], [2])


def test_scales_and_careful_attempts() -> None:
    text = "g (float[999] x) => (float[999] y) { y = Relu(x) }"
    scales = [drawn(text, draw, x=[999])["x"].std() for draw in range(3)]
    assert scales == pytest.approx([1, 0.1, 10], rel=0.1)  # of 999 draws
    assert drawn(text, 2, 1, x=[999])["x"].min() > 0
    assert drawn(text, 2, 2, x=[999])["x"].std() == pytest.approx(0.1, rel=0.1)
    assert drawn(text, 2, 3, x=[999])["x"].tolist() == [1.0] * 999


def test_integers_have_both_signs_at_times() -> None:
    text = "g (int32[99] x) => (int32[99] y) { y = Abs(x) }"
    assert drawn(text, 0, x=[99])["x"].min() >= 0
    assert drawn(text, 1, x=[99])["x"].min() < 0


def test_defaults_are_kept_and_then_changed() -> None:
    text = "g (float[2] x, float[2] w) => (float[2] y) { y = Add(x, w) }"
    model = onnx.parser.parse_model(HEAD + text)
    values = np.array([1, 2], np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(values, "w"))
    assert set(draw_inputs(model, {"x": [2]}, seed=0)) == {"x"}
    np.testing.assert_array_equal(draw_inputs(model, {"x": [2]}, seed=0, draw=1)["w"], 1.5 * values)


def test_the_same_again_and_another_seed() -> None:
    model = onnx.parser.parse_model(HEAD + "g (float[9] x) => (float[9] y) { y = Relu(x) }")
    one, same, other = (draw_inputs(model, {"x": [9]}, seed=s)["x"] for s in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_an_input_without_a_shape() -> None:
    with pytest.raises(ValueError, match='input "x" has no shape'):
        drawn("g (float[9] x) => (float[9] y) { y = Relu(x) }")
