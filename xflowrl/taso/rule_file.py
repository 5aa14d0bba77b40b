"""TASO's rule file: protobuf in, checked pattern graphs out.

The file (`graph_subst.pb`, TASO master f11782c) belongs to TASO; a user brings a copy. Its messages
are described here, so that neither a `.proto` file nor generated code is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-untyped]

FIRST_ID = 18
"""TASO's number of the file's first rule; before it come the rules that TASO builds in code."""

# Message -> fields in order of their numbers; a "*" marks a repeated one.
_MESSAGES = {
    "Parameter": ("key int32", "value int32"),
    "Tensor": ("opId int32", "tsId int32"),
    "Operator": ("type int32", "*input Tensor", "*para Parameter"),
    "MapOutput": ("srcOpId int32", "dstOpId int32", "srcTsId int32", "dstTsId int32"),
    "Rule": ("*srcOp Operator", "*dstOp Operator", "*mappedOutput MapOutput"),
    "RuleCollection": ("*rule Rule",),
}

# What TASO calls its operator types; of these the rule text knows those in _NUM_INPUTS.
_TYPE_NAMES = dict(
    enumerate(
        (
            *("input", "weight", "any", "conv", "dropout", "linear", "maxpool", "avgpool", "relu"),
            *("sigmoid", "tanh", "batchnorm", "concat", "split", "reshape", "transpose", "add"),
            *("mul", "matmul", "scalar-mul", "enlarge", "merge-gconv", "constant-imm"),
            *("constant-iconv", "constant-one", "constant-pool"),
        )
    )
)
_NUM_INPUTS = {
    **{"conv": 2, "relu": 1, "sigmoid": 1, "tanh": 1, "split": 1, "add": 2, "mul": 2, "matmul": 2},
    "concat": None,  # as many as its parameter says
}
_PARAMETERS = {
    1: "num_inputs",
    2: "num_outputs",
    6: "stride_h",
    7: "stride_w",
    8: "padding",
    9: "activation",
    10: "rank",
    11: "axis",
}
_REQUIRED = {
    "conv": ("stride_h", "stride_w", "padding", "activation"),
    "matmul": ("activation",),
    "concat": ("axis", "rank"),
    "split": ("axis", "num_outputs"),
}
_NUM_VALUES = {"padding": 2, "activation": 4}
_MAX_OPERATORS = (
    16  # of a side; TASO's file has three, and the work may double with every further one
)


@dataclass(frozen=True)
class TensorRef:
    """Output `output` of operator `operator` of its side; a negative operator is a variable."""

    operator: int
    output: int = 0

    @property
    def is_variable(self) -> bool:
        """A place for any tensor."""
        return self.operator < 0


@dataclass(frozen=True)
class TasoOperator:
    """One operator of a pattern.

    Attributes:
        kind: TASO's name in lower case, "conv" for one.
        parameters: "stride_h", "stride_w", "padding" (0 SAME, 1 VALID), "activation" (0 none,
            1 sigmoid, 2 relu, 3 tanh), "rank", "axis", "num_inputs", "num_outputs", where given.
    """

    kind: str
    inputs: tuple[TensorRef, ...]
    parameters: Mapping[str, int]

    @property
    def num_outputs(self) -> int:
        """One, but for a split."""
        return self.parameters["num_outputs"] if self.kind == "split" else 1


@dataclass(frozen=True)
class TasoRule:
    """Two pattern graphs, operands before consumers, and which target replaces which source."""

    source: tuple[TasoOperator, ...]
    target: tuple[TasoOperator, ...]
    outputs: tuple[tuple[TensorRef, TensorRef], ...]


def read_taso_file(path: str) -> list[TasoRule]:
    """The rules of a file, in order.

    Raises:
        ValueError: the file cannot be read, is no collection of rules, or a rule of it is wrong;
            one line that names file, rule and operator.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f'TASO rule file "{path}" cannot be read: {error.strerror}') from error
    collection = _message_class()()
    try:
        collection.ParseFromString(content)
    except DecodeError:
        raise ValueError(f'"{path}" is no TASO rule file, or a truncated one') from None
    if not collection.rule or _has_unknown_fields(collection):
        raise ValueError(f'"{path}" is no TASO rule file: it is no protobuf RuleCollection')
    return [
        _Reader(place_of(path, index)).rule(message)
        for index, message in enumerate(collection.rule)
    ]


def place_of(path: str, index: int) -> str:
    """How errors name rule number `index` of a file."""
    return f"{path}: rule {index} (id {FIRST_ID + index})"


def _message_class() -> Any:
    """The class of the file's outermost message, from a descriptor built here."""
    package = "xflowrl.taso"
    file = descriptor_pb2.FileDescriptorProto(
        name="xflowrl/taso.proto", package=package, syntax="proto2"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, text in enumerate(fields, 1):
            field, kind = text.lstrip("*").split()
            entry = message.field.add(name=field, number=number)
            entry.label = entry.LABEL_REPEATED if text[0] == "*" else entry.LABEL_OPTIONAL
            entry.type = entry.TYPE_INT32 if kind == "int32" else entry.TYPE_MESSAGE
            if kind != "int32":
                entry.type_name = f".{package}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.RuleCollection"))


