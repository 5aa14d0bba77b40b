"""Gives every dimension of the inputs a size: the engine's shapes are static, a file's may not be.

A dimension that is dynamic is bound several times. Whether a rewrite is legal is decided at sizes
that no other dimension has and that divide none (primes, or multiples of primes where a network
halves its images): there nothing coincides by chance. What it costs is taken at realistic sizes.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import onnx

Shapes = Mapping[str, Sequence[int | str | None]]
Binding = Mapping[str, int]
"""Sizes by symbol; a dimension without a name has the symbol `input:axis`."""

# Least prime and multiple: large sizes, such as halve five times, and small ones.
_KINDS = ((101, 1), (101, 32), (37, 1), (11, 1), (11, 8))
_PRIMES = tuple(n for n in range(11, 400) if all(n % d for d in range(2, 20)))
_GAP = 4
_IMAGE_SIZES = (224, 640, 48, 32, 256)
_LENGTHS = (128, 64, 512, 32, 16, 8, 1)
_NUMS_SAMPLES = (16000, 512, 128)
_MAX_TRIED = 60
_T = TypeVar("_T")
_IMAGE = re.compile(r"h|w|.*(height|width|image|img|spatial).*", re.IGNORECASE)
_SOUND = re.compile(r".*(audio|samples|sound|waveform|pcm).*", re.IGNORECASE)


def declared_shapes(graph: onnx.GraphProto) -> dict[str, list[int | str | None]]:
    """The declared shapes of the inputs that are tensors, each unknown size a symbol."""
    shapes: dict[str, list[int | str | None]] = {}
    for info in graph.input:
        tensor = info.type.tensor_type
        if info.type.WhichOneof("value") == "tensor_type" and tensor.HasField("shape"):
            shapes[info.name] = [
                _size(dim, f"{info.name}:{axis}") for axis, dim in enumerate(tensor.shape.dim)
            ]
    return shapes


def _size(dim: onnx.TensorShapeProto.Dimension, unnamed: str) -> int | str:
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return int(dim.dim_value)
    return dim.dim_param or unnamed


def size_of(symbol: str, binding: Binding) -> int | None:
    """The size of a symbol, or of a sum or product of symbols and numbers such as `past + 1`."""
    if symbol in binding:
        return binding[symbol]
    total = 0
    for term in symbol.split("+"):
        product = 1
        for factor in term.split("*"):
            name = factor.strip()
            size = int(name) if name.isdigit() else binding.get(name)
            if size is None:
                return None
            product *= size
        total += product
    return total


def bound_type(declared: onnx.TypeProto, binding: Binding, name: str = "") -> onnx.TypeProto:
    """A declared type with the sizes of a binding; `name` is the input's whose type it is."""
    bound = onnx.TypeProto()
    bound.CopyFrom(declared)
    dims = bound.tensor_type.shape.dim if bound.tensor_type.HasField("shape") else []
    for axis, dim in enumerate(dims):
        size = _size(dim, f"{name}:{axis}")
        known = size_of(size, binding) if isinstance(size, str) else None
        if known is not None:
            dim.dim_value = known
    return bound


@dataclass(frozen=True)
class Bindings:
    """The sizes of a model's symbols: where rewrites are legal, and where they are priced and run.

    Attributes:
        legal: distinct sizes, which decide.
        other: distinct again, and others: what differs between the two is dynamic.
        priced: realistic sizes.
        further: sizes to prove a result at.
    """

    legal: Binding
    other: Binding
    priced: Binding
    further: Sequence[Binding] = ()

    @property
    def is_dynamic(self) -> bool:
        return self.legal != self.other


