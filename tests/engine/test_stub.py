"""The stub is the engine's reference: it is up to date, and says what everything public is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from xflowrl import _engine

STUB = Path(__file__).resolve().parents[2] / "xflowrl" / "_engine.pyi"


def undocumented(source: str) -> Iterator[str]:
    """Names of the public classes, functions, methods and properties without a docstring."""

    def visit(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
                continue
            if not (ast.get_docstring(node) or "").strip():
                yield prefix + node.name
            if isinstance(node, ast.ClassDef):
                yield from visit(node.body, f"{node.name}.")

    return visit(ast.parse(source).body, "")


def test_everything_public_has_a_docstring() -> None:
    assert list(undocumented(STUB.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f() -> int: ...", ["f"]),
        ('class A:\n    """Doc."""\n    @property\n    def x(self) -> int: ...', ["A.x"]),
        ("class A:\n    def _x(self) -> int: ...", ["A"]),
        ('class A:\n    """Doc."""\n    def f(self) -> int:\n        """ """', ["A.f"]),
        ('class A:\n    """Doc."""\n    def __len__(self) -> int: ...', []),
    ],
)
def test_a_missing_docstring_is_found(source: str, expected: list[str]) -> None:
    assert list(undocumented(source)) == expected


def test_the_stub_speaks_of_the_module_that_is_installed() -> None:
    """Every public member stands in both; `scripts/check.sh` compares word for word."""

    def members(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                yield prefix + node.name
                if isinstance(node, ast.ClassDef):
                    yield from members(node.body, f"{node.name}.")

    stub = set(members(ast.parse(STUB.read_text(encoding="utf-8")).body, ""))
    engine = {name for name in vars(_engine) if not name.startswith("_")}
    for name in list(engine):
        inner = vars(getattr(_engine, name)) if isinstance(getattr(_engine, name), type) else {}
        engine |= {f"{name}.{member}" for member in inner if not member.startswith("_")}
    assert stub == engine