def _has_unknown_fields(message: Any) -> bool:
    """Does it, or a message in it, hold what the description does not know?"""
    if len(UnknownFieldSet(message)):
        return True
    return any(
        _has_unknown_fields(inner)
        for field, value in message.ListFields()
        if field.message_type is not None
        for inner in value
    )


class _Reader:
    """Checks one rule and takes it out of its message; every error begins with `place`."""

    def __init__(self, place: str) -> None:
        self._place = place

    def rule(self, message: Any) -> TasoRule:
        source = self._side("source", message.srcOp)
        target = self._side("target", message.dstOp)
        bound = {ref.operator for operator in source for ref in operator.inputs}
        for index, operator in enumerate(target):
            for ref in operator.inputs:
                if ref.is_variable and ref.operator not in bound:
                    raise ValueError(
                        f"{self._place}, target operator {index} ({operator.kind}): uses variable "
                        f"{ref.operator}, which the source does not bind"
                    )
        return TasoRule(source, target, self._outputs(message.mappedOutput, source, target))

    def _side(self, side: str, messages: Sequence[Any]) -> tuple[TasoOperator, ...]:
        if len(messages) > _MAX_OPERATORS:
            raise ValueError(
                f"{self._place}: its {side} has {len(messages)} operators; at most "
                f"{_MAX_OPERATORS} are read"
            )
        operators: list[TasoOperator] = []
        for index, message in enumerate(messages):
            kind = _TYPE_NAMES.get(message.type, "unknown")
            place = f"{self._place}, {side} operator {index} ({kind})"
            if kind not in _NUM_INPUTS or (kind == "split" and side == "source"):
                raise ValueError(
                    f"{place}: operator type {message.type} is not known in a {side}; known are "
                    + ", ".join(_known_types(side))
                )
            operators.append(self._operator(place, kind, message, operators))
        return tuple(operators)

    def _operator(
        self, place: str, kind: str, message: Any, earlier: Sequence[TasoOperator]
    ) -> TasoOperator:
        parameters = {_PARAMETERS[p.key]: p.value for p in message.para if p.key in _PARAMETERS}
        for name in _REQUIRED.get(kind, ()):
            if name not in parameters:
                raise ValueError(f"{place}: has no {name}")
        for name, num_values in _NUM_VALUES.items():
            if parameters.get(name, 0) not in range(num_values):
                raise ValueError(f"{place}: {name} {parameters[name]} is not known")
        wanted = _NUM_INPUTS[kind] or parameters.get("num_inputs", len(message.input))
        if len(message.input) != wanted or not message.input:
            raise ValueError(f"{place}: has {len(message.input)} inputs, not {wanted}")
        inputs = tuple(TensorRef(tensor.opId, tensor.tsId) for tensor in message.input)
        for ref in inputs:
            _require_output(place, ref, earlier)
        return TasoOperator(kind, inputs, parameters)

    def _outputs(
        self,
        messages: Sequence[Any],
        source: Sequence[TasoOperator],
        target: Sequence[TasoOperator],
    ) -> tuple[tuple[TensorRef, TensorRef], ...]:
        pairs: list[tuple[TensorRef, TensorRef]] = []
        for index, message in enumerate(messages):
            old = TensorRef(message.srcOpId, message.srcTsId)
            new = TensorRef(message.dstOpId, message.dstTsId)
            for side, ref, operators in (("source", old, source), ("target", new, target)):
                place = f"{self._place}, mapped output {index}, {side} operator {ref.operator}"
                if ref.is_variable:
                    raise ValueError(f"{place}: is no operator")
                _require_output(place, ref, operators)
            if old in (known for known, _ in pairs):
                raise ValueError(f"{self._place}, mapped output {index}: is mapped twice")
            pairs.append((old, new))
        if not pairs:
            raise ValueError(f"{self._place}: maps no output")
        self._require_reached("source", source, [old for old, _ in pairs])
        self._require_reached("target", target, [new for _, new in pairs])
        return tuple(pairs)

    def _require_reached(
        self, side: str, operators: Sequence[TasoOperator], roots: Sequence[TensorRef]
    ) -> None:
        """Raises ValueError if an operator stands where no mapped output depends on it."""
        reached = {ref.operator for ref in roots}
        for index in reversed(range(len(operators))):
            if index not in reached:
                raise ValueError(
                    f"{self._place}, {side} operator {index} ({operators[index].kind}): no mapped "
                    "output depends on it"
                )
            reached |= {ref.operator for ref in operators[index].inputs}


def _known_types(side: str) -> list[str]:
    names = [name for name in _NUM_INPUTS if (side, name) != ("source", "split")]
    return [f"{number} ({name})" for number, name in _TYPE_NAMES.items() if name in names]


def _require_output(place: str, ref: TensorRef, operators: Sequence[TasoOperator]) -> None:
    """Raises ValueError if `ref` is neither a variable nor an output of one of `operators`."""
    if ref.is_variable:
        return
    if ref.operator >= len(operators):
        raise ValueError(f"{place}: operator {ref.operator} does not exist before it")
    if ref.output not in range(operators[ref.operator].num_outputs):
        raise ValueError(f"{place}: operator {ref.operator} has no output {ref.output}")
