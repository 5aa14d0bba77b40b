"""The files of a run folder that others read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from xflowrl.judge import Judgement
from xflowrl.problem import Problem, replay
from xflowrl.run_folder import (
    git_commit,
    read_traces,
    result_entry,
    trace_record,
    versions,
    write_json,
)
from xflowrl.verify import Verdict

MakeProblem = Callable[..., Problem]


def test_traces_are_read_back_and_replay(relu_problem: MakeProblem, tmp_path: Path) -> None:
    from xflowrl.agents.greedy import Greedy

    (result,) = Greedy().optimize([relu_problem(4)], lambda metrics, step: None)
    path = tmp_path / "trace.json"
    write_json(path, trace_record([result]))
    assert read_traces(path) == {"relus": result.trace}
    state = replay(relu_problem(4), read_traces(path)["relus"])
    assert state.graph.hash == result.model.graph.hash


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a trace file"),
        ("[]", "is not a trace file"),
        ('{"schema": 99, "traces": []}', "has schema 99: this version reads schema 1"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "trace.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_traces(path)


def test_json_is_strict_and_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"a": [math.nan, 1.0], "b": {"c": math.inf}})
    assert json.loads(path.read_text()) == {"a": [None, 1.0], "b": {"c": None}}
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text())["a"] == [None, 1.0]
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_the_measurement_that_decides_is_marked(relu_problem: MakeProblem) -> None:
    from xflowrl.agents.greedy import Greedy

    (result,) = Greedy().optimize([relu_problem(3)], lambda metrics, step: None)
    real = tuple(SimpleNamespace(entry=lambda name=n: {"runtime": name}) for n in ("a", "b"))
    verdict = Verdict("equal", 0.5, 0.25, "3 draws agree")
    judgement = Judgement(verdict, real, real[1], model=result.model)  # type: ignore[arg-type]
    entry = result_entry(result, judgement, labels={}, best_onnx="best.onnx")
    assert entry["real"] == [{"runtime": "a", "decides": False}, {"runtime": "b", "decides": True}]
    assert entry["verified"] == {
        "status": "equal",
        "max_abs_error": 0.5,
        "max_rel_error": 0.25,
        "detail": "3 draws agree",
    }


def test_versions_name_what_results_depend_on() -> None:
    assert {"python", "numpy", "onnx", "onnxruntime", "torch"} <= versions().keys()


def test_commit_is_a_hash_or_unknown() -> None:
    commit = git_commit()
    assert commit is None or len(commit.removesuffix("-dirty")) == 40
