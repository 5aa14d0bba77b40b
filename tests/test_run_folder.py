"""The files of a run folder that others read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xflowrl.measurement import RealMeasurement
from xflowrl.measurement.timer import Measurement
from xflowrl.problem import Problem, replay
from xflowrl.provenance import git_commit, versions
from xflowrl.run_folder import (
    Quartiles,
    RunRecord,
    graph_record,
    read_metrics,
    read_result,
    read_traces,
    run_record,
    trace_record,
    undecided,
    write_json,
    write_record,
)

SCHEMA_1 = Path(__file__).parent / "run_folder_schema_1"
LABELS = {"agent": "greedy", "rules": "core", "measurement": "roofline", "seed": 0}

MakeProblem = Callable[..., Problem]


@pytest.fixture
def record(relu_problem: MakeProblem) -> RunRecord:
    """Of a run whose graph was not proven equal."""
    from xflowrl.agents.greedy import Greedy

    (result,) = Greedy().optimize([relu_problem(4)], lambda metrics, step: None)
    entry = graph_record(result, undecided("not asked"), labels=LABELS)
    return run_record([entry], train_s=1.5, overrides=["agent=greedy"])


def test_records_are_read_back(record: RunRecord, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    write_record(tmp_path / "run", record)
    assert read_result(tmp_path / "run") == record
    assert json.loads((tmp_path / "run" / "result.json").read_text())["schema"] == 2


def test_an_unknown_cost_is_null(record: RunRecord, relu_problem: MakeProblem) -> None:
    from xflowrl.agents.greedy import Greedy

    (result,) = Greedy().optimize([relu_problem(4)], lambda metrics, step: None)
    unknown = replace(result, cost_initial_ms=math.nan, cost_best_ms=math.nan)
    entry = graph_record(unknown, undecided("interrupted"), labels=LABELS)
    assert (entry.cost_initial_ms, entry.cost_best_ms) == (None, None)


def test_traces_are_read_back_and_replay(relu_problem: MakeProblem, tmp_path: Path) -> None:
    from xflowrl.agents.greedy import Greedy

    (result,) = Greedy().optimize([relu_problem(4)], lambda metrics, step: None)
    write_record(tmp_path, trace_record([result]))
    assert read_traces(tmp_path) == {"relus": result.trace}
    state = replay(relu_problem(4), read_traces(tmp_path)["relus"])
    assert state.graph.hash == result.model.graph.hash


def test_schema_1_is_read() -> None:
    record = read_result(SCHEMA_1)
    (entry,) = record.results
    assert (record.schema, entry.graph, entry.agent, entry.seed) == (2, "tiny", "taso", 3)
    assert entry.verified.status == "equal"
    assert entry.real[0].initial_ms.median == 2.057367
    assert [real.runtime for real in entry.real] == ["onnxruntime_plain", "onnxruntime"]
    assert len(read_traces(SCHEMA_1)["tiny"].steps) == entry.num_steps == 3


@pytest.mark.parametrize(
    ("verified", "status"),
    [
        ({"equal": False, "detail": "undecided: no finite numbers"}, "undecided"),
        ({"equal": False, "detail": "output y differs"}, "different"),
    ],
)
def test_verdicts_of_schema_1(tmp_path: Path, verified: dict[str, Any], status: str) -> None:
    content = json.loads((SCHEMA_1 / "result.json").read_text())
    content["results"][0]["verified"] |= verified
    (tmp_path / "result.json").write_text(json.dumps(content))
    assert read_result(tmp_path).results[0].verified.status == status


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no trace.json of a run: Expecting"),
        ("[]", "is no trace.json of a run"),
        ('{"traces": []}', "is no trace.json of a run: 'schema'"),
        ('{"schema": 2}', "is no trace.json of a run: traces: Field required"),
        ('{"schema": 2, "traces": [{}]}', r"traces\.0\.graph: Field required"),
        ('{"schema": 99, "traces": []}', "has schema 99: this version reads schemas 1 to 2"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "trace.json").write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        read_traces(tmp_path)
    assert "\n" not in str(raised.value)


def test_metrics_are_read_by_row(tmp_path: Path) -> None:
    whole = '{"step": 0, "a": null}\n{"step": 1, "a": 2.0}\n'
    (tmp_path / "metrics.jsonl").write_text(whole + '{"step": 2, "a"')  # cut off by a kill
    assert list(read_metrics(tmp_path)) == [{"step": 0, "a": None}, {"step": 1, "a": 2.0}]


def test_json_is_strict_and_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"a": [math.nan, 1.0], "b": {"c": math.inf}})
    assert json.loads(path.read_text()) == {"a": [None, 1.0], "b": {"c": None}}
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text())["a"] == [None, 1.0]
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_the_judgement_is_recorded(relu_problem: MakeProblem) -> None:
    from xflowrl.agents.greedy import Greedy
    from xflowrl.judge import Judgement, Raced
    from xflowrl.verify import Verdict

    (result,) = Greedy().optimize([relu_problem(3)], lambda metrics, step: None)
    timed = Measurement(1.0, 0.9, 1.1, 5, "cpu", "r")
    real = RealMeasurement(device="cpu", runtime="a", initial=timed, best=timed, noise=0.01)
    verdict = Verdict("equal", 0.0, 0.0, "agree")
    judgement = Judgement(verdict, result.trace.steps[:1], ("r",), ("s",), real, True, "not faster")
    raced = Raced("folds 1", 1, float("nan"), 0.9, 0.01, 20, is_found=True)
    judgement = replace(judgement, raced=(raced,))
    record = graph_record(result, undecided("not asked"), labels=LABELS, judgement=judgement)
    (measured,) = record.real
    assert (measured.runtime, measured.decides) == ("a", True)
    assert measured.initial_ms == Quartiles(median=1.0, q1=0.9, q3=1.1)
    assert (record.num_steps, record.num_steps_delivered, record.given_up) == (2, 1, ("r", "s"))
    assert (record.kept_original, record.detail) == (True, "not faster")
    (entry,) = record.raced
    assert (entry.takes, entry.speedup, entry.cost_ms) == ("folds 1", 0.9, None)
    assert (entry.is_found, entry.is_delivered) == (True, False)


def test_versions_name_what_results_depend_on() -> None:
    assert {"python", "numpy", "onnx", "onnxruntime", "torch"} <= versions().keys()


def test_commit_is_a_hash_or_unknown() -> None:
    commit = git_commit()
    assert commit is None or len(commit.removesuffix("-dirty")) == 40


def test_the_page_says_what_the_records_say() -> None:
    from document_run_folder import PAGE, page

    assert PAGE.read_text(encoding="utf-8") == page(), "python scripts/document_run_folder.py"
