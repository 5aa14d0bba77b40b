"""A model file as the proof sees it: which tensors it computes, and a run that shows them."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx

from xflowrl.measurement.runtimes.onnxruntime import open_session
from xflowrl.measurement.runtimes.runtime import refusal
from xflowrl.onnx_io.inlining import bodies, reads
from xflowrl.onnx_io.ordering import sorted_nodes
from xflowrl.onnx_io.protobuf_file import read_model
from xflowrl.onnx_io.reading import tensor_array
from xflowrl.proof.comparison import Array, Value
from xflowrl.proof.inputs import Uses

_SMALL = 1024  # elements of an initialiser that are kept at hand
_NOISE = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli",
     "Multinomial", "BiasDropout", "BitmaskDropout", "BitmaskBiasDropout"}
)  # fmt: skip
_QUANTISERS = ("QuantizeLinear", "DynamicQuantizeLinear")
_WIDE = {"tensor(bfloat16)": "bfloat16"}  # NumPy has no such type: read as float32
_NUDGED = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE})
_FLOATS = _NUDGED | {onnx.TensorProto.FLOAT16}
_MAX_NUDGED_BYTES = 2**30
_AS_FLOAT = ":float32"
_CUT = ":uncut"


class CannotRun(Exception):
    """ONNX Runtime refuses a model or its inputs."""


class Program:
    """What a file computes, with its own weights or others. Large initialisers stay on disk.

    Attributes:
        path: the file.
        model: its content without large initialisers.
        inputs: names of the inputs that have no default.
        outputs: names of the outputs.
        produced: the node of every tensor of the main graph, in topological order.
        noisy: tensors that depend on noise, so that two runs differ.
        cuts: tensors that come out of a rounding to integers.
        redrawn: values that initialisers have instead of those in the file, by name; None if all
            are the file's own.
    """

    redrawn: Mapping[str, Array] | None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.redrawn = None
        self._kept: dict[object, Session | None] = {}
        self.model = read_model(path)
        for tensor in self.model.graph.initializer:
            if math.prod(tensor.dims) > _SMALL:
                for data in ("raw_data", "float_data", "double_data", "int32_data", "int64_data"):
                    tensor.ClearField(data)
        graph = self.model.graph
        defaults = {tensor.name for tensor in graph.initializer}
        self.inputs = [info.name for info in graph.input if info.name not in defaults]
        self.outputs = [info.name for info in graph.output]
        self.produced = {
            name: node for node in sorted_nodes(graph.node) for name in node.output if name
        }
        self.noisy = self._find_noisy()
        self.cuts = [
            name
            for name, node in self.produced.items()
            if node.op_type in _QUANTISERS
            or str(node.op_type).startswith("QLinear")  # bytes if it is not UTF-8
        ]

    def with_weights(self, values: Mapping[str, Array]) -> Program:
        """The same with other values of some initialisers; what it has none of is ignored.

        A session is opened once for all values: they are fed to it. It is kept as long as this is.
        """
        other = copy.copy(self)
        names = {tensor.name for tensor in self.model.graph.initializer}
        given = {name: np.asarray(value) for name, value in values.items() if name in names}
        other.redrawn = {**(self.redrawn or {}), **given}
        return other

    def moved(self, units: float) -> Program:
        """The same with every number of a kernel moved by about so many units in its last place.

        Kernels have two dimensions or more: what has one may be sizes, scales and the like.
        """
        values, folder = self.redrawn or {}, self.path.parent
        tensors = read_model(self.path).graph.initializer
        kernels = [t for t in tensors if len(t.dims) > 1 and t.data_type in _NUDGED]
        if sum(8 * math.prod(tensor.dims) for tensor in kernels) >= _MAX_NUDGED_BYTES:
            kernels = []
        return self.with_weights(
            {
                t.name: nudged(
                    values[t.name] if t.name in values else tensor_array(t, folder), units
                )
                for t in kernels
            }
        )

    @cached_property
    def uses(self) -> Uses:
        """Where its tensors are used."""
        return Uses(self.model)

    def interface(self, kind: str) -> dict[str, str]:
        """Names and element types ("" where none is declared) of "input" or "output", in order.

        Before IR version 4 initialisers were inputs too; they are not counted.
        """
        infos = getattr(self.model.graph, kind)
        if kind == "input" and self.model.ir_version < 4:
            infos = [info for info in infos if info.name in self.inputs]
        return {info.name: _element_name(info.type) for info in infos}

    def weights(self, limit: int) -> list[str]:
        """Names of at most `limit` float initialisers, spread evenly, the last ones first."""
        names = self._floats()
        return names[::-1][:: max(1, len(names) // limit)][:limit]

    def _floats(self) -> list[str]:
        return [
            tensor.name
            for tensor in self.model.graph.initializer
            if tensor.data_type in _FLOATS and 0 not in tensor.dims
        ]

    def weight(self, name: str) -> Array:
        """The value of an initialiser, read from the file if it is not another."""
        if self.redrawn is not None and name in self.redrawn:
            return self.redrawn[name]
        graph = read_model(self.path).graph
        tensor = next(t for t in graph.initializer if t.name == name)
        return tensor_array(tensor, self.path.parent)

    def open(
        self,
        shown: Collection[str] = (),
        *,
        wide: Collection[str] = (),
        cuts: Mapping[str, int] | None = None,
        overridable: Collection[str] = (),
    ) -> Session:
        """A session of the file that shows inner tensors.

        Args:
            shown: inner tensors that become further outputs.
            wide: outputs and shown tensors that are read as float32.
            cuts: tensors whose consumers read an input of that name instead, with the
                `TensorProto.DataType` of each; what was computed is shown under their name.
            overridable: initialisers that may be fed.

        Raises:
            CannotRun: if ONNX Runtime refuses the model.
        """
        cuts = cuts or {}
        if self.redrawn is None:
            return self._open(shown, wide, cuts, overridable)
        key = (frozenset([*self.outputs, *shown]), frozenset(wide), frozenset(cuts))
        if key not in self._kept:
            try:
                self._kept[key] = self._open(shown, wide, cuts, self._floats())
            except CannotRun:  # an operator that wants its weight to be constant
                self._kept[key] = None
        session = self._kept[key]
        if session is None or not session.takes(self.redrawn):
            return self._open(shown, wide, cuts, overridable, self.redrawn)
        return session.fed(self.redrawn)

    def _open(
        self,
        shown: Collection[str],
        wide: Collection[str],
        cuts: Mapping[str, int],
        overridable: Collection[str],
        constants: Mapping[str, Array] = MappingProxyType({}),
    ) -> Session:
        model = read_model(self.path)
        graph = model.graph
        for tensor in graph.initializer:
            if (value := constants.get(tensor.name)) is not None:
                name, data_type, dims = tensor.name, tensor.data_type, list(tensor.dims)
                content = np.ascontiguousarray(value).tobytes()
                tensor.CopyFrom(
                    onnx.TensorProto(name=name, data_type=data_type, dims=dims, raw_data=content)
                )
        for node in graph.node:
            for position, name in enumerate(node.output):
                if name in cuts:
                    node.output[position] = name + _CUT
        fetched = {name: name for name in dict.fromkeys([*self.outputs, *shown, *cuts])}
        fetched.update({name: name + _CUT for name in cuts})
        for name in wide:
            cast = onnx.helper.make_node("Cast", [name], [name + _AS_FLOAT], to=1)
            graph.node.append(cast)
            fetched[name] = name + _AS_FLOAT
        given = {info.name for info in graph.output}
        graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in fetched.values() if name not in given
        )
        for name, element in cuts.items():
            graph.input.append(onnx.helper.make_tensor_value_info(name, element, None))
        self._make_overridable(model, overridable)
        _feed_as_float(graph)
        content = model.SerializeToString()
        del model, graph, given
        return Session(content, self.path.parent, fetched)

    def _make_overridable(self, model: onnx.ModelProto, names: Collection[str]) -> None:
        given = {info.name for info in model.graph.input}
        if names:
            model.ir_version = max(model.ir_version, 4)  # before, no initialiser could be fed
        for tensor in model.graph.initializer:
            if tensor.name in names and tensor.name not in given:
                info = onnx.helper.make_tensor_value_info(
                    tensor.name, tensor.data_type, list(tensor.dims)
                )
                model.graph.input.append(info)

    def _find_noisy(self) -> set[str]:
        falses = {
            tensor.name
            for tensor in self.model.graph.initializer
            if tensor.data_type == onnx.TensorProto.BOOL and tensor.raw_data in (b"", b"\0")
            and not any(tensor.int32_data)
        }  # fmt: skip
        functions = {(f.domain, f.name): f for f in self.model.functions}

        def draws(node: onnx.NodeProto) -> bool:
            if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
                return node.input[2] not in falses
            function = functions.get((node.domain, node.op_type))
            inner = list(function.node) if function is not None else []
            inner += [n for body in bodies(node) for n in body.node]
            return node.op_type in _NOISE or any(draws(n) for n in inner)

        noisy: set[str] = set()
        for node in self.produced.values():
            if not noisy.isdisjoint(node.output):
                continue
            if not noisy.isdisjoint(reads(node)) or draws(node):
                noisy.update(node.output)
        return noisy


class Session:
    """A model in ONNX Runtime, its optimisations off."""

    def __init__(self, model: bytes, folder: Path, fetched: Mapping[str, str]) -> None:
        try:
            self._session = open_session(model, threads=0, folder=folder, prepack=False)
        except RuntimeError as error:
            raise CannotRun(str(error)) from error
        session = self._session
        self._defaults: Mapping[str, Array] = {}
        self._fetched = dict(fetched)
        self._feedable = {i.name for i in session.get_inputs()}
        self._feedable |= {i.name for i in session.get_overridable_initializers()}
        by_name = {o.name: o for o in session.get_outputs()}
        self.types = {name: by_name[real].type for name, real in self._fetched.items()}
        self.shapes: dict[str, Sequence[int | str | None]] = {
            name: by_name[real].shape for name, real in self._fetched.items()
        }

    def takes(self, names: Collection[str]) -> bool:
        """Whether tensors of all these names can be fed."""
        return self._feedable.issuperset(names)

    def fed(self, values: Mapping[str, Array]) -> Session:
        """The same, fed these values wherever no others are."""
        other = copy.copy(self)
        other._defaults = values
        return other

    def run(self, feeds: Mapping[str, Array], names: Sequence[str]) -> dict[str, Value]:
        """The values of the named tensors. What the model does not take is not fed.

        Raises:
            CannotRun: if ONNX Runtime refuses the inputs.
        """
        # What is no default comes first: ONNX Runtime looks for it along the list.
        values = {**feeds, **self._defaults, **feeds}
        given = {name: array for name, array in values.items() if name in self._feedable}
        for name in feeds.keys() - given.keys():
            if name + _AS_FLOAT in self._feedable:
                given[name + _AS_FLOAT] = feeds[name].astype(np.float32)
        try:
            results = self._session.run([self._fetched[name] for name in names], given)
        except Exception as error:  # ONNX Runtime has a dozen exception types of its own
            refused = refusal(error)
            if isinstance(refused, MemoryError):
                raise refused from error
            raise CannotRun(str(refused)) from error
        return dict(zip(names, results, strict=True))


def nudged(array: Array, units: float) -> Array:
    """Single and double precision moved by about so many units in the last place, up or down.

    At random, but equal arrays always alike; other types stay as they are.
    """
    if array.dtype.name not in ("float32", "float64"):
        return array
    bits = np.random.default_rng(array.size).bytes(-(-array.size // 8))
    signs = np.unpackbits(np.frombuffer(bits, np.uint8), count=array.size).reshape(array.shape)
    share = units * float(np.finfo(array.dtype).eps)
    return np.asarray(array * np.array([1 - share, 1 + share], array.dtype)[signs])


def is_wide(ort_type: str) -> bool:
    """A type that must be read as float32."""
    return ort_type in _WIDE


def _feed_as_float(graph: onnx.GraphProto) -> None:
    """Makes bfloat16 inputs float32 ones, which NumPy can give."""
    casts = []
    for info in graph.input:
        tensor_type = info.type.tensor_type
        if tensor_type.elem_type == onnx.TensorProto.BFLOAT16:
            casts.append(onnx.helper.make_node("Cast", [info.name + _AS_FLOAT], [info.name], to=16))
            tensor_type.elem_type = onnx.TensorProto.FLOAT
            info.name += _AS_FLOAT
    nodes = [*casts, *graph.node]
    if casts:
        del graph.node[:]
        graph.node.extend(nodes)


def _element_name(type_proto: onnx.TypeProto) -> str:
    if not type_proto.HasField("tensor_type"):
        return str(type_proto.WhichOneof("value") or "")
    element = type_proto.tensor_type.elem_type
    return onnx.TensorProto.DataType.Name(element).lower() if element else ""
