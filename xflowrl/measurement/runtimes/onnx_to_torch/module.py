"""A model's nodes, in order, as a module of PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
import torch
from onnx import inliner, numpy_helper
from torch import Tensor, nn

from xflowrl.measurement.runtimes.onnx_to_torch.elementwise import dtype_of
from xflowrl.measurement.runtimes.onnx_to_torch.operator import NotSupported, Operator
from xflowrl.measurement.runtimes.onnx_to_torch.table import TABLE

_OLDEST_OPSET = 7  # older operators broadcast by an attribute of theirs
_CONSTANT_VALUES = {
    "value_float": torch.float32,
    "value_floats": torch.float32,
    "value_int": torch.int64,
    "value_ints": torch.int64,
}


@dataclass(frozen=True, slots=True)
class Input:
    """A tensor that a call takes: its name, its type in the model, and the type it is taken in."""

    name: str
    given: torch.dtype
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class _Step:
    """A node: a function from places of values to places of values.

    Attributes:
        dead: places that no later step reads.
    """

    node: str
    function: Callable[..., Any]
    operands: tuple[int, ...]
    results: tuple[int, ...]
    is_many: bool
    dead: tuple[int, ...]


class OnnxModule(nn.Module):
    """Runs the nodes of a model in order; initialisers are buffers; control flow is not supported.

    A value is let go when nothing later reads it. Shapes, axes and the like are Python numbers
    where they are constant, as in a program written by hand, and read from tensors where computed.

    Attributes:
        inputs: the tensors that a call takes, in order.

    Args:
        model: with the data of all its initialisers.
        floats: what tensors of single precision are computed in.

    Raises:
        NotSupported: an operator, a form or a type of tensors that the table lacks.
    """

    def __init__(self, model: onnx.ModelProto, *, floats: torch.dtype = torch.float32) -> None:
        super().__init__()
        self._floats = floats
        if model.functions:
            model = inliner.inline_local_functions(model)
        graph = model.graph
        if graph.sparse_initializer:
            raise NotSupported(f'initializer "{graph.sparse_initializer[0].values.name}": sparse')
        opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
        if opset < _OLDEST_OPSET:
            raise NotSupported(f"opset {opset}: models are run from opset {_OLDEST_OPSET} on")
        constants = {tensor.name: tensor_of(tensor) for tensor in graph.initializer}
        nodes = [node for node in graph.node if not _is_constant(node)]
        constants |= {n.output[0]: _constant(n) for n in graph.node if _is_constant(n)}
        self.inputs = [self._input(i) for i in graph.input if i.name not in constants]
        for index, tensor in enumerate(constants.values()):
            self.register_buffer(f"constant_{index}", tensor.to(self._computed(tensor.dtype)))
        names = [*constants, *(given.name for given in self.inputs)]
        names += [name for node in nodes for name in node.output]
        self._numbers: list[Any] = [None]  # place 0 is that of what is left out
        self._places: dict[str, int] = {"": 0}
        self._calls = [self._call(node, opset, constants) for node in nodes]
        first = len(self._numbers)
        self._places |= {name: first + i for i, name in enumerate(names) if name}
        self._num_values = first + len(names) + 1  # the last is that of results nobody wants
        self._results = tuple(self._place(i.name, "the model's output") for i in graph.output)
        self._steps = self._planned(nodes)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs, in order.

        Raises:
            RuntimeError: PyTorch refuses a step; the message names the node.
        """
        values: list[Any] = [*self._numbers, *self._buffers.values(), *inputs]
        values += [None] * (self._num_values - len(values))
        for step in self._steps:
            try:
                result = step.function(*[values[place] for place in step.operands])
            except MemoryError:
                raise
            except Exception as error:  # a node that lacks operands fails in many ways
                raise RuntimeError(f"{step.node}: {error}") from error
            if step.is_many:
                for place, value in zip(step.results, result, strict=False):
                    values[place] = value
            else:
                values[step.results[0]] = result
            for place in step.dead:
                values[place] = None
        return tuple(values[place] for place in self._results)

    def _call(
        self, node: onnx.NodeProto, opset: int, constants: dict[str, Tensor]
    ) -> tuple[Operator, Callable[..., Any], list[str | int]]:
        """The node's operator, its function with attributes, and its operands.

        Operands are names of values, or places of numbers.
        """
        operator = _operator(node, opset)
        operands: list[str | int] = list(node.input)
        for position, name in enumerate(node.input):
            if name not in constants:
                continue
            tensor = constants[name]
            if position in operator.numbers or (position in operator.constants and not tensor.ndim):
                operands[position] = self._number(tensor.tolist())
        attributes: dict[str, Any] = {}
        for attribute in node.attribute:
            value, place = _value(attribute, node), operator.moved.get(attribute.name)
            if place is not None:
                operands += [0] * (place + 1 - len(operands))
                operands[place] = self._number(value)
            elif attribute.name in operator.keywords - {"num_results"}:
                if isinstance(value, Tensor):
                    value = value.to(self._computed(value.dtype))
                elif attribute.name in ("to", "dtype"):
                    value = self._computed(dtype_of(value, f"{_describe(node)}: a tensor"))
                attributes[attribute.name] = value
            else:
                raise NotSupported(f"{_describe(node)}: attribute {attribute.name}")
        if "num_results" in operator.keywords:
            attributes["num_results"] = len(node.output)
        if not operator.is_many and any(node.output[1:]):
            raise NotSupported(f"{_describe(node)}: {len(node.output)} results")
        function = partial(operator.function, **attributes) if attributes else operator.function
        computed = [p for p in operator.numbers if p < len(operands) and _is_name(operands[p])]
        return operator, _reading(function, computed) if computed else function, operands

    def _input(self, info: onnx.ValueInfoProto) -> Input:
        given = dtype_of(info.type.tensor_type.elem_type, f'input "{info.name}"')
        return Input(info.name, given, self._computed(given))

    def _computed(self, dtype: torch.dtype) -> torch.dtype:
        return self._floats if dtype == torch.float32 else dtype

    def _number(self, value: Any) -> int:
        self._numbers.append(value)
        return len(self._numbers) - 1

    def _planned(self, nodes: list[onnx.NodeProto]) -> list[_Step]:
        first_inner = len(self._numbers) + len(self._buffers)
        steps: list[_Step] = []
        needed = set(self._results)
        for node, (operator, function, names) in reversed(
            list(zip(nodes, self._calls, strict=True))
        ):
            operands = tuple(
                n if isinstance(n, int) else self._place(n, _describe(node)) for n in names
            )
            unwanted = self._num_values - 1
            results = tuple(self._places[name] if name else unwanted for name in node.output)
            dead = {place for place in (*operands, *results) if place >= first_inner} - needed
            needed |= set(operands)
            many = operator.is_many
            steps.append(
                _Step(_describe(node), function, operands, results, many, tuple(sorted(dead)))
            )
        return steps[::-1]

    def _place(self, name: str, reader: str) -> int:
        if name not in self._places:
            raise NotSupported(f'{reader}: "{name}" is computed by no node')
        return self._places[name]


