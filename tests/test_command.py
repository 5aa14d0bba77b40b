"""`xflowrl model.onnx -o faster.onnx`, in processes of its own and in this one."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

import xflowrl
from xflowrl.api import default_seconds
from xflowrl.command import command
from xflowrl.console import print_delivery
from xflowrl.summary import in_words

QUICK = ("--set", "measurement=roofline", "--seconds", "1")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A small model that the search improves."""
    from xflowrl.options import build_option

    path = tmp_path / "tiny.onnx"
    xflowrl.save_onnx(build_option("graph", "tiny"), path)
    return path


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False)


def run(folder: Path, *arguments: str | bytes) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "xflowrl", *arguments]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=300)


def is_half_written(folder: Path) -> bool:
    return any(path.name.startswith(".") for path in folder.iterdir())


def test_a_file_comes_out_that_computes_the_same(tiny: Path) -> None:
    import onnxruntime

    out = tiny.with_name("out.onnx")
    done = invoke(tiny, "-o", out, *QUICK, "--set", "judge.measure=false")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "Rewritten and not timed." in done.stdout
    assert "Proven equal at 1 size" in done.stdout
    assert onnx.load(out).graph.node != onnx.load(tiny).graph.node
    assert not is_half_written(tiny.parent)
    sessions = [onnxruntime.InferenceSession(str(path)) for path in (tiny, out)]
    feeds = {i.name: np.ones(i.shape, np.float32) for i in sessions[0].get_inputs()}
    before, after = (session.run(None, feeds)[0] for session in sessions)
    # float32 sums in another order
    np.testing.assert_allclose(after, before, atol=1e-4 * np.abs(before).max(), rtol=0)


def test_without_a_name_it_lies_beside_the_input(tiny: Path) -> None:
    done = invoke(tiny, *QUICK)
    assert done.exit_code == 0
    assert (tiny.parent / "tiny.faster.onnx").is_file()
    assert "tiny.faster.onnx" in done.stdout.replace("\n", "")


@pytest.mark.parametrize("name", [b"a b=c:d.onnx", "größe=1.onnx".encode(), b"\xff\xfe.onnx"])
def test_any_name_will_do(tiny: Path, name: bytes) -> None:
    tiny.rename(os.fsdecode(os.fsencode(tiny.parent) + b"/" + name))
    done = run(tiny.parent, name, "-o", b"out " + name, *QUICK, "--set", "judge.measure=false")
    assert done.returncode == 0, done.stderr
    written = Path(os.fsdecode(os.fsencode(tiny.parent) + b"/out " + name))
    onnx.checker.check_model(onnx.load_from_string(written.read_bytes()))
    assert not is_half_written(tiny.parent)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.onnx"], 'error: model "none.onnx" does not exist'),
        (["tiny.onnx", "-o", "tiny.onnx"], 'error: "tiny.onnx" belongs to the model'),
        (["tiny.onnx", "-o", "."], 'error: "." is a folder'),
        (["tiny.onnx", "--seconds", "0"], "error: seconds is 0.0: give a number above 0"),
        (["tiny.onnx", "--threads", "0"], "error: judge.threads=0: give at least 1"),
        (["."], 'error: model "." is no file; give the path of an .onnx file'),
        (["tiny.onnx", "-o", "x" * 300], f'error: "{"x" * 300}": File name too long; give a '),
        (["tiny.onnx", "--threads", "99999"], "error: judge.threads=99999: give at most "),
        (["tiny.onnx", "--inputs", "x.npz"], 'error: "x.npz": No such file or directory; give '),
        (["tiny.onnx", "--shape", "z=1"], 'error: model "tiny.onnx": there is no input "z"; the'),
        (["tiny.onnx", "--agent", "x"], "error: agent 'x' does not exist: give one of "),
        (["tiny.onnx", "--set", "x"], "error: --set 'x': give NAME=VALUE"),
        (["tiny.onnx", "--set", "x.y=1"], "error: x.y is no setting: give agent, rules,"),
        (["tiny.onnx", "--set", "agent.x=1"], "error: agent.x is no option of"),
        (["tiny.onnx", "--set", "judge.x=1"], "error: judge.x is no option of"),
        (["tiny.onnx", "--inputs", "tiny.onnx"], 'error: inputs "tiny.onnx" is no .npz file'),
    ],
)
def test_mistakes_are_one_line(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tiny.parent)
    before = tiny.read_bytes()
    done = invoke(*arguments)
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(message)
    assert [path.name for path in tiny.parent.iterdir()] == ["tiny.onnx"]
    assert tiny.read_bytes() == before


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, 'the data lack the input "x"; they have y'),
        ({"x": np.ones(3)}, 'the input "x" is float64; make it float32 (.astype)'),
        ({"x": np.full(3, np.nan, np.float32)}, "the original's outputs are not finite on your "),
        ({"x": np.ones(3, np.float32), "z": np.ones(3)}, 'there is no input "z"; the inputs are'),
    ],
)
def test_inputs_that_do_not_fit_are_refused_at_once(
    tmp_path: Path, changed: dict[str, np.ndarray], message: str
) -> None:
    text = '<ir_version: 8, opset_import: ["": 18]> g (float[n] x, float[n] y) => (float[n] z) '
    onnx.save(onnx.parser.parse_model(text + "{ z = Add (x, y) }"), tmp_path / "add.onnx")
    np.savez(tmp_path / "data.npz", y=np.ones(3, np.float32), **changed)
    done = invoke(tmp_path / "add.onnx", "--inputs", tmp_path / "data.npz")
    assert (done.exit_code, done.stdout) == (1, "")
    assert message in done.stderr
    assert not (tmp_path / "add.faster.onnx").exists()


