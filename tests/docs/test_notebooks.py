"""The notebooks of `docs/` run, and print what is kept in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = Path(__file__).resolve().parent.parent.parent / "docs" / "notebooks"

nbformat = pytest.importorskip("nbformat", reason="needs the extra dev")
nbclient = pytest.importorskip("nbclient", reason="needs the extra dev")
pytest.importorskip("ipykernel", reason="needs the extra dev")


def printed(cell: Any) -> str:
    streams = (output for output in cell.get("outputs", ()) if output.get("name") == "stdout")
    return "".join(output.text for output in streams)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_prints_what_is_kept(path: Path, tmp_path: Path) -> None:
    kept = nbformat.read(path, as_version=4)
    ran = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        ran, timeout=120, coalesce_streams=True, resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    for before, after in zip(kept.cells, ran.cells, strict=True):
        if "varies" not in before.metadata.get("tags", ()):  # times, and what they decide
            assert printed(after) == printed(before)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_keeps_text_alone(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", ()):
            assert (output.output_type, output.name) == ("stream", "stdout")
        assert cell.get("execution_count") is None


def test_there_are_three() -> None:
    assert len(list(NOTEBOOKS.glob("*.ipynb"))) == 3
