"""Metrics to JSON lines and to Weights & Biases' offline files, read back with its own reader."""

from __future__ import annotations

import json
import logging
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xflowrl.problem import Problem
from xflowrl.run_folder import read_result
from xflowrl.tracking import Label, Tracker, WandbSettings
from xflowrl.tracking.curves import AXES

SCHEMA_1 = Path(__file__).parent.parent / "run_folder_schema_1"
DISABLED = WandbSettings(mode="disabled")

MakeProblem = Callable[..., Problem]


@pytest.fixture(autouse=True)
def undo_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the tracker sets is undone, and no login of this machine is found."""
    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(variable, "unused")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def label(tmp_path: Path) -> Label:
    """Of job 0 of a sweep."""
    (tmp_path / "sweep" / "0").mkdir(parents=True)
    return Label(
        folder=tmp_path / "sweep" / "0",
        wandb_folder=tmp_path / "sweep",
        name="greedy-relus-i100-s0",
        group="2026-01-02/03-04-05",
        kind="greedy",
        tags=["relus", "core"],
        config={"seed": 7, "choices": {"agent": "greedy"}},
    )


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def records(sweep: Path, *, until: str = "exit") -> list[dict[str, Any]]:
    """What `wandb leet` reads of the only run of a sweep, once it has a record of a kind."""
    (file,) = sweep.glob("wandb/offline-run-*/run-*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    deadline_s = time.monotonic() + 30.0
    while True:  # W&B's service writes the file after the run ends
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        if any(record["type"] == until for record in found) or time.monotonic() > deadline_s:
            return found
        time.sleep(0.2)


def of_kind(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record[kind] for record in found if record["type"] == kind]


def test_a_resumed_run_writes_no_step_twice(label: Label, relu_problem: MakeProblem) -> None:
    with Tracker(label, DISABLED) as tracker:
        tracker.begin([relu_problem()])
        for step in range(3):
            seconds = {"train/env_steps": step, "train/seconds": 10.0 * step}
            tracker.log({**seconds, "train/best_cost_ms": 1.0}, step)
        tracker.log({"search/iteration": 1, "search/seconds": 4.0, "search/best_cost_ms": 1.0}, 1)
    with (label.folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "search/itera')  # a kill
    with Tracker(label, DISABLED, is_resumed=True) as tracker:
        tracker.begin([relu_problem()])
        tracker.log({"train/env_steps": 2, "train/seconds": 19.0, "train/best_cost_ms": 1.0}, 2)
        tracker.log({"search/iteration": 1, "search/seconds": 3.0, "search/best_cost_ms": 1.0}, 1)
        tracker.log({"search/iteration": 2, "search/seconds": 3.5, "search/best_cost_ms": 1.0}, 2)
    (added,) = rows(label.folder)[4:]
    # No clock goes back: that of the run is at the 20 and 4 seconds of before.
    assert (added["step"], added["iteration"], added["seconds"]) == (2, 4, 24.0)


def test_a_run_that_is_not_resumed_begins_anew(label: Label) -> None:
    for _ in range(2):
        with Tracker(label, DISABLED) as tracker:
            tracker.begin([])
            tracker.log({"search/seconds": 1.0}, 1)
    assert len(rows(label.folder)) == 1


def test_a_resumed_run_is_one_run_of_wandb_with_all_rows(
    label: Label, relu_problem: MakeProblem
) -> None:
    other = replace(label, folder=label.wandb_folder / "1")
    other.folder.mkdir()
    with Tracker(other, WandbSettings()):
        pass
    identities = set()
    for is_resumed in (False, True):
        with Tracker(label, WandbSettings(), is_resumed=is_resumed) as tracker:
            tracker.begin([relu_problem()])
            for step in range(1, 4 + is_resumed):
                counts = {"search/iteration": step, "search/seconds": 0.5 * step}
                tracker.log({**counts, "search/best_cost_ms": math.inf if step == 1 else 2.0}, step)
            identities.add(json.loads((label.folder / "wandb.json").read_text())["id"])
        time.sleep(1.1)  # W&B's folders are named by the second
    (identity,) = identities
    (piece,) = label.wandb_folder.glob(f"wandb/offline-run-*-{identity}")
    assert len([*label.wandb_folder.glob("wandb/offline-run-*")]) == 2, "the other run's is there"
    shutil.rmtree(next(p for p in piece.parent.glob("offline-run-*") if p != piece))
    assert len(of_kind(records(label.wandb_folder), "history")) == 4


def test_rows_are_written_at_once(label: Label) -> None:
    with Tracker(label, DISABLED) as tracker:
        tracker.begin([])
        tracker.log({"search/best_cost_ms": 1.5, "search/iteration": 3, "search/seconds": 0.5}, 3)
        (row,) = rows(label.folder)
    axes = {"step": 3, "iteration": 3, "seconds": 0.5}
    assert row == axes | {
        **{"search/best_cost_ms": 1.5, "search/iteration": 3, "search/seconds": 0.5}
    }
    assert not (label.wandb_folder / "wandb").exists()


def test_numbers_json_does_not_know_become_null(label: Label) -> None:
    with Tracker(label, DISABLED) as tracker:
        tracker.begin([])
        tracker.log({"a": math.nan, "b": math.inf}, 0)
    (row,) = rows(label.folder)
    assert (row["a"], row["b"]) == (None, None)


def test_without_a_home_it_is_one_line(label: Label, monkeypatch: pytest.MonkeyPatch) -> None:
    def expanduser(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", expanduser)
    with pytest.raises(ValueError, match=r"set HOME, or wandb\.mode=disabled"):
        Tracker(label, WandbSettings())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_run_is_read_back(label: Label, relu_problem: MakeProblem) -> None:
    from xflowrl.agents.greedy import Greedy

    problem = relu_problem(4)
    model = label.folder / "best.onnx"
    model.write_bytes(bytes(100_000))
    (label.folder / "checkpoints").mkdir()
    for name in ("best.pt", "last.pt", "resume.ckpt"):
        (label.folder / "checkpoints" / name).write_bytes(bytes(100_000))
    with Tracker(label, WandbSettings(tags=["mine"])) as tracker:
        tracker.begin([problem])
        results = Greedy().optimize([problem], tracker.log)
        record = read_result(SCHEMA_1)
        (entry,) = record.results
        real = replace(entry.real[0], decides=True)
        entry = replace(entry, cost_initial_ms=4.0, cost_best_ms=3.0, real=(real,))
        tracker.finish(results, replace(record, results=(entry,), train_s=2.5))
    found = records(label.wandb_folder)

    (run,) = of_kind(found, "run")
    assert (run["display_name"], run["run_group"]) == (label.name, label.group)
    assert (run["job_type"], run["tags"]) == ("greedy", ["mine", "relus", "core"])
    assert run["config"]["update"]["choices"] == {"agent": "greedy"}
    assert run["run_id"] == json.loads((label.folder / "wandb.json").read_text())["id"]
    assert [done.get("exit_code", 0) for done in of_kind(found, "exit")] == [0]

    defined = [metric for metric in of_kind(found, "metric") if "glob_name" in metric]
    assert {metric["glob_name"]: metric["step_metric"] for metric in defined} == AXES

    text = json.dumps(of_kind(found, "history"))
    for name in ("search/best_cost_ms", "search/saved", "by_seconds/best_cost_ms", "seconds"):
        assert name in text
    text = json.dumps(of_kind(found, "summary"))
    for name in ("saved", "speedup", "speedup_noise", "train_s", "optimisation_s"):
        assert name in text

    kept = of_kind(found, "artifact")
    assert {artifact["type"] for artifact in kept} == {"model", "policy", "checkpoint", "rules"}
    assert "sweep/0/best.onnx" in json.dumps(kept)
    assert f"{label.folder}" not in json.dumps(found)
    copies = (label.wandb_folder / "wandb").rglob("*")
    assert not [path for path in copies if path.is_file() and path.stat().st_size == 100_000]


@pytest.mark.parametrize("how", ["raised", "interrupted"])
def test_a_failed_job_is_a_failed_run(label: Label, how: str) -> None:
    try:
        with Tracker(label, WandbSettings()) as tracker:
            if how == "raised":
                raise ValueError("graph.path does not exist")
            tracker.failed(130)
    except ValueError:
        pass
    (ended,) = of_kind(records(label.wandb_folder), "exit")
    assert ended["exit_code"] == {"raised": 1, "interrupted": 130}[how]


def test_a_killed_run_is_read_back(label: Label, tmp_path: Path) -> None:
    code = f"""
