"""The surface of the rule language: text to nested expressions and back.

The engine parses and checks rules; this reader knows only brackets, so that a checker can look at
the parts of a rule and write changed copies of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# An expression is an atom (a string keeps its quotes, [?b] its brackets) or a tuple of expressions.
Sexpr = str | tuple["Sexpr", ...]

_TOKEN = re.compile(r';[^\n]*|"[^"]*"|\[[^\]]*\]|[()]|[^\s()\[\]";]+')


def read_sexprs(text: str) -> list[Sexpr]:
    """All expressions of a text, in order. Raises ValueError where brackets do not match."""
    stack: list[list[Sexpr]] = [[]]
    for token in _TOKEN.findall(text):
        if token.startswith(";"):
            continue
        if token == "(":
            stack.append([])
        elif token == ")":
            if len(stack) == 1:
                raise ValueError('a rule text has a ")" too many')
            done = tuple(stack.pop())
            stack[-1].append(done)
        else:
            stack[-1].append(token)
    if len(stack) > 1:
        raise ValueError('a rule text lacks a ")"')
    return stack[0]


def comments_of(text: str) -> list[str]:
    """The comments in a text, one a line of it, without their semicolons."""
    return [token[1:].strip() for token in _TOKEN.findall(text) if token.startswith(";")]


def write_sexpr(expr: Sexpr) -> str:
    """One line of text that reads as `expr`."""
    if isinstance(expr, str):
        return expr
    return "(" + " ".join(write_sexpr(part) for part in expr) + ")"


def subexpressions(
    expr: Sexpr, path: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], Sexpr]]:
    """Every expression inside `expr`, itself included, with the path that leads to it."""
    yield path, expr
    if isinstance(expr, tuple):
        for index, part in enumerate(expr):
            yield from subexpressions(part, (*path, index))


def replace_at(expr: Sexpr, path: tuple[int, ...], new: Sexpr | None) -> Sexpr:
    """`expr` with the part at `path` replaced, or left out where `new` is None."""
    if not path:
        assert new is not None
        return new
    assert isinstance(expr, tuple)
    index, rest = path[0], path[1:]
    parts = (replace_at(expr[index], rest, new),) if rest or new is not None else ()
    return (*expr[:index], *parts, *expr[index + 1 :])


@dataclass(frozen=True)
class RuleParts:
    """One rule taken apart: its expressions between the keywords."""

    name: str
    sources: tuple[Sexpr, ...]
    targets: tuple[Sexpr, ...]
    guards: tuple[Sexpr, ...] = ()
    drops: tuple[Sexpr, ...] = ()
    opset: tuple[Sexpr, ...] = ()

    @property
    def text(self) -> str:
        """The rule as the engine reads it, on one line."""
        parts: list[Sexpr] = ["rule", self.name, *self.sources, "=>", *self.targets]
        if self.guards:
            parts += [":if", *self.guards]
        if self.drops:
            parts += [":drops", *self.drops]
        if self.opset:
            parts += [":opset", *self.opset]
        return write_sexpr(tuple(parts))


def read_rule(text: str) -> RuleParts:
    """Takes apart the text of one rule whose `:for` variables have been replaced."""
    (expr,) = read_sexprs(text)
    assert isinstance(expr, tuple)
    assert expr[0] == "rule"
    assert isinstance(expr[1], str)
    parts = list(expr[2:])
    while parts[0] == ":for":
        del parts[:3]
    sections: dict[str, list[Sexpr]] = {
        section: [] for section in ("", "=>", ":if", ":drops", ":opset")
    }
    current = ""
    for part in parts:
        if isinstance(part, str) and part in sections:
            current = part
        else:
            sections[current].append(part)
    return RuleParts(
        name=expr[1],
        sources=tuple(sections[""]),
        targets=tuple(sections["=>"]),
        guards=tuple(sections[":if"]),
        drops=tuple(sections[":drops"]),
        opset=tuple(sections[":opset"]),
    )
