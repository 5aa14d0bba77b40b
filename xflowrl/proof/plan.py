"""What of two programs is compared, and by which measure: floats, integers, roundings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from xflowrl.proof.comparison import Array, Difference, Value, allowed, compare, compare_rounded
from xflowrl.proof.program import Program


@dataclass(frozen=True)
class Record:
    """A run of the original: what was fed and what it computed."""

    feeds: Mapping[str, Array]
    values: Mapping[str, Value]
    is_given: bool

    def feeds_of(self, plan: Plan, *, in_pieces: bool = False) -> dict[str, Array]:
        """What is fed: the inputs, the integers, and the floats where a file is cut in pieces."""
        cuts = plan.cuts_of(in_pieces=in_pieces)
        return {**self.feeds, **{name: self.values[name] for name in cuts}}


_BOUNDED = frozenset({"Sigmoid", "HardSigmoid", "Tanh", "Erf", "Softmax", "Sin", "Cos"})


@dataclass
class Plan:
    """What is compared.

    Attributes:
        original: whose nodes say how quantised tensors come about.
        compared: tensors by name, in the order of the result.
        cuts: quantised tensors that the result is fed, with the element type of each.
        pieces: float tensors that it is fed as well, where it is looked at piece by piece.
        wide: tensors that are read as float32.
        tolerances: of floats, by name: that of the coarsest type that goes into a tensor.
        fetched: what is read of the original.
        reason: why there are no records, if there are none.
    """

    original: Program
    compared: list[str]
    cuts: dict[str, int]
    wide: list[str]
    tolerances: Mapping[str, tuple[float, float]]
    pieces: Mapping[str, int] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    reason: str = ""

    def cuts_of(self, *, in_pieces: bool) -> Mapping[str, int]:
        """Where a file is cut, with the element types: at integers, and at floats as well."""
        return {**self.cuts, **self.pieces} if in_pieces else self.cuts

    def shown(self, program: Program) -> list[str]:
        """What is compared and a program computes."""
        return [name for name in self.compared if name in program.produced]

    def fits(self, first: Program, second: Program) -> bool:
        """Whether two other files have all that is compared."""
        return all(name in first.produced for name in self.fetched) and all(
            name in second.produced or name in second.outputs for name in self.compared
        )

    def compare(self, record: Record, actual: Mapping[str, Value]) -> Difference:
        """Compares all tensors; the first failure is that of the first in the order."""
        total = Difference()
        for name in self.compared:
            total.merge(self.compare_one(name, record, actual[name]))
        return total

    def compare_one(self, name: str, record: Record, theirs: Value) -> Difference:
        """Compares one tensor."""
        before = self._before_rounding(name, record) if name in self.cuts else None
        ours = record.values[name]
        if before is None:
            difference = compare(name, ours, theirs, self.tolerances[name], self._floor(name))
        else:
            difference = compare_rounded(name, ours, theirs, *before)
        if difference.failure:
            kind = "output" if name in self.original.outputs else "tensor"
            difference.failure = f"{kind} {difference.failure}"
        return difference

    def _floor(self, name: str) -> float:
        """What a function between -1 and 1 may be off: runtimes approximate it so, near 0 too."""
        node = self.original.produced.get(name)
        return 2.0**-21 if node is not None and node.op_type in _BOUNDED else 0.0

    def operands(self, name: str) -> list[str]:
        """Operand, scale and zero point (or "") of the node that a quantised tensor comes from."""
        node = self.original.produced[name]
        if node.op_type == "DynamicQuantizeLinear" and name == node.output[0]:
            return [node.input[0], *node.output[1:]]
        if node.op_type == "QuantizeLinear":
            return [*node.input, ""][:3]
        return []

    def _before_rounding(self, name: str, record: Record) -> tuple[Array, Array] | None:
        """What a quantised tensor was before rounding and how far that may be off."""
        operands = self.operands(name)
        if not operands:
            return None
        values = [self._value(operand, record) for operand in operands]
        x, scale, zero = values
        if x is None or scale is None or (zero is None and operands[2]):
            return None
        x, scale = np.asarray(x, np.float64), np.asarray(scale, np.float64)
        shift = np.asarray(0.0 if zero is None else zero, np.float64)
        if scale.ndim == 1 and scale.size > 1:
            node = self.original.produced[name]
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            shape = [1] * x.ndim
            shape[axis] = scale.size
            scale, shift = scale.reshape(shape), shift.reshape(shape if shift.ndim else ())
        elif scale.ndim > 1:  # in blocks
            return None
        allowance = np.abs(allowed(x, self.tolerances[operands[0]]) / scale)
        return x / scale + shift, np.broadcast_to(allowance, x.shape)

    def _value(self, name: str, record: Record) -> Value:
        if name in record.values:
            return record.values[name]
        if name in record.feeds:
            return record.feeds[name]
        if any(tensor.name == name for tensor in self.original.model.graph.initializer):
            return self.original.weight(name)
        return None
