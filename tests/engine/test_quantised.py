"""What a runtime computes on integers is left alone; what lies between such pairs is not."""

from __future__ import annotations

import pytest

from xflowrl._engine import CostTable, Graph, GraphBuilder, State, TensorType
from xflowrl.rules import load_core


def chain(*, to_integers: bool, activation: str = "") -> Graph:
    """uint8 -> DequantizeLinear -> Add of 0 -> (activation) -> (QuantizeLinear)."""
    builder = GraphBuilder("quantised")
    x, floats = TensorType("uint8", [2, 3]), TensorType("float32", [2, 3])
    builder.add_input("x", x)
    builder.add_literal("zero", TensorType("float32", []), [0.0])
    builder.add_literal("scale", TensorType("float32", []), [0.5])
    builder.add_node("DequantizeLinear", ["x", "scale"], ["d"], output_types=[floats], opaque=True)
    builder.add_node("Add", ["d", "zero"], ["a"])
    last = "a"
    if activation:
        (last,) = builder.add_node(activation, ["a"], ["r"])
    if to_integers:
        builder.add_node("QuantizeLinear", [last, "scale"], ["q"], output_types=[x], opaque=True)
    builder.set_outputs(["q" if to_integers else last])
    return builder.build()


def rules_at(graph: Graph) -> set[str]:
    state = State(graph, load_core(), CostTable.roofline(1e12, 1e12, 0.005))
    return {match.rule for match in state.matches()}


def test_an_operator_between_a_pair_is_left_alone() -> None:
    assert not rules_at(chain(to_integers=True))


@pytest.mark.parametrize("activation", ["Relu", "Clip"])
def test_so_is_one_with_its_activation(activation: str) -> None:
    """Runtimes take the activation as a part of the rounding behind it."""
    assert not rules_at(chain(to_integers=True, activation=activation))
    assert "Add-zero-eliminate" in rules_at(chain(to_integers=False, activation=activation))


def test_an_operator_behind_another_activation_is_rewritten() -> None:
    assert "Add-zero-eliminate" in rules_at(chain(to_integers=True, activation="Tanh"))


def test_an_operator_that_gives_floats_is_rewritten() -> None:
    assert "Add-zero-eliminate" in rules_at(chain(to_integers=False))
