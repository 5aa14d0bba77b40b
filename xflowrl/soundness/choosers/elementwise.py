"""Random operands of operators that compute element by element, or along axes of one operand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xflowrl.soundness.choosers.dice import Chooser, Chosen, Dice, Shape, pick


def generic(op_type: str, **choices: Sequence[Any]) -> Chooser:
    """For operators of one operand whose attributes do not depend on its shape."""

    def choose(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
        shapes = [pick(dice, op_type, shape) for shape in known]
        chosen = {name: dice.rng.choice(values) for name, values in choices.items()}
        return shapes, {**chosen, **dice.attributes_like_earlier(op_type), **fixed}

    return choose


def broadcast_variant(dice: Dice, base: Shape) -> Shape:
    """A shape that broadcasts with `base`: often smaller, sometimes larger."""
    kind = dice.rng.random()
    if kind < 0.35:
        return base
    if kind < 0.6 and base:  # one axis kept, as a per-channel operand has it
        axis = dice.rng.randrange(len(base))
        shape = tuple(size if i == axis else 1 for i, size in enumerate(base))
        return shape[dice.rng.randint(0, axis) :]
    if kind < 0.7:
        return (1,) * dice.rng.randint(0, len(base))
    shape = tuple(1 if dice.chance(0.4) else size for size in base)
    if kind < 0.9:
        return shape[dice.rng.randint(0, len(base)) :]
    larger = tuple(dice.dim() if size == 1 else size for size in shape)
    return (dice.dim(), *larger) if dice.chance(0.3) and len(larger) < 5 else larger


def broadcast(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
    """Operands that broadcast."""
    present = [shape for shape in known if shape is not None]
    base: Shape = max(present, key=len) if present else dice.shape()
    for shape in present:
        padded = (1,) * (len(base) - len(shape)) + shape
        base = tuple(max(a, b) for a, b in zip(base, padded, strict=True))
    shapes = [broadcast_variant(dice, base) if shape is None else shape for shape in known]
    if not present and shapes:
        shapes[dice.rng.randrange(len(shapes))] = base
    return shapes, dict(fixed)


def reduction(op_type: str) -> Chooser:
    def choose(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
        shape = pick(dice, op_type, known[0])
        axes = sorted(dice.rng.sample(range(len(shape)), dice.rng.randint(1, len(shape))))
        if known[0] is None and dice.chance(0.5):
            shape = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
        return [shape], {"axes": axes, "keepdims": int(dice.chance(0.6)), **fixed}

    return choose


def with_axis(op_type: str) -> Chooser:
    """For operators of one operand and an axis of it."""

    def choose(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
        shape = pick(dice, op_type, known[0])
        return [shape], {"axis": dice.rng.randrange(max(1, len(shape))), **fixed}

    return choose
