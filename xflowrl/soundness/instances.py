"""Random graphs in which the source of a rule occurs."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xflowrl._engine import Graph, GraphBuilder, TensorType, infer_types
from xflowrl.operators import OPERATORS
from xflowrl.soundness.choosers import CHOOSERS
from xflowrl.soundness.choosers.dice import Dice, Shape
from xflowrl.soundness.expressions import Bindings, NoValue, Unbound, evaluate
from xflowrl.soundness.pattern import AllOutputs, Operand, Output, PatternNode, Root, Variable
from xflowrl.soundness.sexpr import Sexpr
from xflowrl.soundness.values import Pool, draw

Array = NDArray[Any]

# Operands whose values must be chosen for the operator to be exact.
_EXACTING = ("variance", "divisor", "square", "exponent")


class Rejected(Exception):
    """The choices made do not fit together; try others."""


@dataclass(frozen=True)
class Instance:
    """A graph with values for its inputs and weights.

    Attributes:
        feeds: values of the graph's inputs.
        weights: values of its named constants.
    """

    graph: Graph
    feeds: Mapping[str, Array]
    weights: Mapping[str, Array]

    def describe(self) -> str:
        """Operands and nodes with shapes and attributes, one a line."""
        graph = self.graph
        constants = [*graph.weights, *graph.literals]
        lines = [f"{name}: {graph.tensor_type(name)!r}" for name in graph.inputs]
        lines += [f"{name}: {graph.tensor_type(name)!r} constant" for name in constants]
        for node in graph.nodes():
            attributes = " ".join(f"{k}={v}" for k, v in sorted(node.attributes.items()))
            call = f"{node.op_type}({', '.join(node.inputs)}) {attributes}".strip()
            types = ", ".join(repr(t) for t in node.output_types)
            lines.append(f"{', '.join(node.outputs)} = {call}: {types}")
        return "\n".join(lines)


def operators_of(roots: list[Root]) -> set[str]:
    """The operator types that a source speaks of."""
    found: set[str] = set()

    def visit(operand: Operand) -> None:
        if isinstance(operand, Output | AllOutputs):
            found.add(operand.node.op_type)
            for inner in operand.node.operands:
                visit(inner)

    for root in roots:
        visit(root)
    return found


def sample_instance(
    roots: list[Root],
    rng: random.Random,
    literals: Mapping[str, float] | None = None,
    pool: Pool = Pool(),  # noqa: B008 -- immutable
) -> Instance:
    """Builds one random instance of a source.

    Args:
        literals: variables that are mostly to be literals of one element, and a value to favour.
        pool: what the rule makes worth trying.

    Raises:
        Rejected: the choices did not fit; another call may succeed.
        ValueError: the source speaks of something the checker cannot choose.
    """
    ops = operators_of(roots)
    unknown = sorted(ops - CHOOSERS.keys())
    if unknown:
        raise ValueError(f"the checker cannot choose operands of {', '.join(unknown)}")
    dtypes = [OPERATORS[op].dtypes for op in ops]
    dtype = "float64"
    if ("bool",) in dtypes and rng.random() < 0.5:  # also what only moves elements moves booleans
        dtype = "bool"
    elif all("int64" in tried for tried in dtypes) and rng.random() < 0.25:
        dtype = "int64"
    return _Builder(roots, rng, dtype, literals or {}, pool).build()


@dataclass(frozen=True)
class _Tensor:
    """A tensor of the graph being built; a variable is a tensor that no node makes."""

    name: str
    type: TensorType
    is_variable: bool

    @property
    def shape(self) -> Shape:
        return tuple(self.type.shape)


_OPEN = ""  # stands for a tensor that is still to be chosen
_Element = _Tensor | str | None


@dataclass
class _Builder:
    """Builds the pattern's nodes, operands first, and chooses what is open at each."""

    roots: list[Root]
    rng: random.Random
    dtype: str
    favoured: Mapping[str, float]
    pool: Pool
    dice: Dice = field(init=False)

    def __post_init__(self) -> None:
        # Equal dimensions everywhere make types agree by accident, where a missing guard shows.
        fixed_dim = self.rng.choice([2, 3]) if self.rng.random() < 0.35 else None
        self.dice = Dice(self.rng, fixed_dim=fixed_dim, is_whole=self.dtype == "int64")
        self.manner = self.rng.choice(self.pool.manners)
        self.attributes: dict[str, Any] = {}
        self.tensors: dict[str, _Tensor | None] = {}
        self.sequences: dict[str, list[_Tensor]] = {}
        self.nodes: dict[PatternNode, list[_Tensor]] = {}
        self.calls: list[tuple[str, list[_Tensor | None], list[str], dict[str, Any]]] = []
        self.variables: dict[str, _Tensor] = {}
        self.roles: dict[str, tuple[str, float]] = {}
        self.literals: dict[str, float] = {}

    def build(self) -> Instance:
        outputs = [tensor.name for root in self.roots for tensor in self.outputs_of(root)]
        if self.dice.chance(0.05):  # an inner tensor is wanted as well: the rule must not take it
            outputs.append(self.rng.choice(self.calls)[2][0])
        names = list(dict.fromkeys(outputs))
        if not names:
            raise Rejected
        builder = GraphBuilder("instance")
        feeds, weights = self.declare(builder)
        for op_type, inputs, results, attributes in self.calls:
            builder.add_node(op_type, [t.name if t else "" for t in inputs], results, attributes)
        builder.set_outputs([f"output{i}" for i in range(len(names))], names)
        return Instance(builder.build(), feeds, weights)

    def declare(self, builder: GraphBuilder) -> tuple[dict[str, Array], dict[str, Array]]:
        """Declares every variable as an input, a weight or a literal, and gives it a value."""
        feeds, weights = {}, {}
        for name, tensor in self.variables.items():
            value = self.value(tensor)
            kind = self.rng.random()
            if name in self.literals:
                builder.add_literal(name, tensor.type, [self.literals[name]])
                continue
            if kind < 0.65 or len(self.variables) == 1:
                builder.add_input(name, tensor.type)
                feeds[name] = value
            elif kind < 0.9 or value.size > 64:
                builder.add_weight(name, tensor.type)
                weights[name] = value
            else:
                builder.add_literal(name, tensor.type, [float(v) for v in value.ravel()])
        if not feeds:
            raise Rejected
        return feeds, weights

    def value(self, tensor: _Tensor) -> Array:
        """Values of the instance's manner, or what keeps the reader of the tensor exact."""
        role, number = self.roles.get(tensor.name, ("", 0.0))
        rng = np.random.default_rng(self.rng.getrandbits(32))
        shape, dtype = tensor.shape, tensor.type.dtype
        if dtype == "bool":
            return np.asarray(rng.integers(0, 2, shape), bool)
        if role == "variance":
            return np.asarray(4.0 ** rng.integers(1, 3, shape) - number)
        if role == "square":
            return np.asarray(4.0 ** rng.integers(-1, 3, shape))
        if role == "exponent":
            return np.asarray(rng.choice([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0], shape))
        if role == "divisor":
            powers = 2.0 ** rng.integers(0 if dtype == "int64" else -1, 3, shape)
            if self.pool.zero_divisors and dtype != "int64":
                powers = np.where(rng.random(shape) < 0.2, 0.0, powers)
            return np.asarray(rng.choice([-1, 1], shape) * powers, dtype)
        if role == "indices":
            return np.asarray(rng.integers(-int(number), int(number), shape), dtype)
        return np.asarray(draw(rng, self.manner, shape, self.pool), dtype)

    # --- pattern nodes ---------------------------------------------------------------------------

    def outputs_of(self, operand: Output | AllOutputs) -> list[_Tensor]:
        outputs = self.node(operand.node)
        if isinstance(operand, Output):
            index = operand.index
            if isinstance(index, str):
                index = self.attributes.setdefault(index, self.rng.randrange(len(outputs)))
            if index >= len(outputs):
                raise Rejected
            return [outputs[index]]
        start = self.bound(operand.start, 0, len(outputs))
        stop = self.bound(operand.stop, len(outputs), len(outputs))
        if not 0 <= start <= stop <= len(outputs):
            raise Rejected
        return outputs[start:stop]

    def bound(self, expr: Sexpr | None, default: int, count: int) -> int:
        """The number that bounds a range of outputs."""
        if expr is None:
            return default
        if isinstance(expr, str) and expr.startswith("?"):
            return int(self.attributes.setdefault(expr, self.rng.randrange(count)))
        return int(self.evaluate(expr))

    def node(self, node: PatternNode) -> list[_Tensor]:
        """The outputs of a pattern node, which is built when it is first asked for."""
        if node in self.nodes:
            return self.nodes[node]
        for operand in node.operands:  # nodes first: they may bind variables that stand before them
            if isinstance(operand, Output | AllOutputs):
                self.node(operand.node)
        groups = [(operand, self.elements(operand)) for operand in node.operands]
        if node.is_each:
            ((operand, elements),) = groups
            outputs, inputs = [], []
            for element in elements:
                outputs += self.call(node, [(None, [element])])
                inputs += self.calls[-1][1]
            self.bind(operand, inputs)
        else:
            outputs = self.call(node, groups)
        self.nodes[node] = outputs
        return outputs

    def elements(self, operand: Operand) -> list[_Element]:
        """The tensors that an operand of a pattern stands for, those still open included."""
        if operand is None:
            return [None]
        if isinstance(operand, Output | AllOutputs):
            return list(self.outputs_of(operand))
        if operand.kind == "sequence":
            if operand.name in self.sequences:
                return list(self.sequences[operand.name])
            count = self.rng.choices([0, 1, 2, 3], [2, 4, 4, 2])[0]
            return [_OPEN] * max(operand.fewest, count)
        if operand.name in self.tensors:
            return [self.tensors[operand.name]]
        return [None] if operand.kind == "optional" and self.dice.chance(0.4) else [_OPEN]

    def bind(self, operand: Operand, inputs: list[_Tensor | None]) -> None:
        """Notes which tensors a variable has become."""
        if isinstance(operand, Variable) and operand.kind == "sequence":
            self.sequences[operand.name] = [tensor for tensor in inputs if tensor]
        elif isinstance(operand, Variable):
            (self.tensors[operand.name],) = inputs

    def call(
        self, node: PatternNode, groups: Iterable[tuple[Operand, list[_Element]]]
    ) -> list[_Tensor]:
        """Adds one operator: chooses what is open, binds variables, infers the results."""
        op_type = node.op_type
        fixed, late = self.fixed_attributes(node)
        shapes = [
            element.shape if isinstance(element, _Tensor) else None
            for _, elements in groups
            for element in elements
            if element is not None
        ]
        try:
            chosen, attributes = CHOOSERS[op_type](self.dice, shapes, fixed)
        except (IndexError, ValueError, KeyError, ZeroDivisionError):
            raise Rejected from None
        still = iter(chosen)
        inputs: list[_Tensor | None] = []
        for operand, elements in groups:
            first = len(inputs)
            for element in elements:
                shape = next(still) if element is not None else ()
                if isinstance(element, str):
                    element = (
                        self.again(operand)
                        or self.literal(operand)
                        or self.variable(shape, self.dtype_of(op_type, len(inputs)))
                    )
                inputs.append(element)
            self.bind(operand, inputs[first:])
        for position, tensor in enumerate(inputs):
            role = OPERATORS[op_type].roles.get(position)
            if tensor and tensor.is_variable and role in _EXACTING:
                self.roles[tensor.name] = (role, attributes.get("epsilon", 0.0))
            if tensor and tensor.is_variable and role == "indices":
                if attributes["axis"] not in range(len(chosen[0])):
                    raise Rejected
                self.roles[tensor.name] = (role, chosen[0][attributes["axis"]])
        attributes |= {name: self.evaluate(expr) for name, expr in late.items()}
        self.compare(node, attributes)
        for name, expr in node.attributes.items():
            if isinstance(expr, str) and expr.startswith("?"):
                self.attributes.setdefault(expr, attributes[name])
        if node.attribute_set is not None:
            self.attributes.setdefault(node.attribute_set, dict(attributes))
        self.dice.earlier.setdefault(op_type, []).append((list(chosen), attributes))
        return self.results(op_type, inputs, attributes)

    def dtype_of(self, op_type: str, position: int) -> str:
        """The element type of a variable at an operand of an operator."""
        row = OPERATORS[op_type]
        role = row.roles.get(position)
        if role == "indices":
            return "int64"
        return "bool" if role == "condition" or row.dtypes == ("bool",) else self.dtype

    def compare(self, node: PatternNode, attributes: dict[str, Any]) -> None:
        """Mostly gives an attribute a value about the number that a guard compares it with."""
        compared = dict(self.pool.attributes)
        for name, expr in node.attributes.items():
            is_open = isinstance(expr, str) and expr in compared and expr not in self.attributes
            if is_open and isinstance(attributes[name], float) and self.dice.chance(0.7):
                attributes[name] = self.rng.choice(compared[str(expr)])

    def fixed_attributes(self, node: PatternNode) -> tuple[dict[str, Any], dict[str, Sexpr]]:
        """Attributes the pattern fixes now, and those that follow from the operands chosen."""
        fixed = dict(self.attributes.get(node.attribute_set or "", {}))
        late: dict[str, Sexpr] = {}
        for name, expr in node.attributes.items():
            try:
                value = self.evaluate(expr)
            except Unbound:
                if not (isinstance(expr, str) and expr.startswith("?")):
                    late[name] = expr
                continue
            if fixed.get(name, value) != value:
                raise Rejected
            fixed[name] = value
        return fixed, late

    def evaluate(self, expr: Sexpr) -> Any:
        shapes = {name: t.shape for name, t in self.tensors.items() if t is not None}
        sequences = {name: [t.shape for t in ts] for name, ts in self.sequences.items()}
        try:
            return evaluate(expr, Bindings(self.attributes, shapes, sequences))
        except NoValue:
            raise Rejected from None

    def again(self, operand: Operand) -> _Tensor | None:
        """What a variable that occurs twice among the operands of a node has just become."""
        return self.tensors.get(operand.name) if isinstance(operand, Variable) else None

    def literal(self, operand: Operand) -> _Tensor | None:
        """A literal where the rule asks for a variable's value, mostly of the value it wants."""
        if not isinstance(operand, Variable) or operand.name not in self.favoured:
            return None
        if self.dice.chance(0.1):
            return None
        value = self.favoured[operand.name]
        tensor = self.variable((1,) * self.rng.choice([0, 0, 1, 2]))
        if self.dice.chance(0.2):
            value = self.rng.choice([-1.0, 0.0, 1.0, 2.0, value + 1.0])
        elif self.dice.chance(0.15):  # near it, where a guard leaves room
            value += value / 64
        self.literals[tensor.name] = value
        return tensor

    def variable(self, shape: Shape, dtype: str = "") -> _Tensor:
        """A new variable, now and then an old one of the same type."""
        wanted = TensorType(dtype or self.dtype, shape)
        old = [tensor for tensor in self.variables.values() if tensor.type == wanted]
        if old and self.dice.chance(0.07):
            return self.rng.choice(old)
        tensor = _Tensor(f"x{len(self.variables)}", wanted, True)
        self.variables[tensor.name] = tensor
        return tensor

    def results(
        self, op_type: str, inputs: list[_Tensor | None], attributes: dict[str, Any]
    ) -> list[_Tensor]:
        try:
            types = infer_types(op_type, [t.type if t else None for t in inputs], attributes)
        except ValueError:
            raise Rejected from None
        if any(not 0 < dim <= 64 for tensor_type in types for dim in tensor_type.shape):
            raise Rejected
        names = [f"t{len(self.calls)}_{i}" for i in range(len(types))]
        self.calls.append((op_type, inputs, names, attributes))
        return [_Tensor(n, t, False) for n, t in zip(names, types, strict=True)]