def tensor_of(proto: onnx.TensorProto) -> Tensor:
    """The value of an initialiser, in memory of its own."""
    dtype = dtype_of(proto.data_type, f'initializer "{proto.name}"')
    return as_tensor(numpy_helper.to_array(proto), dtype).clone()


def as_tensor(array: np.ndarray, dtype: torch.dtype) -> Tensor:
    """The array as a tensor in the same memory, where it may be written.

    NumPy lacks bfloat16: its bits are taken. Raises NotSupported for an array of another type.
    """
    array = array if array.flags.writeable else array.copy()
    if dtype == torch.bfloat16:
        return torch.from_numpy(array.view(np.uint16)).view(dtype)
    tensor = torch.from_numpy(array)
    if tensor.dtype != dtype:
        raise NotSupported(f"an array of {array.dtype} for a tensor of {dtype}")
    return tensor


def _describe(node: onnx.NodeProto) -> str:
    domain = f"{node.domain}." if node.domain not in ("", "ai.onnx") else ""
    name = node.name or next(filter(None, node.output), "")
    return f'node "{name}" ({domain}{node.op_type})'


def _operator(node: onnx.NodeProto, opset: int) -> Operator:
    domain = f"{node.domain}." if node.domain not in ("", "ai.onnx") else ""
    forms = TABLE.get(domain + node.op_type)
    if forms is None:
        raise NotSupported(f"{_describe(node)}: the operator is not in the table of PyTorch's")
    known = [form for form in forms if form.since <= opset or domain]
    if not known:
        raise NotSupported(f"{_describe(node)}: its form of opset {opset}")
    return known[-1]


def _value(attribute: onnx.AttributeProto, node: onnx.NodeProto) -> Any:
    """Text as str, tensors as tensors of PyTorch."""
    if attribute.ref_attr_name or attribute.type == onnx.AttributeProto.GRAPH:
        raise NotSupported(f"{_describe(node)}: attribute {attribute.name}")
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return tensor_of(value)
    return value if isinstance(value, int | float) else list(value)


def _is_constant(node: onnx.NodeProto) -> bool:
    return node.op_type == "Constant" and node.domain in ("", "ai.onnx")


def _constant(node: onnx.NodeProto) -> Tensor:
    (attribute,) = node.attribute
    value = _value(attribute, node)
    if isinstance(value, Tensor):
        return value
    if attribute.name not in _CONSTANT_VALUES:
        raise NotSupported(f"{_describe(node)}: attribute {attribute.name}")
    return torch.tensor(value, dtype=_CONSTANT_VALUES[attribute.name])


def _is_name(operand: str | int) -> bool:
    return isinstance(operand, str) and operand != ""


def _reading(function: Callable[..., Any], positions: list[int]) -> Callable[..., Any]:
    """The function, with computed operands read as numbers."""

    def read(*operands: Any) -> Any:
        numbers = list(operands)
        for position in positions:
            numbers[position] = operands[position].tolist()
        return function(*numbers)

    return read
