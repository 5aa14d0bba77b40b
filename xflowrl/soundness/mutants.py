"""Wrong copies of a rule, which a soundness check worth its name must catch.

Every guard is removed, every condition on an attribute forgotten, and every part of the target
changed in the ways in which rules are got wrong: operands swapped or dropped, an operator left out
or replaced, an attribute changed or dropped.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from xflowrl._engine import canonical_attributes, inferable_operators
from xflowrl.soundness.text import Form, RuleForm, read_rule, replace_at, subforms, write_form

_SYMMETRIC = {"Add", "Mul", "Sum", "Max", "Min", "Mean", "And", "Or"}
_REPLACED_BY = {"Add": "Mul", "Mul": "Add", "Sub": "Add", "Div": "Mul", "Relu": "Neg", "Neg": "Abs"}
_REPLACED_STRINGS = {'"Relu"': '"Tanh"', '""': '"Relu"'}
_OPERATORS = frozenset(inferable_operators())


@dataclass(frozen=True)
class Mutant:
    """A changed copy of a rule.

    Attributes:
        kind: "guard" and "condition" let the rule apply where it did not; a "target" is wrong
            wherever it applies.
        change: what was done, unique within the rule.
        text: the copy; it need not be a rule the engine accepts.
    """

    rule: str
    kind: Literal["guard", "condition", "target"]
    change: str
    text: str


def mutants_of(text: str) -> list[Mutant]:
    """All mutants of a rule, in a fixed order, no two alike and none like the rule."""
    rule = read_rule(text)
    seen, found = {rule.text}, []
    for mutant in (*_without_guards(rule), *_without_conditions(rule), *_wrong_targets(rule)):
        if mutant.text not in seen:
            seen.add(mutant.text)
            found.append(mutant)
    return found


def _without_guards(rule: RuleForm) -> Iterator[Mutant]:
    for index, guard in enumerate(rule.guards):
        rest = (*rule.guards[:index], *rule.guards[index + 1 :])
        changed = replace(rule, guards=rest)
        yield Mutant(rule.name, "guard", f"without guard {write_form(guard)}", changed.text)
        for path, form in subforms(guard):
            if not (isinstance(form, tuple) and form[0] == "and"):
                continue
            for position in range(1, len(form)):
                weaker = replace_at(guard, (*path, position), None)
                guards = (*rule.guards[:index], weaker, *rule.guards[index + 1 :])
                change = f"guard {write_form(weaker)} without {write_form(form[position])}"
                yield Mutant(rule.name, "guard", change, replace(rule, guards=guards).text)


def _without_conditions(rule: RuleForm) -> Iterator[Mutant]:
    """Attributes of the source: a value no longer asked for, a variable no longer shared."""
    seen: set[str] = set()
    for number, source in enumerate(rule.sources):
        for path, form in subforms(source):
            if not (isinstance(form, str) and form.startswith(":")):
                continue
            value_path = (*path[:-1], path[-1] + 1)
            value = _at(source, value_path)
            is_variable = isinstance(value, str) and value.startswith("?")
            if is_variable and value not in seen:
                seen.add(str(value))
                continue
            if is_variable:
                changed = replace_at(source, value_path, f"?other{len(seen)}")
                change = f"source {number} {path}: {form} need not be {value}"
            else:
                changed = replace_at(replace_at(source, value_path, None), path, None)
                change = f"source {number} {path}: {form} need not be {write_form(value)}"
            sources = (*rule.sources[:number], changed, *rule.sources[number + 1 :])
            yield Mutant(rule.name, "condition", change, replace(rule, sources=sources).text)


def _wrong_targets(rule: RuleForm) -> Iterator[Mutant]:
    for number, target in enumerate(rule.targets):
        for path, form in subforms(target):
            for change, new in _changes(form):
                changed = replace_at(target, path, new)
                targets = (*rule.targets[:number], changed, *rule.targets[number + 1 :])
                where = f"target {number} {path}: {change}"
                yield Mutant(rule.name, "target", where, replace(rule, targets=targets).text)
    if len(rule.targets) > 1:
        turned = replace(rule, targets=rule.targets[::-1])
        yield Mutant(rule.name, "target", "targets turned round", turned.text)
    yield from _swapped_variables(rule)


def _swapped_variables(rule: RuleForm) -> Iterator[Mutant]:
    """Two tensor variables exchanged throughout the target."""
    names = sorted(
        {
            form
            for target in rule.targets
            for path, form in subforms(target)
            if isinstance(form, str) and form.startswith("?") and _is_operand(target, path)
        }
    )
    for a, b in itertools.pairwise(names):
        swap = {a: b, b: a}
        targets = tuple(_renamed(target, swap) for target in rule.targets)
        yield Mutant(
            rule.name, "target", f"{a} and {b} exchanged", replace(rule, targets=targets).text
        )


def _renamed(form: Form, names: dict[str, str]) -> Form:
    if isinstance(form, str):
        return names.get(form, form)
    return tuple(_renamed(part, names) for part in form)


def _at(form: Form, path: tuple[int, ...]) -> Form:
    for index in path:
        form = form[index]
    return form


def _is_operand(target: Form, path: tuple[int, ...]) -> bool:
    parent = _at(target, path[:-1]) if path else ()
    return bool(parent) and path[-1] in _operand_positions(parent)


def _operator(form: Form) -> str | None:
    """The operator type of a node form."""
    if isinstance(form, tuple) and form and isinstance(form[0], str):
        head = form[1] if form[0] == "each" else form[0]
        op_type = head.partition("@")[0] if isinstance(head, str) else ""
        return op_type if op_type in _OPERATORS else None
    return None


def _operand_positions(form: Form) -> list[int]:
    """Where the operands of a node form are."""
    if _operator(form) is None:
        return []
    first = 2 if form[0] == "each" else 1
    positions = []
    for position in range(first, len(form)):
        part = form[position]
        if isinstance(part, str) and part.startswith(":"):
            break
        positions.append(position)
    return positions


def _changes(form: Form) -> Iterator[tuple[str, Form]]:
    """What may be got wrong about one form of a target."""
    op_type = _operator(form)
    if isinstance(form, str):
        yield from _changed_atoms(form)
    elif op_type is not None:
        yield from _changed_nodes(form, op_type)
    elif form and form[0] in ("list", "cat"):
        if len(form) > 2 and form[:0:-1] != form[1:]:
            yield f"{write_form(form)} reversed", (form[0], *form[:0:-1])
    elif len(form) == 3 and form[0] in ("-", "/"):
        yield f"{write_form(form)} turned round", (form[0], form[2], form[1])


def _changed_atoms(atom: str) -> Iterator[tuple[str, Form]]:
    if atom in _REPLACED_STRINGS:
        yield f"{atom} is {_REPLACED_STRINGS[atom]}", _REPLACED_STRINGS[atom]
    elif atom.lstrip("-").isdigit():
        yield f"{atom} is one more", str(int(atom) + 1)
    elif atom.replace(".", "", 1).lstrip("-").isdigit():
        yield f"{atom} is one more", str(float(atom) + 1.0)


def _changed_nodes(form: tuple[Form, ...], op_type: str) -> Iterator[tuple[str, Form]]:
    operands = _operand_positions(form)
    for a, b in itertools.pairwise(operands):
        if op_type not in _SYMMETRIC and form[a] != form[b]:
            swapped = (*form[:a], form[b], form[a], *form[b + 1 :])
            yield f"{op_type} with operands {a} and {b} swapped", swapped
    for position in operands:
        if len(operands) > 1:
            dropped = replace_at(form, (position,), None)
            yield f"{op_type} without operand {position}", dropped
    if operands and form[0] != "each":
        yield f"{op_type} left out", form[operands[0]]
    if op_type in _REPLACED_BY and form[0] != "each":
        assert isinstance(form[0], str)
        other = _REPLACED_BY[op_type]
        yield f"{op_type} is {other}", (form[0].replace(op_type, other, 1), *form[1:])
    defaults = canonical_attributes(op_type)
    for position, part in enumerate(form):
        if isinstance(part, str) and part.startswith(":"):
            value = form[position + 1]
            if str(defaults.get(part[1:])) != value:
                yield f"{op_type} without {part}", (*form[:position], *form[position + 2 :])
