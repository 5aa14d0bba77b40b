"""What a runtime computes on integers is left alone; what lies between such pairs is not."""

from __future__ import annotations

from xflowrl._engine import CostTable, Graph, GraphBuilder, State, TensorType
from xflowrl.rules import load_core


def chain(*, to_integers: bool) -> Graph:
    """uint8 -> DequantizeLinear -> Add of 0 -> (QuantizeLinear) -> Relu."""
    builder = GraphBuilder("quantised")
    x, floats = TensorType("uint8", [2, 3]), TensorType("float32", [2, 3])
    builder.add_input("x", x)
    builder.add_literal("zero", TensorType("float32", []), [0.0])
    builder.add_literal("scale", TensorType("float32", []), [0.5])
    builder.add_node("DequantizeLinear", ["x", "scale"], ["d"], output_types=[floats], opaque=True)
    builder.add_node("Add", ["d", "zero"], ["a"])
    if to_integers:
        builder.add_node("QuantizeLinear", ["a", "scale"], ["q"], output_types=[x], opaque=True)
    builder.set_outputs(["q" if to_integers else "a"])
    return builder.build()


def rules_at(graph: Graph) -> set[str]:
    state = State(graph, load_core(), CostTable.roofline(1e12, 1e12, 0.005))
    return {match.rule for match in state.matches()}


def test_an_operator_between_a_pair_is_left_alone() -> None:
    assert not rules_at(chain(to_integers=True))


def test_an_operator_that_gives_floats_is_rewritten() -> None:
    assert "Add-zero-eliminate" in rules_at(chain(to_integers=False))
