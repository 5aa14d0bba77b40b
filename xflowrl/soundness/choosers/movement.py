"""Random operands of operators that only move elements."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from xflowrl.soundness.choosers.dice import Chosen, Dice, Shape, pick


def concat(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
    present = [shape for shape in known if shape is not None]
    base = present[0] if present else dice.like_earlier("Concat", 0) or dice.shape()
    differing = {
        axis
        for shape in present
        if len(shape) == len(base)
        for axis in range(len(base))
        if shape[axis] != base[axis]
    }
    axes = sorted(differing) or range(max(1, len(base)))
    axis = fixed.get("axis", dice.rng.choice(list(axes)))
    shapes = [
        (*base[:axis], dice.dim(), *base[axis + 1 :]) if shape is None else shape for shape in known
    ]
    return shapes, {**fixed, "axis": axis}


def split(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
    sizes = fixed.get("split")
    shape = pick(dice, "Split", known[0])
    if known[0] is None and not shape:
        shape = dice.shape(dice.rng.randint(1, 4))
    axis = fixed.get("axis", dice.rng.randrange(max(1, len(shape))))
    if sizes is None:
        parts = dice.rng.choices([1, 2, 3], [1, 6, 3])[0]
        if known[0] is None:
            sizes = [dice.dim() for _ in range(parts)]
        else:
            total = shape[axis] if axis < len(shape) else 1
            cuts = sorted(dice.rng.sample(range(1, total), min(parts, total) - 1))
            sizes = [b - a for a, b in zip([0, *cuts], [*cuts, total], strict=True)]
    if known[0] is None and axis < len(shape):
        shape = (*shape[:axis], sum(sizes), *shape[axis + 1 :])
    return [shape], {**fixed, "axis": axis, "split": list(sizes)}


def transpose(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
    """Any order of the axes; that of an earlier Transpose less often, as equal ones commute."""
    shape = known[0] or dice.like_earlier("Transpose", 0) or dice.shape(dice.rng.randint(1, 4))
    perm = fixed.get("perm")
    if perm is None and (known[0] is None or dice.chance(0.3)):
        perm = dice.attributes_like_earlier("Transpose").get("perm")
    if perm is not None and known[0] is None and len(shape) != len(perm):
        shape = dice.shape(len(perm))
    if perm is None or len(perm) != len(shape):
        perm = list(range(len(shape)))
        if dice.chance(0.8):
            dice.rng.shuffle(perm)
    return [shape], {"perm": list(perm), **fixed}


def reshape(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
    """Merges, cuts, permutes or adds dimensions; like an earlier Reshape if there was one."""
    x = known[0]
    if "shape" in fixed:
        return [x if x is not None else regroup(dice, tuple(fixed["shape"]))], dict(fixed)
    if x is None:
        x = dice.like_earlier("Reshape", 0) or dice.shape(dice.rng.choice([1, 2, 3, 3, 4]))
    seen = dice.earlier.get("Reshape", [])
    if seen and dice.chance(0.7):
        (old,), attributes = seen[-1]
        shape = _scaled(dice, attributes["shape"], math.prod(x), math.prod(old))
        if shape is not None:
            return [x], {**fixed, "shape": shape}
    return [x], {**fixed, "shape": list(regroup(dice, x))}


def _scaled(dice: Dice, shape: Sequence[int], size: int, old_size: int) -> list[int] | None:
    """`shape` with one dimension changed so that it holds `size` elements, if that can be."""
    axes = [axis for axis, d in enumerate(shape) if old_size and d * size % old_size == 0]
    if not axes:
        return list(shape) if size == old_size else None
    axis = dice.rng.choice(axes)
    return [d * size // old_size if i == axis else d for i, d in enumerate(shape)]


def regroup(dice: Dice, shape: Shape) -> Shape:
    """Another shape of as many elements."""
    dims = list(shape)
    for _ in range(dice.rng.randint(0, 2)):
        kind = dice.rng.randrange(5)
        if kind == 0 and len(dims) > 1:
            at = dice.rng.randrange(len(dims) - 1)
            dims[at : at + 2] = [dims[at] * dims[at + 1]]
        elif kind == 1 and dims:
            at = dice.rng.randrange(len(dims))
            factor = dice.rng.choice(
                [f for f in range(1, dims[at] + 1) if dims[at] % f == 0] or [1]
            )
            dims[at : at + 1] = [factor, dims[at] // factor]
        elif kind == 2:
            dice.rng.shuffle(dims)
        elif kind == 3:
            dims.insert(dice.rng.randint(0, len(dims)), 1)
        elif 1 in dims:
            dims.remove(1)
    return tuple(dims)


def flatten(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
    shape = pick(dice, "Flatten", known[0])
    return [shape], {"axis": dice.rng.randint(0, len(shape)), **fixed}


def squeeze(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
    shape = pick(dice, "Squeeze", known[0])
    if known[0] is None:
        shape = tuple(1 if dice.chance(0.4) else size for size in shape)
    axes = [axis for axis, size in enumerate(shape) if size == 1 and dice.chance(0.6)]
    return [shape], {"axes": axes, **fixed}


def unsqueeze(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
    shape = pick(dice, "Unsqueeze", known[0])
    count = dice.rng.randint(0, 2)
    return [shape], {"axes": sorted(dice.rng.sample(range(len(shape) + count), count)), **fixed}


def expand(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
    shape = pick(dice, "Expand", known[0])
    larger = [dice.dim() if size == 1 and dice.chance(0.5) else size for size in shape]
    if dice.chance(0.2):
        larger.insert(0, dice.dim())
    return [shape], {"shape": larger, **fixed}


def tile(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
    shape = pick(dice, "Tile", known[0])
    return [shape], {"repeats": [dice.rng.choice([1, 1, 2]) for _ in shape], **fixed}


def slice_(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
    shape = pick(dice, "Slice", known[0])
    axes = [axis for axis in range(len(shape)) if dice.chance(0.5)]
    starts = [dice.rng.choice([0, 0, dice.rng.randrange(shape[axis])]) for axis in axes]
    ends = [
        dice.rng.choice([shape[axis], dice.rng.randint(start + 1, shape[axis])])
        for axis, start in zip(axes, starts, strict=True)
    ]
    steps = [dice.rng.choice([1, 1, 2]) for _ in axes]
    return [shape], {"starts": starts, "ends": ends, "axes": axes, "steps": steps, **fixed}


def gather(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
    """A table and indices along one axis of it."""
    table, indices = known[0], known[1]
    table = table if table is not None else dice.shape(dice.rng.choice([1, 2, 3]))
    indices = indices if indices is not None else dice.shape(dice.rng.choice([0, 1, 2]))
    return [table, indices], {"axis": dice.rng.randrange(max(1, len(table))), **fixed}


def pad(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
    """Begins and ends of every axis; negative ones cut, and may cancel out along an axis."""
    shape = pick(dice, "Pad", known[0])
    begins = [dice.rng.choices([0, 1, 2, -1 if size > 1 else 0], [5, 3, 1, 1])[0] for size in shape]
    ends = [
        max(-b, 1 - size)
        if dice.chance(0.25)
        else dice.rng.choice([0, 0, 1, -1 if size > 2 else 0])
        for b, size in zip(begins, shape, strict=True)
    ]
    if dice.chance(0.7):  # what stands before a Conv pads only where it slides
        begins[:2], ends[:2] = [0] * len(begins[:2]), [0] * len(ends[:2])
    seen = dice.attributes_like_earlier("Pad").get("pads", [])
    if len(seen) == 2 * len(shape):  # on the same sides again
        begins, ends = seen[: len(shape)], seen[len(shape) :]
    mode = dice.rng.choices(["constant", "edge", "reflect"], [4, 1, 2])[0]
    if any(pad >= size for pad, size in zip(begins + ends, (*shape, *shape), strict=True)):
        mode = mode.replace("reflect", "edge")  # a mirror shows only what there is
    value = dice.rng.choice([0.0, 0.0, 1.0, -1.0])
    return [shape], {"pads": begins + ends, "mode": mode, "value": value, **fixed}
