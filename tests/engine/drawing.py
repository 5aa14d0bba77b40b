"""A short way to write small graphs by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xflowrl._engine import CostTable, Graph, GraphBuilder, RuleSet, State, TensorType


class Sketch:
    """A GraphBuilder that invents names and fills in what a two-dimensional Conv or pool needs."""

    def __init__(self, name: str = "sketch", dtype: str = "float32") -> None:
        self.builder = GraphBuilder(name)
        self.dtype = dtype
        self.num_made = 0

    def name(self, stem: str) -> str:
        self.num_made += 1
        return f"{stem.lower()}{self.num_made}"

    def input(self, *shape: int, name: str = "") -> str:
        return self.builder.add_input(name or self.name("x"), TensorType(self.dtype, shape))

    def weight(self, *shape: int, name: str = "") -> str:
        return self.builder.add_weight(name or self.name("w"), TensorType(self.dtype, shape))

    def literal(self, value: float) -> str:
        return self.builder.add_literal(self.name("c"), TensorType(self.dtype, []), [value])

    def nodes(
        self, op_type: str, *inputs: str, outputs: int = 1, name: str = "", **attributes: Any
    ) -> list[str]:
        names = [name or self.name(op_type) for _ in range(outputs)]
        return self.builder.add_node(op_type, list(inputs), names, attributes)

    def node(self, op_type: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        return self.nodes(op_type, *inputs, name=name, **attributes)[0]

    def conv(
        self, x: str, w: str, *bias: str, pad: int = 0, stride: int = 1, group: int = 1, **more: Any
    ) -> str:
        window = {"strides": [stride] * 2, "pads": [pad] * 4, "dilations": [1, 1]}
        return self.node("Conv", x, w, *bias, **{**window, "group": group, **more})

    def pool(self, op_type: str, x: str, size: int, *, stride: int = 1, pad: int = 0) -> str:
        window = {"strides": [stride] * 2, "pads": [pad] * 4, "dilations": [1, 1]}
        return self.node(op_type, x, kernel_shape=[size] * 2, **window)

    def split(self, x: str, *sizes: int, axis: int) -> list[str]:
        return self.nodes("Split", x, outputs=len(sizes), axis=axis, split=list(sizes))

    def graph(self, *outputs: str) -> Graph:
        self.builder.set_outputs(list(outputs))
        return self.builder.build()


def roofline() -> CostTable:
    """The A100 preset."""
    return CostTable.roofline(19.5e12, 1.555e12, 0.005)


def corrected() -> CostTable:
    """The same with other factors for what is fused, and what moves data."""
    factors = {"Split": 0.0, "Concat": 0.7, "Conv": 1.1, "Conv:pointwise": 0.6}
    for number, op_type in enumerate(["Relu", "Add", "Mul", "BatchNormalization", "Sum"]):
        factors[op_type] = 0.9 + 0.01 * number
        factors[f"{op_type}:after_product"] = 0.1 + 0.02 * number
        factors[f"{op_type}:after_elementwise"] = 0.4 + 0.03 * number
    return CostTable.roofline(19.5e12, 1.555e12, 0.005, factors)


def rule_set(*rules: str, commutative: bool = False) -> RuleSet:
    """A set of rules given by their text."""
    option = " :commutative" if commutative else ""
    return RuleSet.parse(f"(rules test{option})\n" + "\n".join(rules))


def state(graph: Graph, *rules: str, commutative: bool = False) -> State:
    """A graph under a few rules and roofline costs."""
    return State(graph, rule_set(*rules, commutative=commutative), roofline())


def bound(at: State, rule: str | None = None) -> list[Sequence[str]]:
    """The tensors that each match binds, in the order of listing."""
    return [match.tensors for match in at.matches() if rule in (None, match.rule)]
