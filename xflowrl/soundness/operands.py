"""Random operands and attributes of one operator: the table that instances of rules are drawn from.

Every drawing function takes the operand shapes already known (None: to be chosen), the attributes
already fixed, and returns all shapes and attributes. Sizes are small, and awkward ones are
likely: even kernels, unequal channels, groups, size-1 and broadcast dimensions, vectors, scalars.
What a function returns need not be valid: the engine's type inference decides.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, ...]
Attributes = dict[str, Any]
Drawn = tuple[list[Shape], Attributes]


@dataclass
class Draw:
    """A source of chance that remembers what it drew, so that operands can be made to fit.

    Attributes:
        rng: the only source of chance.
        max_dim: largest dimension of a freely chosen shape.
        fixed_dim: if set, every freely chosen dimension: makes types agree by accident, which is
            where a missing guard shows.
        is_whole: the element type has no fractions.
        earlier: shapes and attributes drawn before, by operator.
    """

    rng: random.Random
    max_dim: int = 4
    fixed_dim: int | None = None
    is_whole: bool = False
    earlier: dict[str, list[tuple[list[Shape], Attributes]]] = field(default_factory=dict)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def dim(self) -> int:
        return self.fixed_dim or self.rng.randint(1, self.max_dim)

    def shape(self, rank: int | None = None) -> Shape:
        if rank is None:
            rank = self.rng.choices([0, 1, 2, 3, 4, 5], [1, 3, 5, 5, 8, 1])[0]
        return tuple(self.dim() for _ in range(rank))

    def like_earlier(self, op_type: str, operand: int) -> Shape | None:
        """The shape of that operand in an earlier node, or None by chance or for want of one."""
        seen = self.earlier.get(op_type, [])
        if not seen or self.chance(0.3):
            return None
        shapes = self.rng.choice(seen)[0]
        if operand >= len(shapes):
            return None
        shape = shapes[operand]
        if shape and self.chance(0.3):
            axis = self.rng.randrange(len(shape))
            shape = (*shape[:axis], self.dim(), *shape[axis + 1 :])
        return shape

    def attributes_like_earlier(self, op_type: str) -> Attributes:
        seen = self.earlier.get(op_type, [])
        return dict(self.rng.choice(seen)[1]) if seen and self.chance(0.6) else {}


Drawing = Callable[[Draw, Sequence[Shape | None], Mapping[str, Any]], Drawn]


def pick(draw: Draw, op_type: str, known: Shape | None, operand: int = 0) -> Shape:
    """A known shape, one like an earlier one's, or any."""
    if known is not None:
        return known
    return draw.like_earlier(op_type, operand) or draw.shape()


def generic(op_type: str, **choices: Sequence[Any]) -> Drawing:
    """For operators of one operand whose attributes do not depend on its shape."""

    def drawing(draw: Draw, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Drawn:
        shapes = [pick(draw, op_type, shape) for shape in known]
        drawn = {name: draw.rng.choice(values) for name, values in choices.items()}
        return shapes, {**drawn, **draw.attributes_like_earlier(op_type), **fixed}

    return drawing


def broadcast_variant(draw: Draw, base: Shape) -> Shape:
    """A shape that broadcasts with `base`: often smaller, sometimes larger."""
    kind = draw.rng.random()
    if kind < 0.35:
        return base
    if kind < 0.6 and base:  # one axis kept, as a per-channel operand has it
        axis = draw.rng.randrange(len(base))
        shape = tuple(size if i == axis else 1 for i, size in enumerate(base))
        return shape[draw.rng.randint(0, axis) :]
    if kind < 0.7:
        return (1,) * draw.rng.randint(0, len(base))
    shape = tuple(1 if draw.chance(0.4) else size for size in base)
    if kind < 0.9:
        return shape[draw.rng.randint(0, len(base)) :]
    larger = tuple(draw.dim() if size == 1 else size for size in shape)
    return (draw.dim(), *larger) if draw.chance(0.3) and len(larger) < 5 else larger


def elementwise(draw: Draw, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Drawn:
    """Operands that broadcast."""
    present = [shape for shape in known if shape is not None]
    base: Shape = max(present, key=len) if present else draw.shape()
    for shape in present:
        padded = (1,) * (len(base) - len(shape)) + shape
        base = tuple(max(a, b) for a, b in zip(base, padded, strict=True))
    shapes = [broadcast_variant(draw, base) if shape is None else shape for shape in known]
    if not present and shapes:
        shapes[draw.rng.randrange(len(shapes))] = base
    return shapes, dict(fixed)


def concat(draw: Draw, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Drawn:
    present = [shape for shape in known if shape is not None]
    base = present[0] if present else draw.like_earlier("Concat", 0) or draw.shape()
    differing = {
        axis
        for shape in present
        if len(shape) == len(base)
        for axis in range(len(base))
        if shape[axis] != base[axis]
    }
    axes = sorted(differing) or range(max(1, len(base)))
    axis = fixed.get("axis", draw.rng.choice(list(axes)))
    shapes = [
        (*base[:axis], draw.dim(), *base[axis + 1 :]) if shape is None else shape for shape in known
    ]
    return shapes, {**fixed, "axis": axis}


def split(draw: Draw, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Drawn:
    sizes = fixed.get("split")
    shape = pick(draw, "Split", known[0])
    if known[0] is None and not shape:
        shape = draw.shape(draw.rng.randint(1, 4))
    axis = fixed.get("axis", draw.rng.randrange(max(1, len(shape))))
    if sizes is None:
        parts = draw.rng.choices([1, 2, 3], [1, 6, 3])[0]
        if known[0] is None:
            sizes = [draw.dim() for _ in range(parts)]
        else:
            total = shape[axis] if axis < len(shape) else 1
            cuts = sorted(draw.rng.sample(range(1, total), min(parts, total) - 1))
            sizes = [b - a for a, b in zip([0, *cuts], [*cuts, total], strict=True)]
    if known[0] is None and axis < len(shape):
        shape = (*shape[:axis], sum(sizes), *shape[axis + 1 :])
    return [shape], {**fixed, "axis": axis, "split": list(sizes)}


def transpose(draw: Draw, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Drawn:
    shape = pick(draw, "Transpose", known[0])
    perm = fixed.get("perm") or draw.attributes_like_earlier("Transpose").get("perm")
    if perm is not None and known[0] is None and len(shape) != len(perm):
        shape = draw.shape(len(perm))
    if perm is None or len(perm) != len(shape):
        perm = list(range(len(shape)))
        if draw.chance(0.8):
            draw.rng.shuffle(perm)
    return [shape], {"perm": list(perm), **fixed}


def reduction(op_type: str) -> Drawing:
    def drawing(draw: Draw, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Drawn:
        shape = pick(draw, op_type, known[0])
        axes = sorted(draw.rng.sample(range(len(shape)), draw.rng.randint(1, len(shape))))
        if known[0] is None and draw.chance(0.5):
            shape = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
        return [shape], {"axes": axes, "keepdims": int(draw.chance(0.6)), **fixed}

    return drawing


def with_axis(op_type: str) -> Drawing:
    """For operators of one operand and an axis of it."""

    def drawing(draw: Draw, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Drawn:
        shape = pick(draw, op_type, known[0])
        return [shape], {"axis": draw.rng.randrange(max(1, len(shape))), **fixed}

    return drawing
