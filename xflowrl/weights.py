"""Weights and inputs drawn from a seed, at a scale that keeps activations near unit size.

A weight's role (kernel, bias, variance, ...) and scale are read from its consumers in the graph.
Every kernel is scaled by its fan-in and by the size its input is expected to have, which is
followed through the graph operator by operator: so sums in deep residual networks grow with the
square root of the depth and not exponentially. Source of the fan-in scale: He et al. 2015, eq. 10.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from xflowrl._engine import Graph, Node, TensorType
from xflowrl.operators import operator_of

Array = NDArray[Any]

_MAX_KEPT_BYTES = 2**27
_FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})


class Weights(Protocol):
    """Values of constants by name. Equal names give equal values, however often they are asked."""

    def get(self, name: str) -> Array:
        """The value, to be left unchanged. Raises ValueError for a name that is not known."""
        ...


@dataclass(frozen=True)
class _Recipe:
    """How a weight is drawn: `role`, and the scale of a kernel."""

    role: str
    scale: float = 1.0


@dataclass(frozen=True)
class _Moments:
    """What is expected of the elements of a tensor."""

    mean: float
    deviation: float

    @property
    def root_mean_square(self) -> float:
        return math.hypot(self.mean, self.deviation)

    def clipped(self) -> _Moments:
        return _Moments(min(max(self.mean, -1e3), 1e3), min(max(self.deviation, 1e-3), 1e3))


class DrawnWeights:
    """Weights of a graph, drawn when asked for.

    A value depends on the seed, the weight's name, type and consumers alone: it is the same in
    every process and in every order of asking. Integers are drawn as zeros, which index anything.
    The first 128 MB that are drawn are kept, for real measurements export the same weights again
    and again; a pickle takes none of them along.

    Args:
        graph: says the types of the weights and, through their consumers, their roles.
        seed: of the draw.
    """

    def __init__(self, graph: Graph, seed: int) -> None:
        self._graph = graph
        self._seed = seed
        self._kept: dict[str, Array] = {}
        self._kept_bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        kept = {"_kept": {}, "_kept_bytes": 0}
        return {"_graph": self._graph, "_seed": self._seed, **kept}

    # Made when the first value is asked for: search and training never do.

    @cached_property
    def _types(self) -> Mapping[str, TensorType]:
        return self._graph.weights

    @cached_property
    def _recipes(self) -> Mapping[str, _Recipe]:
        return _plan_recipes(self._graph)

    def get(self, name: str) -> Array:
        """The weight of that name.

        Raises:
            ValueError: if the graph had no such weight.
        """
        if name not in self._types:
            raise ValueError(f'weight "{name}" is not in the graph; use a name of graph.weights')
        if (kept := self._kept.get(name)) is not None:
            return kept
        value = _draw(self._types[name], self._recipes[name], _generator(self._seed, name))
        if self._kept_bytes + value.nbytes <= _MAX_KEPT_BYTES:
            self._kept[name] = value
            self._kept_bytes += value.nbytes
        return value

    def parameters(self) -> set[str]:
        """Float weights with a learnable role: what may be drawn anew without changing meaning."""
        return {
            name
            for name, tensor_type in self._types.items()
            if tensor_type.dtype in _FLOATS and self._recipes[name].role != "other"
        }


class RedrawnWeights:
    """Weights of which the float parameters are drawn anew, while all others keep their value.

    Attributes:
        parameters: their names; `among`, if it is given, limits them.
    """

    def __init__(
        self, own: Weights, graph: Graph, seed: int, *, among: Collection[str] | None = None
    ) -> None:
        self._own = own
        self._drawn = DrawnWeights(graph, seed)
        found = self._drawn.parameters()
        self.parameters = found if among is None else found & set(among)

    def get(self, name: str) -> Array:
        """The weight of that name; ValueError if there is none."""
        return (self._drawn if name in self.parameters else self._own).get(name)


def _generator(seed: int, name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def _draw(tensor_type: TensorType, recipe: _Recipe, generator: np.random.Generator) -> Array:
    shape, dtype = tensor_type.shape, tensor_type.dtype
    if dtype == "string":
        return np.full(shape, "", dtype=object)
    if dtype not in _FLOATS:
        return np.zeros(shape, dtype)
    # Half the shapes' memory: nothing here needs more than single precision.
    work = np.float64 if dtype == "float64" else np.float32
    if recipe.role in ("kernel", "table"):
        values = generator.standard_normal(shape, work) * work(recipe.scale)
    elif recipe.role == "bias":
        values = generator.standard_normal(shape, work) * work(0.1)
    else:
        low, high = _RANGES[recipe.role]
        values = work(low) + generator.random(shape, work) * work(high - low)
    return _rounded(np.asarray(values), dtype)


def _rounded(values: Array, dtype: str) -> Array:
    return values.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype, copy=False)


_RANGES = {
    "scale": (0.8, 1.2), "divisor": (0.8, 1.2), "variance": (0.75, 1.33), "slope": (0.1, 0.4),
    "other": (0.5, 1.5),
}  # fmt: skip
_LEARNED = {"kernel", "table", "bias", *_RANGES}


def _plan_recipes(graph: Graph) -> dict[str, _Recipe]:
    """Role and scale of every weight, in one walk along the graph and one back from consumers."""
    types = dict(graph.weights)
    types.update({name: tensor_type for name, (tensor_type, _) in graph.literals.items()})
    nodes = graph.nodes()
    for name in graph.inputs:
        types[name] = graph.tensor_type(name)
    constant = set(graph.weights) | set(graph.literals)
    for node in nodes:
        types.update(zip(node.outputs, node.output_types, strict=True))
        if node.is_constant:
            constant.update(node.outputs)
    size = dict.fromkeys(graph.inputs, _Moments(0.0, 1.0))
    for name, (_, values) in graph.literals.items():
        bounded = np.clip(values, -1e3, 1e3)  # masks hold infinities
        size[name] = _Moments(float(np.mean(bounded)), float(np.std(bounded)))
    recipes: dict[str, _Recipe] = {}
    for node in nodes:
        if node.is_constant:
            continue
        for position, name in enumerate(node.inputs):
            if name in constant and name not in recipes:
                recipes[name] = _recipe_of(node, position, size, types)
        result = _moments_of(node, size, types, recipes)
        size.update(dict.fromkeys(node.outputs, result))
    for node in reversed(nodes):
        if node.is_constant:
            _pass_back(node, recipes, types)
    return {name: recipes.get(name, _Recipe("other")) for name in graph.weights}


def _recipe_of(
    node: Node, position: int, size: Mapping[str, _Moments], types: Mapping[str, TensorType]
) -> _Recipe:
    """The recipe of a constant operand of a node that is not constant."""
    role = operator_of(node.op_type).roles.get(position) if node.domain == "" else None
    if role != "kernel":
        return _Recipe(role if role in _LEARNED else "other")
    partner = node.inputs[1 - position] if node.op_type in ("MatMul", "Gemm") else node.inputs[0]
    fan_in = _fan_in(node, position, types)
    partner_size = size[partner].root_mean_square if partner in size else 1.0
    return _Recipe("kernel", 1.0 / (float(np.sqrt(max(fan_in, 1))) * max(partner_size, 1e-3)))


def _fan_in(node: Node, position: int, types: Mapping[str, TensorType]) -> int:
    """Products that are summed into one element of the result."""
    shape = types[node.inputs[position]].shape
    if node.op_type == "MatMul":
        return shape[-2] if position == 1 and len(shape) > 1 else shape[-1]
    if node.op_type == "Gemm":
        flag = node.attributes["transA" if position == 0 else "transB"]
        return shape[1] if (position == 0) != bool(flag) else shape[0]
    if node.op_type == "ConvTranspose":
        strides = node.attributes.get("strides", [1])
        group = node.attributes.get("group", 1)
        assert isinstance(strides, list) and isinstance(group, int)
        reach = int(np.prod(shape[2:], dtype=np.int64)) // int(np.prod(np.array(strides)))
        return shape[0] // group * max(reach, 1)
    if node.op_type in ("LSTM", "GRU", "RNN"):
        return 2 * shape[-1]
    return int(np.prod(shape[1:], dtype=np.int64))


def _moments_of(
    node: Node,
    size: Mapping[str, _Moments],
    types: Mapping[str, TensorType],
    recipes: Mapping[str, _Recipe],
) -> _Moments:
    """What to expect of a node's result, from rules of thumb."""

    def of(position: int) -> _Moments:
        name = node.inputs[position]
        if name in size:
            return size[name]
        role = recipes[name].role if name in recipes else "other"
        return _Moments(0.0, 0.1) if role == "bias" else _Moments(1.0, 0.2)

    op, operands = node.op_type, [i for i, name in enumerate(node.inputs) if name]
    if not operands or any(types[name].dtype == "unknown" for name in node.inputs if name):
        return _Moments(0.0, 1.0)
    x = of(operands[0])
    if any(n in recipes and recipes[n].role == "kernel" for n in node.inputs):
        result = _Moments(0.0, 1.0)
    elif op == "MatMul":
        depth = types[node.inputs[0]].shape[-1]
        spread = np.sqrt(depth) * x.root_mean_square * of(1).root_mean_square
        result = _Moments(depth * x.mean * of(1).mean, float(spread))
    elif op in ("Add", "Sub", "Sum"):
        signs = [1.0, -1.0 if op == "Sub" else 1.0]
        mean = sum(of(i).mean * signs[min(i, 1)] for i in operands)
        result = _Moments(mean, float(np.sqrt(sum(of(i).deviation ** 2 for i in operands))))
    elif op in ("Mul", "Div"):
        y = of(1)
        factor = y.root_mean_square if op == "Mul" else 1.0 / max(y.root_mean_square, 1e-3)
        result = _Moments(x.mean * factor, x.deviation * factor)
    elif op == "Softmax":
        axis = -1 if node.is_opaque else node.attributes["axis"]
        assert isinstance(axis, int)
        mean = 1.0 / max(types[node.inputs[0]].shape[axis], 1)
        result = _Moments(mean, 1.3 * mean)
    elif op == "Concat":
        mean = float(np.mean([of(i).mean for i in operands]))
        square = float(np.mean([of(i).root_mean_square ** 2 for i in operands]))
        result = _Moments(mean, float(np.sqrt(max(square - mean**2, 0.0))))
    elif op == "MaxPool":
        kernel = node.attributes["kernel_shape"]
        assert isinstance(kernel, list)
        # The largest of n independent normal numbers, roughly.
        steps = float(np.sqrt(np.log(max(np.prod(np.array(kernel, float)), 1.0))))
        result = _Moments(x.mean + x.deviation * steps, x.deviation)
    elif operator_of(op).averages:
        result = _Moments(x.mean, 0.3 * x.deviation)
    elif op == "Where" and len(operands) == 3:
        result = of(1)
    else:
        result = _activated(x, op)
    activation = "" if node.is_opaque else node.attributes.get("activation", "")
    assert isinstance(activation, str)
    return _activated(result, activation).clipped()


