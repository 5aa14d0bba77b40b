"""The progress bar and the table."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from xflowrl.console import (
    ProgressBar,
    SweptJob,
    job_table,
    print_jobs,
    real_table,
    result_table,
    share_spent,
)
from xflowrl.problem import Budget, Problem
from xflowrl.run_folder import GraphRecord, Quartiles, Real, Verified, read_result

MEASURED = Real(
    device="cpu",
    runtime="onnxruntime",
    decides=True,
    initial_ms=Quartiles(median=4.0, q1=4.0, q3=4.0),
    best_ms=Quartiles(median=2.0, q1=2.0, q3=2.0),
    speedup=2.0,
    noise=0.01,
)
EQUAL = Verified(status="equal", max_abs_error=0.0, max_rel_error=0.0, detail="agree")


@pytest.fixture
def entry() -> GraphRecord:
    """Of a run of schema 1, with round numbers."""
    folder = Path(__file__).parent / "run_folder_schema_1"
    return replace(
        read_result(folder).results[0],
        graph="squeezenet",
        cost_initial_ms=0.4,
        cost_best_ms=0.3,
        num_nodes_initial=60,
        num_nodes_best=40,
        real=(MEASURED,),
        verified=EQUAL,
    )


def render(entry: GraphRecord) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(result_table([entry]))
    console.print(real_table([entry]))
    return console.export_text()


def test_table_tells_what_came_out(entry: GraphRecord) -> None:
    text = render(entry)
    for part in ("squeezenet", "25.0%", "60 > 40", "exhausted", "equal", "2.000", "yes"):
        assert part in text


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"kept_original": True}, "the original"),
        ({"best_onnx": None}, "not written"),
        ({"verified": replace(EQUAL, status="different")}, "NOT EQUAL"),
        ({"verified": replace(EQUAL, status="undecided")}, "undecided"),
        ({"cost_initial_ms": 0.0, "cost_best_ms": 0.0}, " - "),
        ({"cost_initial_ms": None, "cost_best_ms": None}, " - "),
    ],
)
def test_table_tells_what_went_wrong(
    entry: GraphRecord, changes: dict[str, Any], shown: str
) -> None:
    assert shown not in render(entry)
    assert shown in render(replace(entry, **changes))


def test_a_sweep_is_readable_in_80_columns(entry: GraphRecord) -> None:
    record = replace(read_result(Path(__file__).parent / "run_folder_schema_1"), results=(entry,))
    name = "ppo-squeezenet-i1000-s0-train_iterations3"
    jobs = [SweptJob(name, record, 12.5, ""), SweptJob("b", None, 0.1, "error: it is " + "x" * 30)]
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(job_table(jobs, title="2 jobs", is_narrow=True))
    text = console.export_text()
    for part in ("cost ms", "seconds", "0.4", "0.3", "25.0%", "2.000", "12.5", "equal"):
        assert part in text
    assert "…" not in text
    assert name in "".join(line[: line.find("  ")].strip() for line in text.splitlines())


@pytest.mark.parametrize(("error", "hint"), [("", ""), ("failed", "resume=sweep")])
def test_a_sweep_that_is_not_whole_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: str,
    hint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    print_jobs([SweptJob("a", None, 1.0, error)], total=1, folder=tmp_path / "sweep")
    said = capsys.readouterr().out
    assert hint in said
    assert ("to go on" in said) == bool(hint)


def test_share_is_that_of_the_tightest_limit() -> None:
    limits = Budget(max_iterations=100, max_seconds=10.0).limits()
    metrics = {"search/iteration": 20.0, "search/seconds": 5.0}
    assert share_spent(metrics, "search", limits) == 0.5
    assert share_spent(metrics, "search", Budget(max_iterations=None).limits()) == 0.0


def test_bar_follows_the_metrics(relu_problem: Callable[..., Problem]) -> None:
    from xflowrl.agents.greedy import Greedy

    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    problem = relu_problem(4, max_iterations=3)
    with ProgressBar([problem], console) as bar:
        bar.log({"train/iteration": 1, "train/max_iterations": 2}, 1)
        Greedy().optimize([problem], bar.log)
    file = console.file
    assert isinstance(file, io.StringIO)
    assert "100%" in file.getvalue()
    assert "training" in file.getvalue()
    assert "best" in file.getvalue()
