"""What was saved by given seconds, against hand-made runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from report_runs import MakeRun

from xflowrl.report.__main__ import main
from xflowrl.report.anytime import anytime_rows, looks_s, network_sets, saved_over_seconds, timed
from xflowrl.report.entries import Entry, entries
from xflowrl.report.figure import Figure
from xflowrl.report.runs import job_folders, read_runs

INITIAL_MS = 2.0


def make_timed(
    make_run: MakeRun,
    folder: Path,
    improvements: dict[float, float],
    *,
    networks: str = "unseen_cells",
    limit_s: float | None = 10.0,
    options: dict[str, Any] | None = None,
    **changes: Any,
) -> None:
    """A run whose best costs are `improvements`, by the second that they were found in."""
    every = {0.0: INITIAL_MS, **improvements}
    best = {"cost_initial_ms": INITIAL_MS, "cost_best_ms": every[max(every)]}
    made = {"best_seconds": max(every), "optimisation_s": limit_s or 10.0} | changes
    make_run(folder, {"budget.max_seconds": limit_s, **(options or {})}, **best, **made)
    trace = json.loads((folder / "trace.json").read_text())
    trace["traces"][0]["improvements"] = [
        {"iteration": index, "seconds": seconds, "cost_ms": cost_ms}
        for index, (seconds, cost_ms) in enumerate(every.items())
    ]
    trace["traces"][0]["graph_hash"] = trace["traces"][0]["graph"]
    (folder / "trace.json").write_text(json.dumps(trace))
    settings = yaml.safe_load((folder / ".hydra" / "hydra.yaml").read_text())
    settings["hydra"]["runtime"]["choices"]["graph"] = networks
    (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(settings))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, make_run: MakeRun) -> Path:
    """Greedy is quick, PPO better by the end, in two draws; two networks, and one of another."""
    folder = tmp_path_factory.mktemp("sweep")
    for number, graph in enumerate("ab"):
        greedy = {"agent": "greedy", "graph": graph, "bound_ms": 1.0 if graph == "a" else None}
        make_timed(make_run, folder / f"{number}-0", {0.05: 1.5}, **greedy)
        for seed in (0, 1):
            make_timed(
                *(make_run, folder / f"{number}-1{seed}", {0.5: 1.6, 5.0: 1.2 + 0.1 * seed}),
                options={"agent.seed": seed},
                agent="ppo",
                graph=graph,
            )
    alone = {"agent": "greedy", "graph": "c"}  # a network that PPO has not seen
    make_timed(make_run, folder / "2-0", {0.05: 1.9}, **alone)
    make_timed(make_run, folder / "2-1", {0.05: 1.9}, limit_s=None, **alone)
    other = {"agent": "greedy", "graph": "d", "networks": "squeezenet"}
    make_timed(make_run, folder / "2-2", {0.05: 1.9}, limit_s=1.0, **other)
    return folder


def read(folder: Path) -> list[Entry]:
    return entries(read_runs(job_folders([folder])))


@pytest.fixture(scope="module")
def tables(
    sweep: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[dict[str, str]]]:
    """Of the report on it."""
    out = tmp_path_factory.mktemp("report") / "out"
    assert main([str(sweep), "--out", str(out), "--formats", ""]) == 0
    text = (out / "index.html").read_text()
    assert '"saved_over_seconds/0"' in text
    assert '"saved_by_seconds/1"' in text
    read = {}
    for path in out.glob("anytime*.csv"):
        with path.open(newline="") as file:
            read[path.stem] = list(csv.DictReader(file))
    return read


@pytest.mark.parametrize(
    ("limit_s", "looks"),
    [(1.0, [0.1, 1.0]), (10, [0.1, 1, 10]), (60, [0.1, 1, 10, 60]), (0.05, [0.05])],
)
def test_one_looks_at_powers_of_ten_and_at_the_limit(limit_s: float, looks: list[float]) -> None:
    assert looks_s(limit_s) == pytest.approx(looks)


def test_the_tidy_table_says_what_each_run_had_saved_when(
    tables: dict[str, list[dict[str, str]]],
) -> None:
    rows = tables["anytime"]
    assert [row["graph"] for row in rows] == [*"aaabbbcd"], "one has no limit in seconds"
    assert [row["set"] for row in rows][-2:] == ["unseen_cells", "squeezenet"]
    greedy, first, second = rows[:3]
    at = ("saved_0.1s", "saved_1s", "saved_10s")
    assert [float(greedy[name]) for name in at] == pytest.approx([0.25] * 3)
    assert [float(first[name]) for name in at] == pytest.approx([0.0, 0.2, 0.4])
    assert [float(second[name]) for name in at] == pytest.approx([0.0, 0.2, 0.35])
    assert [(row["agent"], row["seed"]) for row in rows[:3]] == [
        *(("greedy", "3"), ("ppo", "0"), ("ppo", "1"))
    ]
    assert rows[-1]["saved_10s"] == "", "it had one second"
    assert [row["saved_bound"] for row in rows[:4]] == ["0.5", "0.5", "0.5", ""]


def test_the_summary_is_of_networks_that_all_have(
    tables: dict[str, list[dict[str, str]]],
) -> None:
    rows = [row for row in tables["anytime_summary"] if row["set"] == "unseen_cells"]
    assert [(row["seconds"], row["agent"]) for row in rows] == [
        (seconds, agent) for seconds in ("0.1", "1", "10") for agent in ("greedy", "ppo")
    ]
    assert {(row["networks"], row["runs"]) for row in rows} == {("2", "2"), ("2", "4")}
    last = rows[-1]
    assert float(last["mean"]) == float(last["iqm"]) == pytest.approx(0.375)
    assert float(last["mean_low"]) == pytest.approx(0.35)
    assert float(last["mean_high"]) == pytest.approx(0.4)


def test_pairs_are_compared_in_both_directions(tables: dict[str, list[dict[str, str]]]) -> None:
    rows = {(row["seconds"], row["agent"]): row for row in tables["anytime_pairs"]}
    assert float(rows["10", "ppo"]["more"]) == pytest.approx(0.125)
    assert float(rows["10", "greedy"]["more"]) == pytest.approx(-0.125)
    assert (rows["10", "ppo"]["probability"], rows["1", "ppo"]["probability"]) == ("1", "0")
    assert float(rows["10", "ppo"]["more_low"]) > 0 > float(rows["1", "ppo"]["more_high"])


def test_training_is_time(tmp_path: Path, make_run: MakeRun) -> None:
    metrics = [{"train/iteration": 1, "train/seconds": 0.5, "train/episode_return": 0.1}]
    metrics[0] |= {"step": 1, "train/best_cost_ms": 1.8}
    trained = {"agent": "ppo", "graph": "a", "train_s": 4.0, "metrics": metrics}
    make_timed(make_run, tmp_path / "0", {1.0: 1.0}, limit_s=6.0, **trained)
    make_timed(make_run, tmp_path / "1", {1.0: 1.0}, agent="greedy", graph="a")
    run, other = timed(read(tmp_path))
    assert [run.saved_by(at) for at in (0.4, 0.6, 4.9, 5.1)] == pytest.approx([0, 0.1, 0.1, 0.5])
    (row, _) = anytime_rows([run, other])
    assert row["saved_10s"] == 0.5, "which was after 4 s of training and 6 s of search"


def test_networks_of_a_size_are_a_set_too(tmp_path: Path, make_run: MakeRun) -> None:
    for index, (graph, size) in enumerate((("a", 200), ("b", 200), ("c", 1000), ("d", 1000))):
        of_size = {"graph": graph, "num_nodes_initial": size, "agent": "greedy"}
        make_timed(make_run, tmp_path / str(index), {0.05: 1.5}, **of_size)
    found = read(tmp_path)
    names = [networks.name for networks in network_sets(timed(found))]
    assert names == ["unseen_cells", "unseen_cells, 200 nodes", "unseen_cells, 1000 nodes"]
    figure = saved_over_seconds(found)
    assert isinstance(figure, Figure)
    assert [panel.title for panel in figure.panels] == names
    (line,) = figure.panels[0].lines
    assert (line.y[0], line.y[-1]) == (0, 0.25)
