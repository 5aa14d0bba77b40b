"""The source of a rule as a graph of pattern nodes, for building instances of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from xflowrl.soundness.sexpr import RuleParts, Sexpr, subexpressions


@dataclass(frozen=True)
class Variable:
    """A place for a tensor. kind: "tensor", "optional" or "sequence" (of at least `fewest`)."""

    name: str
    kind: str
    fewest: int = 0


@dataclass(frozen=True)
class Output:
    """Output `index` of a pattern node: a number, or the attribute variable that holds it."""

    node: PatternNode
    index: int | str = 0


@dataclass(frozen=True)
class AllOutputs:
    """Every output of a node in order; of a range only outputs `start` to `stop` - 1."""

    node: PatternNode
    start: Sexpr | None = None
    stop: Sexpr | None = None


Operand = Variable | Output | AllOutputs | None
Root = Output | AllOutputs


@dataclass(eq=False)
class PatternNode:
    """One operator of the source.

    Attributes:
        is_each: stands for one node per tensor of its only operand.
        operands: in order; None is an operand that is explicitly absent.
        attributes: name to the expr it must equal or the variable it binds.
        attribute_set: variable that binds all attributes.
    """

    op_type: str
    is_each: bool
    operands: list[Operand] = field(default_factory=list)
    attributes: dict[str, Sexpr] = field(default_factory=dict)
    attribute_set: str | None = None


def source_roots(rule: RuleParts) -> list[Root]:
    """The tensors that a rule replaces; shared nodes of the pattern are shared objects."""
    reader = _Reader()
    return [reader.root(expr) for expr in rule.sources]


def favoured_literals(rule: RuleParts) -> dict[str, float]:
    """Variables whose value a rule asks for, each with one that its guards admit if they say so.

    Understood are (= (value ?x) number), and a lower and an upper bound: their middle.
    """
    names: dict[str, float] = {}
    bounds: dict[str, list[float]] = {}
    for expr in (*rule.targets, *rule.guards):
        for _, part in subexpressions(expr):
            match part:
                case ("=", ("value", str(name)), str(number)):
                    bounds[name] = [float(number)]
                case ("<" | ">", ("value", str(name)), str(number)):
                    bounds.setdefault(name, []).append(float(number))
                case ("value", str(name)):
                    names.setdefault(name, 0.5)
    return names | {name: sum(values) / len(values) for name, values in bounds.items()}


class _Reader:
    def __init__(self) -> None:
        self._labels: dict[str, PatternNode] = {}

    def root(self, expr: Sexpr) -> Root:
        operand = self.operand(expr)
        assert isinstance(operand, Output | AllOutputs)
        if isinstance(operand, Output) and operand.node.is_each:
            return AllOutputs(operand.node)
        return operand

    def operand(self, expr: Sexpr) -> Operand:
        if isinstance(expr, str):
            return self._reference(expr) if expr.startswith("@") else _variable(expr)
        head = expr[0]
        assert isinstance(head, str)
        if head == "none":
            return None
        if head == "outs":
            inner = self.operand(expr[1])
            assert isinstance(inner, Output)
            bounds = [*expr[2:], None, None]
            return AllOutputs(inner.node, bounds[0], bounds[1])
        return Output(self._node(expr))

    def _reference(self, text: str) -> Output:
        label, _, index = text.partition(".")
        return Output(self._labels[label], index if index.startswith("?") else int(index or 0))

    def _node(self, expr: tuple[Sexpr, ...]) -> PatternNode:
        is_each = expr[0] == "each"
        head = expr[1] if is_each else expr[0]
        assert isinstance(head, str)
        op_type, _, label = head.partition("@")
        node = PatternNode(op_type, is_each)
        parts = list(expr[2 if is_each else 1 :])
        while parts and not _is_keyword(parts[0]):
            operand = self.operand(parts.pop(0))
            if isinstance(operand, Output) and operand.node.is_each:
                operand = AllOutputs(operand.node)
            node.operands.append(operand)
        for key, value in zip(parts[::2], parts[1::2], strict=True):
            assert isinstance(key, str)
            if key == ":attrs":
                assert isinstance(value, str)
                node.attribute_set = value
            else:
                node.attributes[key[1:]] = value
        if label:
            self._labels[f"@{label}"] = node
        return node


def _is_keyword(expr: Sexpr) -> bool:
    return isinstance(expr, str) and expr.startswith(":")


def _variable(text: str) -> Variable:
    if text.startswith("["):
        return Variable(text[1:-1].strip(), "optional")
    if text.endswith("..."):
        return Variable(text[:-3], "sequence", 1)
    if text.endswith("*"):
        return Variable(text[:-1], "sequence", 0)
    return Variable(text, "tensor")
