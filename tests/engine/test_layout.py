"""The rooms of the engine: which folder may include which, and where a thing is declared."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parents[2] / "xflowrl" / "csrc"

# Each folder, and the others whose headers its files may include. Nothing includes upwards.
MAY_INCLUDE = {
    "graph": set[str](),
    "rule": {"graph"},
    "rewrite": {"graph", "rule"},
    "cost": {"graph"},
    "taso": {"graph"},
    "search": {"graph", "rule", "rewrite", "cost", "taso"},
    "pickle": {"graph", "rule", "cost"},
    "bind": {"graph", "rule", "cost", "taso", "search", "pickle"},
}
FILES = sorted(path.relative_to(CSRC).as_posix() for path in CSRC.rglob("*.*"))


def includes(file: str) -> list[str]:
    """The headers of the engine that a file includes, in order."""
    return re.findall(r'^#include "(.+)"$', (CSRC / file).read_text("utf-8"), re.MULTILINE)


def folder(file: str) -> str:
    return file.partition("/")[0]


@pytest.mark.parametrize("file", FILES)
def test_includes_go_one_way(file: str) -> None:
    for header in includes(file):
        assert header in FILES, f"{file} includes {header}; write it from csrc on"
        assert folder(header) in MAY_INCLUDE[folder(file)] | {folder(file)}, header


def test_no_permission_is_idle() -> None:
    used: dict[str, set[str]] = {name: set() for name in MAY_INCLUDE}
    for file in FILES:
        used[folder(file)] |= {folder(header) for header in includes(file)} - {folder(file)}
    assert used == MAY_INCLUDE


def test_folders_have_no_cycle() -> None:
    placed: set[str] = set()
    while len(placed) < len(MAY_INCLUDE):
        free = {name for name, others in MAY_INCLUDE.items() if others <= placed} - placed
        assert free, f"cycle among {sorted(MAY_INCLUDE.keys() - placed)}"
        placed |= free


def test_files_of_a_folder_have_no_cycle() -> None:
    """A file is a header and its source: neither may need what is built upon it."""
    needs: dict[str, set[str]] = {}
    for file in FILES:
        name = file.rpartition(".")[0]
        needs.setdefault(name, set()).update(h.removesuffix(".h") for h in includes(file))
    placed: set[str] = set()
    while len(placed) < len(needs):
        free = {name for name, others in needs.items() if others <= placed | {name}} - placed
        assert free, f"cycle among {sorted(needs.keys() - placed)}"
        placed |= free


@pytest.mark.parametrize("file", [f for f in FILES if f.endswith(".cc")])
def test_a_source_includes_its_header_first(file: str) -> None:
    header = file.removesuffix(".cc") + ".h"
    if folder(file) == "bind" and header not in FILES:
        header = "bind/bind.h"  # the parts of the module, one function each
    assert includes(file)[0] == header
