"""A rule of TASO's file as text of the rule language.

TASO's operators are narrower than ONNX's: a convolution has two operands, no dilation, and padding
that is SAME or VALID; its groups follow from the channels of operand and weight. A pattern here
says no more about an operator than TASO's does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from xflowrl.taso.rule_file import TasoOperator, TasoRule, TensorRef

_ACTIVATIONS = ("", "Sigmoid", "Relu", "Tanh")
_PLAIN = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "add": "Add", "mul": "Mul"}


def is_same(weight: str, pads: str) -> str:
    """A guard: TASO's importer calls the convolution's padding SAME."""
    return f"(or (= (drop (shape {weight}) 2) (list 1 1)) (not (all {pads} 0)))"


def is_valid(weight: str, pads: str) -> str:
    """A guard: TASO's importer calls the convolution's padding VALID."""
    return f"(all {pads} 0) (not (= (drop (shape {weight}) 2) (list 1 1)))"


def rule_text(rule: TasoRule, name: str, guards: Sequence[str] = ()) -> str:
    """One line of text.

    The variable that TASO numbers -7 is `?v7`. Of source convolution k, `?p<k>`, `?d<k>` and
    `?g<k>` are pads, dilations and group, which `guards` may speak of.

    Args:
        guards: conditions beyond those that TASO makes.

    Raises:
        ValueError: the language has no words for an operator of the target; names the operator.
    """
    return _Writer(rule).text(name, guards)


class _Writer:
    def __init__(self, rule: TasoRule) -> None:
        self._rule = rule
        self._guards: list[str] = []
        self._ranks: dict[str, int] = {}  # of variables, as far as a guard or an operator says it
        self._written: set[str] = set()

    def text(self, name: str, guards: Sequence[str]) -> str:
        sources = [self._tensor("s", old) for old, _ in self._rule.outputs]
        for index, operator in enumerate(self._rule.source):
            self._guard_source(index, operator)
        targets = [self._target(new) for _, new in self._rule.outputs]
        for operator in self._rule.target:
            if operator.kind == "concat":
                self._require_rank("t", operator.inputs, operator.parameters["rank"])
        parts = ["(rule", name, *sources, "=>", *targets]
        if self._guards or guards:
            parts += [":if", *self._guards, *guards]
        lost = self._variables(self._rule.source) - self._variables(self._rule.target)
        if lost:
            parts += [":drops", *sorted(lost)]
        return _without_unused(" ".join(parts) + ")")

    @staticmethod
    def _variables(operators: Sequence[TasoOperator]) -> set[str]:
        return {f"?v{-ref.operator}" for op in operators for ref in op.inputs if ref.is_variable}

    def _operators(self, side: str) -> tuple[TasoOperator, ...]:
        return self._rule.source if side == "s" else self._rule.target

    def _target(self, ref: TensorRef) -> str:
        """A replacing tensor, which may be a later output of a node not spoken of before."""
        label = f"@t{ref.operator}"
        if not ref.output or label in self._written:
            return self._tensor("t", ref)
        node = self._tensor("t", TensorRef(ref.operator))
        return f"(outs {node} {ref.output} {ref.output + 1})"

    def _tensor(self, side: str, ref: TensorRef) -> str:
        """A tensor; an operator is written where it is first spoken of."""
        if ref.is_variable:
            return f"?v{-ref.operator}"
        label = f"@{side}{ref.operator}"
        suffix = f".{ref.output}" if ref.output else ""
        if label in self._written:
            return label + suffix
        self._written.add(label)
        if suffix:
            raise self._no_words(ref.operator, f"its output {ref.output} is read before its first")
        return self._node(side, ref.operator, label)

    def _no_words(self, index: int, reason: str) -> ValueError:
        kind = self._rule.target[index].kind
        return ValueError(f"target operator {index} ({kind}): cannot be stated: {reason}")

    def _node(self, side: str, index: int, label: str) -> str:
        operator = self._operators(side)[index]
        operands = " ".join(self._tensor(side, ref) for ref in operator.inputs)
        parameters = operator.parameters
        kind = operator.kind
        if kind in _PLAIN:
            return f"({_PLAIN[kind]}{label} {operands})"
        if kind == "concat":
            return f"(Concat{label} {operands} :axis {parameters['axis']})"
        activation = f':activation "{_ACTIVATIONS[parameters.get("activation", 0)]}"'
        if kind == "matmul":
            is_default = side == "t" and not parameters["activation"]
            return f"(MatMul{label} {operands}{'' if is_default else ' ' + activation})"
        if kind == "split":
            sizes = " ".join(self._sizes(index, operator))
            return f"(Split{label} {operands} :axis {parameters['axis']} :split (list {sizes}))"
        if side == "t":
            return f"(Conv{label} {operands} {self._target_attributes(index, operator)})"
        strides = f":strides (list {parameters['stride_h']} {parameters['stride_w']})"
        bound = f":pads ?p{index} :dilations ?d{index} :group ?g{index}"
        return f"(Conv{label} {operands} {strides} {bound} {activation} :attrs ?a{index})"

    # --- convolutions of a target ----------------------------------------------------------------

    def _target_attributes(self, number: int, operator: TasoOperator) -> str:
        """TASO's conv knows strides, SAME or VALID and activation; ours takes over the rest."""
        index = self._model_of(operator)
        if index is None:
            raise self._no_words(number, "the source has no such conv to take pads from")
        source = self._rule.source[index]
        parts = [f":attrs ?a{index}"]
        if source.parameters["activation"] != operator.parameters["activation"]:
            name = _ACTIVATIONS[operator.parameters["activation"]]
            parts.append(f':activation "{name}"')
        x, weight = operator.inputs
        if self._leaves("s", source.inputs) == self._leaves("t", operator.inputs):
            return " ".join(parts)
        parts.append(f":group (/ {self._dim(x, 1)} {self._dim(weight, 1)})")
        made_by = source.inputs[1]
        is_summand = weight.is_variable and not made_by.is_variable
        if is_summand:  # the weight was a part of a broadcast sum: its own kernel may be smaller
            kernel = f"(drop (shape {self._tensor('t', weight)}) 2)"
            made = f"(drop (shape @s{made_by.operator}) 2)"
            own = f"(cat (/ {kernel} 2) (/ {kernel} 2))"
            parts.append(f":pads (if (= {kernel} {made}) ?p{index} {own})")
        return " ".join(parts)

    def _model_of(self, operator: TasoOperator) -> int | None:
        """The source convolution whose attributes a target convolution takes over.

        One of the same tensors or, failing that, of the same weight, or of a weight that has a part
        in common; None if there is none of its strides and padding.
        """
        fixed = ("stride_h", "stride_w", "padding")
        wanted = [operator.parameters[name] for name in fixed]
        tensors, weight = self._leaves("t", operator.inputs), self._leaves("t", operator.inputs[1:])
        best, model = (False, False, False), None
        for index, source in enumerate(self._rule.source):
            if source.kind != "conv" or [source.parameters[name] for name in fixed] != wanted:
                continue
            its_weight = self._leaves("s", source.inputs[1:])
            score = (
                self._leaves("s", source.inputs) == tensors,
                its_weight == weight,
                bool(its_weight & weight),
            )
            if model is None or score > best:
                best, model = score, index
        return model

    def _leaves(self, side: str, refs: Sequence[TensorRef]) -> frozenset[int]:
        """The variables that tensors are made from."""
        found: set[int] = set()
        for ref in refs:
            if ref.is_variable:
                found.add(ref.operator)
            else:
                found |= self._leaves(side, self._operators(side)[ref.operator].inputs)
        return frozenset(found)

    # --- shapes of target tensors, as expressions -------------------------------------------------

    def _dim(self, ref: TensorRef, axis: int) -> str:
        """The extent of a target tensor on an axis."""
        if ref.is_variable:
            return f"(dim ?v{-ref.operator} {axis})"
        operator = self._rule.target[ref.operator]
        first, *rest = operator.inputs
        if operator.kind == "concat" and axis == operator.parameters["axis"]:
            return "(+ " + " ".join(self._dim(part, axis) for part in operator.inputs) + ")"
        if operator.kind in ("add", "mul"):
            return f"(max {self._dim(first, axis)} {self._dim(rest[0], axis)})"
        if operator.kind == "conv" and axis == 1:
            return self._dim(rest[0], 0)
        if operator.kind == "matmul" and axis == 1:
            return self._dim(rest[0], 1)
        return self._dim(first, axis)

    def _sizes(self, index: int, split: TasoOperator) -> list[str]:
        """Sizes of a split's parts: it cuts where a concat of the target has joined."""
        ref, axis = split.inputs[0], split.parameters["axis"]
        while not ref.is_variable:
            operator = self._rule.target[ref.operator]
            if operator.kind == "concat" and axis == operator.parameters["axis"]:
                if len(operator.inputs) != split.num_outputs:
                    raise self._no_words(index, f"the concat has {len(operator.inputs)} operands")
                return [self._dim(part, axis) for part in operator.inputs]
            first, *rest = operator.inputs
            if operator.kind in ("conv", "matmul") and axis == 1:
                ref, axis = rest[0], 0 if operator.kind == "conv" else 1
            else:
                ref = first
        raise self._no_words(index, "no concat of the target has joined what it splits")

    # --- guards -----------------------------------------------------------------------------------

    def _guard_source(self, index: int, operator: TasoOperator) -> None:
        names = [self._tensor("s", ref) for ref in operator.inputs]
        if operator.kind == "conv":
            test = is_same if operator.parameters["padding"] == 0 else is_valid
            self._guards.append(test(names[1], f"?p{index}"))
            self._ranks |= dict.fromkeys(names, 4)
        if operator.kind == "matmul":
            self._require_rank("s", operator.inputs, 2)
        if operator.kind == "concat":
            self._require_rank("s", operator.inputs, operator.parameters["rank"])
            self._ranks |= dict.fromkeys(names, operator.parameters["rank"])

    def _require_rank(self, side: str, refs: Sequence[TensorRef], rank: int) -> None:
        for name in self._variables_of_rank(side, refs):
            if self._ranks.setdefault(name, 0) != rank:
                self._ranks[name] = rank
                self._guards.append(f"(= (rank {name}) {rank})")

    def _variables_of_rank(self, side: str, refs: Sequence[TensorRef]) -> list[str]:
        """What must have a rank, so that these tensors have it."""
        names: list[str] = []
        for ref in refs:
            if ref.is_variable:
                names.append(f"?v{-ref.operator}")
                continue
            operator = self._operators(side)[ref.operator]
            if operator.kind in ("add", "mul") and side == "s":
                names.append(f"@s{ref.operator}")
            elif operator.kind in _PLAIN:
                names += self._variables_of_rank(side, operator.inputs)
        return names


def _without_unused(text: str) -> str:
    """Leaves out labels and attribute variables that are never spoken of again."""
    for word in set(re.findall(r"@[st]\d+\b|\?[adgp]\d+\b", text)):
        pattern = rf"(?: :\w+ )?{re.escape(word)}\b"
        if len(re.findall(re.escape(word) + r"\b", text)) == 1:
            text = re.sub(pattern, "", text)
    return text
