"""Products of four matrices, bracketed so that both neighbouring ways to bracket are dearer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.graphs.random_cells import Draw, Style, gated
from xflowrl.graphs.traps.prices import seconds

Bracketing = int | tuple["Bracketing", "Bracketing"]

# The ways to bracket a product of four, each two steps of associativity from the next but one.
RING: tuple[Bracketing, ...] = (
    (((0, 1), 2), 3),
    ((0, (1, 2)), 3),
    (0, ((1, 2), 3)),
    (0, (1, (2, 3))),
    ((0, 1), (2, 3)),
)


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
        product_s = {
            span: _product_s(*(sizes[bound] for bound in span), batch_size=batch_size)
            for span in combinations(range(5), 3)
        }
        costs = [product_s[a] + (product_s[b] + product_s[c]) for a, b, c in _SPANS]
        for index, cost in enumerate(costs):
            neighbours = (costs[index - 1], costs[(index + 1) % len(RING)])
            if cost < min(neighbours) and min(costs) < 0.99 * cost:
                return Chain(sizes, RING[index])
    return None


def _product_s(rows: int, inner: int, columns: int, *, batch_size: int) -> float:
    """Seconds of one product."""
    return seconds(
        flops=2.0 * batch_size * rows * inner * columns,
        elements=batch_size * (rows * inner + inner * columns + rows * columns),
    )


def _spans(bracketing: Bracketing) -> list[tuple[int, int, int]]:
    """Of each product, which of the sizes are its rows, its inner size and its columns."""
    if isinstance(bracketing, int):
        return []
    left, right = bracketing
    own = (_first(left), _first(right), _last(right) + 1)
    return [own, *_spans(left), *_spans(right)]


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


_SPANS = [_spans(bracketing) for bracketing in RING]
