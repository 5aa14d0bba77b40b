"""When two values are the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xflowrl.proof.comparison import TOLERANCE, compare, compare_rounded

LIMIT = TOLERANCE["float32"]
floats = hnp.arrays(np.float32, hnp.array_shapes(), elements=st.floats(width=32))
finite = hnp.arrays(np.float32, st.integers(16, 40), elements=st.floats(-100, 100, width=32))


@given(floats)
def test_everything_equals_itself(values: np.ndarray) -> None:
    difference = compare("t", values, values.copy(), LIMIT)
    assert not difference.failure
    assert (difference.absolute, difference.relative) == (0, 0)


@given(finite, st.data())
def test_one_element_far_off_is_found(values: np.ndarray, data: st.DataObject) -> None:
    other = values.copy()
    position = data.draw(st.integers(0, values.size - 1))
    other[position] += 1 + np.std(values)
    difference = compare("t", values, other, LIMIT)
    assert difference.tensor == "t"
    assert difference.failure.startswith('"t" differs by')


@given(finite)
def test_rounding_is_no_difference(values: np.ndarray) -> None:
    other = values * np.float32(1 + 2e-7)  # a unit in the last place or two
    assert not compare("t", values, other, LIMIT).failure


@given(floats, st.sampled_from([np.inf, -np.inf, np.nan]), st.data())
def test_infinities_must_stand_in_the_same_places(
    values: np.ndarray, special: float, data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, values.size - 1))
    values.flat[position] = special
    other = values.copy()
    assert not compare("t", values, other, LIMIT).failure
    other.flat[position] = 1.0
    assert compare("t", values, other, LIMIT).failure
    assert compare("t", other, values, LIMIT).failure


def test_a_wrong_value_beside_infinities() -> None:
    ours = np.array([-np.inf, 1, 2, 3], np.float32)
    theirs = np.array([-np.inf, 1, 2, 3.1], np.float32)
    assert compare("t", ours, theirs, LIMIT).failure


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "bool"])
def test_integers_are_exact(dtype: str) -> None:
    ours = np.arange(20).astype(dtype)
    theirs = ours.copy()
    theirs[5] = 0
    assert not compare("t", ours, ours, LIMIT).failure
    assert compare("t", ours, theirs, LIMIT).failure == '"t" differs in 1 of 20 elements'


def test_types_and_shapes() -> None:
    ours = np.zeros(3, np.float32)
    assert compare("t", ours, ours[:2], LIMIT).failure == '"t" is float32[2] instead of float32[3]'
    assert compare("t", ours, ours.astype(np.float64), LIMIT).failure
    assert compare("t", np.array(["a"], object), np.array(["b"], object), LIMIT).failure


def test_sequences_maps_and_optionals() -> None:
    one, other = np.zeros(3, np.float32), np.ones(3, np.float32)
    assert not compare("t", [one, other], [one, other], LIMIT).failure
    assert compare("t", [one, other], [one, one], LIMIT).failure
    assert compare("t", [one], [one, one], LIMIT).failure
    assert not compare("t", [{1: 0.5}], [{1: 0.5}], LIMIT).failure
    assert compare("t", [{1: 0.5}], [{1: 0.6}], LIMIT).failure
    assert compare("t", [{1: 0.5}], [{2: 0.5}], LIMIT).failure
    assert not compare("t", None, None, LIMIT).failure
    assert compare("t", None, one, LIMIT).failure


def test_a_quantised_step_is_allowed_at_the_boundary_alone() -> None:
    before = np.array([1.4999, 3.2, 7.0])
    ours, allowance = np.array([1, 3, 7], np.int8), np.full(3, 1e-3)

    def fails(*theirs: int) -> bool:
        other = np.array(theirs, np.int8)
        return bool(compare_rounded("q", ours, other, before, allowance).failure)

    assert not fails(1, 3, 7)
    assert not fails(2, 3, 7)
    assert fails(0, 3, 7)
    assert fails(1, 4, 7)
    assert fails(1, 3, 8)
    assert fails(1, 3)


def test_a_floor_is_allowed_however_small_the_values() -> None:
    """ONNX Runtime's Sigmoid is off by 1e-7 where it is 1e-9."""
    ours = np.full(32, 1e-9, np.float32)
    theirs = ours + np.float32(9e-8)
    tolerance = TOLERANCE["float32"]
    assert compare("y", ours, theirs, tolerance).failure
    assert not compare("y", ours, theirs, tolerance, 2.0**-21).failure
    assert compare("y", ours, theirs + np.float32(1e-6), tolerance, 2.0**-21).failure
