"""Operators of opsets above 18 in opset 18: the same node where it means the same there, its ONNX
function body where it does not, and a refusal where it has none."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from xflowrl.onnx_io.inlining import expand_function
from xflowrl.onnx_io.known import Known, attributes_of, describe, remove_attributes, set_attribute
from xflowrl.onnx_io.reading import opset_of
from xflowrl.onnx_io.tensor_types import CANONICAL_OPSET, FLOAT_ELEMENTS

Expansion = tuple[list[onnx.NodeProto], int]

# One node in the graph, because rules speak of them; export writes what they stand for.
KEPT_FUNCTIONS = frozenset({"Gelu", "Swish"})
# Values of attributes that opset 18 knows, where a later opset added some.
_KNOWN_VALUES = {
    ("Pad", "mode"): {"constant", "reflect", "edge"},
    ("Resize", "coordinate_transformation_mode"): {
        "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize",
    },
}  # fmt: skip
# The name and the attributes are those of 18, the meaning is not.
_CHANGED_MEANING = frozenset({"GroupNormalization"})


def downgrade(node: onnx.NodeProto, opset: int, known: Known) -> Expansion:
    """Nodes that compute what `node` computes in `opset`, and the opset they are written in.

    Raises ValueError naming node, operator and opset if opset 18 cannot express it.
    """
    schema = onnx.defs.get_schema(node.op_type, opset)
    if schema.since_version <= CANONICAL_OPSET:
        return [node], CANONICAL_OPSET
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    if node.op_type == "CastLike" and (element := known.element(node.input[1])):
        del copy.input[1:]
        copy.op_type = "Cast"
        set_attribute(copy, "to", element)
        return downgrade(copy, opset, known)
    reason = _make_old(copy, schema, known)
    if reason is None:
        return [copy], CANONICAL_OPSET
    function = _function_body(node, schema, known)
    if function is None:
        raise ValueError(
            f"{describe(node)} of opset {schema.since_version} cannot be written in opset "
            f"{CANONICAL_OPSET}: {reason}; export the model with opset {CANONICAL_OPSET}"
        )
    return expand_function(node, function, known.names), opset_of(function.opset_import)


def _make_old(node: onnx.NodeProto, new: onnx.defs.OpSchema, known: Known) -> str | None:
    """Makes `node` one of opset 18, in place, or says why it cannot be."""
    try:
        old = onnx.defs.get_schema(node.op_type, CANONICAL_OPSET)
    except onnx.defs.SchemaError:
        return "the operator is newer"
    if node.op_type in _CHANGED_MEANING:
        return "the operator meant something else"
    if node.op_type in _CONVERSIONS and (reason := _CONVERSIONS[node.op_type](node, known)):
        return reason
    attributes = attributes_of(node)
    for name, value in attributes.items():
        if name not in old.attributes:
            default = new.attributes[name].default_value if name in new.attributes else None
            if not _changes_nothing(name, value, default):
                return f"attribute {name}={value} is newer"
            remove_attributes(node, name)
        values = _KNOWN_VALUES.get((node.op_type, name))
        if values is not None and value not in values:
            return f"{name}={value} is newer"
    if len(node.input) > old.max_input:
        return f"operand {old.max_input} is newer"
    return wrong_element(node, old, known)


def _changes_nothing(name: str, value: object, default: onnx.AttributeProto | None) -> bool:
    if name in ("saturate", "round_mode", "stash_type", "precision"):
        return True  # they speak of float8 types and of internal precision
    if name == "output_dtype":
        return value == 0
    if default is None or default.type == onnx.AttributeProto.UNDEFINED:
        return name == "dilations" and all(d == 1 for d in value)  # type: ignore[attr-defined]
    plain = onnx.helper.get_attribute_value(default)
    return value == (plain.decode() if isinstance(plain, bytes) else plain)


def wrong_element(node: onnx.NodeProto, schema: onnx.defs.OpSchema, known: Known) -> str | None:
    """Names an operand whose element type the operator does not have in opset 18."""
    constraints = {c.type_param_str: set(c.allowed_type_strs) for c in schema.type_constraints}
    for position, name in enumerate(node.input):
        element = known.element(name) if name else None
        if element is None or not schema.inputs:
            continue
        formal = schema.inputs[min(position, len(schema.inputs) - 1)]
        allowed = constraints.get(formal.type_str, {formal.type_str})
        type_name = onnx.TensorProto.DataType.Name(element).lower()
        if f"tensor({type_name})" not in allowed:
            return f"{type_name} operands are newer"
    return None


def _function_body(
    node: onnx.NodeProto, schema: onnx.defs.OpSchema, known: Known
) -> onnx.FunctionProto | None:
    version, function = schema.since_version, onnx.FunctionProto()
    if schema.has_function:
        function.ParseFromString(schema.get_function_with_opset_version(version))
        return function
    if not schema.has_context_dependent_function:
        return None
    types = [known.types.get(name, onnx.TypeProto()) for name in node.input]
    function.ParseFromString(
        schema.get_context_dependent_function_with_opset_version(
            version, node.SerializeToString(), [t.SerializeToString() for t in types]
        )
    )
    return function if function.node else None


def _dft(node: onnx.NodeProto, known: Known) -> str | None:
    """The axis was an attribute, counted from the front, and defaulted to 1."""
    axis, rank = -2, known.rank(node.input[0])
    if len(node.input) > 2 and node.input[2]:
        value = known.value(node.input[2])
        if value is None:
            return "its axis is not constant"
        axis = int(value.item())
    if rank is None:
        return "the rank of its operand is not known"
    del node.input[2:]
    set_attribute(node, "axis", axis % rank)
    return None


def _mod(node: onnx.NodeProto, known: Known) -> str | None:
    is_float = known.element(node.input[0]) in FLOAT_ELEMENTS
    return "fmod=0 on floats is newer" if is_float and not attributes_of(node).get("fmod") else None


def _grid_sample(node: onnx.NodeProto, known: Known) -> str | None:
    mode = attributes_of(node).get("mode", "linear")
    if known.rank(node.input[0]) != 4:
        return "only rank 4 is older"
    set_attribute(node, "mode", {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode))
    return None


_CONVERSIONS: dict[str, Callable[[onnx.NodeProto, Known], str | None]] = {
    "DFT": _dft,
    "GridSample": _grid_sample,
    "Mod": _mod,
}
