"""The networks of NAS-Bench-101 (Ying et al. 2019): a cell given by a matrix, stacked and repeated.

The rules for channels, projections and pruning are those of the dataset's own code, so that a
specification means the same network there and here (NHWC there, NCHW here).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xflowrl.graphs.layers import LayerBuilder, require_positive
from xflowrl.onnx_io import Model

DATASET_OPS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
"""The operations of the dataset, in the order of its canonical labels."""

BUILDABLE_OPS = (
    *DATASET_OPS,
    "identity",
    "bottleneck3x3",
    "bottleneck5x5",
    "maxpool3x3-conv1x1",
)

_DATA_FORMATS = ("channels_last", "channels_first")


@dataclass(frozen=True)
class ModelSpec:
    """A cell: vertex 0 is its input, the last vertex its output, the others carry operations.

    `matrix[i][j]` is 1 where vertex j reads vertex i; the labels of the first and the last vertex
    are ignored. After construction `matrix` and `ops` are *pruned* (vertices that are not on a path
    from input to output are gone, the order kept) and `original_matrix` and `original_ops` are as
    given, all of them tuples. `data_format` is kept for code written for the dataset's class; it
    does not change the function, and graphs here are always NCHW. Sizes beyond the dataset's limits
    (7 vertices, 9 edges) are accepted.

    Raises:
        ValueError: the matrix is not square, has entries other than 0 and 1, or any on or below the
            diagonal; the number of operations differs from the matrix; an operation is unknown;
            the output cannot be reached from the input.
    """

    matrix: Sequence[Sequence[int]]
    ops: Sequence[str]
    data_format: str = "channels_last"
    original_matrix: tuple[tuple[int, ...], ...] = field(init=False, compare=False)
    original_ops: tuple[str, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        matrix = _checked_matrix(self.matrix)
        ops = tuple(str(op) for op in self.ops)
        _check_ops(ops, len(matrix))
        if self.data_format not in _DATA_FORMATS:
            raise ValueError(
                f"ModelSpec: data_format {self.data_format!r} is unknown; "
                f"give one of {', '.join(_DATA_FORMATS)}"
            )
        kept = _on_a_path(matrix)
        if not kept:
            raise ValueError(
                "ModelSpec: the output (last vertex) cannot be reached from the input (vertex 0); "
                "add the missing edges to the matrix"
            )
        pruned = tuple(tuple(matrix[i][j] for j in kept) for i in kept)
        for name, value in (
            ("original_matrix", matrix),
            ("original_ops", ops),
            ("matrix", pruned),
            ("ops", tuple(ops[i] for i in kept)),
        ):
            object.__setattr__(self, name, value)

    @property
    def valid_spec(self) -> bool:
        """Always true: an invalid specification cannot be constructed."""
        return True

    @property
    def num_vertices(self) -> int:
        """Vertices of the pruned cell, input and output included."""
        return len(self.matrix)

    def sources(self, vertex: int) -> list[int]:
        """The vertices that `vertex` of the pruned cell reads, in order."""
        return [source for source in range(vertex) if self.matrix[source][vertex]]

    def targets(self, vertex: int) -> list[int]:
        """The vertices that read `vertex` of the pruned cell, in order."""
        return [target for target in range(self.num_vertices) if self.matrix[vertex][target]]

    def hash_spec(self, canonical_ops: Sequence[str] = DATASET_OPS) -> str:
        """The dataset's key of this cell: equal for isomorphic cells; 32 hex digits."""
        labels = [-1, *(_label(op, canonical_ops) for op in self.ops[1:-1]), -2]
        vertices = range(self.num_vertices)
        hashes = [
            _md5(str((len(self.targets(v)), len(self.sources(v)), labels[v]))) for v in vertices
        ]
        for _ in vertices:
            hashes = [
                _md5(
                    "".join(sorted(hashes[source] for source in self.sources(v)))
                    + "|"
                    + "".join(sorted(hashes[target] for target in self.targets(v)))
                    + "|"
                    + hashes[v]
                )
                for v in vertices
            ]
        return _md5(str(sorted(hashes)))


