"""What is compared with what, and what it is called."""

from __future__ import annotations

import json
import math
from pathlib import Path

from report_runs import MakeRun

from xflowrl.report.entries import Entry, differing_options, entries, largest_budget
from xflowrl.report.runs import job_folders, read_runs


def read(folder: Path) -> list[Entry]:
    return entries(read_runs(job_folders([folder])))


def rehash(folder: Path, graph_hash: str) -> None:
    trace = json.loads((folder / "trace.json").read_text())
    trace["traces"][0]["graph_hash"] = graph_hash
    (folder / "trace.json").write_text(json.dumps(trace))


def test_what_differs_is_named_and_nothing_else(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(tmp_path / "0", {"agent.alpha": 1.0, "budget.max_iterations": 10}, seed=0)
    make_run(tmp_path / "1", {"agent.alpha": 1.2, "budget.max_iterations": None}, seed=1)
    make_run(tmp_path / "2", {"budget.max_iterations": 10}, agent="greedy")
    found = read(tmp_path)
    assert [e.setting for e in found] == ["taso alpha=1", "taso alpha=1.2", "greedy"]
    assert [e.budget for e in found] == [
        *("max_iterations=10", "max_iterations=none", "max_iterations=10"),
    ]
    assert found[0].label == "taso alpha=1, max_iterations=10"
    assert {e.problem for e in found} == {"tiny"}


def test_what_an_agent_draws_is_a_repetition(tmp_path: Path, make_run: MakeRun) -> None:
    for number in (0, 1):
        made = {"agent.seed": number, "agent.train": False, "agent.checkpoint": "pretrained"}
        make_run(tmp_path / str(number), made, agent="ppo", seed=7)
    make_run(tmp_path / "2", {"agent.train": True, "agent.checkpoint": None}, agent="ppo", seed=7)
    found = read(tmp_path)
    assert [(e.setting, e.seed) for e in found] == [
        *(("ppo checkpoint=pretrained", 0), ("ppo checkpoint=pretrained", 1)),
        ("ppo checkpoint=none", 7),
    ]


def test_no_limit_is_the_largest_budget(tmp_path: Path, make_run: MakeRun) -> None:
    for index, limit in enumerate((10, None, 9, None)):
        make_run(tmp_path / str(index), {"budget.max_iterations": limit}, seed=index)
    make_run(tmp_path / "4", {"budget.max_iterations": 7}, agent="greedy")
    largest = largest_budget(read(tmp_path))
    assert [e.run.name for e in largest] == ["1", "3", "4"], "of each agent its own"


def test_one_name_under_other_options_is_another_problem(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(tmp_path / "0", {"graph.batch_size": 1})
    make_run(tmp_path / "1", {"graph.batch_size": 16})
    make_run(tmp_path / "2", {"graph.batch_size": 16}, measurement="estimated")
    make_run(tmp_path / "3", {"graph.batch_size": 16}, graph="other")
    assert [e.problem for e in read(tmp_path)] == [
        "tiny measurement=roofline batch_size=1",
        "tiny measurement=roofline batch_size=16",
        "tiny measurement=estimated batch_size=16",
        "other",
    ]


def test_graphs_that_only_the_seed_tells_apart_are_not_mixed(
    tmp_path: Path, make_run: MakeRun
) -> None:
    for index, (seed, graph_hash) in enumerate([(0, "aa"), (1, "bb"), (1, "bb")]):
        rehash(make_run(tmp_path / str(index), seed=seed), graph_hash)
    assert [e.problem for e in read(tmp_path)] == ["tiny seed=0", "tiny seed=1", "tiny seed=1"]
    rehash(tmp_path / "2", "cc")
    assert [e.problem for e in read(tmp_path)] == [
        *("tiny graph_hash=aa", "tiny graph_hash=bb", "tiny graph_hash=cc"),
    ]


def test_repetitions_of_one_graph_are_one_problem(tmp_path: Path, make_run: MakeRun) -> None:
    for seed in range(3):
        make_run(tmp_path / str(seed), seed=seed)
    assert {(e.problem, e.label) for e in read(tmp_path)} == {("tiny", "taso")}


def test_options_that_differ_are_columns_without_the_folder(
    tmp_path: Path, make_run: MakeRun
) -> None:
    make_run(tmp_path / "0", {"graph.path": "/home/me/models/a.onnx", "judge.draws": 1})
    make_run(tmp_path / "1", {"graph.path": "/home/me/models/b/a.onnx"})
    make_run(tmp_path / "2", {"wandb.name": "mine", "agent.alpha": ...}, agent="greedy")
    columns = differing_options(read_runs(job_folders([tmp_path])))
    assert columns == {"judge.draws": [1, 3, 3], "graph.path": ["a.onnx", "b/a.onnx", None]}


def test_shares_are_of_the_original(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(tmp_path / "0", cost_initial_ms=4.0, cost_best_ms=1.0, optimisation_s=2.0, train_s=3.0)
    make_run(tmp_path / "1", cost_initial_ms=None, cost_best_ms=None)
    known, unknown = read(tmp_path)
    assert (known.saved, known.total_s) == (0.75, 5.0)
    assert math.isnan(unknown.saved)


def test_costs_that_differ_in_the_last_bits_are_the_same(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(tmp_path / "0", cost_best_ms=0.1 + 0.2)
    make_run(tmp_path / "1", cost_best_ms=0.3)
    first, second = read(tmp_path)
    assert first.record.cost_best_ms != second.record.cost_best_ms
    assert first.best_ms == second.best_ms == 0.3
