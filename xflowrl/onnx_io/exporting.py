"""Writes a graph and its weights as a standard ONNX model of opset 18."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx

from xflowrl._engine import Node
from xflowrl.onnx_io.folding import can_fold, evaluate
from xflowrl.onnx_io.inlining import (
    bodies,
    captured_names,
    defined_names,
    rename_captured,
    rename_defined,
)
from xflowrl.onnx_io.model import Array, Model
from xflowrl.onnx_io.operands import ORT_DOMAIN, FusedKernels, OperandWriter
from xflowrl.onnx_io.tensor_types import (
    CANONICAL_OPSET,
    UniqueNames,
    element_of,
    make_tensor,
    numpy_dtype,
)

IR_VERSION = 8  # the one that came with opset 18
MAX_INLINE_BYTES = 2**31 - 2**27  # a protobuf holds 2 GiB; the rest is for the nodes
_PRODUCER = "xflowrl"
_ALIGNMENT = 4096

TensorMaker = Callable[[str, Array, str], onnx.TensorProto]


def export_onnx(
    model: Model, *, fold: bool = True, fused: FusedKernels = frozenset()
) -> onnx.ModelProto:
    """The model in ONNX opset 18.

    Args:
        model: the graph and its weights.
        fold: compute what depends on constants alone; False keeps those operators.
        fused: the fused activations to write as attributes of ONNX Runtime's FusedConv and
            FusedGemm (domain com.microsoft), for measurement. The standard form, the default,
            writes each as an operator of its own.

    Raises:
        ValueError: for a weight that `model.weights` does not have, or of another type.
    """
    return _Exporter(model, fold=fold, fused=fused).model_proto(make_tensor)


def export_for_comparison(
    model: Model, *, weight_inputs: Collection[str], more_outputs: Mapping[str, str]
) -> onnx.ModelProto:
    """The model with nothing folded, some weights as inputs and some inner tensors as outputs.

    Args:
        model: the graph and its weights.
        weight_inputs: names of weights that become further inputs, in the graph's order.
        more_outputs: further outputs by public name, with the tensors they read.
    """
    exporter = _Exporter(model, fold=False, weight_inputs=weight_inputs, more_outputs=more_outputs)
    return exporter.model_proto(make_tensor)


def save_onnx(
    model: Model, path: str | PathLike[str], *, max_inline_bytes: int = MAX_INLINE_BYTES
) -> None:
    """Writes the checked model to `path`, all of it or nothing.

    Weights of more than `max_inline_bytes` in total go to `<file name>.data` beside it.

    Raises:
        ValueError: if ONNX's checker, with strict shape inference, refuses the model.
    """
    path = Path(path)
    exporter = _Exporter(model, fold=True)
    data_name = f"{path.name}.data"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        written = Path(folder) / path.name
        if exporter.num_weight_bytes() > max_inline_bytes:
            with (Path(folder) / data_name).open("wb") as data:
                proto = exporter.model_proto(_external_maker(data, data_name))
        else:
            proto = exporter.model_proto(make_tensor)
        written.write_bytes(proto.SerializeToString())
        del proto
        _check(written, model.name)
        if (Path(folder) / data_name).exists():
            (Path(folder) / data_name).replace(path.parent / data_name)
        written.replace(path)


def _check(path: Path, name: str) -> None:
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f'graph "{name}" is not a valid ONNX model: {reason}') from None


def _external_maker(data: BinaryIO, location: str) -> TensorMaker:
    """Small tensors stay in the model: shapes are inferred from them."""

    def make(name: str, array: Array, dtype: str) -> onnx.TensorProto:
        if dtype == "string" or array.size <= 1024:
            return make_tensor(name, array, dtype)
        data.write(b"\0" * (-data.tell() % _ALIGNMENT))
        tensor = onnx.TensorProto(name=name, data_type=element_of(dtype), dims=array.shape)
        content = np.ascontiguousarray(array, dtype=numpy_dtype(dtype))
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (
            ("location", location), ("offset", data.tell()), ("length", content.nbytes),
        ):  # fmt: skip
            tensor.external_data.add(key=key, value=str(value))
        data.write(content.data if content.dtype.kind != "V" else content.tobytes())
        return tensor

    return make


class _Exporter:
    """One export: what is written, under which names."""

    def __init__(
        self,
        model: Model,
        *,
        fold: bool,
        fused: FusedKernels = frozenset(),
        weight_inputs: Collection[str] = (),
        more_outputs: Mapping[str, str] | None = None,
    ) -> None:
        self._model = model
        self._weight_inputs = frozenset(weight_inputs)
        graph = model.graph
        self._nodes: list[Node] = graph.nodes()
        self._outputs = list(zip(graph.outputs, graph.output_tensors, strict=True))
        self._outputs += (more_outputs or {}).items()
        self._weights = graph.weights
        self._literals = graph.literals
        self._types = dict(self._weights)
        self._types.update({name: t for name, (t, _) in self._literals.items()})
        for name in graph.inputs:
            self._types[name] = graph.tensor_type(name)
        self._producer: dict[str, Node] = {}
        for node in self._nodes:
            for name, tensor_type in zip(node.outputs, node.output_types, strict=True):
                self._types[name] = tensor_type
                self._producer[name] = node
        self._names = UniqueNames({*self._types, *(public for public, _ in self._outputs)})
        self._writer = OperandWriter(self._names, fused=fused)
        self._new_names, self._copies = self._plan_names()
        self._written = self._nodes
        self._to_fold: list[str] = []
        if fold:
            self._plan_folding()

    def num_weight_bytes(self) -> int:
        leaves = self._read_leaves()
        return sum(self._types[name].num_bytes for name in [*leaves, *self._to_fold])

    def model_proto(self, make: TensorMaker) -> onnx.ModelProto:
        graph = onnx.GraphProto(name=self._model.name or "graph")
        for node in self._written:
            protos = self._renamed(self._writer.write(node))
            self._name_nodes(node, protos)
            graph.node.extend(protos)
        taken = {name for node in graph.node for name in node.output}
        self._separate_bodies(graph.node, taken)
        for tensor, public in self._copies:
            graph.node.append(onnx.helper.make_node("Identity", [tensor], [public], name=public))
        for name in self._model.graph.inputs:
            graph.input.append(self._info(name, self._new_name(name)))
        for public, tensor in self._outputs:
            graph.output.append(self._info(tensor, public))
        self._write_constants(graph, make)
        self._declare_opaque(graph)
        opsets = [onnx.helper.make_opsetid("", CANONICAL_OPSET)]
        for domain in sorted({n.domain for n in graph.node} - {""}):
            version = self._model.custom_opsets.get(domain, 1)
            opsets.append(onnx.helper.make_opsetid(domain, version))
        for domain, version in sorted(self._model.custom_opsets.items()):
            if all(o.domain != domain for o in opsets) and domain != ORT_DOMAIN:
                opsets.append(onnx.helper.make_opsetid(domain, version))
        return onnx.ModelProto(
            ir_version=IR_VERSION, producer_name=_PRODUCER, graph=graph, opset_import=opsets
        )

    # Names

    def _plan_names(self) -> tuple[dict[str, str], list[tuple[str, str]]]:
        """New names of tensors, so that outputs have their public ones, and the copies needed.

        A tensor that is an input, a constant or already another output is copied by an Identity.
        """
        publics = {public for public, _ in self._outputs}
        new_names: dict[str, str] = {}
        copies: dict[str, str] = {}
        keeps = {tensor for public, tensor in self._outputs if public == tensor}
        for public, tensor in self._outputs:
            if public == tensor or new_names.get(tensor) == public or public in copies:
                continue
            if tensor in self._producer and tensor not in keeps and tensor not in new_names:
                new_names[tensor] = public
            else:
                copies[public] = tensor
        for tensor in self._types:
            if tensor in publics and tensor not in keeps and tensor not in new_names:
                new_names[tensor] = self._names.fresh(f"{tensor}_inner")
        return new_names, [(new_names.get(t, t), public) for public, t in copies.items()]

    def _new_name(self, name: str) -> str:
        return self._new_names.get(name, name)

    def _renamed(self, protos: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
        for proto in protos:
            self._restore_captured(proto)
            for position, name in enumerate(proto.input):
                proto.input[position] = self._new_name(name)
            for position, name in enumerate(proto.output):
                proto.output[position] = self._new_name(name)
        return protos

    def _restore_captured(self, proto: onnx.NodeProto) -> None:
        """Gives bodies back what they capture: the last operands of a node that has bodies."""
        if not bodies(proto):
            return
        captured = captured_names(proto)
        operands = list(proto.input)
        actual = operands[len(operands) - len(captured) :]
        del proto.input[len(operands) - len(captured) :]
        outer = {self._new_name(name) for name in actual}
        clashes = {n for body in bodies(proto) for n in defined_names(body)} & outer
        for body in bodies(proto):
            rename_defined(body, {name: self._names.fresh(name) for name in sorted(clashes)})
        new_names = zip(captured, actual, strict=True)
        rename_captured(proto, {old: self._new_name(new) for old, new in new_names})

    def _separate_bodies(self, nodes: object, taken: set[str]) -> None:
        """Names inside a body must differ from those of the graph around it."""
        outer = taken | {self._new_name(name) for name in self._types} | set(self._writer.constants)
        for proto in nodes:  # type: ignore[attr-defined]
            for body in bodies(proto):
                clashes = sorted(defined_names(body) & outer)
                rename_defined(body, {name: self._names.fresh(name) for name in clashes})

    def _name_nodes(self, node: Node, protos: list[onnx.NodeProto]) -> None:
        imported = self._model.node_names.get((node.op_type, node.outputs[0]))
        for proto in protos:
            proto.name = next(name for name in proto.output if name)
        if imported is not None:
            protos[0].name = imported

    # Constants

    def _plan_folding(self) -> None:
        """Splits constants' nodes into those computed now and those written as they are."""
        keep: set[str] = set()
        for node in self._nodes:
            if not node.is_constant:
                continue
            protos = self._writer.write(node)
            if not all(can_fold(proto) for proto in protos) or keep.intersection(node.inputs):
                keep.update(node.outputs)
        self._written = [n for n in self._nodes if not n.is_constant or n.outputs[0] in keep]
        folded = {o for n in self._nodes if n.is_constant and n.outputs[0] not in keep
                  for o in n.outputs}  # fmt: skip
        read = [name for node in self._written for name in node.inputs]
        read += [tensor for _, tensor in self._outputs]
        self._to_fold = [name for name in dict.fromkeys(read) if name in folded]

    def _leaf(self, name: str) -> Array:
        if name in self._literals:
            tensor_type, values = self._literals[name]
            array = np.array(values).astype(numpy_dtype(tensor_type.dtype))
            return array.reshape(tensor_type.shape)
        return self._weight(name)

    def _fold(self) -> Iterator[tuple[str, Array]]:
        """Names and values of the constants that are computed; of half types in single precision.

        One after the other in the order of the graph; what nobody needs any more is let go.
        """
        needed, nodes = Counter(self._to_fold), []
        written = {node.outputs[0] for node in self._written}
        for node in reversed(self._nodes):
            if node.outputs[0] not in written and any(needed[name] for name in node.outputs):
                needed.update(node.inputs)
                nodes.append(node)
        values: dict[str, Array] = {}
        for node in reversed(nodes):
            for proto in self._writer.write(node):
                operands = [self._operand(name, values) for name in proto.input]
                results = evaluate(proto, operands)
                if results is None:
                    raise ValueError(
                        f'node "{node.outputs[0]}" ({node.op_type}) of constants '
                        "could not be computed"
                    )
                values.update(zip(proto.output, results, strict=True))
            for name in node.outputs:
                if name in self._to_fold:
                    yield name, values[name]
            needed.subtract(node.inputs)
            for name in node.inputs:
                if not needed[name]:
                    values.pop(name, None)

    def _operand(self, name: str, values: Mapping[str, Array]) -> Array | None:
        if not name or name in values:
            return values.get(name)
        constant = self._writer.constants.get(name)
        return self._leaf(name) if constant is None else constant

    def _weight(self, name: str) -> Array:
        array, expected = self._model.weights.get(name), self._weights[name]
        if array.shape != expected.shape or array.dtype != numpy_dtype(expected.dtype):
            raise ValueError(
                f'weight "{name}" is {array.dtype.name}{list(array.shape)}; '
                f"the graph needs {expected}"
            )
        return array

    def _read_leaves(self) -> list[str]:
        read = [name for node in self._written for name in node.inputs]
        read += [tensor for _, tensor in self._outputs]
        return [n for n in dict.fromkeys(read) if n in self._weights or n in self._literals]

    def _write_constants(self, graph: onnx.GraphProto, make: TensorMaker) -> None:
        for name in self._read_leaves():
            if name in self._weight_inputs:
                graph.input.append(self._info(name, self._new_name(name)))
            else:
                dtype = self._types[name].dtype
                graph.initializer.append(make(self._new_name(name), self._leaf(name), dtype))
        for name, array in self._fold():
            tensor_type = self._types[name]
            shaped = array.reshape(tensor_type.shape)
            graph.initializer.append(make(self._new_name(name), shaped, tensor_type.dtype))
        read = {name for node in graph.node for name in node.input}
        for name, array in self._writer.constants.items():
            if name in read:
                graph.initializer.append(onnx.numpy_helper.from_array(array, name))

    def _info(self, tensor: str, name: str) -> onnx.ValueInfoProto:
        tensor_type = self._types[tensor]
        return onnx.helper.make_tensor_value_info(
            name, element_of(tensor_type.dtype), list(tensor_type.shape)
        )

    def _declare_opaque(self, graph: onnx.GraphProto) -> None:
        """Types that no inference may find: those of opaque nodes' outputs."""
        declared = {info.name for info in graph.output}
        for node in self._written:
            for name in node.outputs if node.is_opaque else []:
                if self._new_name(name) not in declared:
                    graph.value_info.append(self._info(name, self._new_name(name)))


__all__ = ["MAX_INLINE_BYTES", "export_for_comparison", "export_onnx", "save_onnx"]
