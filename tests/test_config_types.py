"""Options are checked against the annotations of their targets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xflowrl.config_types import check_config, check_value, parameters_of


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (1, "int"),
        (1, "float"),
        (None, "int | None"),
        (None, "Optional[int]"),
        ("a", "Literal['a', 'b']"),
        ([1, 2], "list[int]"),
        ([[0, 1]], "Sequence[Sequence[int]]"),
        ([1, 2], "tuple[int, int]"),
        ([1, 2, 3], "tuple[int, ...]"),
        ({"x": [1]}, "Mapping[str, list[int]]"),
        ("model.onnx", "str | os.PathLike[str]"),
        (True, "bool"),
        ({"_target_": "x"}, "SomeClass"),
        ("${seed}", "int"),
    ],
)
def test_accepts(value: object, annotation: str) -> None:
    check_value("option", value, annotation)


@pytest.mark.parametrize(
    ("value", "annotation", "advice"),
    [
        ("1", "int", "is '1' (str): give int"),
        (1.5, "int", "is 1.5 (float): give int"),
        (True, "int", "is True (bool): give int"),
        (True, "float", "is True (bool): give float"),
        (1, "bool", "is 1 (int): give bool"),
        (None, "int", "is None (null): give int"),
        ("c", "Literal['a', 'b']", "give one of a, b"),
        (1, "Literal[True]", "give one of True"),
        ([1, "x"], "list[int]", "give list[int]"),
        ([1], "tuple[int, int]", "give tuple[int, int]"),
        ("x", "Sequence[str] | None", "give Sequence[str] or null"),
        ({"x": "y"}, "dict[str, int]", "give dict[str, int]"),
    ],
)
def test_refuses(value: object, annotation: str, advice: str) -> None:
    with pytest.raises(ValueError, match=r"^option is ") as raised:
        check_value("option", value, annotation)
    assert advice in str(raised.value)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `parts` whose modules must not be imported."""
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .inner import make as build\n")
    (folder / "inner.py").write_text(
        "raise RuntimeError('imported')\n"
        "from dataclasses import dataclass\n"
        "def make(a: int, *, b: str = 'x', **more: float) -> None: ...\n"
        "@dataclass\n"
        "class Data:\n"
        "    size: int\n"
        "    name: str | None = None\n"
        "class Base:\n"
        "    def __init__(self, depth: int = 1) -> None: ...\n"
        "class Derived(Base): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    parameters_of.cache_clear()
    return folder


@pytest.mark.usefixtures("package")
def test_reads_functions_classes_and_imports_without_importing() -> None:
    made = parameters_of("parts.build")
    assert set(made.annotations) == {"a", "b"}
    assert made.required == {"a"}
    assert made.takes_any
    assert parameters_of("parts.inner.Data").required == {"size"}
    assert set(parameters_of("parts.inner.Derived").annotations) == {"depth"}
    assert "parts.inner" not in sys.modules


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"_target_": "parts.inner.Data"}, "agent.size is not given: add agent.size=..."),
        (
            {"_target_": "parts.inner.Data", "size": 1, "colour": 2},
            "agent.colour is no option of parts.inner.Data: its options are name, size",
        ),
        ({"_target_": "parts.inner.Data", "size": "x"}, "agent.size is 'x' (str): give int"),
        (
            {"_target_": "parts.inner.Data", "size": "???"},
            "agent.size is not given: add agent.size=...",
        ),
        (
            {"_target_": "parts.inner.Base", "depth": 1, "_partial_": True, "inner": {}},
            "agent.inner is no option of parts.inner.Base: its options are depth",
        ),
    ],
)
def test_names_the_bad_key(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        check_config({"agent": config})
    assert str(raised.value) == message


@pytest.mark.usefixtures("package")
def test_looks_into_nested_targets() -> None:
    inner = {"_target_": "parts.inner.Base", "depth": "deep"}
    outer = {"_target_": "parts.build", "a": 1, "c": [inner]}
    with pytest.raises(ValueError, match=r"agent\.c\[0\]\.depth is 'deep'"):
        check_config({"agent": outer})


def test_unknown_target_is_named() -> None:
    with pytest.raises(ValueError, match=r"_target_ 'xflowrl\.nowhere\.f' does not exist"):
        check_config({"agent": {"_target_": "xflowrl.nowhere.f"}})


def test_targets_without_source_are_asked_themselves() -> None:
    with pytest.raises(ValueError, match=r"is no option of functools\.partial"):
        check_config({"x": {"_target_": "functools.partial", "b": 1}})


def test_checking_an_agent_does_not_import_torch() -> None:
    code = (
        "import sys; from xflowrl.config_types import check_config;"
        "check_config({'agent': {'_target_': 'xflowrl.agents.taso.Taso', 'alpha': 1.0}});"
        "print('torch' in sys.modules, 'xflowrl.agents.taso' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
