"""Writes a graph and its weights as a standard ONNX model, in memory.

A model that was read from a file is written back into that file: its metadata, symbols, opset and
whatever no rewrite touched come out as they went in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx

from xflowrl._engine import Node
from xflowrl.onnx_io.behind_splits import with_activations_behind_splits
from xflowrl.onnx_io.calls import with_calls
from xflowrl.onnx_io.computing import computed
from xflowrl.onnx_io.folding import can_fold
from xflowrl.onnx_io.inlining import bodies, reads, restore_captured, separate_bodies
from xflowrl.onnx_io.model import Array, Model
from xflowrl.onnx_io.operands import FusedKernels, OperandWriter
from xflowrl.onnx_io.operator_sets import write_operator_sets
from xflowrl.onnx_io.ordering import live_nodes
from xflowrl.onnx_io.reading import raw_array
from xflowrl.onnx_io.sizes import SizeWriter
from xflowrl.onnx_io.source import Source
from xflowrl.onnx_io.tensor_types import (
    UniqueNames,
    array_type,
    element_of,
    make_tensor,
    numpy_dtype,
)
from xflowrl.weights import RedrawnWeights

IR_VERSION = 8  # the one that came with opset 18
_PRODUCER = "xflowrl"
_SMALL_BYTES = 4096  # smaller constants stay in the model: shapes are inferred from them


class Exporter:
    """One export: what is written, under which names.

    Attributes:
        large: values of the initialisers that the written model lacks, by name.

    Args:
        fold, fused, opset, views: as for `export_onnx`.
        keep: keeps a computed value until it is written; what it returns is written.
    """

    def __init__(
        self,
        model: Model,
        *,
        fold: bool,
        fused: FusedKernels = frozenset(),
        keep: Callable[[Array], Array] = lambda array: array,
        opset: int | None = None,
        views: bool = False,
    ) -> None:
        self.large: dict[str, Array] = {}
        self._keep, self._views = keep, views
        self._model = model
        self._source: Source | None = model.source
        graph = model.graph
        self._nodes: list[Node] = graph.nodes()
        num_outputs = len(model.outputs)
        self._outputs = list(zip(graph.outputs, graph.output_tensors, strict=True))[:num_outputs]
        self._weights = graph.weights
        self._literals = graph.literals
        self._types = {**self._weights, **{name: t for name, (t, _) in self._literals.items()}}
        for name in graph.inputs:
            self._types[name] = graph.tensor_type(name)
        self._producer = {name: node for node in self._nodes for name in node.outputs}
        for node in self._nodes:
            self._types.update(zip(node.outputs, node.output_types, strict=True))
        taken = {*self._types, *(public for public, _ in self._outputs)}
        if self._source is not None:
            for proto in self._source.nodes.values():
                taken.update([*proto.input, *proto.output])
            taken |= set(self._source.initializers)
        self._names = UniqueNames(taken)
        self._opset = opset or model.opset
        in_file = self._source.nodes if self._source is not None else {}
        self._order = {first: index for index, first in enumerate(in_file)}
        self._writer = OperandWriter(self._names, fused=fused, opset=self._opset)
        self._sizes: SizeWriter | None = None
        if self._source is not None and self._source.bindings.is_dynamic:
            self._sizes = SizeWriter(self._source, self._writer, self._names)
        self._new_names, self._copies = self._plan_names()
        self._written = self._nodes
        self._to_fold: set[str] = set()
        if fold:
            self._plan_folding()

    def model_proto(self) -> onnx.ModelProto:
        model = self._shell()
        graph = model.graph
        # Shape arithmetic may have lost its reader.
        needed = [public for public, _ in self._outputs] + [tensor for tensor, _ in self._copies]
        protos = live_nodes(self._protos(), needed)
        if self._views:
            protos = with_activations_behind_splits(protos, {*needed, *self._order}, self._names)
        if (source := self._source) is not None:
            calls, changed = source.restorable_calls, source.changed(self._nodes)
            protos = with_calls(protos, calls, changed, self._new_names, needed)
        graph.node.extend(protos)
        taken = {name for node in graph.node for name in node.output} | set(self._writer.constants)
        taken.update(map(self._new_name, self._types))
        separate_bodies(graph.node, taken, self._names)
        for tensor, public in self._copies:
            graph.node.append(onnx.helper.make_node("Identity", [tensor], [public], name=public))
        self._write_constants(graph)
        self._write_types(graph)
        write_operator_sets(model, self._opset)
        return model

    def weights(self) -> Iterator[tuple[str, Array]]:
        """Names and values of all initialisers that are drawn, or computed from others."""
        for name in self._weights:
            if self._is_redrawn(name):
                yield self._new_name(name), self._leaf(name)
        for name, array in self._folded():
            yield self._new_name(name), array

    def _shell(self) -> onnx.ModelProto:
        """The model without nodes: the file's own, or a new one."""
        model = onnx.ModelProto()
        if self._source is None:
            model.ir_version, model.producer_name = IR_VERSION, _PRODUCER
            model.graph.name = self._model.name or "graph"
            for name in self._model.graph.inputs:
                model.graph.input.append(self._info(name, self._new_name(name)))
            for public, tensor in self._outputs:
                model.graph.output.append(self._info(tensor, public))
            return model
        model.CopyFrom(self._source.shell)
        model.graph.ClearField("value_info")
        if model.ir_version < 4:  # where inputs listed weights too
            inputs = [i for i in model.graph.input if i.name not in self._source.initializers]
            del model.graph.input[:]
            model.graph.input.extend(inputs)
        model.ir_version = max(model.ir_version, IR_VERSION)
        return model

    # Nodes

    def _protos(self) -> list[onnx.NodeProto]:
        """Every node in order; before each, what the file computes its constants with."""
        protos: list[onnx.NodeProto] = []
        emitted: set[str] = set()
        for node in self._written:
            proto_nodes = self._renamed(self._node_protos(node))
            if self._sizes is not None:
                for name, tensor_type in zip(node.outputs, node.output_types, strict=True):
                    self._sizes.note(name, tensor_type)
            for name in [*dict.fromkeys(n for proto in proto_nodes for n in reads(proto))]:
                protos.extend(self._constant_protos(name, emitted))
            protos.extend(proto_nodes)
        for tensor in [*(t for _, t in self._outputs), *(t for t, _ in self._copies)]:
            protos.extend(self._constant_protos(tensor, emitted))
        return protos

    def _node_protos(self, node: Node) -> list[onnx.NodeProto]:
        """The file's own node with its operands replaced, or new ones."""
        source = self._source
        if source is not None:
            if self._is_unchanged(node):
                return [self._as_read(node, source.nodes[node.outputs[0]])]
            if self._sizes is not None:
                return self._sizes.write(node)
        protos = self._writer.write(node)
        for proto in protos:
            proto.name = next(name for name in proto.output if name)
        return protos

    def _is_unchanged(self, node: Node) -> bool:
        if self._source is None or node.outputs[0] not in self._source.nodes:
            return False
        op_type, operands, attributes = self._source.unchanged.get(node.outputs[0], ("", [], {}))
        if len(operands) != len(node.inputs):
            return False
        copied = self._source.copies.get(node.outputs[0])
        is_copy_right = copied is None or copied == node.input_types[0]
        return is_copy_right and (op_type, attributes) == (node.op_type, node.attributes)

    def _as_read(self, node: Node, origin: onnx.NodeProto) -> onnx.NodeProto:
        assert self._source is not None
        _, operands, _ = self._source.unchanged[node.outputs[0]]
        proto = onnx.NodeProto()
        proto.CopyFrom(origin)
        if bodies(proto):  # with what they capture behind
            del proto.input[:]
            proto.input.extend(node.inputs)
        elif node.inputs != operands:
            for position, name in enumerate(node.inputs):
                proto.input[position] = name
        return proto

    def _constant_protos(self, name: str, emitted: set[str]) -> list[onnx.NodeProto]:
        """The file's nodes that compute a constant, operands first."""
        source = self._source
        if source is None or not self._is_computed(name):
            return []
        found: dict[str, onnx.NodeProto] = {}
        pending = [name]
        while pending:
            tensor = pending.pop()
            if tensor not in emitted and tensor not in self._producer and self._is_computed(tensor):
                origin = source.nodes[tensor]
                emitted.update(origin.output)
                found[origin.output[0]] = origin
                pending.extend(origin.input)
        return [found[first] for first in sorted(found, key=self._order.__getitem__)]

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
            restore_captured(proto, self._new_name, self._names)
            for position, name in enumerate(proto.input):
                proto.input[position] = self._new_name(name)
            for position, name in enumerate(proto.output):
                proto.output[position] = self._new_name(name)
        return protos

    # Constants

    def _plan_folding(self) -> None:
        """Splits constants' nodes into those computed now and those written as they are.

        What the file computes from constants it goes on computing, for the readers left as well.
        """
        keep: set[str] = set()
        for node in self._nodes:
            if not node.is_constant:
                continue
            if self._is_unchanged(node) and not self._reads_made(node):
                keep.update(node.outputs)
                continue
            protos = self._writer.write(node)
            if not all(can_fold(proto) for proto in protos) or keep.intersection(node.inputs):
                keep.update(node.outputs)
        self._written = [n for n in self._nodes if not n.is_constant or n.outputs[0] in keep]
        folded = {o for n in self._nodes if n.is_constant and n.outputs[0] not in keep
                  for o in n.outputs}  # fmt: skip
        read = [name for node in self._written for name in node.inputs]
        read += [tensor for _, tensor in self._outputs]
        self._to_fold = folded.intersection(read)

    def _reads_made(self, node: Node) -> bool:
        """Whether a constant's node reads what a rewrite made."""
        assert self._source is not None
        return self._source.unchanged[node.outputs[0]][1] != node.inputs

    def _leaf(self, name: str) -> Array:
        if name in self._literals:
            tensor_type, values = self._literals[name]
            array = np.array(values).astype(numpy_dtype(tensor_type.dtype))
            return array.reshape(tensor_type.shape)
        return self._weight(name)

    def _folded(self) -> Iterator[tuple[str, Array]]:
        """Names and values of the computed constants."""
        written = {node.outputs[0] for node in self._written}
        values = computed(
            [node for node in self._nodes if node.outputs[0] not in written],
            self._to_fold,
            write=self._writer.write,
            operand=self._operand,
            opset=self._opset,
        )
        for name, array in values:  # of half types in single precision
            dtype = numpy_dtype(self._types[name].dtype)
            yield name, array.reshape(self._types[name].shape).astype(dtype, copy=False)

    def _operand(self, name: str) -> Array:
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

    def _write_constants(self, graph: onnx.GraphProto) -> None:
        read = {name for node in graph.node for name in reads(node)}
        read |= {public for public, _ in self._outputs} | {info.name for info in graph.input}
        written: set[str] = set()
        if self._source is not None:
            for name, tensor in self._source.initializers.items():
                if name in read and not self._is_redrawn(name):
                    self._copy_tensor(tensor, graph)
                    written.add(name)
        for name in [*self._weights, *self._literals]:
            new_name = self._new_name(name)
            if new_name in read and not {name, new_name} & written and not self._is_computed(name):
                self._add_tensor(new_name, self._leaf(name), self._types[name].dtype, graph)
        for name, array in self._source.computed.items() if self._source is not None else []:
            if name in read and name not in self._types:  # read as a shape, as axes, ...
                graph.initializer.append(make_tensor(name, array, array_type(array).dtype))
        for name, array in self._folded():
            dtype = self._types[name].dtype
            self._add_tensor(self._new_name(name), self._keep(array), dtype, graph)
        for name, array in self._writer.constants.items():
            if name in read:
                graph.initializer.append(onnx.numpy_helper.from_array(array, name))

    def _is_redrawn(self, name: str) -> bool:
        """Whether another value than the file's is to be written."""
        weights = self._model.weights
        if isinstance(weights, RedrawnWeights):
            return name in weights.parameters
        return name in self._weights and not self._model.has_own_weights

    def _is_computed(self, name: str) -> bool:
        """Whether nodes of the file compute a constant."""
        source = self._source
        if source is None or self._is_redrawn(name):
            return False
        return name in source.nodes and name not in source.computed

    def _copy_tensor(self, tensor: onnx.TensorProto, graph: onnx.GraphProto) -> None:
        assert self._source is not None
        copy = graph.initializer.add()
        copy.CopyFrom(tensor)
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            copy.ClearField("data_location")
            copy.ClearField("external_data")
            self.large[tensor.name] = raw_array(tensor, self._source.path.parent.resolve())

    def _add_tensor(self, name: str, array: Array, dtype: str, graph: onnx.GraphProto) -> None:
        if dtype == "string" or array.nbytes <= _SMALL_BYTES:
            graph.initializer.append(make_tensor(name, array, dtype))
            return
        graph.initializer.add(name=name, data_type=element_of(dtype), dims=array.shape)
        self.large[name] = array.astype(numpy_dtype(dtype), copy=False)

    # Types and operator sets

    def _info(self, tensor: str, name: str) -> onnx.ValueInfoProto:
        tensor_type = self._types[tensor]
        return onnx.helper.make_tensor_value_info(
            name, element_of(tensor_type.dtype), list(tensor_type.shape)
        )

    def _write_types(self, graph: onnx.GraphProto) -> None:
        """Types that no inference may find: those the file declares, those of opaque nodes."""
        written = {name for node in graph.node for name in node.output}
        if self._source is not None:
            declared = {i.name: i for i in self._source.shell.graph.value_info}
            names = [n for n in declared if n in written and n not in self._new_names.values()]
            graph.value_info.extend(declared[name] for name in names)
            return
        outputs = {info.name for info in graph.output}
        for node in self._written:
            for name in node.outputs if node.is_opaque else []:
                if self._new_name(name) not in outputs:
                    graph.value_info.append(self._info(name, self._new_name(name)))