import os, time
from pathlib import Path
from xflowrl.tracking import Label, Tracker, WandbSettings
folder = Path({str(label.wandb_folder)!r})
label = Label(folder=folder / "0", wandb_folder=folder, name="killed", group="g", kind="k",
              tags=[], config={{}})
tracker = Tracker(label, WandbSettings())
tracker.begin([])
for n in range(1, 101):
    tracker.log({{"search/best_cost_ms": 1 / n, "search/iteration": n, "search/seconds": n}}, n)
time.sleep(2.5)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == -9
    assert len(rows(label.folder)) == 100
    found = records(label.wandb_folder, until="history")
    (run,) = of_kind(found, "run")
    assert run["display_name"] == "killed"
    assert len(of_kind(found, "history")) >= 98  # written every second
    assert not of_kind(found, "exit")


def test_a_run_that_goes_on_keeps_its_id(label: Label) -> None:
    (label.folder / "wandb.json").write_text('{"id": "abcd1234"}')
    with Tracker(label, WandbSettings()):
        pass
    (run,) = of_kind(records(label.wandb_folder), "run")
    assert run["run_id"] == "abcd1234"


def test_an_identity_that_is_none_is_refused(label: Label) -> None:
    (label.folder / "wandb.json").write_text("[]")
    with pytest.raises(ValueError, match=r"wandb\.json names no run of W&B: delete it"):
        Tracker(label, WandbSettings())


def test_online_without_a_key_it_goes_on_offline(
    label: Label, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), Tracker(label, WandbSettings(mode="online")):
        pass
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("W&B: no API key, `wandb login` asks for it; going on offline")
    assert line.endswith("`wandb sync sweep/wandb` uploads it")
    assert of_kind(records(label.wandb_folder), "run")
