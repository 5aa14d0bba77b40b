"""Weights drawn from a seed, at a scale that keeps activations near unit size.

A weight's role (kernel, bias, variance, ...) and scale are read from its consumers in the graph.
Every kernel is scaled by its fan-in and by the size its input is expected to have, which is
followed through the graph operator by operator: so sums in deep residual networks grow with the
square root of the depth and not exponentially. Source of the fan-in scale: He et al. 2015, eq. 10.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xflowrl._engine import Graph, Node, TensorType

Array = NDArray[Any]

_FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
# Second moment (root mean square) of f(x) for x normal with that of 1; others pass it on unchanged.
_GAIN = {
    "Relu": 0.71, "LeakyRelu": 0.71, "PRelu": 0.72, "Elu": 0.8, "Celu": 0.8, "Selu": 1.0,
    "Gelu": 0.65, "GeluTanh": 0.65, "Swish": 0.6, "HardSwish": 0.6, "Mish": 0.68, "Erf": 0.68,
    "GlobalAveragePool": 0.7, "AveragePool": 0.7, "ReduceMean": 0.7, "MaxPool": 1.2,
}  # fmt: skip
_BOUNDED = {
    "Sigmoid": 0.55, "Tanh": 0.63, "HardSigmoid": 0.52, "Softsign": 0.5, "LogSoftmax": 5.0,
    "LayerNormalization": 1.0, "InstanceNormalization": 1.0,
}  # fmt: skip
# Roles by operator and position of the operand.
_ROLES = {
    ("Conv", 1): "kernel", ("Conv", 2): "bias",
    ("ConvTranspose", 1): "kernel", ("ConvTranspose", 2): "bias",
    ("MatMul", 0): "kernel", ("MatMul", 1): "kernel",
    ("Gemm", 0): "kernel", ("Gemm", 1): "kernel", ("Gemm", 2): "bias",
    ("BatchNormalization", 1): "scale", ("BatchNormalization", 2): "bias",
    ("BatchNormalization", 3): "bias", ("BatchNormalization", 4): "variance",
    ("LayerNormalization", 1): "scale", ("LayerNormalization", 2): "bias",
    ("InstanceNormalization", 1): "scale", ("InstanceNormalization", 2): "bias",
    ("GroupNormalization", 1): "scale", ("GroupNormalization", 2): "bias",
    ("PRelu", 1): "slope",
    ("Add", 0): "bias", ("Add", 1): "bias", ("Sub", 1): "bias",
    ("Mul", 0): "scale", ("Mul", 1): "scale", ("Div", 1): "scale",
    ("Gather", 0): "table",
    ("LSTM", 1): "kernel", ("LSTM", 2): "kernel", ("LSTM", 3): "bias",
    ("GRU", 1): "kernel", ("GRU", 2): "kernel", ("GRU", 3): "bias",
    ("RNN", 1): "kernel", ("RNN", 2): "kernel", ("RNN", 3): "bias",
}  # fmt: skip


class Weights(Protocol):
    """Values of constants by name. Equal names give equal values, however often they are asked."""

    def get(self, name: str) -> Array:
        """The value, to be left unchanged. Raises ValueError for a name that is not known."""
        ...


@dataclass(frozen=True)
class _Draw:
    """How a weight is drawn: `role`, and the scale of a kernel."""

    role: str
    scale: float = 1.0


class DrawnWeights:
    """Weights of a graph, drawn when asked for.

    A value depends on the seed, the weight's name, type and consumers alone: it is the same in
    every process and in every order of asking. Integers are drawn as zeros, which index anything.

    Args:
        graph: says the types of the weights and, through their consumers, their roles.
        seed: of the draw.
    """

    def __init__(self, graph: Graph, seed: int) -> None:
        self._types = graph.weights
        self._draws = _plan_draws(graph)
        self._seed = seed

    def get(self, name: str) -> Array:
        """The weight of that name.

        Raises:
            ValueError: if the graph had no such weight.
        """
        if name not in self._types:
            raise ValueError(f'weight "{name}" is not in the graph; use a name of graph.weights')
        return _draw(self._types[name], self._draws[name], _generator(self._seed, name))

    def parameters(self) -> set[str]:
        """Float weights with a learnable role: what may be drawn anew without changing meaning."""
        return {
            name
            for name, tensor_type in self._types.items()
            if tensor_type.dtype in _FLOATS and self._draws[name].role != "other"
        }


class RedrawnWeights:
    """Weights of which the float parameters are drawn anew, while all others keep their value."""

    def __init__(self, own: Weights, graph: Graph, seed: int) -> None:
        self._own = own
        self._drawn = DrawnWeights(graph, seed)
        self._parameters = self._drawn.parameters()

    def get(self, name: str) -> Array:
        """The weight of that name; ValueError if there is none."""
        return (self._drawn if name in self._parameters else self._own).get(name)


def _generator(seed: int, name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def _draw(tensor_type: TensorType, draw: _Draw, generator: np.random.Generator) -> Array:
    shape, dtype = tensor_type.shape, tensor_type.dtype
    if dtype == "string":
        return np.full(shape, "", dtype=object)
    if dtype not in _FLOATS:
        return np.zeros(shape, dtype)
    # Half the shapes' memory: nothing here needs more than single precision.
    work = np.float64 if dtype == "float64" else np.float32
    if draw.role in ("kernel", "table"):
        values = generator.standard_normal(shape, work) * work(draw.scale)
    elif draw.role == "bias":
        values = generator.standard_normal(shape, work) * work(0.1)
    else:
        low, high = _RANGES[draw.role]
        values = work(low) + generator.random(shape, work) * work(high - low)
    if dtype == "bfloat16":
        import ml_dtypes

        return np.asarray(values).astype(ml_dtypes.bfloat16)
    return np.asarray(values).astype(dtype)


_RANGES = {"scale": (0.8, 1.2), "variance": (0.75, 1.33), "slope": (0.1, 0.4), "other": (0.5, 1.5)}


def _plan_draws(graph: Graph) -> dict[str, _Draw]:
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
    size = {name: 1.0 for name in graph.inputs}
    for name, (_, values) in graph.literals.items():
        size[name] = float(np.sqrt(np.mean(np.square(np.abs(values))))) if values else 1.0
    draws: dict[str, _Draw] = {}
    for node in nodes:
        if node.is_constant:
            continue
        for position, name in enumerate(node.inputs):
            if name in constant and name not in draws:
                draws[name] = _draw_of(node, position, size, types)
        result = _size_of(node, size, types, draws)
        size.update(dict.fromkeys(node.outputs, result))
    for node in reversed(nodes):
        if node.is_constant:
            _pass_back(node, draws, types)
    return {name: draws.get(name, _Draw("other")) for name in graph.weights}


def _draw_of(
    node: Node, position: int, size: Mapping[str, float], types: Mapping[str, TensorType]
) -> _Draw:
    """The draw of a constant operand of a node that is not constant."""
    role = _ROLES.get((node.op_type, position), "other") if node.domain == "" else "other"
    if role != "kernel":
        return _Draw(role)
    partner = node.inputs[1 - position] if node.op_type in ("MatMul", "Gemm") else node.inputs[0]
    fan_in = _fan_in(node, position, types)
    return _Draw("kernel", 1.0 / (np.sqrt(max(fan_in, 1)) * max(size.get(partner, 1.0), 1e-3)))


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


def _size_of(
    node: Node,
    size: Mapping[str, float],
    types: Mapping[str, TensorType],
    draws: Mapping[str, _Draw],
) -> float:
    """The expected root mean square of a node's result, from rules of thumb."""

    def of(position: int) -> float:
        name = node.inputs[position]
        if name in size:
            return size[name]
        draw = draws.get(name)
        return 0.1 if draw is not None and draw.role == "bias" else 1.0

    op, operands = node.op_type, [i for i, name in enumerate(node.inputs) if name]
    if not operands:
        return 1.0
    kernels = [i for i in operands if node.inputs[i] in draws and draws[node.inputs[i]].role == "kernel"]
    if op in ("Conv", "ConvTranspose", "MatMul", "Gemm") and kernels:
        result = 1.0
    elif op == "MatMul":
        result = of(0) * of(1) * float(np.sqrt(types[node.inputs[0]].shape[-1]))
    elif op in ("Add", "Sub", "Sum"):
        result = float(np.sqrt(sum(of(i) ** 2 for i in operands)))
    elif op == "Mul":
        result = of(0) * of(1)
    elif op == "Div":
        result = of(0) / max(of(1), 1e-3)
    elif op == "Softmax":
        axis = node.attributes["axis"] if not node.is_opaque else -1
        assert isinstance(axis, int)
        result = 1.6 / max(types[node.inputs[0]].shape[axis], 1)
    elif op == "Concat":
        result = float(np.sqrt(np.mean([of(i) ** 2 for i in operands])))
    elif op == "Where" and len(operands) == 3:
        result = max(of(1), of(2))
    elif op in _BOUNDED:
        result = _BOUNDED[op]
    else:
        result = of(0) * _GAIN.get(op, 1.0)
    activation = node.attributes.get("activation", "") if not node.is_opaque else ""
    assert isinstance(activation, str)
    result = _BOUNDED.get(activation, result * _GAIN.get(activation, 1.0))
    return float(np.clip(result, 1e-3, 1e3))


def _pass_back(node: Node, draws: dict[str, _Draw], types: Mapping[str, TensorType]) -> None:
    """Gives the operands of a constant node their draws, from that of its result."""
    draw = next((draws[name] for name in node.outputs if name in draws), _Draw("other"))
    full = node.output_types[0].num_elements
    for position, name in enumerate(node.inputs):
        if not name or name in draws:
            continue
        is_small = types[name].num_elements < full
        if node.op_type in ("Mul", "Div") and (is_small or position == 1):
            draws[name] = _Draw("scale")
        elif node.op_type in ("Add", "Sub") and (is_small or position == 1):
            draws[name] = _Draw("kernel", 0.1 * draw.scale) if draw.role == "kernel" else draw
        elif node.op_type in ("Sqrt", "Reciprocal", "Pow", "Log"):
            draws[name] = _Draw("variance")
        else:
            draws[name] = draw
