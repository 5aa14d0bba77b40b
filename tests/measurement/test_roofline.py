from __future__ import annotations

import pytest

from xflowrl._engine import Graph, GraphBuilder, RuleSet, TensorType
from xflowrl.measurement import Objective, roofline
from xflowrl.measurement.roofline import PRICE_LISTS
from xflowrl.taso.prices import taso

WINDOW = {"strides": [1, 1], "pads": [1] * 4, "dilations": [1, 1], "group": 1}


def conv_concat_reshape():
    builder = GraphBuilder()
    builder.add_input("x", TensorType("float32", [1, 64, 56, 56]))
    builder.add_weight("w", TensorType("float32", [64, 64, 3, 3]))
    builder.add_node("Conv", ["x", "w"], ["c"], {**WINDOW, "activation": "Relu"})
    builder.add_node("Concat", ["c", "x"], ["d"], {"axis": 1})
    builder.add_node("Reshape", ["d"], ["y"], {"shape": [128, 3136]})
    builder.set_outputs(["y"])
    return builder.build()


def price_ms(objective: Objective, graph: Graph) -> float:
    cost_ms: float = objective.state(graph, RuleSet.parse("(rules none)")).cost.ms
    return cost_ms


def test_the_honest_price_of_a_graph_by_hand() -> None:
    flops = 2 * 64 * 56 * 56 * 64 * 9  # the fused Relu adds none
    conv_bytes = 4 * (64 * 56 * 56 * 2 + 64 * 64 * 9)
    concat_bytes = 4 * (64 * 56 * 56 * 4)
    conv_ms = 0.005 + 1000 * max(flops / 19.5e12, conv_bytes / 1.555e12)
    concat_ms = 0.005 + 1000 * concat_bytes / 1.555e12
    cost_ms = price_ms(roofline(), conv_concat_reshape())
    assert cost_ms == pytest.approx(conv_ms + concat_ms, rel=1e-12)


def test_a_faster_device_is_cheaper() -> None:
    graph = conv_concat_reshape()
    prices = [price_ms(roofline(name), graph) for name in ("t4_fp32", "v100_fp32", "h100_fp32")]
    assert prices == sorted(prices, reverse=True)
    assert len(set(prices)) == 3


def test_taso_charges_what_it_charges() -> None:
    graph = conv_concat_reshape()
    assert price_ms(taso(), graph) == pytest.approx(price_ms(roofline(), graph), rel=1e-12)
    builder = GraphBuilder()
    builder.add_input("x", TensorType("float32", [64, 64]))
    builder.add_node("Transpose", ["x"], ["y"], {"perm": [1, 0]})
    builder.set_outputs(["y"])
    transposed = builder.build()
    assert price_ms(taso(), transposed) == 0.0
    assert price_ms(roofline(), transposed) > 0.005


@pytest.mark.parametrize("price_list", [roofline, taso])
def test_an_unknown_name_lists_the_known_ones(price_list) -> None:
    with pytest.raises(ValueError, match=r"a200_fp32.*a100_fp32, a100_tf32"):
        price_list("a200_fp32")


@pytest.mark.parametrize("price_list", [roofline, taso])
def test_a_price_list_measures_nothing(price_list) -> None:
    objective = price_list()
    price_ms(objective, conv_concat_reshape())
    assert (objective.device, objective.runtime) == ("a100_fp32", None)
    assert objective.num_measured == 0


def test_presets_state_their_source() -> None:
    assert all(preset.source for preset in PRICE_LISTS.values())
