"""The surface of the rule language: text to nested forms and back.

The engine parses and checks rules; this reader knows only brackets, so that a checker can look at
the parts of a rule and write changed copies of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# A form is an atom (a string keeps its quotes, [?b] its brackets) or a tuple of forms.
Form = str | tuple["Form", ...]

_TOKEN = re.compile(r';[^\n]*|"[^"]*"|\[[^\]]*\]|[()]|[^\s()\[\]";]+')


def read_forms(text: str) -> list[Form]:
    """All forms of a text, in order. Raises ValueError where brackets do not match."""
    stack: list[list[Form]] = [[]]
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


def write_form(form: Form) -> str:
    """One line of text that reads as `form`."""
    if isinstance(form, str):
        return form
    return "(" + " ".join(write_form(part) for part in form) + ")"


def subforms(form: Form, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Form]]:
    """Every form inside `form`, itself included, with the path that leads to it."""
    yield path, form
    if isinstance(form, tuple):
        for index, part in enumerate(form):
            yield from subforms(part, (*path, index))


def replace_at(form: Form, path: tuple[int, ...], new: Form | None) -> Form:
    """`form` with the part at `path` replaced, or left out where `new` is None."""
    if not path:
        assert new is not None
        return new
    assert isinstance(form, tuple)
    index, rest = path[0], path[1:]
    parts = (replace_at(form[index], rest, new),) if rest or new is not None else ()
    return (*form[:index], *parts, *form[index + 1 :])


@dataclass(frozen=True)
class RuleForm:
    """One rule taken apart: its forms between the keywords."""

    name: str
    sources: tuple[Form, ...]
    targets: tuple[Form, ...]
    guards: tuple[Form, ...] = ()
    drops: tuple[Form, ...] = field(default=())

    @property
    def text(self) -> str:
        """The rule as the engine reads it, on one line."""
        parts: list[Form] = ["rule", self.name, *self.sources, "=>", *self.targets]
        if self.guards:
            parts += [":if", *self.guards]
        if self.drops:
            parts += [":drops", *self.drops]
        return write_form(tuple(parts))


def read_rule(text: str) -> RuleForm:
    """Takes apart the text of one rule whose `:for` variables have been replaced."""
    (form,) = read_forms(text)
    assert isinstance(form, tuple)
    assert form[0] == "rule"
    assert isinstance(form[1], str)
    parts = list(form[2:])
    while parts[0] == ":for":
        del parts[:3]
    sections: dict[str, list[Form]] = {"": [], "=>": [], ":if": [], ":drops": []}
    current = ""
    for part in parts:
        if isinstance(part, str) and part in sections:
            current = part
        else:
            sections[current].append(part)
    return RuleForm(
        name=form[1],
        sources=tuple(sections[""]),
        targets=tuple(sections["=>"]),
        guards=tuple(sections[":if"]),
        drops=tuple(sections[":drops"]),
    )