@dataclass(frozen=True)
class Symbols:
    """The symbols of a model's inputs in order, what binds some, and where they stand.

    Attributes:
        given: sizes that the user chose, for pricing.
        fixed: sizes that the network itself demands, as of channels.
    """

    shapes: Shapes
    given: Binding
    fixed: Binding

    @property
    def free(self) -> list[str]:
        """Symbols that nothing fixes; sums of others are none."""
        names = (dim for shape in self.shapes.values() for dim in shape if isinstance(dim, str))
        found = [n for n in dict.fromkeys(names) if n not in self.fixed]
        plain = {n for n in found if re.fullmatch(r"[^+*]+", n)}
        return [n for n in found if n in plain or size_of(n, dict.fromkeys(plain, 1)) is None]

    def places(self, symbol: str) -> list[tuple[str, int, int]]:
        """Input, axis and rank of every place of a symbol."""
        return [
            (name, axis, len(shape))
            for name, shape in self.shapes.items()
            for axis, dim in enumerate(shape)
            if dim == symbol
        ]

    def is_image(self, symbol: str) -> bool:
        """A height or width: the later axes of a tensor of four dimensions."""
        return bool(_IMAGE.fullmatch(symbol)) or any(
            rank == 4 and axis in (1, 2, 3) for _, axis, rank in self.places(symbol)
        )

    def is_sound(self, symbol: str) -> bool:
        """How many samples: the last axis of a tensor of up to three dimensions."""
        return any(
            rank <= 3 and axis == rank - 1 and any(map(_SOUND.fullmatch, (symbol, name)))
            for name, axis, rank in self.places(symbol)
        )

    def _usual(self, symbol: str) -> tuple[int, ...]:
        """Realistic sizes, the best first."""
        if self.is_image(symbol):
            return _IMAGE_SIZES
        return _NUMS_SAMPLES if self.is_sound(symbol) else _LENGTHS

    def is_batch(self, symbol: str) -> bool:
        return not self.is_sound(symbol) and any(a == 0 for _, a, _ in self.places(symbol))

    def groups(self, level: int) -> list[list[str]]:
        """Symbols that shall have one size: none; batches; all of one axis; all but batches."""
        keys: dict[object, list[str]] = {}
        for symbol in self.free:
            axis = min((a for _, a, _ in self.places(symbol)), default=0)
            is_batch = self.is_batch(symbol)
            key: object = symbol
            if level >= 1 and is_batch:
                key = ("batch",)
            elif level == 2:
                key = (axis,)
            elif level == 3:
                key = ("rest",)
            keys.setdefault(key, []).append(symbol)
        return list(keys.values())

    def legal(self, avoided: Iterable[int]) -> Iterator[tuple[Binding, Binding]]:
        """Pairs of bindings to decide at, the best first: of one kind of size, then mixed."""
        taken = [size for size in avoided if size]
        levels = list({repr(groups): groups for groups in map(self.groups, range(4))}.values())
        for kind, groups in itertools.product(_KINDS, levels):
            yield self._distinct(groups, [kind] * len(groups), taken)
        for groups in levels:
            mixed = itertools.product(_KINDS, repeat=len(groups)) if len(groups) <= 3 else ()
            for kinds in mixed:
                if len(set(kinds)) > 1:
                    yield self._distinct(groups, kinds, taken)

    def _distinct(
        self, groups: Sequence[Sequence[str]], kinds: Sequence[tuple[int, int]], taken: list[int]
    ) -> tuple[Binding, Binding]:
        first, second = dict(self.fixed), dict(self.fixed)
        for number, (group, (least, multiple)) in enumerate(zip(groups, kinds, strict=True)):
            primes = [p for p in _PRIMES if p >= least]
            primes = primes[: max(18, 2 * len(groups))]
            usable = [p for p in primes if all(size % p for size in taken)] or primes
            # Far from each other: a window without pads makes a size one that is little smaller.
            usable = [p for start in range(_GAP) for p in usable[start::_GAP]]
            for symbol in group:
                factor = 1 if self.is_batch(symbol) else multiple
                first[symbol] = factor * usable[number % len(usable)]
                second[symbol] = factor * usable[-1 - number % len(usable)]
        return first, second

    def priced(self) -> Iterator[Binding]:
        """Realistic bindings, the best first: what is given, 1 for batches, usual sizes else."""
        free = [s for s in self.free if s not in self.given and not self.is_batch(s)]
        base = dict.fromkeys(self.free, 1) | dict(self.given) | dict(self.fixed)
        usual = [self._usual(s) for s in free]
        tables = list(dict.fromkeys(usual))
        same = [
            tuple(dict(zip(tables, sizes, strict=True))[table] for table in usual)
            for sizes in itertools.product(*tables)
        ]
        mixed = itertools.product(*usual) if len(free) <= 3 else ()
        for sizes in dict.fromkeys([*same, *mixed]):
            yield base | dict(zip(free, sizes, strict=True))

    def further(self, priced: Binding) -> Iterator[Binding]:
        """Bindings to prove at beside the priced one; a network may refuse some."""
        groups = [[s] for s in self.free]
        for batch, scale in ((2, 1.0), (3, 0.5), (1, 1.5), (5, 0.25), (2, 0.75)):
            for changed in ([s for group in groups for s in group], *groups):
                binding = dict(priced)
                for symbol in changed:
                    size = priced[symbol]
                    if self.is_batch(symbol):
                        binding[symbol] = batch
                    elif self.is_image(symbol):
                        binding[symbol] = max(32, round(size * scale / 32) * 32)
                    else:
                        binding[symbol] = max(1, round(size * scale) - (scale < 1))
                yield binding


