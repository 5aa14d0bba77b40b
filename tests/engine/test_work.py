"""FLOPs, bytes and prices of single nodes, against numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from drawing import Sketch, roofline, rule_set

from xflowrl._engine import CostTable, Graph, GraphBuilder, State, TensorType

FLOPS_PER_S, BYTES_PER_S, OVERHEAD_MS = 19.5e12, 1.555e12, 0.005


def f32(*shape: int) -> TensorType:
    return TensorType("float32", shape)


def one(op: str, shapes: list[tuple[int, ...]], **attributes: Any) -> Graph:
    """One node whose first operand is an input and whose others are weights."""
    builder = GraphBuilder()
    names = []
    for index, shape in enumerate(shapes):
        add = builder.add_weight if index else builder.add_input
        names.append(add(f"x{index}", f32(*shape)))
    count = len(attributes["split"]) if op == "Split" else 1
    outputs = [f"y{index}" for index in range(count)]
    builder.add_node(op, names, outputs, attributes)
    builder.set_outputs(outputs)
    return builder.build()


CONV = {"strides": [1, 1], "pads": [1] * 4, "dilations": [1, 1]}
POOL = {"strides": [2, 2], "pads": [0] * 4, "dilations": [1, 1], "kernel_shape": [3, 2]}

# operator, shapes of the operands, attributes, FLOPs, elements moved
CASES: list[tuple[str, list[tuple[int, ...]], dict[str, Any], float, float]] = [
    # conv: 2*N*OC*OH*OW*(C/groups)*KH*KW
    ("Conv", [(2, 6, 8, 8), (4, 6, 3, 3)], CONV, 2 * 2 * 4 * 64 * 6 * 9, 768 + 216 + 512),
    ("Conv", [(2, 6, 8, 8), (4, 6, 3, 3), (4,)], CONV, 2 * 2 * 4 * 64 * 6 * 9, 768 + 216 + 4 + 512),
    (
        "Conv",
        [(1, 6, 8, 8), (4, 3, 3, 3)],
        {**CONV, "group": 2},
        2 * 4 * 64 * 3 * 9,
        384 + 108 + 256,
    ),
    (
        "Conv",  # depthwise, stride 2: 4x4 results
        [(1, 6, 8, 8), (6, 1, 3, 3)],
        {**CONV, "group": 6, "strides": [2, 2]},
        2 * 6 * 16 * 9,
        384 + 54 + 96,
    ),
    (
        "Conv",
        [(1, 2, 8), (3, 2, 5)],
        {"strides": [1], "pads": [0, 0], "dilations": [1]},
        2 * 3 * 4 * 2 * 5,
        16 + 30 + 12,
    ),
    # matmul: 2*M*N*K*batch
    ("MatMul", [(3, 4, 5), (5, 7)], {}, 2 * 4 * 7 * 5 * 3, 60 + 35 + 84),
    ("MatMul", [(5,), (5, 7)], {}, 2 * 7 * 5, 5 + 35 + 7),
    ("Gemm", [(4, 5), (5, 7), (7,)], {}, 2 * 4 * 7 * 5, 20 + 35 + 7 + 28),
    ("Gemm", [(5, 4), (7, 5)], {"transA": 1, "transB": 1}, 2 * 4 * 7 * 5, 20 + 35 + 28),
    # element-wise and activation: outputs
    ("Relu", [(4, 5)], {}, 20, 40),
    ("Add", [(4, 5), (5,)], {}, 20, 45),
    ("Mul", [(1, 5), (4, 1)], {}, 20, 5 + 4 + 20),
    ("Sum", [(4, 5), (4, 5), (4, 5)], {}, 40, 80),
    ("Sum", [(4, 5)], {}, 0, 40),
    # pool: outputs*KH*KW; batchnorm: 2*outputs
    ("MaxPool", [(1, 3, 7, 6)], POOL, 3 * 3 * 3 * 6, 126 + 27),
    ("AveragePool", [(1, 3, 7, 6)], POOL, 3 * 3 * 3 * 6, 126 + 27),
    ("GlobalAveragePool", [(1, 3, 7, 6)], {}, 126, 129),
    ("BatchNormalization", [(2, 3, 4, 4), (3,), (3,), (3,), (3,)], {}, 192, 192 + 12),
    ("ReduceMean", [(4, 5)], {"axes": [1], "keepdims": 0}, 20, 24),
    # copies compute nothing
    ("Concat", [(4, 5), (4, 3)], {"axis": 1}, 0, 64),
    ("Split", [(4, 5)], {"axis": 1, "split": [2, 3]}, 0, 40),
    ("Transpose", [(4, 5)], {"perm": [1, 0]}, 0, 40),
    ("Slice", [(4, 5)], {"starts": [1], "ends": [3], "axes": [0], "steps": [1]}, 0, 30),
    ("Pad", [(4, 5)], {"pads": [0, 1, 0, 1]}, 0, 20 + 28),
    ("Expand", [(4, 1)], {"shape": [4, 5]}, 0, 24),
]
FREE = [
    ("Reshape", [(4, 5)], {"shape": [20]}),
    ("Flatten", [(4, 5)], {"axis": 0}),
    ("Squeeze", [(1, 5)], {"axes": [0]}),
    ("Unsqueeze", [(4, 5)], {"axes": [0]}),
    ("Identity", [(4, 5)], {}),
    ("Dropout", [(4, 5)], {}),
]


def ids(cases: list[Any]) -> list[str]:
    return [f"{index}-{case[0]}" for index, case in enumerate(cases)]


@pytest.mark.parametrize(("op", "shapes", "attributes", "flops", "elements"), CASES, ids=ids(CASES))
def test_work_and_roofline_price(
    op: str,
    shapes: list[tuple[int, ...]],
    attributes: dict[str, Any],
    flops: float,
    elements: float,
) -> None:
    graph = one(op, shapes, **attributes)
    (node,) = graph.nodes()
    assert node.signature.flops == flops
    assert node.signature.bytes == 4 * elements
    cost = roofline().price(graph)
    expected = OVERHEAD_MS + 1000 * max(flops / FLOPS_PER_S, 4 * elements / BYTES_PER_S)
    assert cost.ms == pytest.approx(expected, rel=1e-12)  # one sum of two doubles
    assert (cost.flops, cost.bytes, cost.num_kernels) == (flops, 4 * elements, 1)


@pytest.mark.parametrize(("op", "shapes", "attributes"), FREE, ids=ids(FREE))
@pytest.mark.parametrize("table", [roofline, CostTable.measured])
def test_other_names_for_the_same_data_are_free(
    op: str, shapes: list[tuple[int, ...]], attributes: dict[str, Any], table: Any
) -> None:
    costs = table()
    cost = costs.price(one(op, shapes, **attributes))
    assert (cost.ms, cost.bytes, cost.num_kernels) == (0, 0, 0)
    assert costs.unknown() == []


def test_compute_bound_nodes_pay_for_their_flops() -> None:
    cost = CostTable.roofline(1e6, 1e15, 0.25).price(one("MatMul", [(10, 100), (100, 50)]))
    assert cost.ms == pytest.approx(0.25 + 1000 * 100_000 / 1e6, rel=1e-12)


def test_a_fused_activation_adds_nothing() -> None:
    plain = roofline().price(one("MatMul", [(4, 5), (5, 7)]))
    fused = roofline().price(one("MatMul", [(4, 5), (5, 7)], activation="Relu"))
    assert (fused.ms, fused.flops, fused.bytes) == (plain.ms, plain.flops, plain.bytes)


def test_what_depends_on_constants_alone_is_free_but_for_taso() -> None:
    net = Sketch()
    x, w = net.input(4, 4), net.weight(4, 4)
    folded = net.node("Exp", net.node("Transpose", w, perm=[1, 0]))
    graph = net.graph(net.node("Add", x, folded))
    alone = roofline().price(one("Add", [(4, 4), (4, 4)]))
    assert roofline().price(graph).ms == alone.ms
    taso = CostTable.taso(FLOPS_PER_S, BYTES_PER_S, OVERHEAD_MS)
    exp = OVERHEAD_MS + 1000 * 128 / BYTES_PER_S
    assert taso.price(graph).ms == pytest.approx(alone.ms + exp, rel=1e-12)


def test_taso_charges_pools_their_pseudo_weight_and_copies_nothing() -> None:
    taso = CostTable.taso(FLOPS_PER_S, BYTES_PER_S, OVERHEAD_MS)
    pool = taso.price(one("MaxPool", [(1, 3, 7, 6)], **POOL))
    weight = 3 * 3 * 2
    assert pool.ms == pytest.approx(0.005 + 1000 * 4 * (126 + 27 + weight) / BYTES_PER_S, rel=1e-12)
    for op, attributes in (
        ("Transpose", {"perm": [1, 0]}),
        ("Split", {"axis": 1, "split": [2, 3]}),
        ("ReduceMean", {"axes": [0], "keepdims": 1}),
        ("Slice", {"starts": [1], "ends": [3], "axes": [0], "steps": [1]}),
    ):
        assert taso.price(one(op, [(4, 5)], **attributes)).ms == 0, op
    assert taso.price(one("Concat", [(4, 5), (4, 5)], axis=0)).ms > OVERHEAD_MS


def test_taso_does_not_charge_a_concat_that_a_rewrite_made() -> None:
    """Wherever its name comes from, and promised as well as made."""
    taso = CostTable.taso(FLOPS_PER_S, BYTES_PER_S, OVERHEAD_MS)
    net = Sketch()
    x, y = net.input(4, 4), net.input(4, 4)
    inner = net.node("Concat", x, y, axis=0)
    graph = net.graph(net.node("Concat", inner, x, axis=0, name="out"))
    flat = (
        "(rule flat (Concat ?xs* (Concat ?ys... :axis ?a) ?zs* :axis ?a)"
        " => (Concat ?xs* ?ys... ?zs* :axis ?a))"
    )
    start = State(graph, rule_set(flat), taso)
    after = start.apply(0)
    assert after.graph.output_tensors == ["out"]
    assert after.cost.ms == taso.price(after.graph).ms == 0
    assert start.cost.ms + start.matches()[0].cost_difference_ms == pytest.approx(0, abs=1e-15)


def test_opaque_and_unknown_operators_pay_for_their_bytes() -> None:
    builder = GraphBuilder()
    builder.add_input("x", f32(4, 5))
    builder.add_node("Unheard", ["x"], ["y"], output_types=[f32(4, 2)], domain="mine")
    builder.add_node("Conv", ["y", "y"], ["z"], output_types=[f32(3)], opaque=True)
    builder.set_outputs(["z"])
    graph = builder.build()
    cost = roofline().price(graph)
    assert (cost.flops, cost.bytes, cost.num_kernels) == (0, 4 * (28 + 19), 2)
    assert graph.nodes()[0].signature.key.startswith("mine::Unheard(float32[4,5])")
    assert " opaque" in graph.nodes()[1].signature.key


# --- measured prices -------------------------------------------------------------------------


def test_measured_prices_are_asked_for_once_and_in_order() -> None:
    net = Sketch()
    x = net.input(2, 2)
    chain = net.node("Exp", net.node("Relu", net.node("Reshape", net.node("Relu", x), shape=[4])))
    graph = net.graph(chain)
    table = CostTable.measured()
    assert math.isnan(table.price(graph).ms)
    keys = [signature.key for signature in table.unknown()]
    assert [key.split("(")[0] for key in keys] == ["Relu", "Relu", "Exp"]
    assert math.isnan(table.price(graph).ms)
    assert [signature.key for signature in table.unknown()] == keys
    for ms, key in enumerate(keys, start=1):
        table.set(key, float(ms))
    assert table.unknown() == []
    assert table.price(graph).ms == 6.0
    assert (len(table), table.get(keys[2]), table.get("other")) == (3, 3.0, None)


def test_a_price_can_be_corrected() -> None:
    graph = one("Relu", [(2, 2)])
    table = CostTable.measured()
    table.price(graph)
    (signature,) = table.unknown()
    for ms in (1.0, 2.0):
        table.set(signature.key, ms)
        assert table.price(graph).ms == ms


def test_constness_of_operands_is_part_of_the_signature() -> None:
    builder = GraphBuilder()
    builder.add_input("x", f32(2, 2))
    builder.add_input("y", f32(2, 2))
    builder.add_weight("w", f32(2, 2))
    for index, names in enumerate((["x", "w"], ["x", "y"], ["w", "x"])):
        builder.add_node("MatMul", names, [f"z{index}"])
    builder.set_outputs(["z0", "z1", "z2"])
    keys = {node.signature.key for node in builder.build().nodes()}
    assert len(keys) == 3


def test_unknown_candidates_are_nan_until_the_table_is_filled() -> None:
    net = Sketch()
    graph = net.graph(net.node("Relu", net.node("Relu", net.input(2, 2))))
    rule = "(rule tanh (Relu (Relu ?x)) => (Tanh (Relu ?x)))"
    table = CostTable.measured()
    start = State(graph, rule_set(rule), table)
    assert math.isnan(start.cost.ms)
    assert math.isnan(start.matches()[0].cost_difference_ms)
    prices = {"Relu": 1.0, "Tanh": 5.0}
    assert {signature.op_type for signature in table.unknown()} == set(prices)
    child = start.apply(0)
    for signature in table.unknown():
        table.set(signature.key, prices[signature.op_type])
    assert math.isnan(start.cost.ms), "a state is immutable"
    priced = start.repriced()
    assert priced.cost.ms == 2.0
    assert priced.matches()[0].cost_difference_ms == 4.0
    assert priced.observe()["match_cost_ms"].tolist() == [4.0]
    assert (start.is_priced, child.is_priced, priced.is_priced) == (False, False, True)
    assert child.repriced().cost.ms == 6.0
    # The one's matches are the other's, whichever has prices.
    for parent, source in ((start, priced), (priced, start), (priced, priced)):
        after = parent.apply(source.matches()[0])
        assert (after.cost.ms, after.hash) == (6.0, child.hash)


@pytest.mark.parametrize(
    ("op", "inputs"), [("RandomNormal", []), ("Gemm", ["x", "x", ""]), ("MaxPool", ["x"])]
)
def test_what_is_opaque_has_a_price_whatever_it_lacks(op: str, inputs: list[str]) -> None:
    """Its operands and attributes are the file's; TASO's formulas read some that need not be."""
    builder = GraphBuilder()
    builder.add_input("x", f32(2, 2))
    types = [f32(2, 2)] * (2 if op == "MaxPool" else 1)
    outputs = [f"y{index}" for index in range(len(types))]
    builder.add_node(op, inputs, outputs, {}, output_types=types, opaque=True)
    builder.set_outputs([*outputs, "x"], [*outputs, "x"])
    price = CostTable.taso(FLOPS_PER_S, BYTES_PER_S, OVERHEAD_MS).price(builder.build())
    assert 0.005 <= price.ms < 0.006
