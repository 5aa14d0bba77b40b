"""Operators along axes: sums, extremes, softmax and what is like them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xflowrl.measurement.runtimes.onnx_to_torch.operator import NotSupported

Reduce = Callable[[Tensor, list[int], bool], Tensor]
"""Of a tensor, the axes to reduce, and whether they stay as axes of one."""


def reduction(function: Reduce) -> Callable[..., Tensor]:
    """The operator of a reduction; without axes it reduces all, or each element by itself."""

    def reduce(
        x: Tensor,
        axes: Sequence[int] | None = None,
        *,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Tensor:
        if axes:
            return function(x, list(axes), bool(keepdims))
        if noop_with_empty_axes or not x.ndim:
            return function(x.unsqueeze(0), [0], False)
        return function(x, list(range(x.ndim)), bool(keepdims))

    return reduce


def total(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return torch.sum(x, axes, keep, dtype=x.dtype)


def product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = torch.prod(x, axis, keep, dtype=x.dtype)
    return x


def log_sum_exp(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return torch.logsumexp(x, axes, keep)


def extreme(function: Callable[..., Tensor]) -> Reduce:
    """Of torch.amax or torch.amin."""

    def of(x: Tensor, axes: list[int], keep: bool) -> Tensor:
        if not x.numel():
            raise NotSupported("an extreme of nothing")
        return function(x, axes, keep)

    return of


def euclidean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return total(x * x, axes, keep).to(torch.float64).sqrt().to(x.dtype)


def mean_of(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    if x.is_floating_point():
        return torch.mean(x, axes, keep)
    return torch.mean(x.double(), axes, keep).to(x.dtype)


def index_of(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The operator of torch.argmax or torch.argmin."""

    def index(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
        if not select_last_index:
            return function(x, axis, bool(keepdims))
        return x.shape[axis] - 1 - function(x.flip(axis), axis, bool(keepdims))

    return index


def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return torch.softmax(x, axis)


def log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return torch.log_softmax(x, axis)


def of_matrix(function: Callable[[Tensor, int], Tensor]) -> Callable[..., Tensor]:
    """Softmax before opset 13: over all axes from `axis` on."""

    def of_rows(x: Tensor, *, axis: int = 1) -> Tensor:
        return function(x.flatten(axis % max(1, x.ndim)), -1).reshape(x.shape)

    return of_rows


def cumulative_sum(x: Tensor, axis: int, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    axis = axis if isinstance(axis, int) else axis[0]
    x = x.flip(axis) if reverse else x
    sums = torch.cumsum(x, axis, dtype=x.dtype)
    sums = sums - x if exclusive else sums
    return sums.flip(axis) if reverse else sums


def top_k(
    x: Tensor, k: int | list[int], *, axis: int = -1, largest: int = 1, sorted: int = 1
) -> tuple[Tensor, ...]:
    number = k[0] if isinstance(k, list) else k
    values, indices = torch.topk(x, number, axis, bool(largest), bool(sorted))
    return values, indices