def least_faulty(candidates: Iterable[_T], fault: Callable[[_T], tuple[int, int]], most: int) -> _T:
    """The first candidate without fault, (0, 0), or the best of the first few, `most` at most."""
    least: tuple[tuple[int, int], _T] | None = None
    for candidate in itertools.islice(candidates, min(max(most, 1), _MAX_TRIED)):
        found = fault(candidate)
        if least is None or found < least[0]:
            least = found, candidate
        if found == (0, 0):
            break
    assert least is not None, "there is at least one"
    return least[1]


def given_sizes(
    shapes: Shapes,
    batch_size: int | None,
    chosen: Mapping[str, Sequence[int]],
) -> tuple[dict[str, list[int | str | None]], dict[str, int]]:
    """The shapes with what the user fixed in them, and the sizes of the symbols so bound.

    Raises ValueError naming the input, the dimension and what is wrong with the size.
    """
    bound = {name: list(shape) for name, shape in shapes.items()}
    sizes: dict[str, int] = {}

    def bind(symbol: str, size: int, source: str) -> None:
        if sizes.setdefault(symbol, size) != size:
            raise ValueError(f'{source}: "{symbol}" is {size} here and {sizes[symbol]} elsewhere')

    for name, given in chosen.items():
        if name not in shapes:
            known = ", ".join(f'"{n}"' for n in shapes)
            raise ValueError(f'there is no input "{name}"; the inputs are {known or "none"}')
        shape = f'input "{name}" of shape {list(given)}'
        if any(not isinstance(d, int) or d < 1 for d in given):
            raise ValueError(f"{shape}: sizes are positive integers")
        if len(given) != len(shapes[name]):
            raise ValueError(
                f"{shape} has {len(given)} dimensions; the input has {len(shapes[name])}"
            )
        for axis, (old, new) in enumerate(zip(shapes[name], given, strict=True)):
            if isinstance(old, str):
                bind(old, new, shape)
            elif old != new:
                raise ValueError(
                    f"{shape}: dimension {axis} is {old} in the file; "
                    "only dynamic dimensions can be chosen"
                )
    if batch_size is not None:
        if batch_size < 1:
            raise ValueError(f"graph.batch_size={batch_size} must be at least 1")
        leading = [shape[0] for shape in bound.values() if shape]
        if shapes and not any(isinstance(d, str) or d == batch_size for d in leading):
            fixed = next((f'"{n}" has {s[0]}' for n, s in bound.items() if s), "none has any")
            raise ValueError(
                f"graph.batch_size={batch_size}: no input has a dynamic leading dimension "
                f"(input {fixed}); leave graph.batch_size out or set graph.input_shapes"
            )
        for dim in leading:
            if isinstance(dim, str):
                sizes.setdefault(dim, batch_size)
    return bound, sizes


def demanded_sizes(graph: onnx.GraphProto, shapes: Shapes) -> dict[str, int]:
    """Sizes of input dimensions that the weights of their readers demand, as channels."""
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    found: dict[str, int] = {}

    def demand(name: str, axis: int, size: int) -> None:
        shape = shapes.get(name)
        if shape and -len(shape) <= axis < len(shape):
            symbol = shape[axis]
            if isinstance(symbol, str):
                found.setdefault(symbol, size)

    for node in graph.node:
        if len(node.input) < 2 or node.input[1] not in weights:
            continue
        name, weight = node.input[0], weights[node.input[1]]
        values = {a.name: a.i for a in node.attribute}
        if node.op_type == "Conv" and len(weight) > 2:
            demand(name, 1, weight[1] * values.get("group", 1))
        elif node.op_type == "MatMul" and len(weight) > 1:
            demand(name, -1, weight[-2])
        elif node.op_type == "Gemm" and not values.get("transA", 0):
            demand(name, 1, weight[1 if values.get("transB", 0) else 0])
        elif node.op_type == "BatchNormalization":
            demand(name, 1, weight[0])
        elif node.op_type in ("LSTM", "GRU", "RNN"):
            demand(name, 2, weight[2])
    return found