class NasbenchTASO:
    """Builds the network of a specification, the dataset's `ModelSpec` or ours."""

    def build_model(
        self, spec: Any, config: Mapping[str, int] | None = None, *, seed: int = 0
    ) -> Model:
        """The network of `spec`, [N, 3, 32, 32] to [N, num_labels].

        Args:
            spec: a `ModelSpec`, or an object of the dataset's class (`original_matrix`,
                `original_ops`, `data_format`).
            config: `num_stacks` (3), `num_modules_per_stack` (3), `stem_filter_size` (128),
                `num_labels` (10), `batch_size` (1), `image_size` (32).
            seed: of the weights.
        """
        if not isinstance(spec, ModelSpec):
            data_format = getattr(spec, "data_format", "channels_last")
            spec = ModelSpec(*_matrix_and_ops(spec), data_format)
        sizes = {
            "num_stacks": 3,
            "num_modules_per_stack": 3,
            "stem_filter_size": 128,
            "num_labels": 10,
            "batch_size": 1,
            "image_size": 32,
        }
        unknown = [key for key in config or {} if key not in sizes]
        if unknown:
            raise ValueError(
                f"NasbenchTASO: config key {unknown[0]!r} is unknown; "
                f"the keys are {', '.join(sizes)}"
            )
        sizes.update(config or {})
        sizes["stem_channels"] = sizes.pop("stem_filter_size")
        return _network("nasbench", spec, seed=seed, **sizes)


def nasbench(
    matrix: list[list[int]],
    ops: list[str],
    *,
    num_stacks: int = 3,
    num_modules_per_stack: int = 3,
    stem_channels: int = 128,
    num_labels: int = 10,
    batch_size: int = 1,
    image_size: int = 32,
    name: str = "nasbench",
    seed: int = 0,
) -> Model:
    """A NAS-Bench-101 network, [N, 3, S, S] to [N, num_labels], without softmax.

    A stem of `stem_channels` channels; `num_stacks` stacks of `num_modules_per_stack` modules, each
    module one cell; before every stack but the first the image is halved and the channels double.

    Args:
        matrix: the cell's edges, see `ModelSpec`.
        ops: one operation per vertex: "input", then any of `BUILDABLE_OPS`, then "output".
        name: the graph's name.
        seed: of the weights.
    """
    return _network(
        name,
        ModelSpec(matrix, ops),
        num_stacks=num_stacks,
        num_modules_per_stack=num_modules_per_stack,
        stem_channels=stem_channels,
        num_labels=num_labels,
        batch_size=batch_size,
        image_size=image_size,
        seed=seed,
    )


def vertex_channels(spec: ModelSpec, output_channels: int) -> list[int]:
    """Channels of each vertex of the pruned cell; the input's entry is 0, it brings its own.

    The vertices that feed the output share its channels, the first ones taking the remainder;
    every other takes the maximum of those it feeds, so that at most one channel is ever dropped.
    """
    last = spec.num_vertices - 1
    channels = [0] * last + [output_channels]
    if last == 1:
        return channels
    concatenated = [source for source in spec.sources(last) if source != 0]
    share, remainder = divmod(output_channels, len(concatenated))
    if share < 1:
        raise ValueError(
            f"nasbench: {output_channels} channels cannot be shared by the {len(concatenated)} "
            "vertices that feed the output; give more stem_channels"
        )
    for position, vertex in enumerate(concatenated):
        channels[vertex] = share + (position < remainder)
    for vertex in range(last - 1, 0, -1):
        if vertex not in concatenated:
            channels[vertex] = max(channels[target] for target in spec.targets(vertex))
    return channels


def _network(
    name: str,
    spec: ModelSpec,
    *,
    num_stacks: int,
    num_modules_per_stack: int,
    stem_channels: int,
    num_labels: int,
    batch_size: int,
    image_size: int,
    seed: int,
) -> Model:
    require_positive(
        num_stacks=num_stacks,
        num_modules_per_stack=num_modules_per_stack,
        stem_channels=stem_channels,
        num_labels=num_labels,
    )
    net = LayerBuilder(name, weights_first=False)
    x = net.image_input(batch_size, image_size)
    x = net.conv_bn_relu(x, "stem", stem_channels, 3)
    channels = stem_channels
    for stack in range(num_stacks):
        if stack > 0:
            x = net.max_pool(x, f"stack{stack}/pool", 2, stride=2)
            channels *= 2
        for module in range(num_modules_per_stack):
            x = _module(net, x, f"stack{stack}/module{module}", spec, channels)
    x = net.node("GlobalAveragePool", [x], "classifier/pool")
    x = net.flatten(x, "classifier/flatten")
    x = net.linear(x, "classifier", num_labels)
    return net.model({"logits": x}, seed=seed)


