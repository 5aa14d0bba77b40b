"""Traps: places where every first step towards the best rewrite makes the network dearer.

They are traps for `rules=core` under `measurement=roofline` (A100: 5 us a kernel, 19.5 Tflop/s,
1.555 TB/s), whose formula is repeated here to draw sizes. On other devices most of them still are.
"""

from __future__ import annotations

from dataclasses import dataclass

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.graphs.random_cells import Draw, Style, gated

_KERNEL_S, _FLOPS_PER_S, _BYTES_PER_S = 5e-6, 19.5e12, 1.555e12

Bracketing = int | tuple["Bracketing", "Bracketing"]

# The ways to bracket a product of four, each two steps of associativity from the next but one.
RING: tuple[Bracketing, ...] = (
    (((0, 1), 2), 3),
    ((0, (1, 2)), 3),
    (0, ((1, 2), 3)),
    (0, (1, (2, 3))),
    ((0, 1), (2, 3)),
)


def trap_cell(net: LayerBuilder, x: str, name: str, draw: Draw, style: Style) -> str | None:
    """A trap of either kind, whichever fits the image `x`; None if neither does."""
    traps = [sibling_trap, chain_trap]
    if draw.chance(0.5):
        traps.reverse()
    for trap in traps:
        y = trap(net, x, name, draw, style)
        if y is not None:
            return y
    return None


# Siblings


def sibling_trap(net: LayerBuilder, x: str, name: str, draw: Draw, style: Style) -> str | None:
    """Three or more convolutions of one image whose results go different ways.

    Merged into one they need a kernel for it and one for the Split: two kernels instead of k. But
    rules merge two at a time, and two merged are still two kernels, with what the Split copies on
    top; the next merge copies again. Only the step after that, which makes one Split of two, saves
    a kernel. So k - 1 dearer steps lead to each gain.

    The copies (each result read and written) must cost more than reading x once less, or the first
    step would pay already, and less than the kernels saved. None if no width does both.
    """
    batch_size, channels, height, width = net.shape(x)
    num_siblings = draw.integer(3, 3 + draw.integer(0, 2))
    siblings_channels = next(
        (
            c
            for c in (style.width(draw), style.channels, channels, channels // 2)
            if 4 * c > channels
            and 8 * num_siblings * c * batch_size * height * width
            < 0.7 * (num_siblings - 2) * _KERNEL_S * _BYTES_PER_S
        ),
        None,
    )
    if siblings_channels is None:
        return None
    kernel, has_norm = draw.choice((1, 1, 3)), draw.chance(0.5)
    total = ""
    for sibling in range(num_siblings):
        sibling_name = f"{name}/sibling{sibling}"
        y = net.conv(x, f"{sibling_name}/conv", siblings_channels, kernel, bias=not has_norm)
        if has_norm:
            y = net.batch_norm(y, f"{sibling_name}/bn")
        y = net.relu(y, f"{sibling_name}/relu")
        pool = net.average_pool if sibling % 2 else net.max_pool
        y = pool(y, f"{sibling_name}/pool", 3 + 2 * (sibling // 2))
        total = net.add(total, y, f"{sibling_name}/add") if total else y
    return total


# Chains


def chain_trap(net: LayerBuilder, x: str, name: str, draw: Draw, style: Style) -> str | None:
    """A product of four matrices of pixels, bracketed so that both neighbours are dearer.

    The matrices are relu(pixels times weight) of drawn sizes, as in attention without a softmax.
    Associativity turns the five bracketings into a ring, see `tiny`; the sizes are such that the
    one in the network is cheaper than its neighbours, and another at least 1% cheaper than it. The
    relu of the product gates the channels of x. None if no sizes were found, as in small images.
    """
    batch_size, channels, height, width = net.shape(x)
    num_pixels = height * width
    chain = drawn_chain(draw, num_pixels, batch_size)
    if chain is None:
        return None
    y = net.reshape(x, f"{name}/pixels", [batch_size, channels, num_pixels])
    pixels = net.transpose(y, f"{name}/tokens", (0, 2, 1))
    factors = []
    windows: dict[tuple[int, int], str] = {}
    for factor in range(4):
        factor_name = f"{name}/factor{factor}"
        rows, columns = chain.sizes[factor : factor + 2]
        # sizes 0, 2 and 4 count pixels; of the second and the fourth matrix these are the columns
        count, units = (rows, columns) if factor % 2 == 0 else (columns, rows)
        start = draw.integer(0, num_pixels - count)
        y = windows.get((start, count), pixels)
        if count < num_pixels and y == pixels:
            window = f"{factor_name}/window"
            y = net.slice(pixels, window, starts=[start], ends=[start + count], axes=[1])
            windows[start, count] = y
        y = net.relu(net.matmul(y, factor_name, units), f"{factor_name}/relu")
        if factor % 2:
            y = net.transpose(y, f"{factor_name}/transpose", (0, 2, 1))
        factors.append(y)
    y = net.relu(_product(net, factors, chain.bracketing, f"{name}/product"), f"{name}/relu")
    y = net.node("ReduceMean", [y], f"{name}/mean", axes=[1], keepdims=0)
    return gated(net, x, net.linear(y, f"{name}/units", channels), name)


@dataclass(frozen=True)
class Chain:
    """A product of four matrices.

    Attributes:
        sizes: matrix i has sizes[i] rows and sizes[i + 1] columns.
        bracketing: the way it is written.
    """

    sizes: tuple[int, ...]
    bracketing: Bracketing


def drawn_chain(draw: Draw, num_pixels: int, batch_size: int) -> Chain | None:
    """Sizes and a bracketing that is a trap; sizes 0, 2 and 4 are at most `num_pixels`."""
    if num_pixels < 64:
        return None
    for _ in range(200):
        sizes = tuple(
            32 * draw.integer(1, 16) if i % 2 else 8 * draw.integer(4, min(num_pixels // 8, 128))
            for i in range(5)
        )
        costs = [_product_s(sizes, bracketing, batch_size) for bracketing in RING]
        for index, cost in enumerate(costs):
            neighbours = (costs[index - 1], costs[(index + 1) % len(RING)])
            if cost < min(neighbours) and min(costs) < 0.99 * cost:
                return Chain(sizes, RING[index])
    return None


def _product_s(sizes: tuple[int, ...], bracketing: Bracketing, batch_size: int) -> float:
    """Seconds of the three products of a bracketing."""
    if isinstance(bracketing, int):
        return 0.0
    left, right = bracketing
    rows, inner, columns = sizes[_first(left)], sizes[_first(right)], sizes[_last(right) + 1]
    flops = 2.0 * batch_size * rows * inner * columns
    num_bytes = 4.0 * batch_size * (rows * inner + inner * columns + rows * columns)
    seconds = _KERNEL_S + max(flops / _FLOPS_PER_S, num_bytes / _BYTES_PER_S)
    parts = (_product_s(sizes, part, batch_size) for part in bracketing)
    return seconds + sum(parts)


def _first(bracketing: Bracketing) -> int:
    return bracketing if isinstance(bracketing, int) else _first(bracketing[0])


def _last(bracketing: Bracketing) -> int:
    return bracketing if isinstance(bracketing, int) else _last(bracketing[1])


def _product(net: LayerBuilder, factors: list[str], bracketing: Bracketing, name: str) -> str:
    if isinstance(bracketing, int):
        return factors[bracketing]
    left, right = (_product(net, factors, part, name) for part in bracketing)
    span = f"{_first(bracketing)}to{_last(bracketing)}"
    return net.node("MatMul", [left, right], f"{name}{span}")