def _activated(x: _Moments, op: str) -> _Moments:
    """The moments of op(x); all rectifiers are taken for Relu, with x normal."""
    row = operator_of(op)
    if row.bounded is not None:
        return _Moments(*row.bounded)
    if not row.rectifies or x.deviation == 0.0:
        return x
    z = x.mean / x.deviation
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    above = 0.5 * (1 + math.erf(z / math.sqrt(2)))
    mean = x.mean * above + x.deviation * density
    square = (x.mean**2 + x.deviation**2) * above + x.mean * x.deviation * density
    return _Moments(mean, math.sqrt(max(square - mean**2, 0.0)))


def _pass_back(node: Node, recipes: dict[str, _Recipe], types: Mapping[str, TensorType]) -> None:
    """Gives the operands of a constant node their recipes, from that of its result."""
    recipe = next((recipes[name] for name in node.outputs if name in recipes), _Recipe("other"))
    full = node.output_types[0].num_elements
    for position, name in enumerate(node.inputs):
        if not name or name in recipes:
            continue
        is_small = types[name].num_elements < full
        if node.op_type in ("Mul", "Div") and (is_small or position == 1):
            recipes[name] = _Recipe("scale")
        elif node.op_type in ("Add", "Sub") and (is_small or position == 1):
            recipes[name] = (
                _Recipe("kernel", 0.1 * recipe.scale) if recipe.role == "kernel" else recipe
            )
        elif node.op_type in ("Sqrt", "Reciprocal", "Pow", "Log"):
            recipes[name] = _Recipe("variance")
        else:
            recipes[name] = recipe


