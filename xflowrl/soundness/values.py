"""Values of the operands of an instance: varied enough to tell functions apart, and exact.

All are dyadic fractions of a few bits, so that sums and products of them never round in double
precision. An instance draws all its operands in one manner: whole numbers, quarters, numbers on
both sides of those its rule names, or large ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xflowrl.operators import operator_of
from xflowrl.soundness.sexpr import RuleParts, Sexpr, subexpressions

Array = NDArray[Any]

_LARGEST_BOUND = 1e6  # a larger one stands for "without bound"
_LARGE = 4096.0

MANNERS = ("whole", "quarters", "bounds", "large")


@dataclass(frozen=True)
class Pool:
    """What a rule makes worth trying.

    Attributes:
        bounds: numbers at, below and above those that the rule names.
        attributes: values for its attribute variables, near those its guards compare them with.
        zero_divisors: the rule takes a division away, so it must hold for a divisor of zero.
        manners: in which the operands of an instance may be drawn.
    """

    bounds: tuple[float, ...] = ()
    attributes: tuple[tuple[str, tuple[float, ...]], ...] = ()
    zero_divisors: bool = False
    manners: tuple[str, ...] = MANNERS


def pool_of(rule: RuleParts) -> Pool:
    """The pool for a rule taken apart."""
    parts = [part for expr in (*rule.sources, *rule.targets, *rule.guards) for part in _parts(expr)]
    numbers = {abs(n) for part in parts for n in map(_number, part) if n is not None}
    near = {float(v) for number in numbers if number < _LARGEST_BOUND for v in _around(number)}
    compared: dict[str, list[float]] = {}
    for expr in rule.guards:
        for part in _parts(expr):
            if len(part) != 3 or part[0] not in ("<", "<=", ">", ">=", "="):
                continue
            for name, number in ((part[1], _number(part[2])), (part[2], _number(part[1]))):
                if isinstance(name, str) and name.startswith("?") and number:
                    compared.setdefault(name, []).append(number)
    operators = [
        {str(part[0]).partition("@")[0] for part in _all_parts(exprs)}
        for exprs in (rule.sources, rule.targets)
    ]
    divides = [bool(names & {"Div", "Reciprocal"}) for names in operators]
    # Where arguments of functions are rounded, an arbitrary function would tell large ones apart.
    rounds = any(operator_of(name).always_rounds for name in operators[0] | operators[1])
    return Pool(
        tuple(sorted(near | {-v for v in near})),
        tuple((name, _compared(bounds)) for name, bounds in compared.items()),
        divides == [True, False],
        MANNERS[:-1] if rounds else MANNERS,
    )


def draw(rng: np.random.Generator, manner: str, shape: Sequence[int], pool: Pool) -> Array:
    """Values of a shape, in one of `MANNERS`; zeros of both signs are among them."""
    whole = rng.integers(-4, 5, shape).astype(float)
    if manner == "quarters":
        whole = rng.integers(-15, 16, shape) / 4.0
    elif manner == "bounds" and pool.bounds:
        whole = np.where(rng.random(shape) < 0.7, rng.choice(pool.bounds, shape), whole)
    elif manner == "large":
        whole = _LARGE * whole  # all alike, so that products of many keep their few bits
    negative_zeros = (whole == 0) & (rng.random(shape) < 0.5)
    return np.asarray(np.where(negative_zeros, -0.0, whole))


def _compared(bounds: Sequence[float]) -> tuple[float, ...]:
    """Values about the numbers that a guard compares one with, and the middle of all."""
    near = {value for bound in bounds for value in _around(bound)}
    return tuple(sorted(near | {sum(bounds) / len(bounds)}))


def _around(number: float) -> set[float]:
    """Quarters at and about a number; of a small one also powers of two on both sides."""
    quarter = math.floor(4 * number) / 4
    near = {quarter + step for step in (-1.0, -0.5, 0.0, 0.25, 0.5, 1.0)}
    if 0 < number < 1:
        power = 2.0 ** math.floor(math.log2(number))
        near |= {power / 2, power, 2 * power}
    return near


def _all_parts(exprs: Sequence[Sexpr]) -> list[tuple[Sexpr, ...]]:
    return [part for expr in exprs for part in _parts(expr)]


def _parts(expr: Sexpr) -> list[tuple[Sexpr, ...]]:
    return [part for _, part in subexpressions(expr) if isinstance(part, tuple) and part]


def _number(expr: Sexpr) -> float | None:
    try:
        number = float(expr) if isinstance(expr, str) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
