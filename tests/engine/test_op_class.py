"""Classes of operators, and factors on their prices."""

from __future__ import annotations

import pytest
from drawing import Sketch, roofline, rule_set

from xflowrl._engine import CostTable, Graph, State

# Channels in, channels out, groups, size of the kernel: class.
CONVOLUTIONS = {
    (16, 32, 1, 3): "Conv",
    (16, 32, 1, 1): "Conv:pointwise",
    (3, 32, 1, 3): "Conv:stem",
    (3, 32, 1, 1): "Conv:stem",
    (16, 20, 1, 3): "Conv:unaligned",
    (20, 16, 1, 1): "Conv:unaligned",
    (16, 16, 16, 3): "Conv:depthwise",
    (16, 32, 16, 3): "Conv:narrow",  # two channels of each
    (16, 16, 4, 3): "Conv:narrow",
    (16, 32, 2, 3): "Conv:grouped",
    (64, 16, 4, 3): "Conv:narrow",
}


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_convolutions_differ_by_groups_and_channels(convolution: tuple[int, ...]) -> None:
    channels, out_channels, group, size = convolution
    net = Sketch()
    kernel = net.weight(out_channels, channels // group, size, size)
    made = net.conv(net.input(1, channels, 8, 8), kernel, group=group)
    assert list(roofline().ms_by_class(net.graph(made))) == [CONVOLUTIONS[convolution]]


@pytest.mark.parametrize(
    ("shape", "columns", "name"),
    [
        ((8, 16), 8, "MatMul"),
        ((7, 16), 8, "MatMul:thin"),
        ((8, 16), 7, "MatMul:thin"),
        ((2, 4, 16), 8, "MatMul"),  # eight rows in all
        ((1, 2, 16), 8, "MatMul:thin"),
    ],
)
def test_products_differ_by_rows_and_columns(
    shape: tuple[int, ...], columns: int, name: str
) -> None:
    net = Sketch()
    graph = net.graph(net.node("MatMul", net.input(*shape), net.weight(16, columns)))
    assert list(roofline().ms_by_class(graph)) == [name]


def elementwise() -> Graph:
    """Relus behind an input, a product, an elementwise operator and a pool."""
    net = Sketch()
    x = net.input(1, 16, 8, 8)
    first = net.node("Relu", x)
    product = net.conv(first, net.weight(16, 16, 3, 3), pad=1)
    second = net.node("Relu", product)
    third = net.node("Relu", second)
    pooled = net.node("Relu", net.pool("MaxPool", third, 2, stride=2))
    added = net.node("Add", second, net.conv(third, net.weight(16, 16, 1, 1)))
    biased = net.node("Add", x, net.node("Relu", net.weight(16, 8, 8)))
    return net.graph(pooled, added, biased)


def test_elementwise_operators_differ_by_what_they_read() -> None:
    ms = roofline().ms_by_class(elementwise())
    relu_ms, pooled_ms = ms["Relu:after_product"], ms["Relu"] - ms["Relu:after_product"]
    assert ms["Relu:after_elementwise"] == relu_ms > pooled_ms > 0
    # One that reads a product and a Relu may be fused into the product; a constant is not read.
    assert ms["Add:after_product"] == ms["Add"] > 0
    assert set(ms) == {
        *("Relu", "Relu:after_product", "Relu:after_elementwise", "Add", "Add:after_product"),
        *("Conv", "Conv:pointwise", "MaxPool"),
    }
    assert sum(ms.values()) == pytest.approx(roofline().price(elementwise()).ms, rel=1e-12)


def test_factors_multiply_the_prices_of_their_class() -> None:
    factors = {"Relu:after_product": 0.0, "Conv": 2.0, "Split": 7.0}
    ms = roofline().ms_by_class(elementwise())
    table = CostTable.roofline(19.5e12, 1.555e12, 0.005, factors)
    assert table.ms_by_class(elementwise()) == ms
    cost, plain = table.price(elementwise()), roofline().price(elementwise())
    assert cost.ms == pytest.approx(plain.ms + ms["Conv"] - ms["Relu:after_product"], rel=1e-12)
    assert (cost.flops, cost.bytes) == (plain.flops, plain.bytes)


def test_measured_times_are_corrected_too() -> None:
    graph, table = elementwise(), CostTable.measured({"Relu:after_product": 0.25})
    table.price(graph)
    for signature in table.unknown():
        table.set(signature.key, 1.0)
    assert table.price(graph).ms == 9 - 0.75
    assert table.ms_by_class(graph)["Relu:after_product"] == 1.0


@pytest.mark.parametrize("name", ["", "Relu:", "Conv:wide", "NoSuch", "Relu:after_product:", ":"])
def test_a_class_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="there is no class of operators"):
        CostTable.measured({name: 1.0})


def test_a_reader_whose_operand_has_another_producer_is_priced_anew() -> None:
    """The Add keeps its signature, but not its class."""
    net = Sketch()
    product = net.node("MatMul", net.input(4, 4), net.weight(4, 4))
    graph = net.graph(net.node("Add", product, net.weight(4)))
    factors = {"Add:after_product": 0.25, "Add:after_elementwise": 0.5}
    table = CostTable.roofline(1e12, 1e12, 1.0, factors)
    state = State(graph, rule_set("(rule replace (MatMul ?x ?w) => (Relu ?x) :drops ?w)"), table)
    (match,) = state.matches()
    assert (state.cost.ms, match.cost_difference_ms) == pytest.approx((1.25, 0.25), rel=1e-6)
    assert state.apply(match).cost.ms == pytest.approx(table.price(match.graph).ms, rel=1e-12)