_MAX_INDEX = 128  # of integers that nothing uses as an index
# Through these an integer arrives as an index elsewhere, beside those that pass it through.
_INTEGER_SAFE = frozenset(
    {"Cast", "Equal", "Greater", "Less", "Not", "And", "Or", "Where", "Add", "Sub", "Mul"}
)


def draw_inputs(graph: Graph, seed: int, attempt: int = 0) -> dict[str, Array]:
    """Random values for every input of a graph.

    Floats are standard normal; at `attempt` 1 a tenth of that, at 2 between 0.5 and 1.5. Integers
    are valid indices of whatever they index. Equal arguments give equal values.
    """
    nodes = graph.nodes()
    inputs = {}
    for name in graph.inputs:
        generator = _generator(seed, f"input {attempt}:{name}")
        inputs[name] = _draw_input(name, graph.tensor_type(name), nodes, graph, generator, attempt)
    return inputs


def _draw_input(
    name: str,
    tensor_type: TensorType,
    nodes: Sequence[Node],
    graph: Graph,
    generator: np.random.Generator,
    attempt: int,
) -> Array:
    shape, dtype = tensor_type.shape, tensor_type.dtype
    if dtype == "string":
        return np.full(shape, "a", dtype=object)
    if dtype == "bool":
        return generator.random(shape) < 0.5
    if dtype not in _FLOATS:
        return generator.integers(0, _index_limit(name, nodes, graph), shape).astype(dtype)
    values = np.asarray(generator.standard_normal(shape))
    values = [values, 0.1 * values, 0.5 + generator.random(shape)][attempt]
    return _rounded(np.asarray(values), dtype)


def _index_limit(name: str, nodes: Sequence[Node], graph: Graph) -> int:
    """A bound below which an integer input is a valid index wherever it arrives as one."""
    limit, reached = _MAX_INDEX, {name}
    found = False
    for node in nodes:
        for position, operand in enumerate(node.inputs):
            if operand not in reached:
                continue
            row = operator_of(node.op_type)
            if row.roles.get(position) in ("indices", "class"):
                size = _indexed_size(node, graph)
                limit, found = (min(limit, size) if found else size), True
            elif not row.passes_through and node.op_type not in _INTEGER_SAFE:
                limit, found = min(limit, 2), True
            elif node.output_types[0].dtype not in _FLOATS:
                reached.update(node.outputs)
    return max(limit, 1)


def _indexed_size(node: Node, graph: Graph) -> int:
    if node.op_type == "OneHot":
        return 2
    shape = graph.tensor_type(node.inputs[0]).shape
    if node.op_type in ("GatherND", "ScatterND"):
        return min(shape, default=1)
    axis = node.attributes.get("axis", 0)
    assert isinstance(axis, int)
    return shape[axis] if shape else 1
