"""Products, normalisations, windows over images, and images of other sizes.

Pads at both ends of an axis are equal in PyTorch's own functions; others are written out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from xflowrl.measurement.runtimes.onnx_to_torch.operator import NotSupported

Ints = Sequence[int]

# By the number of axes that a window slides along.
_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE: dict[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}
_MAX_POOL: dict[int, Callable[..., Any]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE_POOL: dict[int, Callable[..., Tensor]] = {
    1: F.avg_pool1d,
    2: F.avg_pool2d,
    3: F.avg_pool3d,
}


# Products


def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    a, b = a.T if transA else a, b.T if transB else b
    if alpha == beta == 1.0 and (c is None or c.shape == b.shape[1:]):
        return F.linear(a, b.T, c)
    # addmm copies a summand that is no bias; a compiler fuses the sum with what follows.
    product = a @ b if alpha == 1.0 else (alpha * (a @ b)).to(a.dtype)
    return product if c is None else product + (c if beta == 1.0 else (beta * c).to(c.dtype))


# Normalisations


def batch_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> Tensor:
    if training_mode:
        raise NotSupported("training_mode=1")
    return F.batch_norm(x, mean, variance, scale, bias, eps=epsilon)


def layer_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Tensor:
    shape = x.shape[axis:]
    bias = None if bias is None else bias.expand(shape)
    return F.layer_norm(x, shape, scale.expand(shape), bias, epsilon)


def rms_normalization(
    x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    shape = x.shape[axis:]
    return F.rms_norm(x, list(shape), scale.expand(shape), epsilon)


def instance_normalization(
    x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5
) -> Tensor:
    return torch.instance_norm(x, scale, bias, None, None, True, 0.0, epsilon, True)


def group_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Tensor:
    return F.group_norm(x, num_groups, scale, bias, epsilon)


def local_response_normalization(
    x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Tensor:
    if size % 2 == 0:
        raise NotSupported(f"size={size}, which is even")
    return F.local_response_norm(x, size, alpha, beta, bias)


# Windows


def _all_pads(
    sizes: Ints, kernel: Ints, strides: Ints, dilations: Ints, pads: Ints | None, auto_pad: str
) -> tuple[list[int], list[int]]:
    """Pads at the beginnings and ends of the axes; `sizes` are the image's."""
    if auto_pad == "NOTSET" and pads is not None:
        return list(pads[: len(sizes)]), list(pads[len(sizes) :])
    zeros = [0] * len(sizes)
    if auto_pad in ("NOTSET", "VALID"):
        return zeros, zeros
    totals = [
        max(0, (-(-size // s) - 1) * s + (k - 1) * d + 1 - size)
        for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return (small, large) if auto_pad == "SAME_UPPER" else (large, small)


def _padded(x: Tensor, begins: Ints, ends: Ints, value: float = 0.0) -> Tensor:
    flat = [p for pair in zip(reversed(begins), reversed(ends), strict=True) for p in pair]
    return F.pad(x, flat, value=value)


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
    activation: str = "",
) -> Tensor:
    """`activation` is a word of ONNX Runtime's FusedConv; cuDNN has one kernel for both."""
    if activation not in ("", "Relu"):
        raise NotSupported(f"activation={activation!r}")
    num_axes = x.ndim - 2
    strides, dilations = strides or [1] * num_axes, dilations or [1] * num_axes
    begins, ends = _all_pads(x.shape[2:], weight.shape[2:], strides, dilations, pads, auto_pad)
    if begins != ends:
        x, begins = _padded(x, begins, ends), [0] * num_axes
    if activation and x.is_cuda and num_axes == 2:
        return torch.cudnn_convolution_relu(x, weight, bias, strides, begins, dilations, group)
    result = _CONV[num_axes](x, weight, bias, strides, begins, dilations, group)
    return torch.relu(result) if activation else result


def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    output_padding: Ints | None = None,
    output_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    axes = range(x.ndim - 2)
    ones, zeros = [1 for _ in axes], [0 for _ in axes]
    strides, dilations = strides or ones, dilations or ones
    added = list(output_padding or zeros)
    if auto_pad.startswith("SAME"):
        output_shape = [x.shape[2 + i] * strides[i] for i in axes]
    if output_shape is None:
        begins, ends = list(pads or zeros + zeros)[: len(axes)], list(pads or zeros)[-len(axes) :]
    else:
        reach = [(weight.shape[2 + i] - 1) * dilations[i] + 1 for i in axes]
        whole = [strides[i] * (x.shape[2 + i] - 1) + added[i] + reach[i] for i in axes]
        surplus = [whole[i] - output_shape[i] for i in axes]
        added = [added[i] + max(0, -surplus[i]) for i in axes]
        small = [max(0, surplus[i]) // 2 for i in axes]
        large = [max(0, surplus[i]) - small[i] for i in axes]
        begins, ends = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
    function = _CONV_TRANSPOSE[len(axes)]
    if begins == ends:
        return function(x, weight, bias, strides, begins, added, group, dilations)
    y = function(x, weight, bias, strides, zeros, added, group, dilations)
    for i in axes:
        y = y.narrow(2 + i, begins[i], y.shape[2 + i] - begins[i] - ends[i])
    return y


def _window(
    x: Tensor,
    kernel: Ints,
    strides: Ints | None,
    dilations: Ints | None,
    pads: Ints | None,
    auto_pad: str,
    ceil_mode: int,
) -> tuple[Ints, Ints, list[int], list[int], bool]:
    """Strides, dilations, pads, and whether PyTorch's pools know such pads."""
    strides, dilations = strides or [1] * len(kernel), dilations or [1] * len(kernel)
    begins, ends = _all_pads(x.shape[2:], kernel, strides, dilations, pads, auto_pad)
    is_known = begins == ends and all(2 * p <= k for p, k in zip(begins, kernel, strict=True))
    if ceil_mode and not is_known:
        raise NotSupported(f"ceil_mode with pads {begins + ends}")
    return strides, dilations, begins, ends, is_known


def max_pool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    storage_order: int = 0,
    strides: Ints | None = None,
) -> Tensor:
    form = (strides, dilations, pads, auto_pad, ceil_mode)
    strides, dilations, begins, ends, is_known = _window(x, kernel_shape, *form)
    if not is_known:
        lowest = -torch.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
        x, begins = _padded(x, begins, ends, lowest), [0] * len(begins)
    pooled: Tensor = _MAX_POOL[x.ndim - 2](
        x, kernel_shape, strides, begins, dilations, bool(ceil_mode)
    )
    return pooled


def average_pool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    form = (strides, dilations, pads, auto_pad, ceil_mode)
    strides, dilations, begins, ends, is_known = _window(x, kernel_shape, *form)
    if any(d != 1 for d in dilations):
        raise NotSupported(f"dilations={list(dilations)}")
    pool = _AVERAGE_POOL[x.ndim - 2]
    if is_known:
        return pool(x, kernel_shape, strides, begins, bool(ceil_mode), bool(count_include_pad))
    averages = pool(_padded(x, begins, ends), kernel_shape, strides)
    if count_include_pad:
        return averages
    shares = pool(_padded(torch.ones_like(x[:1, :1]), begins, ends), kernel_shape, strides)
    return averages / shares


def lp_pool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    p: int = 2,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    if ceil_mode:
        raise NotSupported("ceil_mode=1")
    averages = average_pool(
        x.abs() ** p,
        kernel_shape=kernel_shape,
        auto_pad=auto_pad,
        count_include_pad=1,
        pads=pads,
        strides=strides,
    )
    return (averages * torch.Size(kernel_shape).numel()) ** (1.0 / p)


def global_average_pool(x: Tensor) -> Tensor:
    return x.mean(list(range(2, x.ndim)), keepdim=True)


def global_max_pool(x: Tensor) -> Tensor:
    return x.amax(list(range(2, x.ndim)), keepdim=True)


# Images of other sizes

# Mode, where coordinates lie, how they are rounded -> PyTorch's mode, whether corners are aligned.
_ANY = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
_RESIZE: dict[tuple[str, str, str], tuple[str, bool | None]] = {
    ("nearest", "asymmetric", "floor"): ("nearest", None),
    ("nearest", "half_pixel", "round_prefer_ceil"): ("nearest-exact", None),
    **{("linear", "half_pixel", r): ("linear", False) for r in _ANY},
    **{("linear", "pytorch_half_pixel", r): ("linear", False) for r in _ANY},
    **{("linear", "align_corners", r): ("linear", True) for r in _ANY},
    **{("cubic", "half_pixel", r): ("cubic", False) for r in _ANY},
    **{("cubic", "pytorch_half_pixel", r): ("cubic", False) for r in _ANY},
    **{("cubic", "align_corners", r): ("cubic", True) for r in _ANY},
}
# The same where scales are whole numbers: no coordinate lies between two pixels, or just there.
_RESIZE_WHOLE: dict[tuple[str, str, str], tuple[str, bool | None]] = {
    ("nearest", "half_pixel", "round_prefer_floor"): ("nearest-exact", None),
    ("nearest", "pytorch_half_pixel", "round_prefer_floor"): ("nearest-exact", None),
}
_OF_RANK = {"linear": {3: "linear", 4: "bilinear", 5: "trilinear"}, "cubic": {4: "bicubic"}}


def resize(
    x: Tensor,
    roi: Tensor | None = None,
    scales: list[float] | None = None,
    sizes: list[int] | None = None,
    *,
    axes: Ints | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
    antialias: int = 0,
) -> Tensor:
    """Of the last axes, where PyTorch computes the same."""
    if antialias or exclude_outside or keep_aspect_ratio_policy != "stretch":
        raise NotSupported("antialias, exclude_outside or keep_aspect_ratio_policy")
    given = list(scales or sizes or [])
    if axes is not None:
        whole: list[Any] = [1.0] * x.ndim if scales else list(x.shape)
        for axis, value in zip(axes, given, strict=True):
            whole[axis] = value
        given = whole
    factors = given if scales else [to / of for to, of in zip(given, x.shape, strict=True)]
    form = (mode, coordinate_transformation_mode, nearest_mode)
    is_whole = all(factor == int(factor) for factor in factors)
    known = _RESIZE.get(form) or (_RESIZE_WHOLE.get(form) if is_whole else None)
    if coordinate_transformation_mode == "align_corners" and scales and not is_whole:
        known = None  # corners of a size that is no whole number
    if coordinate_transformation_mode == "pytorch_half_pixel" and 1 in given[2:]:
        known = None
    if known is None or factors[:2] != [1.0, 1.0] or (mode == "cubic" and cubic_coeff_a != -0.75):
        raise NotSupported(f"{', '.join(form)} of scales {factors}")
    name, align_corners = known
    name = _OF_RANK.get(name, {}).get(x.ndim, name)
    to: dict[str, Any] = {"scale_factor": given[2:]} if scales else {"size": given[2:]}
    return F.interpolate(x, mode=name, align_corners=align_corners, **to)


def upsample(x: Tensor, scales: list[float], *, mode: str = "nearest") -> Tensor:
    """Resize before opset 10, of nearest pixels."""
    return resize(
        x,
        scales=scales,
        mode=mode,
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
