"""The chance by which operands and attributes of an operator are chosen."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, ...]
Attributes = dict[str, Any]
Chosen = tuple[list[Shape], Attributes]


@dataclass
class Dice:
    """A source of chance that remembers what was chosen, so that operands can be made to fit.

    Attributes:
        rng: the only source of chance.
        fixed_dim: if set, every freely chosen dimension, which else is 1 to 4: makes types agree by
            accident, which is where a missing guard shows.
        is_whole: the element type has no fractions.
        earlier: shapes and attributes chosen before, by operator.
    """

    rng: random.Random
    fixed_dim: int | None = None
    is_whole: bool = False
    earlier: dict[str, list[tuple[list[Shape], Attributes]]] = field(default_factory=dict)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def dim(self) -> int:
        return self.fixed_dim or self.rng.randint(1, 4)

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


Chooser = Callable[[Dice, Sequence[Shape | None], Mapping[str, Any]], Chosen]


def pick(dice: Dice, op_type: str, known: Shape | None, operand: int = 0) -> Shape:
    """A known shape, one like an earlier one's, or any."""
    if known is not None:
        return known
    return dice.like_earlier(op_type, operand) or dice.shape()
