"""Operators that compute every element from those at its place."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from onnx import TensorProto
from torch import Tensor
from torch.nn import functional as F

from xflowrl.measurement.runtimes.onnx_to_torch.operator import NotSupported

_SELU = (1.67326319217681884765625, 1.05070102214813232421875)  # alpha, gamma
_SIXTH = 1.0 / 6.0


# fmt: off
DTYPES: dict[int, torch.dtype] = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 4: torch.uint16, 5: torch.int16,
    6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64,
    12: torch.uint32, 13: torch.uint64, 14: torch.complex64, 15: torch.complex128,
    16: torch.bfloat16,
}
# fmt: on
"""The types of PyTorch, by onnx.TensorProto.DataType."""


def dtype_of(element: int, what: str = "a tensor") -> torch.dtype:
    """Raises NotSupported, naming `what` is of it, for a type that PyTorch lacks."""
    if element not in DTYPES:
        raise NotSupported(f"{what} of type {TensorProto.DataType.Name(element)}")
    return DTYPES[element]


def cast(x: Tensor, *, to: torch.dtype, saturate: int = 1) -> Tensor:
    return x.to(to)  # saturating is a word of 8-bit floats, which there are none of


def cast_like(x: Tensor, like: Tensor, *, saturate: int = 1) -> Tensor:
    return x.to(like.dtype)


def identity(x: Tensor) -> Tensor:
    return x


def divide(a: Tensor, b: Tensor) -> Tensor:
    """Integers are rounded towards zero."""
    if a.is_floating_point() or a.is_complex():
        return torch.div(a, b)
    return torch.div(a, b, rounding_mode="trunc")


def power(base: Tensor, exponent: Tensor | float) -> Tensor:
    return torch.pow(base, exponent).to(base.dtype)


def modulo(a: Tensor, b: Tensor, *, fmod: int = 0) -> Tensor:
    return torch.fmod(a, b) if fmod else torch.remainder(a, b)


def of_all(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """The function of two, applied to any number."""
    return lambda *operands: functools.reduce(function, operands)


def mean(*operands: Tensor) -> Tensor:
    return functools.reduce(torch.add, operands) / len(operands)


def clip(x: Tensor, low: float | None = None, high: float | None = None) -> Tensor:
    return x if low is None and high is None else torch.clamp(x, low, high)


def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    return F.leaky_relu(x, alpha)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """One slope a channel, or of any shape that can be broadcast."""
    is_of_channels = x.ndim >= 2 and slope.ndim == x.ndim - 1 and len(slope) == x.shape[1]
    if slope.numel() == 1 or (is_of_channels and slope.numel() == len(slope)):
        return F.prelu(x, slope.flatten())
    return torch.where(x < 0, slope * x, x)


def elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return F.elu(x, alpha)


def celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return F.celu(x, alpha)


def selu(x: Tensor, *, alpha: float = _SELU[0], gamma: float = _SELU[1]) -> Tensor:
    if abs(alpha - _SELU[0]) + abs(gamma - _SELU[1]) < 1e-5:
        return F.selu(x)
    return gamma * F.elu(x, alpha)


def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    return F.gelu(x, approximate=approximate)


def swish(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return F.silu(x) if alpha == 1.0 else x * torch.sigmoid(alpha * x)


def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    if abs(alpha - _SIXTH) < 1e-7 and beta == 0.5:
        return F.hardsigmoid(x)
    return torch.clamp(alpha * x + beta, 0.0, 1.0)


def thresholded_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return F.threshold(x, alpha, 0.0)


def shrink(x: Tensor, *, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    shrunk = torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, 0.0))
    return shrunk.to(x.dtype)


def is_inf(x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    found = torch.isinf(x)
    if not detect_negative:
        found = found & (x > 0)
    if not detect_positive:
        found = found & (x < 0)
    return found


def dropout(
    x: Tensor,
    ratio: float = 0.5,
    training_mode: bool | None = False,
    *,
    seed: int = 0,
    num_results: int,
) -> tuple[Any, ...]:
    """Keeps everything, as it does outside of training."""
    if training_mode and ratio:
        raise NotSupported("training_mode")
    return (x,) if num_results == 1 else (x, torch.ones_like(x, dtype=torch.bool))
