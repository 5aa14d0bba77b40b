"""Inputs for a model file, drawn from a seed so that they fit what the model does with them.

What an input is for is read from the file: it is followed through its consumers, into functions
and bodies, until it arrives where it is an index, a size or a mask.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx

from xflowrl.proof.comparison import Array

ATTEMPTS = 4  # the later, the more careful
_SCALES = (1.0, 0.1, 10.0)
_MAX_NUMBER = 128  # of integers that are no index
_LARGE = 1e3  # what a mask is multiplied by, at least

# Operand positions that hold indices into operand 0, and along what.
_INDICES = {"Gather": 1, "GatherElements": 1, "GatherND": 1, "ScatterElements": 1, "ScatterND": 1}
# Operands that are counts or sizes, or positions on an axis.
_SIZES = {
    "Reshape": {1}, "Expand": {1}, "ConstantOfShape": {0}, "Range": {0, 1, 2},
    "Slice": {1, 2, 3, 4}, "Tile": {1}, "TopK": {1}, "Pad": {1}, "Resize": {2, 3}, "Loop": {0},
    "Split": {1}, "Unsqueeze": {1}, "Squeeze": {1}, "CumSum": {1}, "OneHot": {1},
    "NonMaxSuppression": {2}, "ReverseSequence": {1}, "LSTM": {4}, "GRU": {4}, "RNN": {4},
    "RandomUniform": {0}, "GatherBlockQuantized": set(), "SplitToSequence": {1},
    "SequenceAt": {1}, "Trilu": {1}, "DFT": {1}, "Upsample": {1},
}  # fmt: skip
_MASKS = {"Where": {0}, "If": {0}, "And": {0, 1}, "Or": {0, 1}, "Not": {0}, "Xor": {0, 1},
          "Compress": {1}, "Dropout": {2}}  # fmt: skip
# Through operand 0 of these an input stays what it is.
_PASSES = frozenset(
    {"Cast", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Slice", "Flatten", "Transpose",
     "Expand", "Split", "Tile", "Concat", "Add", "Sub", "Mul", "Mod", "Where", "Clip", "Min", "Max",
     "Pad", "CastLike", "Gather"}
)  # fmt: skip
_ARITHMETIC = frozenset(
    {"MatMul", "Gemm", "Div", "Pow", "Abs", "Neg", "Equal", "Greater", "Less", "GreaterOrEqual",
     "LessOrEqual", "Shape", "Size", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceMean",
     "ReduceProd", "ArgMax", "ArgMin", "MatMulInteger", "ConvInteger", "DequantizeLinear", "Sign",
     "Relu", "QuantizeLinear", "CumSum", "TopK", "NonZero", "BitShift", "Sum", "Mean"}
)  # fmt: skip


@dataclass(frozen=True)
class _Role:
    """What an input is for: "index" (below `limit`), "size", "mask" or "number"."""

    kind: str
    limit: int = _MAX_NUMBER


def draw_inputs(
    model: onnx.ModelProto | Uses,
    shapes: Mapping[str, Sequence[int]],
    *,
    seed: int,
    draw: int = 0,
    attempt: int = 0,
) -> dict[str, Array]:
    """Values for all inputs of a model that have no default. Equal arguments give equal values.

    Args:
        model: large initialisers may be without their data; or the `Uses` of one.
        shapes: of the inputs, by name.
        seed: of the draws.
        draw: floats are of size 1, 0.1, 10 and so on in turn; from the second draw on, defaults
            of float inputs are changed.
        attempt: 0 to `ATTEMPTS` - 1: normal; positive floats and small integers; zeros; ones.

    Raises:
        ValueError: if an input's shape is missing or does not fit its rank.
    """
    uses = model if isinstance(model, Uses) else Uses(model)
    model = uses.model
    defaults = {tensor.name: tensor for tensor in model.graph.initializer}
    walk = _Walk(uses, shapes)
    drawn = {}
    for info in model.graph.input:
        generator = _generator(f"{seed}:{draw}:{info.name}")
        phase = int(_generator(info.name).integers(2))
        dtype = onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        if info.name in defaults:
            tensor = defaults[info.name]
            if draw and dtype.kind == "f" and tensor.HasField("raw_data"):
                drawn[info.name] = (1.5 * onnx.numpy_helper.to_array(tensor)).astype(dtype)
            continue
        if info.name not in shapes:
            raise ValueError(f'input "{info.name}" has no shape: add it to `shapes`')
        role = walk.role(info.name, is_float=_is_float(dtype))
        shape = tuple(shapes[info.name])
        drawn[info.name] = _draw(dtype, shape, role, generator, draw, attempt, phase)
    return drawn


def _generator(key: str) -> np.random.Generator:
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def _is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or dtype == ml_dtypes.bfloat16


def _draw(
    dtype: np.dtype,
    shape: tuple[int, ...],
    role: _Role,
    generator: np.random.Generator,
    draw: int,
    attempt: int,
    phase: int,
) -> Array:
    if dtype.kind == "O":
        return np.full(shape, "a", dtype=object)
    if role.kind == "size":
        return np.full(shape, 1 + draw % 2 if attempt == 0 else 1).astype(dtype)
    if attempt >= 2 and not (_is_float(dtype) and attempt == 2):
        return np.full(shape, attempt - 2).astype(dtype)
    if role.kind == "mask" or dtype.kind == "b":
        is_set = generator.random(shape) < 0.7
        if is_set.size == 1:  # a switch is tried in both positions
            is_set = np.full(shape, draw % 2 == phase)
        return is_set.astype(dtype)
    if _is_float(dtype):
        normal = np.asarray(generator.standard_normal(shape))
        scale = _SCALES[draw % len(_SCALES)]
        return [scale * normal, 0.5 + generator.random(shape), 0.1 * normal][attempt].astype(dtype)
    limit = max(role.limit, 1)
    is_number = role.kind == "number" and role.limit == _MAX_NUMBER
    if is_number and dtype == np.uint8:
        limit = 256
    limit = limit if attempt == 0 else min(limit, 2)
    least = -limit if is_number and dtype.kind == "i" and draw % 2 and attempt == 0 else 0
    return np.asarray(generator.integers(least, limit, shape)).astype(dtype)


class Uses:
    """Where the tensors of a model are used. A scope is the key of a function, "" outside."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.functions = {f"{f.domain}:{f.name}": f for f in model.functions}
        self.uses: dict[tuple[str, str], list[tuple[onnx.NodeProto, int]]] = {}
        self.sizes: dict[tuple[str, str], Sequence[int]] = {}
        self.constants: dict[tuple[str, str], Array] = {}
        self._index_graph("", model.graph)
        for key, function in self.functions.items():
            self._index_nodes(key, function.node)

    def _index_graph(self, scope: str, graph: onnx.GraphProto) -> None:
        for info in [*graph.value_info, *graph.input]:
            self.sizes[scope, info.name] = [d.dim_value for d in info.type.tensor_type.shape.dim]
        for tensor in graph.initializer:
            self._add_constant(scope, tensor.name, tensor)
        self._index_nodes(scope, graph.node)

    def _index_nodes(self, scope: str, nodes: Sequence[onnx.NodeProto]) -> None:
        for node in nodes:
            for position, name in enumerate(node.input):
                self.uses.setdefault((scope, name), []).append((node, position))
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "value":
                    self._add_constant(scope, node.output[0], attribute.t)
                for body in [attribute.g, *attribute.graphs]:
                    self._index_graph(scope, body)

    def _add_constant(self, scope: str, name: str, tensor: onnx.TensorProto) -> None:
        self.sizes[scope, name] = list(tensor.dims)
        is_inline = tensor.data_location != onnx.TensorProto.EXTERNAL
        if is_inline and np.prod(tensor.dims, dtype=np.int64) == 1:
            self.constants[scope, name] = onnx.numpy_helper.to_array(tensor).reshape(())


