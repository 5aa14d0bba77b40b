"""Gives every dimension of the inputs a size: shapes are static while optimising."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx


def bind_inputs(
    graph: onnx.GraphProto,
    batch_size: int | None,
    input_shapes: Mapping[str, Sequence[int]] | None,
) -> dict[str, onnx.TypeProto]:
    """Types of the graph's inputs with every dimension known, and of its other declared tensors.

    `batch_size` binds the leading dimension of every input where that is dynamic; `input_shapes`
    gives an input's whole shape. A symbol bound in one place is bound everywhere.

    Raises ValueError naming the input, the dimension and the option that binds it.
    """
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [info for info in graph.input if info.name not in weights]
    symbols: dict[str, int] = {}
    shapes: dict[str, list[int | str | None]] = {}
    for info in inputs:
        if info.type.WhichOneof("value") != "tensor_type":
            kind = str(info.type.WhichOneof("value")).removesuffix("_type")
            raise ValueError(f'input "{info.name}" is a {kind}; only tensors can be inputs')
        if not info.type.tensor_type.HasField("shape"):
            if info.name not in (input_shapes or {}):
                raise ValueError(
                    f'input "{info.name}" has no shape; set graph.input_shapes.{info.name}=[...]'
                )
            shapes[info.name] = []
        else:
            shapes[info.name] = [_dim(d) for d in info.type.tensor_type.shape.dim]
    overrides_fixed = _bind_given(shapes, input_shapes or {}, symbols, inputs)
    if batch_size is not None:
        _bind_batch(shapes, batch_size, symbols, given=set(input_shapes or {}))
    types: dict[str, onnx.TypeProto] = {}
    for info in inputs:
        known = [symbols.get(d, d) if isinstance(d, str) else d for d in shapes[info.name]]
        for position, dim in enumerate(known):
            if not isinstance(dim, int):
                label = f' ("{dim}")' if dim else ""
                remedy = "graph.batch_size=1 or " if position == 0 else ""
                raise ValueError(
                    f'input "{info.name}": dimension {position}{label} is dynamic; set {remedy}'
                    f"graph.input_shapes.{info.name}=[...]"
                )
        types[info.name] = onnx.helper.make_tensor_type_proto(
            info.type.tensor_type.elem_type, known
        )
    if not overrides_fixed:
        for info in [*graph.value_info, *graph.output]:
            types.setdefault(info.name, bound_type(info.type, symbols))
    return types


def bound_type(declared: onnx.TypeProto, symbols: Mapping[str, int]) -> onnx.TypeProto:
    """A declared type in which symbols of known size are replaced."""
    bound = onnx.TypeProto()
    bound.CopyFrom(declared)
    for dim in bound.tensor_type.shape.dim if bound.tensor_type.HasField("shape") else []:
        if dim.dim_param in symbols:
            dim.dim_value = symbols[dim.dim_param]
    return bound


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return int(dim.dim_value)
    return dim.dim_param or None


def _bind_given(
    shapes: dict[str, list[int | str | None]],
    input_shapes: Mapping[str, Sequence[int]],
    symbols: dict[str, int],
    inputs: Sequence[onnx.ValueInfoProto],
) -> bool:
    """Writes the given shapes over the declared ones; true if that changed a fixed dimension."""
    overrides_fixed = False
    has_rank = {i.name: i.type.tensor_type.HasField("shape") for i in inputs}
    for name, given in input_shapes.items():
        if name not in shapes:
            known = ", ".join(f'"{n}"' for n in shapes)
            raise ValueError(f'graph.input_shapes names "{name}"; the inputs are {known or "none"}')
        if any(not isinstance(d, int) or d < 1 for d in given):
            raise ValueError(
                f"graph.input_shapes.{name}={list(given)}: sizes are positive integers"
            )
        declared = shapes[name]
        if has_rank[name] and len(given) != len(declared):
            raise ValueError(
                f"graph.input_shapes.{name}={list(given)} has {len(given)} dimensions; "
                f"the input has {len(declared)}"
            )
        for old, new in zip(declared, given, strict=False):
            if isinstance(old, str):
                _bind_symbol(symbols, old, new, f"graph.input_shapes.{name}")
            overrides_fixed |= isinstance(old, int) and old != new
        shapes[name] = list(given)
    return overrides_fixed


def _bind_batch(
    shapes: dict[str, list[int | str | None]],
    batch_size: int,
    symbols: dict[str, int],
    given: set[str],
) -> None:
    if batch_size < 1:
        raise ValueError(f"graph.batch_size={batch_size} must be at least 1")
    has_leading = False
    for name, shape in shapes.items():
        if not shape or name in given:
            continue
        if isinstance(shape[0], str) and shape[0] not in symbols:
            symbols[shape[0]] = batch_size
        if isinstance(shape[0], int):
            has_leading |= shape[0] == batch_size
            continue
        has_leading = True
        if shape[0] is None:
            shape[0] = batch_size
    if not has_leading and not given and shapes:
        fixed = next((f'"{n}" has {s[0]}' for n, s in shapes.items() if s), "none has dimensions")
        raise ValueError(
            f"graph.batch_size={batch_size}: no input has a dynamic leading dimension "
            f"(input {fixed}); leave graph.batch_size out or set graph.input_shapes"
        )


def _bind_symbol(symbols: dict[str, int], symbol: str, size: int, source: str) -> None:
    if symbols.setdefault(symbol, size) != size:
        raise ValueError(f'{source}: "{symbol}" is {size} here and {symbols[symbol]} elsewhere')
