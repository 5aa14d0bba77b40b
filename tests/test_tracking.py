"""Metrics to JSON lines and to Weights & Biases' offline files."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from xflowrl.run_folder import read_result
from xflowrl.tracking import Tracker, WandbSettings


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_rows_are_written_at_once(tmp_path: Path) -> None:
    with Tracker(tmp_path, WandbSettings(mode="disabled"), {}) as tracker:
        tracker.log({"search/best_cost_ms": 1.5}, 3)
        assert rows(tmp_path) == [{"step": 3, "search/best_cost_ms": 1.5}]
    assert not (tmp_path / "wandb").exists()


def test_numbers_json_does_not_know_become_null(tmp_path: Path) -> None:
    with Tracker(tmp_path, WandbSettings(mode="disabled"), {}) as tracker:
        tracker.log({"a": math.nan, "b": math.inf}, 0)
    assert rows(tmp_path) == [{"step": 0, "a": None, "b": None}]


def test_without_a_home_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def expanduser(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(variable, "unused")
    monkeypatch.setattr(Path, "expanduser", expanduser)
    with pytest.raises(ValueError, match=r"set HOME, or wandb\.mode=disabled"):
        Tracker(tmp_path, WandbSettings(), {})


def test_a_resumed_run_writes_no_step_twice(tmp_path: Path) -> None:
    with Tracker(tmp_path, WandbSettings(mode="disabled"), {}) as tracker:
        for step in range(3):
            tracker.log({"train/iteration": step, "train/seconds": 10.0 * step}, step)
        tracker.log({"search/iteration": 1, "search/seconds": 4.0}, 1)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "search/itera')  # a kill
    with Tracker(tmp_path, WandbSettings(mode="disabled"), {}, is_resumed=True) as tracker:
        tracker.log({"train/iteration": 2, "train/seconds": 19.0}, 2)
        tracker.log({"train/iteration": 3, "train/seconds": 19.5}, 3)
        tracker.log({"search/iteration": 1, "search/seconds": 3.0}, 1)
        tracker.log({"search/iteration": 2, "search/seconds": 3.5}, 2)
    assert rows(tmp_path)[4:] == [
        {"step": 3, "train/iteration": 3, "train/seconds": 20.0},  # no clock goes back
        {"step": 2, "search/iteration": 2, "search/seconds": 4.0},
    ]


def test_a_run_that_is_not_resumed_begins_anew(tmp_path: Path) -> None:
    for _ in range(2):
        with Tracker(tmp_path, WandbSettings(mode="disabled"), {}) as tracker:
            tracker.log({"search/seconds": 1.0}, 1)
    assert len(rows(tmp_path)) == 1


def wait_for(texts: list[bytes], path: Path) -> list[bytes]:
    """The texts that do not come to be in the file; W&B's service writes it after the run ends."""
    deadline_s = time.monotonic() + 30.0
    while True:
        content = path.read_bytes()
        missing = [text for text in texts if text not in content]
        if not missing or time.monotonic() > deadline_s:
            return missing
        time.sleep(0.1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_offline_run_lies_in_the_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(variable, "unused")  # so that what the tracker sets is undone
    (tmp_path / "best.onnx").write_bytes(b"model")
    step = SimpleNamespace(rule="conv-relu-fuse", tensors=("a", "b"), cost_ms=1.0)
    result: Any = SimpleNamespace(graph="a graph", trace=SimpleNamespace(steps=[step]))
    record = read_result(Path(__file__).parent / "run_folder_schema_1")
    with Tracker(tmp_path, WandbSettings(), {"seed": 7}) as tracker:
        tracker.log({"search/best_cost_ms": 1.5, "search/seconds": 0.1}, 1)
        tracker.finish([result], record, tmp_path)
    (record,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    expected = [b"search/best_cost_ms", b"by_time/best_cost_ms", b"cost_best_ms", b"best-a_graph"]
    assert wait_for(expected, record) == []
    (table,) = (tmp_path / "wandb").glob("offline-run-*/files/media/table/*.json")
    assert json.loads(table.read_text())["data"] == [[0, "conv-relu-fuse", "a b", 1.0]]
