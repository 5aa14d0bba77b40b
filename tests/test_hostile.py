"""Hostile input: other code in the configuration, foreign databases, damaged files, no home."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from xflowrl.agents.ppo.checkpoint import FORMAT, load_policy
from xflowrl.measurement.op_database import OpDatabase
from xflowrl.measurement.op_database import default_path as op_costs
from xflowrl.options import build, refuse_foreign
from xflowrl.rules import load_core
from xflowrl.run_folder import read_metrics, read_result
from xflowrl.soundness.findings import default_path as findings


@pytest.mark.parametrize(
    "target",
    ["os.system", "builtins.exec", "xflowrl.run.os.system", "xflowrl.run.suppress", "xflowrl.x", 3],
)
def test_a_target_is_of_this_package(target: object) -> None:
    config = {"_target_": target, "_args_": ["exit 1"]}
    with pytest.raises(ValueError, match="give a function or class of xflowrl"):
        build(config)
    with pytest.raises(ValueError, match=r"^graph\.names\[0\]\[0\]\._target_ is "):
        refuse_foreign({"graph": {"names": [[config]]}}, "")


@pytest.mark.parametrize(
    "override",
    [
        "agent._target_=os.mkdir",
        "+graph.matrix=[[{_target_: os.mkdir, path: made}]]",
        "agent.reward=os.mkdir",
    ],
)
def test_the_command_line_runs_no_other_code(tmp_path: Path, override: str) -> None:
    agent = "ppo" if "reward" in override else "greedy"
    arguments = ["graph=tiny", f"agent={agent}", "measurement=roofline", "wandb.mode=disabled"]
    done = subprocess.run(
        [sys.executable, "-m", "xflowrl.run", *arguments, override],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "os.mkdir" in line
    assert not (tmp_path / "made").exists()


def test_without_a_home_the_files_have_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert op_costs().is_relative_to(tmp_path)
    assert "XDG_CACHE_HOME" in caplog.text
    assert findings().is_relative_to(tmp_path)


@pytest.mark.parametrize("statement", ["PRAGMA user_version = 7", "CREATE TABLE theirs (a)"])
def test_another_programs_database_is_left_as_it_is(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "theirs.sqlite"
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"set measurement\.database to another file"):
        OpDatabase(path, device="cpu", runtime="r")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"[]", b"3", b'{"schema": 1, "results": [3]}', b"\xff\xfe"])
def test_a_damaged_result_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "result.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"is no result\.json of a run"):
        read_result(tmp_path)


def test_deep_nesting_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("[" * 200_000)
    (tmp_path / "metrics.jsonl").write_text("[" * 200_000 + "\n")
    with pytest.raises(ValueError, match=r"is no result\.json of a run"):
        read_result(tmp_path)
    with pytest.raises(ValueError, match=r"is no metrics\.jsonl of a run"):
        list(read_metrics(tmp_path))


@pytest.mark.parametrize("content", [b"[1]\n", b"\xff\n", b"{\n", b"\n"])
def test_damaged_metrics_are_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"a": 1}\n' + content)
    with pytest.raises(ValueError, match=r"is no metrics\.jsonl of a run"):
        list(read_metrics(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        {"rules": 3},
        {"policy": None},
        {"policy": {"no_such": 1}},
        {"weights": 3},
        {"weights": {"a": torch.zeros(1)}},
        {"rules": None},
    ],
)
def test_a_damaged_checkpoint_is_one_line(tmp_path: Path, change: dict[str, object]) -> None:
    from xflowrl.agents.ppo.checkpoint import describe_training, new_policy
    from xflowrl.agents.ppo.policy import PolicySettings

    rules = load_core()
    policy = new_policy(PolicySettings(), rules)
    record = describe_training(policy, rules) | {"weights": policy.state_dict()}
    torch.save(record | change, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"agent\.checkpoint=.*damaged") as error:
        load_policy(tmp_path / "a.pt", rules)
    assert "\n" not in str(error.value)
    torch.save({"format": FORMAT}, tmp_path / "b.pt")
    with pytest.raises(ValueError, match=r"agent\.checkpoint=.*damaged"):
        load_policy(tmp_path / "b.pt", rules)
