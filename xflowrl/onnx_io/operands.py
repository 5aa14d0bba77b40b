"""Nodes of the engine as nodes of ONNX opset 18: the inverse of `canonical.py`.

Attributes that ONNX wants as operands become constants; a fused activation becomes nodes of its
own, or an attribute of ONNX Runtime's fused kernels where the caller wants those.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import onnx

from xflowrl._engine import Node, TensorType, canonical_attributes
from xflowrl.onnx_io.model import Array
from xflowrl.onnx_io.tensor_types import CANONICAL_OPSET, UniqueNames, numpy_dtype
from xflowrl.operators import operator_of

ORT_DOMAIN = "com.microsoft"
FusedKernels = Collection[tuple[str, str, str]]
"""(operator, dtype, activation) of what a runtime computes in one kernel: Conv and Gemm."""


class OperandWriter:
    """Writes nodes one after the other, with the constants they need.

    Args:
        names: where names of new tensors come from.
        fused: what becomes ONNX Runtime's FusedConv and FusedGemm.
        opset: what is written: an operator that it has is not expanded.

    Attributes:
        constants: the constants written so far, by name; equal ones are shared.
    """

    def __init__(
        self, names: UniqueNames, *, fused: FusedKernels, opset: int = CANONICAL_OPSET
    ) -> None:
        self.constants: dict[str, Array] = {}
        self._names = names
        self._fused = fused
        self._opset = opset
        self._shared: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def write(self, node: Node) -> list[onnx.NodeProto]:
        """The ONNX nodes of one node; opaque ones are written as they are."""
        attributes, output = dict(node.attributes), node.output_types[0]
        if node.is_opaque:
            return [_opaque(node)]
        activation = attributes.pop("activation", "")
        parameters = attributes.pop("activation_params", [])
        if (node.op_type, output.dtype, activation) in self._fused:
            return [_fused_kernel(node, attributes, activation, parameters)]
        if self._is_expanded(node.op_type):
            return _EXPANDED[node.op_type](
                self, node.inputs[0], node.outputs[0], output, attributes
            )
        is_old_pool = node.op_type == "AveragePool" and self._opset < 19
        if is_old_pool and set(attributes.pop("dilations")) - {1}:
            raise ValueError(
                f'node "{node.outputs[0]}" (AveragePool): opset {self._opset} has no dilations'
            )
        inputs = [*node.inputs, *self._operands(node, attributes)]
        if not activation:
            return [make(node.op_type, inputs, node.outputs, attributes)]
        plain = self._names.fresh(f"{node.outputs[0]}/{node.op_type}")
        return [
            make(node.op_type, inputs, [plain], attributes),
            *self._activate(activation, parameters, plain, node.outputs[0], output),
        ]

    def _is_expanded(self, op_type: str) -> bool:
        return op_type in _EXPANDED and not onnx.defs.has(op_type, self._opset)

    def constant(self, array: Array, hint: str) -> str:
        """The name of a constant of this value."""
        array = np.asarray(array)
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._shared:
            self._shared[key] = self._names.fresh(hint)
            self.constants[self._shared[key]] = array
        return self._shared[key]

    def scalar(self, value: float, tensor_type: TensorType, hint: str) -> str:
        return self.constant(np.array(value).astype(numpy_dtype(tensor_type.dtype)), hint)

    def _operands(self, node: Node, attributes: dict[str, Any]) -> list[str]:
        """Moves attributes into operands, in place."""
        operands = []
        for attribute in operator_of(node.op_type).attribute_operands:
            value = attributes.pop(attribute)
            hint = f"{node.outputs[0]}/{attribute}"
            if isinstance(value, list):
                operands.append(self.constant(np.array(value, np.int64), hint))
            elif np.isinf(value) and node.op_type == "Clip":
                operands.append("")
            else:
                operands.append(self.scalar(value, node.output_types[0], hint))
        if node.op_type == "Reshape" and 0 in node.output_types[0].shape:
            attributes["allowzero"] = 1
        if node.op_type == "Pad" and node.attributes["mode"] != "constant":
            operands.pop()
        while operands and not operands[-1]:
            operands.pop()
        return operands

    def _activate(
        self, activation: str, parameters: list[float], x: str, y: str, tensor_type: TensorType
    ) -> list[onnx.NodeProto]:
        attributes: dict[str, Any]
        if activation.startswith("Gelu"):
            attributes = {"approximate": "tanh" if activation == "GeluTanh" else "none"}
            activation = "Gelu"
        else:
            attributes = dict(zip(canonical_attributes(activation), parameters, strict=True))
        if self._is_expanded(activation):
            return _EXPANDED[activation](self, x, y, tensor_type, attributes)
        if activation != "Clip":
            return [make(activation, [x], [y], attributes)]
        bounds = [
            "" if np.isinf(bound) else self.scalar(bound, tensor_type, f"{y}/{name}")
            for name, bound in attributes.items()
        ]
        return [make("Clip", [x, *bounds], [y], {})]

    def _gelu(
        self, x: str, y: str, tensor_type: TensorType, attributes: Mapping[str, Any]
    ) -> list[onnx.NodeProto]:
        """x * (1 + erf(x / sqrt(2))) / 2, or its approximation by tanh. Hendrycks & Gimpel 2016.

        With erf of a Div, which ONNX Runtime makes one kernel; of a Mul it does not.
        """
        nodes: list[onnx.NodeProto] = []

        def emit(op_type: str, *inputs: str, output: str | None = None) -> str:
            name = output or self._names.fresh(f"{y}/{op_type}")
            nodes.append(make(op_type, list(inputs), [name], {}))
            return name

        def number(value: float) -> str:
            return self.scalar(value, tensor_type, f"{y}/number")

        if attributes["approximate"] == "tanh":
            cubic = emit("Mul", emit("Mul", emit("Mul", x, x), x), number(0.044715))
            inner = emit("Mul", emit("Add", x, cubic), number(float(np.sqrt(2 / np.pi))))
            bell = emit("Tanh", inner)
        else:
            bell = emit("Erf", emit("Div", x, number(float(np.sqrt(2)))))
        half = emit("Mul", x, number(0.5))
        emit("Mul", half, emit("Add", bell, number(1.0)), output=y)
        return nodes

    def _swish(
        self, x: str, y: str, tensor_type: TensorType, attributes: Mapping[str, Any]
    ) -> list[onnx.NodeProto]:
        """x * sigmoid(alpha * x). Ramachandran et al. 2017."""
        nodes, gate = [], self._names.fresh(f"{y}/Sigmoid")
        scaled = x
        if attributes["alpha"] != 1.0:
            scaled = self._names.fresh(f"{y}/Mul")
            alpha = self.scalar(attributes["alpha"], tensor_type, f"{y}/alpha")
            nodes.append(make("Mul", [x, alpha], [scaled], {}))
        nodes.append(make("Sigmoid", [scaled], [gate], {}))
        nodes.append(make("Mul", [x, gate], [y], {}))
        return nodes


def make(
    op_type: str, inputs: list[str], outputs: list[str], attributes: Mapping[str, Any]
) -> onnx.NodeProto:
    """A node of ONNX; empty lists are absent attributes."""
    node = onnx.helper.make_node(op_type, inputs, outputs)
    for name, value in sorted(attributes.items()):
        if isinstance(value, list) and not value:
            continue  # ONNX: an empty list is an absent one
        node.attribute.append(onnx.helper.make_attribute(name, value))
    return node


def _opaque(node: Node) -> onnx.NodeProto:
    proto = onnx.helper.make_node(node.op_type, node.inputs, node.outputs, domain=node.domain)
    for name, value in sorted(node.attributes.items()):
        if isinstance(value, bytes):
            proto.attribute.add().ParseFromString(value)
        else:
            proto.attribute.append(onnx.helper.make_attribute(name, value))
    while proto.input and not proto.input[-1]:
        proto.input.pop()
    return proto


def _fused_kernel(
    node: Node, attributes: dict[str, Any], activation: str, parameters: list[float]
) -> onnx.NodeProto:
    attributes["activation"] = activation
    if node.op_type == "Conv":
        limit = float(np.finfo(np.float32).max)
        attributes["activation_params"] = [min(max(p, -limit), limit) for p in parameters]
    else:
        for name, value in zip(("alpha", "beta"), parameters, strict=False):
            attributes[f"activation_{name}"] = value
    proto = make(f"Fused{node.op_type}", list(node.inputs), list(node.outputs), attributes)
    proto.domain = ORT_DOMAIN
    return proto


_Expansion = Callable[
    [OperandWriter, str, str, TensorType, Mapping[str, Any]], list[onnx.NodeProto]
]
_EXPANDED: dict[str, _Expansion] = {"Gelu": OperandWriter._gelu, "Swish": OperandWriter._swish}