def test_training_has_its_share_of_the_time(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xflowrl import options

    taken = {}

    def build_choices(groups: object, settings: dict[str, object], *, seed: int) -> None:
        taken.update(settings)
        raise ValueError("enough")

    monkeypatch.setattr(options, "build_choices", build_choices)
    for chosen in (["--agent", "ppo"], ["--set", "agent=ppo"]):
        taken.clear()
        invoke(tiny, "--seconds", "10", *chosen)
        assert taken["agent.train_wall_s"] == pytest.approx(3.0)
    taken.clear()
    invoke(tiny, "--seconds", "10")
    assert "agent.train_wall_s" not in taken


def test_names_of_shapes_may_have_any_character(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xflowrl import api

    taken = {}

    def optimize_file(path: Path, out: Path | None, **keywords: object) -> None:
        taken.update(keywords)
        raise ValueError("enough")

    monkeypatch.setattr(api, "optimize_file", optimize_file)
    invoke(tiny, "--shape", "a:0=b=1,3", "--shape", "scalar=", "--set", "agent.alpha=1.5")
    assert taken["shapes"] == {"a:0=b": [1, 3], "scalar": []}
    assert taken["settings"] == {"agent.alpha": 1.5}
    assert invoke(tiny, "--shape", "x=1,a").exit_code == 2


def test_help_and_version_answer_at_once(tmp_path: Path) -> None:
    for flag, said in (("--help", "--inputs"), ("--version", "version 0.")):
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        done = run(tmp_path, flag)
        assert said in done.stdout
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 0.5


def test_agents_are_completed(tmp_path: Path) -> None:
    words = {"COMP_WORDS": "xflowrl --agent ta", "COMP_CWORD": "2"}
    environment = os.environ | words | {"_XFLOWRL_COMPLETE": "bash_complete"}
    line = [sys.executable, "-m", "xflowrl"]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["plain,taso", "plain,taso_native"]


HALTING = """
import time
from pathlib import Path
import xflowrl.measurement.compare as owner

def halting(*arguments, **keywords):
    Path("halted").touch()
    time.sleep(100)

owner.race = halting
from xflowrl.command import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_half_written(tiny: Path, number: signal.Signals) -> None:
    line = [sys.executable, "-c", HALTING, "tiny.onnx", "-o", "out.onnx", *QUICK]
    process = subprocess.Popen(line, cwd=tiny.parent, stderr=subprocess.PIPE, text=True)
    deadline_s = time.monotonic() + 60.0
    while not (tiny.parent / "halted").exists():
        assert process.poll() is None and time.monotonic() < deadline_s
        time.sleep(0.05)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (128 + number, "interrupted\n")
    assert {path.name for path in tiny.parent.iterdir()} == {"tiny.onnx", "halted"}


def test_an_interrupt_while_modules_are_read(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reading(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "xflowrl.console", Reading("xflowrl.console"))
    done = invoke(tiny, *QUICK)
    assert (done.exit_code, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_python_returns_what_is_printed(tiny: Path, tmp_path: Path) -> None:
    inputs = {
        i.name: np.ones([d.dim_value for d in i.type.tensor_type.shape.dim], np.float32)
        for i in onnx.load(tiny).graph.input
    }
    np.savez(tmp_path / "data.npz", **inputs)
    delivery = xflowrl.optimize_file(
        *(tiny, tmp_path / "o.onnx"),
        seconds=1,
        inputs=tmp_path / "data.npz",
        settings={"measurement": "roofline"},
    )
    assert delivery.path == tmp_path / "o.onnx"
    assert delivery.noise is not None and delivery.initial_ms is not None
    assert delivery.operators_after == {
        name: count
        for name, count in delivery.operators_after.items()
        if count == sum(n.op_type == name for n in onnx.load(delivery.path).graph.node)
    }
    assert delivery.num_bytes_after == delivery.path.stat().st_size
    assert delivery.kept_original == (tiny.read_bytes() == delivery.path.read_bytes())


def test_what_is_printed_fits_80_columns(tiny: Path, tmp_path: Path) -> None:
    made = xflowrl.optimize_file(
        tiny, tmp_path / "o.onnx", seconds=1, settings={"measurement": "roofline"}
    )
    faster = replace(
        *(made,), kept_original=False, speedup=1.184, noise=0.012, initial_ms=2.0, best_ms=1.69,
        runtime="onnxruntime", rewritten="3 Relu removed", given_up=("wrong",),
        fixed=("narrow", "wide", "wide"),
    )  # fmt: skip
    console = Console(width=80, record=True, force_terminal=True, file=(tmp_path / "x").open("w"))
    print_delivery(faster, console)
    text = console.export_text()
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "1.18x faster in ONNX Runtime, 1 thread (noise 1.2%): 2 -> 1.69 ms." in text
    assert "Given up, not proven equal: 1 wrong." in text
    assert "Given up, because they need a fixed size: 2 wide, 1 narrow." in text
    assert "Rewritten: 3 Relu removed." in text


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"Conv-bias-BatchNormalization-fold": "folding.rules"}, "1 BatchNormalization folded"),
        ({"Mul-Conv-fold": "folding.rules"}, "1 Mul folded"),
        ({"Conv-siblings-merge": "merging.rules"}, "1 Conv merged"),
        ({"Conv-Relu-fuse": "fusion.rules"}, ""),
        ({"Gelu-recognise-half-Div": "fusion.rules"}, "1 Gelu recognised"),
        ({"my": "my.rules"}, '1 "my" applied'),
    ],
)
def test_rewrites_in_words(rules: dict[str, str], words: str) -> None:
    steps = [xflowrl.problem.Step(rule, (), 0.0) for rule in rules]
    assert in_words(steps, rules) == words


def test_time_grows_with_the_file() -> None:
    sizes: Callable[[float], float] = lambda megabytes: default_seconds(int(megabytes * 1e6))  # noqa: E731
    assert [sizes(1), sizes(10), sizes(100), sizes(5000)] == [5.0, 5.0, 50.0, 60.0]
