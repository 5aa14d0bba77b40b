"""Random operands of operators that only move elements; see operands.py."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from xflowrl.soundness.operands import Draw, Drawn, Shape, pick


def reshape(draw: Draw, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Drawn:
    """Merges, cuts, permutes or adds dimensions; like an earlier Reshape if there was one."""
    x = known[0]
    if "shape" in fixed:
        return [x if x is not None else regroup(draw, tuple(fixed["shape"]))], dict(fixed)
    if x is None:
        x = draw.like_earlier("Reshape", 0) or draw.shape(draw.rng.choice([1, 2, 3, 3, 4]))
    seen = draw.earlier.get("Reshape", [])
    if seen and draw.chance(0.7):
        (old,), attributes = seen[-1]
        shape = _scaled(draw, attributes["shape"], math.prod(x), math.prod(old))
        if shape is not None:
            return [x], {**fixed, "shape": shape}
    return [x], {**fixed, "shape": list(regroup(draw, x))}


def _scaled(draw: Draw, shape: Sequence[int], size: int, old_size: int) -> list[int] | None:
    """`shape` with one dimension changed so that it holds `size` elements, if that can be."""
    axes = [axis for axis, d in enumerate(shape) if old_size and d * size % old_size == 0]
    if not axes:
        return list(shape) if size == old_size else None
    axis = draw.rng.choice(axes)
    return [d * size // old_size if i == axis else d for i, d in enumerate(shape)]


def regroup(draw: Draw, shape: Shape) -> Shape:
    """Another shape of as many elements."""
    dims = list(shape)
    for _ in range(draw.rng.randint(0, 2)):
        kind = draw.rng.randrange(5)
        if kind == 0 and len(dims) > 1:
            at = draw.rng.randrange(len(dims) - 1)
            dims[at : at + 2] = [dims[at] * dims[at + 1]]
        elif kind == 1 and dims:
            at = draw.rng.randrange(len(dims))
            factor = draw.rng.choice(
                [f for f in range(1, dims[at] + 1) if dims[at] % f == 0] or [1]
            )
            dims[at : at + 1] = [factor, dims[at] // factor]
        elif kind == 2:
            draw.rng.shuffle(dims)
        elif kind == 3:
            dims.insert(draw.rng.randint(0, len(dims)), 1)
        elif 1 in dims:
            dims.remove(1)
    return tuple(dims)


def flatten(draw: Draw, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Drawn:
    shape = pick(draw, "Flatten", known[0])
    return [shape], {"axis": draw.rng.randint(0, len(shape)), **fixed}


def squeeze(draw: Draw, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Drawn:
    shape = pick(draw, "Squeeze", known[0])
    if known[0] is None:
        shape = tuple(1 if draw.chance(0.4) else size for size in shape)
    axes = [axis for axis, size in enumerate(shape) if size == 1 and draw.chance(0.6)]
    return [shape], {"axes": axes, **fixed}


def unsqueeze(draw: Draw, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Drawn:
    shape = pick(draw, "Unsqueeze", known[0])
    count = draw.rng.randint(0, 2)
    return [shape], {"axes": sorted(draw.rng.sample(range(len(shape) + count), count)), **fixed}


def expand(draw: Draw, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Drawn:
    shape = pick(draw, "Expand", known[0])
    larger = [draw.dim() if size == 1 and draw.chance(0.5) else size for size in shape]
    if draw.chance(0.2):
        larger.insert(0, draw.dim())
    return [shape], {"shape": larger, **fixed}


def tile(draw: Draw, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Drawn:
    shape = pick(draw, "Tile", known[0])
    return [shape], {"repeats": [draw.rng.choice([1, 1, 2]) for _ in shape], **fixed}


def slice_(draw: Draw, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Drawn:
    shape = pick(draw, "Slice", known[0])
    axes = [axis for axis in range(len(shape)) if draw.chance(0.5)]
    starts = [draw.rng.choice([0, 0, draw.rng.randrange(shape[axis])]) for axis in axes]
    ends = [
        draw.rng.choice([shape[axis], draw.rng.randint(start + 1, shape[axis])])
        for axis, start in zip(axes, starts, strict=True)
    ]
    steps = [draw.rng.choice([1, 1, 2]) for _ in axes]
    return [shape], {"starts": starts, "ends": ends, "axes": axes, "steps": steps, **fixed}


def pad(draw: Draw, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Drawn:
    """Begins and ends of every axis; negative ones cut, and may cancel out along an axis."""
    shape = pick(draw, "Pad", known[0])
    begins = [draw.rng.choices([0, 1, 2, -1 if size > 1 else 0], [5, 3, 1, 1])[0] for size in shape]
    ends = [
        max(-b, 1 - size)
        if draw.chance(0.25)
        else draw.rng.choice([0, 0, 1, -1 if size > 2 else 0])
        for b, size in zip(begins, shape, strict=True)
    ]
    if draw.chance(0.7):  # what stands before a Conv pads only where it slides
        begins[:2], ends[:2] = [0] * len(begins[:2]), [0] * len(ends[:2])
    mode = draw.rng.choices(["constant", "edge"], [4, 1])[0]
    value = draw.rng.choice([0.0, 0.0, 1.0])
    return [shape], {"pads": begins + ends, "mode": mode, "value": value, **fixed}
