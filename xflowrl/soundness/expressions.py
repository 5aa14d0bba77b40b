"""Values that a source pattern asks of an attribute, computed while an instance is being built."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from xflowrl.soundness.sexpr import Sexpr

Shape = tuple[int, ...]
Value = Any  # int, float, str, list[int] or list[float]


class Unbound(Exception):
    """The expression speaks of something that is not known yet."""


class NoValue(Exception):
    """The expression has no value here, as an index out of range has none."""


@dataclass(frozen=True)
class Bindings:
    """What is known so far: attribute variables, shapes of tensors, shapes of sequences."""

    attributes: Mapping[str, Value]
    shapes: Mapping[str, Shape]
    sequences: Mapping[str, Sequence[Shape]]


def evaluate(expr: Sexpr, known: Bindings) -> Value:
    """The value of a source expression.

    Raises:
        Unbound: a variable is not known yet.
        NoValue: the expression has no value under these bindings.
        ValueError: a function that no source of an attribute needs.
    """
    if isinstance(expr, str):
        return _atom(expr, known)
    name, *arguments = expr
    assert isinstance(name, str)
    if name in _OF_SHAPES:
        return _OF_SHAPES[name](arguments, known)
    if name not in _OF_VALUES:
        raise ValueError(f"the checker cannot choose an attribute by ({name} ...)")
    try:
        return _OF_VALUES[name](*(evaluate(argument, known) for argument in arguments))
    except (IndexError, TypeError, ZeroDivisionError) as error:
        raise NoValue(str(error)) from None


def _atom(text: str, known: Bindings) -> Value:
    if text.startswith('"'):
        return text[1:-1]
    if text.startswith("?"):
        if text not in known.attributes:
            raise Unbound(text)
        return known.attributes[text]
    try:
        return int(text)
    except ValueError:
        return float(text)


def _shape(expr: Sexpr, known: Bindings) -> Shape:
    if not isinstance(expr, str) or expr not in known.shapes:
        raise Unbound(expr)
    return known.shapes[expr]


def _dim(arguments: list[Sexpr], known: Bindings) -> int:
    shape, index = _shape(arguments[0], known), evaluate(arguments[1], known)
    if not -len(shape) <= index < len(shape):
        raise NoValue("dim")
    return shape[index]


def _dims(arguments: list[Sexpr], known: Bindings) -> list[int]:
    name = str(arguments[0]).rstrip(".*")
    axis = evaluate(arguments[1], known)
    if name not in known.sequences:
        raise Unbound(name)
    if not all(-len(shape) <= axis < len(shape) for shape in known.sequences[name]):
        raise NoValue("dims")
    return [shape[axis] for shape in known.sequences[name]]


def _elementwise(function: Callable[[Value, Value], Value]) -> Callable[..., Value]:
    def of_two(a: Value, b: Value) -> Value:
        if isinstance(a, list) and isinstance(b, list):
            return [function(x, y) for x, y in zip(a, b, strict=True)]
        if isinstance(a, list):
            return [function(x, b) for x in a]
        if isinstance(b, list):
            return [function(a, y) for y in b]
        return function(a, b)

    return lambda first, *rest: list(accumulate((first, *rest), of_two))[-1]


def _divide(a: Value, b: Value) -> Value:
    return a // b if isinstance(a, int) and isinstance(b, int) else a / b


def _minus(first: Value, *rest: Value) -> Value:
    subtract = _elementwise(operator.sub)
    return subtract(first, *rest) if rest else subtract(0, first)


_OF_SHAPES: dict[str, Callable[[list[Sexpr], Bindings], Value]] = {
    "dim": _dim,
    "dims": _dims,
    "rank": lambda a, known: len(_shape(a[0], known)),
    "shape": lambda a, known: list(_shape(a[0], known)),
    "size": lambda a, known: math.prod(_shape(a[0], known)),
}

_OF_VALUES: dict[str, Callable[..., Value]] = {
    "+": _elementwise(operator.add),
    "-": _minus,
    "*": _elementwise(operator.mul),
    "/": _elementwise(_divide),
    "%": _elementwise(operator.mod),
    "min": _elementwise(min),
    "max": _elementwise(max),
    "list": lambda *items: list(items),
    "len": len,
    "nth": lambda items, index: items[index],
    "cat": lambda *parts: [item for part in parts for item in part],
    "take": lambda items, count: items[:count],
    "drop": lambda items, count: items[count:],
    "sum": sum,
    "prod": math.prod,
    "fill": lambda count, value: [value] * count,
    "iota": lambda count: list(range(count)),
}
