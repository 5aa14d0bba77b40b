"""What a user got wrong is one clear line and exit code 1: no traceback, nothing half-written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

Check = Callable[..., str]


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Check:
    """Runs the command line in this process, checks how it fails, and returns the line it prints.

    With `composed=False` the configuration is refused before a run folder is made.
    """
    from xflowrl import run
    from xflowrl.cli import jobs

    def check(*arguments: str, composed: bool = True) -> str:
        monkeypatch.chdir(tmp_path)
        options = ("measurement=roofline", "wandb.mode=disabled", "agent=greedy")
        monkeypatch.setattr(sys, "argv", ["xflowrl.run", *options, *arguments])
        with pytest.raises(SystemExit) as end:
            jobs.main(run.optimize)
        if isinstance(end.value.code, str):  # what the interpreter prints, exiting with 1
            print(end.value.code, file=sys.stderr)
        else:
            assert end.value.code == 1
        out, err = capfd.readouterr()
        assert out == ""
        assert "Traceback" not in err
        lines = err.splitlines()
        assert len(lines) == 1, err
        assert lines[0].startswith("error: ")
        folders = list(tmp_path.glob("multirun/*/*/*/"))
        assert len(folders) == composed
        for folder in folders:
            written = {path.name for path in folder.iterdir()}
            assert written <= {".hydra", "run.log", "metrics.jsonl"}
        return lines[0]

    return check


def save_model(path: Path, shape: list[Any] = [1, 4], **options: Any) -> None:  # noqa: B006
    """y = Relu(x + w), with `options` for `onnx.save`."""
    weight = numpy_helper.from_array(np.ones((1, 4), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["s"]), helper.make_node("Relu", ["s"], ["y"])],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, path, **options)


def test_missing_file(refused: Check) -> None:
    assert "nowhere.onnx" in refused("graph=onnx", "graph.path=nowhere.onnx")


def test_not_an_onnx_file(refused: Check, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("this is no model\n" * 20)
    assert "model.onnx" in refused("graph=onnx", "graph.path=model.onnx")


def test_empty_file(refused: Check, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    assert "model.onnx" in refused("graph=onnx", "graph.path=model.onnx")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_model(refused: Check, tmp_path: Path, share: float) -> None:
    path = tmp_path / "model.onnx"
    save_model(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "model.onnx" in refused("graph=onnx", "graph.path=model.onnx")


def test_external_data_outside_its_folder(refused: Check, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    save_model(
        folder / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    (folder / "w.bin").rename(tmp_path / "w.bin")
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../w.bin"
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    line = refused("graph=onnx", "graph.path=models/model.onnx")
    assert "../w.bin" in line


def test_impossible_size(refused: Check, tmp_path: Path) -> None:
    save_model(tmp_path / "model.onnx", ["rows", 4])
    line = refused("graph=onnx", "graph.path=model.onnx", "graph.batch_size=0")
    assert "graph.batch_size=0 must be at least 1" in line


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("graph.matrix=[[0,1],[0,0],[0,0]]", "square"),
        ("graph.matrix=[[0,1,0],[0,0,1],[0,1,0]]", "triangular"),
        ("graph.ops=[input,output]", "ops"),
    ],
)
def test_invalid_model_spec(refused: Check, override: str, reason: str) -> None:
    assert reason in refused("graph=nasbench_3x3", override)


def test_unknown_operation_of_a_model_spec(refused: Check) -> None:
    spec = ("graph.matrix=[[0,1,0],[0,0,1],[0,0,0]]", "graph.ops=[input,conv7x7,output]")
    assert "conv7x7" in refused("graph=nasbench_3x3", *spec)


def test_unreachable_output_of_a_model_spec(refused: Check) -> None:
    spec = ("graph.matrix=[[0,1,0],[0,0,0],[0,0,0]]", "graph.ops=[input,conv1x1-bn-relu,output]")
    line = refused("graph=nasbench_3x3", *spec)
    assert "output" in line


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("no_such_key=1", "no_such_key"),
        ("agent.no_such_key=1", "agent.no_such_key"),
        ("+agent.no_such_key=1", "agent.no_such_key is no option of xflowrl.agents.greedy.Greedy"),
        ("agent=no_such_agent", "agent=no_such_agent does not exist: give one of beam,"),
        ("budget.max_iterations=many", "budget.max_iterations is 'many' (str): give int or null"),
        ("budget.max_seconds=true", "budget.max_seconds is True (bool): give float or null"),
        ("seed=1.5", "seed is 1.5 (float): give int"),
        ("wandb.mode=of", "wandb.mode is 'of' (str): give one of offline, online, disabled"),
        ("graph.num_stacks=[3]", "graph.num_stacks is [3] (list): give int"),
        ("rules=file", "rules.path is not given: add rules.path=..."),
        ("agent.alpha=]", "Error parsing override"),
    ],
)
def test_configuration(refused: Check, override: str, expected: str) -> None:
    assert expected in refused(override, composed=False)


@pytest.mark.parametrize(
    ("override", "expected"),
    [("budget.patience=-1", "budget.patience is -1"), ("judge.draws=0", "judge.draws is 0")],
)
def test_values_without_sense(refused: Check, override: str, expected: str) -> None:
    assert expected in refused("graph=tiny", override)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("null", "no network is named; set graph.names=[NAME,...]"),
        ("[]", "no network is named; set graph.names=[NAME,...]"),
        ("[tiny,resnet]", "graph.names has 'resnet', which is unknown; give any of bert, "),
        ("[onnx]", "graph.names has 'onnx', which is unknown; give any of bert, "),
        ("[networks]", "graph.names has 'networks', which is unknown; give any of bert, "),
        ("[tiny,vgg16,tiny]", "graph.names has 'tiny' twice; give it once"),
    ],
)
def test_names_of_networks(refused: Check, names: str, expected: str) -> None:
    assert expected in refused("graph=networks", f"graph.names={names}")


def test_rule_file_with_an_error(refused: Check, tmp_path: Path) -> None:
    (tmp_path / "my.rules").write_text("(rules mine)\n(rule broken (Relu ?x) => (Relu ?y))\n")
    line = refused("graph=tiny", "rules=file", "rules.path=my.rules")
    assert "my.rules:2:" in line


def test_missing_rule_file(refused: Check) -> None:
    assert "nowhere.rules" in refused("graph=tiny", "rules=file", "rules.path=nowhere.rules")


# A path into the file's rule 77, two matmuls that become a concat, a matmul and a split; what is
# put there; what is said of it.
BROKEN_RULES: list[tuple[tuple[str | int, ...], int, str]] = [
    (("srcOp", 1, "type"), 98, "source operator 1 (unknown): operator type 98 is not known"),
    (("dstOp", 0, "type"), 99, "target operator 0 (unknown): operator type 99 is not known"),
    (("srcOp", 1, "input", 0, "opId"), 3, "source operator 1 (matmul): operator 3 does not exist"),
    (("dstOp", 1, "input", 1, "opId"), 1, "target operator 1 (matmul): operator 1 does not exist"),
    (("dstOp", 2, "input", 0, "tsId"), 1, "target operator 2 (split): operator 1 has no output 1"),
    (("mappedOutput", 0, "srcOpId"), 9, "mapped output 0, source operator 9: operator 9 does not"),
    (("mappedOutput", 1, "dstTsId"), 2, "mapped output 1, target operator 2: operator 2 has no"),
    (("dstOp", 0, "input", 0, "opId"), -9, "target operator 0 (concat): uses variable -9, which"),
    (("dstOp", 1, "input", 1, "opId"), -4, "target operator 0 (concat): no mapped output depends"),
    (("dstOp", 0, "para", 1, "value"), 0, "target operator 2 (split): cannot be stated: no concat"),
]


def rules_refused(path: str, capfd: pytest.CaptureFixture[str]) -> str:
    """Checks how `xflowrl.rules check` refuses a file of TASO's, and returns the line it prints."""
    from xflowrl.rules.__main__ import main

    assert main(["check", "rules=taso", f"rules.path={path}"]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert err.startswith("error: ")
    return err.rstrip()


@pytest.mark.parametrize(("place", "value", "expected"), BROKEN_RULES)
def test_taso_file_with_a_wrong_rule(
    refused: Check,
    capfd: pytest.CaptureFixture[str],
    shared_dir: Path,
    tmp_path: Path,
    place: tuple[Any, ...],
    value: int,
    expected: str,
) -> None:
    from xflowrl.taso.rule_file import _message_class

    collection = _message_class()()
    collection.ParseFromString((shared_dir / "taso" / "graph_subst.pb").read_bytes())
    part = collection.rule[77]
    for step in place[:-1]:
        part = part[step] if isinstance(step, int) else getattr(part, step)
    setattr(part, place[-1], value)
    path = tmp_path / "broken.pb"
    path.write_bytes(collection.SerializeToString())
    line = rules_refused(str(path), capfd)
    assert line.startswith(f"error: {path}: rule 77 (id 95), {expected}")
    assert refused("graph=tiny", "rules=taso", f"rules.path={path}") == line


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (lambda whole: b"", "is no TASO rule file"),
        (
            lambda whole: b"(rules mine)\n(rule r (Relu (Relu ?x)) => (Relu ?x))\n",
            "is no TASO rule",
        ),
        (lambda whole: whole[: len(whole) // 2], "is no TASO rule file, or a truncated one"),
        (lambda whole: whole[:-1], "is no TASO rule file, or a truncated one"),
        (lambda whole: b"x" + whole, "is no TASO rule file"),
        (None, "cannot be read: No such file or directory"),
    ],
    ids=["empty", "text", "half", "all but a byte", "a byte before", "missing"],
)
def test_what_is_no_taso_file(
    refused: Check,
    capfd: pytest.CaptureFixture[str],
    shared_dir: Path,
    tmp_path: Path,
    content: Callable[[bytes], bytes] | None,
    expected: str,
) -> None:
    path = tmp_path / "broken.pb"
    if content:
        path.write_bytes(content((shared_dir / "taso" / "graph_subst.pb").read_bytes()))
    line = rules_refused(str(path), capfd)
    assert str(path) in line
    assert expected in line
    assert refused("graph=tiny", "rules=taso", f"rules.path={path}") == line


def test_no_match_is_no_error(tmp_path: Path) -> None:
    save_model(tmp_path / "model.onnx")
    (tmp_path / "my.rules").write_text("(rules mine)\n(rule r (Tanh (Tanh ?x)) => (Tanh ?x) )\n")
    command = [sys.executable, "-m", "xflowrl.run", "graph=onnx", "graph.path=model.onnx"]
    command += ["rules=file", "rules.path=my.rules", "measurement=roofline", "agent=greedy"]
    command += ["wandb.mode=disabled", "judge.max_s=0.1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no_match" in done.stdout
    (best,) = tmp_path.glob("multirun/*/*/0/best.onnx")
    assert [node.op_type for node in onnx.load(best).graph.node] == ["Add", "Relu"]


def test_a_process_exits_with_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "xflowrl.run", "graph=onnx", "graph.path=nowhere.onnx"]
    done = subprocess.run(
        [*command, "wandb.mode=disabled"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "nowhere.onnx" in done.stderr
