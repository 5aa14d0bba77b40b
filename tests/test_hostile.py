"""Hostile input: other code in the configuration, foreign databases, damaged files, no home."""

from __future__ import annotations

import os
import resource
import shlex
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

import xflowrl
from xflowrl.agents.ppo.checkpoint import FORMAT, load_policy
from xflowrl.cli.errors import one_line
from xflowrl.delivery import check_target
from xflowrl.measurement.op_database import Conditions, OpDatabase
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
        "+hydra.callbacks.x={_target_: os.mkdir, path: made}",
        "hydra.launcher._target_=os.mkdir",
        "hydra.job_logging.handlers.file.class=os.mkdir",
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
        OpDatabase(path, Conditions("cpu", "r", "r 1"))
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


def _model(path: Path, size: int) -> Path:
    """Two products of one operand, behind transposes that cancel; `size` squared weights each."""
    weights = [
        onnx.numpy_helper.from_array(np.full((size, size), 0.01, np.float32), name)
        for name in ("v", "w")
    ]
    nodes = [
        onnx.helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        onnx.helper.make_node("Transpose", ["t"], ["u"], perm=[1, 0]),
        onnx.helper.make_node("MatMul", ["u", "v"], ["a"]),
        onnx.helper.make_node("MatMul", ["u", "w"], ["b"]),
        onnx.helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    ends = [onnx.helper.make_tensor_value_info(name, 1, [4, size]) for name in ("x", "y")]
    graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def _run(
    *arguments: str | bytes | Path, cache: Path, limit: int = -1, kind: int = resource.RLIMIT_AS
) -> subprocess.CompletedProcess[str]:
    def restrict() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(kind, (limit, limit))

    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=cache,
        # A device lock of its own too: another run beside it would be one more line.
        env={**os.environ, "XDG_CACHE_HOME": str(cache / "cache"), "TMPDIR": str(cache)},
        preexec_fn=restrict,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("limit_mb", [350, 900])
def test_too_little_memory_is_one_line(tmp_path: Path, limit_mb: int) -> None:
    model = _model(tmp_path / "large.onnx", 5000)
    done = _run("xflowrl", model, "-o", "out.onnx", cache=tmp_path, limit=limit_mb * 10**6)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f'"{model}" (200 MB) needs more memory' in line
    assert not (tmp_path / "out.onnx").exists()


def test_too_little_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    (tmp_path / "a.pt").write_bytes(b"")
    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(MemoryError, match=r"agent\.checkpoint=.*more memory"):
        load_policy(tmp_path / "a.pt", load_core())


@pytest.mark.parametrize("verb", ["xflowrl", "xflowrl.run"])
def test_a_full_disk_is_one_line(tmp_path: Path, verb: str) -> None:
    model = _model(tmp_path / "model.onnx", 300)
    file = tmp_path / "run" / "best.onnx"
    arguments = [str(model), "-o", str(file), "--set", "measurement=roofline"]
    if verb == "xflowrl.run":
        arguments = ["graph=onnx", f"graph.path={model}", "measurement=roofline"]
        arguments += [f"hydra.run.dir={file.parent}"]
    done = _run(verb, *arguments, cache=tmp_path, limit=100_000, kind=resource.RLIMIT_FSIZE)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f'"{file}" cannot be written: File too large; free some space' in line
    assert not file.exists()
    assert not list(file.parent.glob(".xflowrl-*"))


def test_a_name_that_is_not_utf8_is_a_name(tmp_path: Path) -> None:
    model = _model(tmp_path / os.fsdecode(b"a\xff = 'b':.onnx"), 64)
    out = os.fsdecode(b"o\xff.onnx")
    done = _run("xflowrl", model, "-o", out, cache=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / out).is_file()
    assert "cannot be rewritten" not in done.stdout


def test_names_that_are_not_utf8(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, out = _model(tmp_path / "model.onnx", 64), tmp_path / "out.onnx"
    content = model.read_bytes()
    model.write_bytes(content.replace(b"\x01a", b"\x01\xff"))  # the name of a tensor: it runs
    delivery = xflowrl.optimize_file(model, out, settings={"measurement": "roofline"})
    assert "is not UTF-8" in delivery.detail
    assert out.read_bytes() == model.read_bytes()
    model.write_bytes(content.replace(b"MatMul", b"MatMu\xff"))
    with pytest.raises(ValueError, match=r"op_type b'MatMu\\xff' is not UTF-8"):
        xflowrl.optimize_file(model, tmp_path / "none.onnx")
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    "override",
    ["graph.path=a=b", "graph.path=ö", "graph.path='", 'graph.path=a\\"[b"\\', "+a.b=~"],
)
def test_an_override_is_quoted_as_it_is_advised(override: str) -> None:
    parser = OverridesParser.create()
    with pytest.raises(OverrideParseException) as error:
        parser.parse_overrides([override])
    line = one_line(error.value)
    assert line.startswith(f"Error parsing override {override}: ")
    (advised,) = shlex.split(line.rpartition(", ")[2])
    name, _, value = override.partition("=")
    parsed = parser.parse_override(advised)
    assert (f"+{parsed.key_or_group}" if name[0] == "+" else parsed.key_or_group) == name
    assert parsed.value() == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("graph.path=a${b}", "'b' not found; rename a file that has ${"),
        ("graph.path=a\nb", r"'graph.path=a\nb': rename what is no plain text"),
        (b"graph.path='\xff'", r"graph.path is '\udcff', which is not UTF-8; rename it"),
        (b"graph.paths=['\xff']", r"graph.paths is ['\udcff'], which is not UTF-8; rename it"),
    ],
)
def test_a_name_that_hydra_does_not_take(
    tmp_path: Path, override: str | bytes, message: str
) -> None:
    done = _run("xflowrl.run", "graph=onnx", "wandb.mode=disabled", override, cache=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert message in line


@pytest.mark.parametrize("verb", ["xflowrl", "xflowrl.run"])
def test_what_cannot_be_printed_is_one_line(tmp_path: Path, verb: str) -> None:
    model = _model(tmp_path / "ö.onnx", 64)
    arguments = [str(model), "-o", "ö-out.onnx", "--set", "measurement=roofline"]
    if verb == "xflowrl.run":
        arguments = ["graph=onnx", f"graph.path='{model}'", "measurement=roofline"]
        arguments += ["wandb.mode=disabled", "hydra.run.dir=run", "judge.max_s=0.5"]
    command = [sys.executable, "-m", verb, *arguments]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "?" in done.stdout
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: standard output cannot be written: No space left")
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / ("run/best.onnx" if verb == "xflowrl.run" else "ö-out.onnx")).is_file()


@pytest.mark.parametrize("flag", ["--help", "--cfg=job"])
def test_a_reader_that_has_seen_enough(tmp_path: Path, flag: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "xflowrl.run", flag]
    done = subprocess.run(command, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    device = tmp_path / "pipe"
    os.mkfifo(device)
    with pytest.raises(ValueError, match="is no file but a device; give the path of a file"):
        check_target(_model(tmp_path / "model.onnx", 4), device)


def test_costs_are_in_memory_where_the_cache_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "cache" / "xflowrl" / "op_costs.sqlite").mkdir(parents=True)
    model = _model(tmp_path / "model.onnx", 64)
    done = _run("xflowrl", model, "-o", "out.onnx", cache=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("op costs are not kept: ")
