from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xflowrl.graphs import onnx_files as module
from xflowrl.graphs.onnx_files import onnx_files
from xflowrl.graphs.squeezenet import squeezenet
from xflowrl.onnx_io import save_onnx


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What would have been loaded, in place of loading."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def load(path: Path, **arguments: Any) -> str:
        calls.append((path.name, arguments))
        return path.name

    monkeypatch.setattr(module, "load_onnx", load)
    return calls


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """b.onnx, a.onnx, notes.txt, deep/c.onnx, odd[1].onnx."""
    (tmp_path / "deep").mkdir()
    for name in ("b.onnx", "a.onnx", "notes.txt", "deep/c.onnx", "odd[1].onnx"):
        (tmp_path / name).touch()
    return tmp_path


def names(models: list[Any]) -> list[str]:
    return [str(model) for model in models]


@pytest.mark.usefixtures("loaded")
def test_one_file(folder: Path) -> None:
    assert names(onnx_files(path=str(folder / "a.onnx"))) == ["a.onnx"]


@pytest.mark.usefixtures("loaded")
def test_several_files_in_the_order_given_each_once(folder: Path) -> None:
    files = [str(folder / name) for name in ("b.onnx", "a.onnx", "b.onnx")]
    assert names(onnx_files(paths=files)) == ["b.onnx", "a.onnx"]
    assert names(onnx_files(path=files[1], paths=files)) == ["a.onnx", "b.onnx"]


@pytest.mark.usefixtures("loaded")
def test_patterns_give_files_by_name(folder: Path) -> None:
    assert names(onnx_files(path=str(folder / "?.onnx"))) == ["a.onnx", "b.onnx"]
    deep = onnx_files(paths=[str(folder / "deep" / "*"), str(folder / "**" / "?.onnx")])
    assert names(deep) == ["c.onnx", "a.onnx", "b.onnx"]


@pytest.mark.usefixtures("loaded")
def test_an_existing_file_is_meant_literally(folder: Path) -> None:
    assert names(onnx_files(path=str(folder / "odd[1].onnx"))) == ["odd[1].onnx"]


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("skip", [["a"], ["a.onnx"], ["[a]"], ["*/a.onnx"]])
def test_skip(folder: Path, skip: list[str]) -> None:
    models = onnx_files(path=str(folder / "*.onnx"), skip=[*skip, "b"])
    assert names(models) == ["odd[1].onnx"]


def test_arguments_are_handed_on(folder: Path, loaded: list[tuple[str, dict[str, Any]]]) -> None:
    arguments = {
        "batch_size": 2,
        "input_shapes": {"x": [2, 3]},
        "redraw_weights": True,
        "seed": 7,
    }
    onnx_files(path=str(folder / "a.onnx"), **arguments)
    assert loaded == [("a.onnx", arguments)]


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "no file is given; set graph.path=FILE"),
        ({"paths": []}, "no file is given"),
        ({"path": "nothing*.onnx"}, r"no file matches 'nothing\*.onnx'"),
        ({"path": "?.onnx", "skip": ["*"]}, "leaves out all 2 files"),
    ],
)
def test_nothing_to_load_is_an_error(
    folder: Path, arguments: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match=reason):
        onnx_files(**arguments)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing\.onnx"):
        onnx_files(path=str(tmp_path / "missing.onnx"))


def test_a_written_network_is_read(tmp_path: Path) -> None:
    original = squeezenet(image_size=64)
    save_onnx(original, tmp_path / "squeezenet.onnx")
    (read,) = onnx_files(path=str(tmp_path / "*.onnx"))
    assert [node.op_type for node in read.graph.nodes()].count("Conv") == 26
    assert list(read.graph.inputs) == list(original.graph.inputs)