class _Walk:
    """Follows inputs to where they are used."""

    def __init__(self, uses: Uses, shapes: Mapping[str, Sequence[int]]) -> None:
        self._functions, self._uses = uses.functions, uses.uses
        given = {("", name): tuple(shape) for name, shape in shapes.items()}
        self._sizes = {**uses.sizes, **given}
        self._constants = dict(uses.constants)

    def role(self, name: str, *, is_float: bool) -> _Role:
        """What a graph input is for; the smallest limit where it is an index in several places."""
        found = list(self._roles("", name, set()))
        if "mask" in name.lower() and all(role.kind != "index" for role in found):
            return _Role("mask")
        for kind in ("size", "index", "mask"):
            if roles := [r for r in found if r.kind == kind]:
                if kind == "mask" and is_float and "mask" not in name.lower():
                    roles = [r for r in roles if r.limit == 0]
                if roles:
                    return min(roles, key=lambda r: r.limit)
        return min(found, key=lambda r: r.limit, default=_Role("number"))

    def _roles(self, scope: str, name: str, seen: set[tuple[str, str]]) -> Iterator[_Role]:
        if (scope, name) in seen:
            return
        seen.add((scope, name))
        for node, position in self._uses.get((scope, name), []):
            yield from self._roles_at(scope, node, position, seen)

    def _roles_at(
        self, scope: str, node: onnx.NodeProto, position: int, seen: set[tuple[str, str]]
    ) -> Iterator[_Role]:
        op = node.op_type
        function = self._functions.get(f"{node.domain}:{op}")
        if function is not None:
            inner = f"{node.domain}:{op}"
            self._enter(scope, node, inner)
            yield from self._roles(inner, function.input[position], seen)
            reached = [o for o in function.output if (inner, o) in seen]
            indices = [list(function.output).index(o) for o in reached]
            for name in [node.output[i] for i in indices if i < len(node.output)]:
                yield from self._roles(scope, name, seen)
        elif _INDICES.get(op) == position:
            yield _Role("index", self._indexed_size(scope, node))
        elif op == "OneHot" and position == 0:
            depth = self._constants.get((scope, node.input[1]))
            yield _Role("index", 2 if depth is None else max(int(depth), 1))
        elif op == "EmbedLayerNormalization" and position < 2:
            rows = self._sizes.get((scope, node.input[2 + 2 * position]), [2])
            yield _Role("index", rows[0])
        elif position in _SIZES.get(op, ()):
            yield _Role("size", 1)
        elif position in _MASKS.get(op, ()) or self._is_asked_for_truth(scope, node, position):
            yield _Role("mask")
        elif op in ("Loop", "Scan"):
            for body in (a.g for a in node.attribute if a.name == "body"):
                if position < len(body.input):
                    yield from self._roles(scope, body.input[position].name, seen)
        elif op in _PASSES and (position == 0 or op not in ("Reshape", "Slice", "Gather")):
            if op == "Mul" and self._is_large(scope, node.input[1 - position]):
                yield _Role("mask", 0)
            for name in node.output:
                yield from self._roles(scope, name, seen)
        elif op not in _ARITHMETIC:
            yield _Role("number", 2)

    def _enter(self, scope: str, node: onnx.NodeProto, inner: str) -> None:
        """Tells a function what is known of its operands."""
        for formal, actual in zip(self._functions[inner].input, node.input, strict=False):
            if (scope, actual) in self._sizes:
                self._sizes[inner, formal] = self._sizes[scope, actual]
            if (scope, actual) in self._constants:
                self._constants[inner, formal] = self._constants[scope, actual]

    def _is_asked_for_truth(self, scope: str, node: onnx.NodeProto, position: int) -> bool:
        if node.op_type == "Equal":
            return self._constants.get((scope, node.input[1 - position])) in (0, 1)
        return node.op_type == "Cast" and _target(node) == "bool"

    def _is_large(self, scope: str, name: str) -> bool:
        value = self._constants.get((scope, name))
        return value is not None and value.dtype.kind == "f" and bool(np.abs(value) >= _LARGE)

    def _indexed_size(self, scope: str, node: onnx.NodeProto) -> int:
        """How many there are along the axis that is indexed; 2 where that is not known."""
        shape = self._sizes.get((scope, node.input[0]), [])
        if node.op_type in ("GatherND", "ScatterND"):
            sizes = list(shape)
        else:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            sizes = list(shape[axis:][:1]) if -len(shape) <= axis < len(shape) else []
        return min(sizes, default=0) or 2


def _target(node: onnx.NodeProto) -> str:
    element = next(a.i for a in node.attribute if a.name == "to")
    return str(onnx.helper.tensor_dtype_to_np_dtype(element).name)
