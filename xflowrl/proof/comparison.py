"""Are two values the same, up to the order of summation?

Two orders of summation differ in float32 by about 1e-6 of a tensor's standard deviation per layer
(after rewriting, 4e-5 was the most in ResNet-50, 1e-6 in DenseNet-121), and a real error by 1e-2 or
more; the limit is 5e-4 of the standard deviation of each tensor plus, for tensors that hardly vary,
8e-6 (64 units in the last place) of its largest value; `TOLERANCE` has the numbers for other types.
Infinities and NaN must stand in the same places. Integers, booleans and strings must be equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
# What a run gives for a tensor: an array; for a sequence a list of them, for a map a dict, and
# None for an empty optional.
Value = Any

# Allowed difference relative to a tensor's standard deviation and to its largest value, by the
# coarsest type that computes.
TOLERANCE = {
    "float64": (1e-9, 1e-13),
    "float32": (5e-4, 8e-6),
    "float16": (2e-2, 4e-3),
    "bfloat16": (1e-1, 3e-2),
}


@dataclass
class Difference:
    """The worst of the comparisons so far.

    Attributes:
        absolute: largest difference of two elements.
        relative: the same in units of the tensor's standard deviation.
        tensor: the first that differs beyond the tolerance; "" if none does.
        failure: one line about it; "" if none does.
        beyond: the largest difference of every tensor that differs beyond the tolerance.
    """

    absolute: float = 0.0
    relative: float = 0.0
    tensor: str = ""
    failure: str = ""
    beyond: dict[str, float] = field(default_factory=dict)

    def merge(self, other: Difference) -> None:
        """Takes in what another comparison found; the first failure stays."""
        self.absolute = max(self.absolute, other.absolute)
        self.relative = max(self.relative, other.relative)
        if not self.failure:
            self.tensor, self.failure = other.tensor, other.failure
        self.beyond |= other.beyond


def compare(
    name: str,
    ours: Value,
    theirs: Value,
    tolerance: tuple[float, float],
    floor: float = 0.0,
) -> Difference:
    """Compares two values of one tensor; sequences, maps and optionals element by element.

    `floor` is what floats may differ by, however small they are.
    """
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        if list(ours) != list(theirs):
            return _failure(name, "has other keys")
        ours, theirs = list(ours.values()), list(theirs.values())
    if isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            return _failure(name, f"has {len(theirs)} elements instead of {len(ours)}")
        total = Difference()
        for one, other in zip(ours, theirs, strict=True):
            total.merge(compare(name, one, other, tolerance, floor))
        return total
    if ours is None or theirs is None:
        return Difference() if ours is theirs else _failure(name, "is missing in one of the two")
    return _compare_arrays(name, np.asarray(ours), np.asarray(theirs), tolerance, floor)


def allowed(values: Array, tolerance: tuple[float, float]) -> float:
    """How far an element of a float tensor may be from `values`."""
    return _limit(values[np.isfinite(values)], tolerance)[0]


def compare_rounded(
    name: str, ours: Array, theirs: Array, before: Array, allowance: Array
) -> Difference:
    """Compares quantised tensors: one step is allowed where the value before lies at a boundary.

    Args:
        name: the tensor.
        ours: the original's integers.
        theirs: the result's.
        before: what `ours` was before rounding, in the same units.
        allowance: how far that may be from the result's, likewise.
    """
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return _failure(name, f"is {_kind(theirs)} instead of {_kind(ours)}")
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    at_boundary = (np.abs(a - b) <= 1) & (np.abs(before - (a + b) / 2) <= allowance)
    count = int(np.count_nonzero((a != b) & ~at_boundary))
    if not count:
        return Difference()
    return _failure(name, f"differs in {count} of {ours.size} quantised elements")


def _compare_arrays(
    name: str, ours: Array, theirs: Array, tolerance: tuple[float, float], floor: float
) -> Difference:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return _failure(name, f"is {_kind(theirs)} instead of {_kind(ours)}")
    if ours.dtype.kind not in "fV":
        count = int(np.count_nonzero(ours != theirs))
        return _failure(name, f"differs in {count} of {ours.size} elements") if count else (
            Difference()
        )  # fmt: skip
    if np.array_equal(ours, theirs):
        return Difference()
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    finite = np.isfinite(a)
    if not finite.all():
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return _failure(name, "is infinite or not a number in other places")
        a, b = a[finite], b[finite]
    absolute = float(np.max(np.abs(a - b), initial=0.0))
    if not np.isfinite(absolute):
        return _failure(name, "of the result is not finite")
    if absolute == 0.0:
        return Difference()
    limit, spread = _limit(a, tolerance)
    relative = absolute / spread if spread else np.inf
    if absolute <= max(limit, floor):
        return Difference(absolute, relative)
    what = f'"{name}" differs by {absolute:.3g}, {relative:.3g} of its standard deviation'
    return Difference(absolute, relative, name, what, {name: absolute})


def _limit(finite: Array, tolerance: tuple[float, float]) -> tuple[float, float]:
    """What finite values may be off, and their standard deviation.

    That of few elements says little, and their size is taken.
    """
    if not finite.size:
        return 0.0, 0.0
    values = finite.astype(np.float64, copy=False)
    spread = float(np.std(values) if values.size >= 16 else np.sqrt(np.mean(np.square(values))))
    return tolerance[0] * spread + tolerance[1] * float(np.max(np.abs(values))), spread


def _kind(array: Array) -> str:
    return f"{array.dtype.name}{list(array.shape)}"


def _failure(name: str, what: str) -> Difference:
    return Difference(np.inf, np.inf, name, f'"{name}" {what}', {name: np.inf})
