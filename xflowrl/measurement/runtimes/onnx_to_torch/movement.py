"""Operators that move, choose and make elements: shapes, slices, indices, constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from xflowrl.measurement.runtimes.onnx_to_torch.operator import NotSupported

Ints = list[int]


def _along(axis: int, ndim: int, choice: Any) -> tuple[Any, ...]:
    """The index that makes a choice on one axis."""
    return (*(slice(None),) * (axis % ndim), choice)


def reshape(x: Tensor, shape: Ints, *, allowzero: int = 0) -> Tensor:
    if not allowzero:
        shape = [x.shape[i] if size == 0 else size for i, size in enumerate(shape)]
    return x.reshape(shape)


def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:])))


def transpose(x: Tensor, *, perm: Ints | None = None) -> Tensor:
    return x.permute(perm if perm is not None else list(range(x.ndim))[::-1])


def squeeze(x: Tensor, axes: Ints | None = None) -> Tensor:
    if axes is None:
        return x.squeeze()
    if any(x.shape[axis] != 1 for axis in axes):
        raise ValueError(f"axes {axes} of {list(x.shape)} are not all of size 1")
    return x.squeeze(tuple(axes))


def unsqueeze(x: Tensor, axes: Ints) -> Tensor:
    axes = axes if isinstance(axes, list) else [axes]
    ndim = x.ndim + len(axes)
    for axis in sorted(axis % ndim for axis in axes):
        x = x.unsqueeze(axis)
    return x


def concat(*operands: Tensor, axis: int) -> Tensor:
    return torch.cat(operands, axis)


def split(
    x: Tensor,
    sizes: Ints | None = None,
    *,
    axis: int = 0,
    num_outputs: int | None = None,
    num_results: int,
) -> tuple[Tensor, ...]:
    """Equal parts by default; the last one is smaller where they cannot be."""
    if sizes is None:
        number, size = num_outputs or num_results, x.shape[axis]
        part = -(-size // number)
        sizes = [part] * (number - 1) + [size - part * (number - 1)]
    return torch.split(x, sizes, axis)


def slice_(
    x: Tensor, starts: Ints, ends: Ints, axes: Ints | None = None, steps: Ints | None = None
) -> Tensor:
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        part = slice(start, end, step)
        if step > 0:
            x = x[_along(axis, x.ndim, part)]
        else:  # slices of PyTorch go forwards
            chosen = range(*part.indices(x.shape[axis]))
            x = x.index_select(axis, torch.tensor(chosen, dtype=torch.int64))
    return x


def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    return x[_along(axis, x.ndim, indices)]


def _from_zero(indices: Tensor, size: int) -> Tensor:
    """Indices that count from the end, counted from the beginning."""
    return torch.where(indices < 0, indices + size, indices).long()


def gather_elements(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    return torch.gather(x, axis, _from_zero(indices, x.shape[axis]))


def gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    if batch_dims:
        raise NotSupported(f"batch_dims={batch_dims}")
    return x[tuple(indices.unbind(-1))]


def scatter_elements(
    x: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none"
) -> Tensor:
    indices = _from_zero(indices, x.shape[axis])
    if reduction == "none":
        return torch.scatter(x, axis, indices, updates)
    how = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}[reduction]
    return torch.scatter_reduce(x, axis, indices, updates, how)


def scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none") -> Tensor:
    if reduction not in ("none", "add"):
        raise NotSupported(f"reduction={reduction}")
    return torch.index_put(x, tuple(indices.unbind(-1)), updates, accumulate=reduction == "add")


def expand(x: Tensor, shape: Ints) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, shape))


def tile(x: Tensor, repeats: Ints) -> Tensor:
    return x.tile(repeats)


_PAD_MODES: dict[str, Any] = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def pad(
    x: Tensor,
    pads: Ints,
    value: float | None = None,
    axes: Ints | None = None,
    *,
    mode: str = "constant",
) -> Tensor:
    axes = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in axes]
    if mode != "constant":  # PyTorch has these for some axes of some ranks
        for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
            places = np.pad(np.arange(x.shape[axis]), (before, after), _PAD_MODES[mode])
            x = x.index_select(axis, torch.from_numpy(places))
        return x
    flat = [0] * (2 * x.ndim)  # from the last axis on
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        flat[2 * (x.ndim - 1 - axis) : 2 * (x.ndim - axis)] = [before, after]
    value = value[0] if isinstance(value, list) else value
    return F.pad(x, flat, value=value or 0)


def shape(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    return torch.tensor(x.shape[start:end], dtype=torch.int64)


def size(x: Tensor) -> Tensor:
    return torch.tensor(x.numel())


def constant_of_shape(shape: Ints, *, value: Tensor | None = None) -> Tensor:
    return torch.zeros(shape) if value is None else value.reshape(()).repeat(shape)


def range_(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    number = max(0, int(np.ceil((limit.item() - start.item()) / delta.item())))
    return start + delta * torch.arange(number, dtype=start.dtype)


def one_hot(indices: Tensor, depth: Any, values: Tensor, *, axis: int = -1) -> Tensor:
    depth = int(depth[0] if isinstance(depth, list) else depth)
    axis = axis + indices.ndim + 1 if axis < 0 else axis
    # An index outside of the table, on either side, is no position.
    positions = torch.arange(depth).reshape([-1] + [1] * (indices.ndim - axis))
    indices = torch.where(indices < 0, indices + depth, indices).unsqueeze(axis)
    return torch.where(indices == positions, values[1], values[0])


def triangle(x: Tensor, k: int | None = None, *, upper: int = 1) -> Tensor:
    k = k[0] if isinstance(k, list) else k
    return torch.triu(x, k or 0) if upper else torch.tril(x, k or 0)


def eye_like(x: Tensor, *, k: int = 0, dtype: torch.dtype | None = None) -> Tensor:
    ones = torch.ones(x.shape, dtype=x.dtype if dtype is None else dtype)
    return torch.triu(torch.tril(ones, k), k)


def non_zero(x: Tensor) -> Tensor:
    return torch.nonzero(x).T


def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    if mode == "CRD":
        return F.pixel_shuffle(x, blocksize)
    n, c, h, w = x.shape
    blocks = x.reshape(n, blocksize, blocksize, c // blocksize**2, h, w)
    spread = blocks.permute(0, 3, 4, 1, 5, 2)
    return spread.reshape(n, c // blocksize**2, h * blocksize, w * blocksize)


def space_to_depth(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    if mode == "CRD":
        return F.pixel_unshuffle(x, blocksize)
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // blocksize, blocksize, w // blocksize, blocksize)
    gathered = blocks.permute(0, 3, 5, 1, 2, 4)
    return gathered.reshape(n, c * blocksize**2, h // blocksize, w // blocksize)


def einsum(*operands: Tensor, equation: str) -> Tensor:
    return torch.einsum(equation.replace(" ", ""), *operands)
