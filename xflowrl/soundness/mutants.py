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
from xflowrl.operators import OPERATORS
from xflowrl.soundness.sexpr import (
    RuleParts,
    Sexpr,
    read_rule,
    replace_at,
    subexpressions,
    write_sexpr,
)

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


def _without_guards(rule: RuleParts) -> Iterator[Mutant]:
    for index, guard in enumerate(rule.guards):
        rest = (*rule.guards[:index], *rule.guards[index + 1 :])
        changed = replace(rule, guards=rest)
        yield Mutant(rule.name, "guard", f"without guard {write_sexpr(guard)}", changed.text)
        for path, expr in subexpressions(guard):
            if not (isinstance(expr, tuple) and expr[0] == "and"):
                continue
            for position in range(1, len(expr)):
                weaker = replace_at(guard, (*path, position), None)
                guards = (*rule.guards[:index], weaker, *rule.guards[index + 1 :])
                change = f"guard {write_sexpr(weaker)} without {write_sexpr(expr[position])}"
                yield Mutant(rule.name, "guard", change, replace(rule, guards=guards).text)


def _without_conditions(rule: RuleParts) -> Iterator[Mutant]:
    """Attributes of the source: a value no longer asked for, a variable no longer shared."""
    seen: set[str] = set()
    for number, source in enumerate(rule.sources):
        for path, expr in subexpressions(source):
            if not (isinstance(expr, str) and expr.startswith(":")):
                continue
            value_path = (*path[:-1], path[-1] + 1)
            value = _at(source, value_path)
            is_variable = isinstance(value, str) and value.startswith("?")
            if is_variable and value not in seen:
                seen.add(str(value))
                continue
            if is_variable:
                changed = replace_at(source, value_path, f"?other{len(seen)}")
                change = f"source {number} {path}: {expr} need not be {value}"
            else:
                changed = replace_at(replace_at(source, value_path, None), path, None)
                change = f"source {number} {path}: {expr} need not be {write_sexpr(value)}"
            sources = (*rule.sources[:number], changed, *rule.sources[number + 1 :])
            yield Mutant(rule.name, "condition", change, replace(rule, sources=sources).text)


def _wrong_targets(rule: RuleParts) -> Iterator[Mutant]:
    for number, target in enumerate(rule.targets):
        for path, expr in subexpressions(target):
            for change, new in _changes(expr):
                changed = replace_at(target, path, new)
                targets = (*rule.targets[:number], changed, *rule.targets[number + 1 :])
                where = f"target {number} {path}: {change}"
                yield Mutant(rule.name, "target", where, replace(rule, targets=targets).text)
    if len(rule.targets) > 1:
        turned = replace(rule, targets=rule.targets[::-1])
        yield Mutant(rule.name, "target", "targets turned round", turned.text)
    yield from _swapped_variables(rule)


def _swapped_variables(rule: RuleParts) -> Iterator[Mutant]:
    """Two tensor variables exchanged throughout the target."""
    names = sorted(
        {
            expr
            for target in rule.targets
            for path, expr in subexpressions(target)
            if isinstance(expr, str) and expr.startswith("?") and _is_operand(target, path)
        }
    )
    for a, b in itertools.pairwise(names):
        swap = {a: b, b: a}
        targets = tuple(_renamed(target, swap) for target in rule.targets)
        yield Mutant(
            rule.name, "target", f"{a} and {b} exchanged", replace(rule, targets=targets).text
        )


def _renamed(expr: Sexpr, names: dict[str, str]) -> Sexpr:
    if isinstance(expr, str):
        return names.get(expr, expr)
    return tuple(_renamed(part, names) for part in expr)


def _at(expr: Sexpr, path: tuple[int, ...]) -> Sexpr:
    for index in path:
        expr = expr[index]
    return expr


def _is_operand(target: Sexpr, path: tuple[int, ...]) -> bool:
    parent = _at(target, path[:-1]) if path else ()
    return bool(parent) and path[-1] in _operand_positions(parent)


def _operator(expr: Sexpr) -> str | None:
    """The operator type of a node expr."""
    if isinstance(expr, tuple) and expr and isinstance(expr[0], str):
        head = expr[1] if expr[0] == "each" else expr[0]
        op_type = head.partition("@")[0] if isinstance(head, str) else ""
        return op_type if op_type in _OPERATORS else None
    return None


def _operand_positions(expr: Sexpr) -> list[int]:
    """Where the operands of a node expr are."""
    if _operator(expr) is None:
        return []
    first = 2 if expr[0] == "each" else 1
    positions = []
    for position in range(first, len(expr)):
        part = expr[position]
        if isinstance(part, str) and part.startswith(":"):
            break
        positions.append(position)
    return positions


def _changes(expr: Sexpr) -> Iterator[tuple[str, Sexpr]]:
    """What may be got wrong about one expr of a target."""
    op_type = _operator(expr)
    if isinstance(expr, str):
        yield from _changed_atoms(expr)
    elif op_type is not None:
        yield from _changed_nodes(expr, op_type)
    elif expr and expr[0] in ("list", "cat"):
        if len(expr) > 2 and expr[:0:-1] != expr[1:]:
            yield f"{write_sexpr(expr)} reversed", (expr[0], *expr[:0:-1])
    elif len(expr) == 3 and expr[0] in ("-", "/"):
        yield f"{write_sexpr(expr)} turned round", (expr[0], expr[2], expr[1])


def _changed_atoms(atom: str) -> Iterator[tuple[str, Sexpr]]:
    if atom in _REPLACED_STRINGS:
        yield f"{atom} is {_REPLACED_STRINGS[atom]}", _REPLACED_STRINGS[atom]
    elif atom.lstrip("-").isdigit():
        yield f"{atom} is one more", str(int(atom) + 1)
    elif atom.replace(".", "", 1).lstrip("-").isdigit():
        yield f"{atom} is one more", str(float(atom) + 1.0)


def _changed_nodes(expr: tuple[Sexpr, ...], op_type: str) -> Iterator[tuple[str, Sexpr]]:
    operands, row = _operand_positions(expr), OPERATORS[op_type]
    for a, b in itertools.pairwise(operands):
        if not row.is_symmetric and expr[a] != expr[b]:
            swapped = (*expr[:a], expr[b], expr[a], *expr[b + 1 :])
            yield f"{op_type} with operands {a} and {b} swapped", swapped
    for position in operands:
        if len(operands) > 1:
            dropped = replace_at(expr, (position,), None)
            yield f"{op_type} without operand {position}", dropped
    if operands and expr[0] != "each":
        yield f"{op_type} left out", expr[operands[0]]
    if row.mistaken_for and expr[0] != "each":
        assert isinstance(expr[0], str)
        head = expr[0].replace(op_type, row.mistaken_for, 1)
        yield f"{op_type} is {row.mistaken_for}", (head, *expr[1:])
    defaults = canonical_attributes(op_type)
    for position, part in enumerate(expr):
        if isinstance(part, str) and part.startswith(":"):
            value = expr[position + 1]
            if str(defaults.get(part[1:])) != value:
                yield f"{op_type} without {part}", (*expr[:position], *expr[position + 2 :])
