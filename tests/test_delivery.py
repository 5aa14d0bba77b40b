"""Files are copied and moved whole, with their external data, over nothing of the user's."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from xflowrl import delivery
from xflowrl.delivery import check_target, copy_file, move_file, workshop
from xflowrl.onnx_io.model_file import inspect_file


def write_model(path: Path, data: str | None = None, *, value: float = 1.0) -> None:
    """A file y = x + w, with w in a file of its own if `data` names one."""
    make = onnx.helper.make_tensor_value_info
    weight = onnx.numpy_helper.from_array(np.full(2048, value, np.float32), "w")
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    x, y = (make(name, onnx.TensorProto.FLOAT, [2048]) for name in "xy")
    graph = onnx.helper.make_graph([node], "sum", [x], [y], [weight])
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path, save_as_external_data=data is not None, location=data)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_a_copy_is_the_same_bytes_and_data(tmp_path: Path) -> None:
    write_model(tmp_path / "a" / "m.onnx", "w.bin")
    for _ in range(2):  # over itself too
        copy_file(tmp_path / "a" / "m.onnx", tmp_path / "b" / "m.onnx")
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    onnx.checker.check_model(tmp_path / "b" / "m.onnx")


def test_other_data_are_not_overwritten(tmp_path: Path) -> None:
    write_model(tmp_path / "a" / "m.onnx", "w.bin")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "w.bin").write_bytes(b"mine")
    before = digests(tmp_path / "b")
    with pytest.raises(ValueError, match="is in the way of the model's data"):
        copy_file(tmp_path / "a" / "m.onnx", tmp_path / "b" / "m.onnx")
    assert digests(tmp_path / "b") == before


def test_a_move_takes_the_data_along(tmp_path: Path) -> None:
    target = tmp_path / "out" / "m.onnx"
    with workshop(target) as folder:
        write_model(folder / "m.onnx", "m.onnx.data")
        move_file(folder / "m.onnx", target)
    assert digests(tmp_path / "out").keys() == {"m.onnx", "m.onnx.data"}
    onnx.checker.check_model(target)


@pytest.mark.parametrize("target", ["m.onnx", "link.onnx", "w.bin", "v.onnx"])
def test_what_is_read_is_not_written(tmp_path: Path, target: str) -> None:
    write_model(tmp_path / "m.onnx", "w.bin" if target == "w.bin" else "v.onnx.data")
    (tmp_path / "link.onnx").symlink_to(tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="belongs to the model that is read"):
        check_target(tmp_path / "m.onnx", tmp_path / target)
    check_target(tmp_path / "m.onnx", tmp_path / "other.onnx")


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "m.onnx")
    (tmp_path / "closed").mkdir()
    # root may write everywhere, so what the system answers to others is made up
    monkeypatch.setattr(delivery.os, "access", lambda path, mode: path != tmp_path / "closed")
    with pytest.raises(
        ValueError, match=r"new/o\.onnx\" cannot be written: Permission denied; give"
    ):
        check_target(tmp_path / "m.onnx", tmp_path / "closed" / "new" / "o.onnx")
    check_target(tmp_path / "m.onnx", tmp_path / "new" / "o.onnx")
    assert not (tmp_path / "new").exists()


def test_data_that_are_missing_are_named(tmp_path: Path) -> None:
    write_model(tmp_path / "m.onnx", "w.bin")
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ValueError, match=r'm\.onnx" has data in ".*w\.bin", which is not there'):
        inspect_file(tmp_path / "m.onnx")


def test_the_outline_counts_bodies_and_data(tmp_path: Path) -> None:
    write_model(tmp_path / "m.onnx", "w.bin")
    outline = inspect_file(tmp_path / "m.onnx")
    assert outline.data_files == ("w.bin",)
    assert outline.num_bytes == (tmp_path / "m.onnx").stat().st_size + 4 * 2048
    branch = onnx.helper.make_graph(
        [onnx.helper.make_node("Neg", ["x"], ["y"])],
        "branch",
        [],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])],
    )
    node = onnx.helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)
    graph = onnx.helper.make_graph([node], "g", [], [])
    (tmp_path / "if.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    assert inspect_file(tmp_path / "if.onnx").operators == {"If": 1, "Neg": 2}