def _module(net: LayerBuilder, x: str, name: str, spec: ModelSpec, output_channels: int) -> str:
    """One cell, reading `x`."""
    channels = vertex_channels(spec, output_channels)
    last = spec.num_vertices - 1
    tensors = {0: x}
    for vertex in range(1, last):
        vertex_name = f"{name}/vertex{vertex}"
        terms = []
        for source in spec.sources(vertex):
            if source == 0:
                continue
            cut = f"{vertex_name}/from_vertex{source}"
            terms.append(_first_channels(net, tensors[source], cut, channels[vertex]))
        if spec.matrix[0][vertex]:
            projection = f"{vertex_name}/projection"
            terms.append(net.conv_bn_relu(x, projection, channels[vertex], 1))
        total = _sum(net, terms, f"{vertex_name}/add")
        tensors[vertex] = _operation(net, total, vertex_name, spec.ops[vertex], channels[vertex])
    terms = []
    concatenated = [tensors[source] for source in spec.sources(last) if source != 0]
    if concatenated:
        terms.append(net.concat(concatenated, f"{name}/concat"))
    if spec.matrix[0][last]:
        terms.append(net.conv_bn_relu(x, f"{name}/projection", output_channels, 1))
    return _sum(net, terms, f"{name}/add")


def _operation(net: LayerBuilder, x: str, name: str, op: str, channels: int) -> str:
    match op:
        case "conv3x3-bn-relu":
            return net.conv_bn_relu(x, name, channels, 3)
        case "conv1x1-bn-relu":
            return net.conv_bn_relu(x, name, channels, 1)
        case "maxpool3x3":
            return net.max_pool(x, f"{name}/pool", 3)
        case "identity":
            return x
        case "bottleneck3x3" | "bottleneck5x5":
            x = net.conv_bn_relu(x, f"{name}/reduce", channels // 4, 1)
            x = net.conv_bn_relu(x, f"{name}/middle", channels // 4, int(op[-1]))
            return net.conv_bn_relu(x, f"{name}/expand", channels, 1)
        case "maxpool3x3-conv1x1":
            return net.conv_bn_relu(net.max_pool(x, f"{name}/pool", 3), name, channels, 1)
    raise AssertionError(op)


def _first_channels(net: LayerBuilder, x: str, name: str, channels: int) -> str:
    if net.shape(x)[1] == channels:
        return x
    return net.slice(x, name, starts=[0], ends=[channels], axes=[1])


def _sum(net: LayerBuilder, terms: Sequence[str], name: str) -> str:
    """The sum from left to right, by additions of two."""
    total, *rest = terms
    for index, term in enumerate(rest):
        total = net.add(total, term, name if len(rest) == 1 else f"{name}{index}")
    return total


def _checked_matrix(matrix: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    lengths = [len(row) for row in matrix]
    size = len(lengths)
    if size < 2 or lengths != [size] * size:
        raise ValueError(
            f"ModelSpec: the matrix has {size} rows of lengths {lengths}; "
            "it must be square, at least 2x2"
        )
    for i, row in enumerate(matrix):
        for j, entry in enumerate(row):
            if entry not in (0, 1):
                raise ValueError(f"ModelSpec: matrix[{i}][{j}] is {entry}; entries are 0 or 1")
            if entry and j <= i:
                raise ValueError(
                    f"ModelSpec: matrix[{i}][{j}] is {entry}, on or below the diagonal; "
                    "the matrix must be strictly upper triangular: edges go to later vertices"
                )
    return tuple(tuple(int(entry) for entry in row) for row in matrix)


def _check_ops(ops: Sequence[str], num_vertices: int) -> None:
    if len(ops) != num_vertices:
        raise ValueError(
            f"ModelSpec: {len(ops)} ops for a matrix of {num_vertices} vertices; "
            "give one per vertex, those of input and output included"
        )
    for vertex, op in enumerate(ops[1:-1], start=1):
        if op not in BUILDABLE_OPS:
            raise ValueError(
                f"ModelSpec: op {op!r} of vertex {vertex} is unknown; "
                f"give one of {', '.join(BUILDABLE_OPS)}"
            )


def _on_a_path(matrix: Sequence[Sequence[int]]) -> list[int]:
    """The vertices on a path from the first to the last, in order; empty if there is none."""
    last = len(matrix) - 1
    forward, backward = {0}, {last}
    for v in range(1, last + 1):
        if any(matrix[u][v] for u in forward):
            forward.add(v)
    for v in range(last - 1, -1, -1):
        if any(matrix[v][u] for u in backward):
            backward.add(v)
    return sorted(forward & backward) if last in forward else []


def _matrix_and_ops(spec: Any) -> tuple[Any, Any]:
    """The unpruned cell of the dataset's class, whose pruned one is absent if it is invalid."""
    try:
        return spec.original_matrix, spec.original_ops
    except AttributeError:
        raise ValueError(
            f"NasbenchTASO: spec is a {type(spec).__name__}; "
            "give a ModelSpec, ours or the dataset's"
        ) from None


def _label(op: str, canonical_ops: Sequence[str]) -> int:
    if op not in canonical_ops:
        raise ValueError(f"ModelSpec: op {op!r} has no label among {', '.join(canonical_ops)}")
    return list(canonical_ops).index(op)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode("utf-8"), usedforsecurity=False).hexdigest()
