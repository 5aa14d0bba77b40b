"""A search that was ended goes on: the same result, and what was spent before counts."""

from __future__ import annotations

import importlib
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xflowrl import progress
from xflowrl.candidates import diverse
from xflowrl.measurement import roofline
from xflowrl.measurement.timer import Measurement
from xflowrl.onnx_io import Model
from xflowrl.options import build_option
from xflowrl.problem import Budget, Meter, Problem, Result, StopReason, Tally
from xflowrl.progress import SearchFile
from xflowrl.rules import load_core

MakeProblem = Callable[..., Problem]

AGENTS = ("taso", "greedy", "beam", "random_search", "exhaustive", "egraph", "mcts")


@pytest.fixture(autouse=True)
def _kept_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is kept after every iteration."""
    monkeypatch.setattr(progress, "_EVERY_S", 0.0)


def squeezenet(path: Path, *, is_resumed: bool, **limits: Any) -> Problem:
    return Problem(
        model=build_option("graph", "squeezenet"),
        rules=load_core(),
        objective=roofline(),
        budget=Budget(**limits),
        seed=3,
        checkpoint=SearchFile(path, is_resumed=is_resumed),
    )


def untimed(result: Result) -> dict[str, Any]:
    """What must come out the same."""
    timed = ("best_seconds", "optimisation_s", "measure_s", "memory_mb")
    plain = {k: v for k, v in vars(result).items() if k not in (*timed, "original", "model")}
    improvements = [(each.iteration, each.cost_ms) for each in result.improvements]
    return plain | {"improvements": improvements, "graph_hash": result.model.graph.hash}


def ending_after(num_rows: int) -> Callable[[Mapping[str, float], int], None]:
    """A log that a kill falls into."""
    counter = itertools.count(1)

    def log(metrics: Mapping[str, float], step: int) -> None:
        if next(counter) == num_rows:
            raise SystemExit

    return log


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("num_rows", [2, 9, 20])
def test_a_killed_search_comes_to_the_same(tmp_path: Path, name: str, num_rows: int) -> None:
    agent, limits = build_option("agent", name), {"max_iterations": 60}

    def search(path: Path, log: Any, *, is_resumed: bool) -> Result:
        (result,) = agent.optimize([squeezenet(path, is_resumed=is_resumed, **limits)], log)
        return result  # type: ignore[no-any-return]

    whole = search(tmp_path / "whole.json", lambda metrics, step: None, is_resumed=False)
    path = tmp_path / "killed.json"
    for _ in range(2):  # the second time it is killed while it makes its iterations again, or soon
        with pytest.raises(SystemExit):
            search(path, ending_after(num_rows), is_resumed=path.exists())
    kept = json.loads(path.read_text())["progress"]
    resumed = search(path, lambda metrics, step: None, is_resumed=True)
    assert untimed(resumed) == untimed(whole)
    improvements = [vars(each) for each in resumed.improvements]
    assert improvements[: len(kept["improvements"])] == kept["improvements"]
    seconds = [each["seconds"] for each in improvements]
    assert seconds == sorted(seconds)
    assert resumed.optimisation_s > kept["spent"]["seconds"]


@pytest.mark.parametrize("name", ["taso", "greedy", "beam"])
def test_latencies_that_were_timed_decide_again(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = itertools.count()

    def time_graph(model: Model, runtime: Any, *, max_ms: float) -> Measurement:
        ms = len(model.graph) + 0.01 * (next(draws) % 7)  # no timing is like another
        return Measurement(ms, ms, ms, 100, runtime.device, runtime.name)

    monkeypatch.setattr(
        importlib.import_module("xflowrl.measurement.real"), "time_graph", time_graph
    )
    options = {"database": str(tmp_path / "costs.sqlite"), "guide": "roofline"}

    def search(path: Path, log: Any, *, is_resumed: bool) -> Result:
        objective = build_option("measurement", "real", options)
        problem = squeezenet(path, is_resumed=is_resumed, max_iterations=6)
        (result,) = build_option("agent", name).optimize(
            [replace(problem, objective=objective)], log
        )
        return result  # type: ignore[no-any-return]

    path = tmp_path / "search.json"
    with pytest.raises(SystemExit):
        search(path, ending_after(5), is_resumed=False)
    kept = json.loads(path.read_text())["progress"]
    resumed = search(path, lambda metrics, step: None, is_resumed=True)
    again = search(tmp_path / "again.json", lambda metrics, step: None, is_resumed=False)
    assert resumed.trace == again.trace
    assert resumed.iterations == again.iterations == 6
    assert resumed.real_measurements > kept["spent"]["real_measurements"] > 2
    assert again.real_measurements == 1  # of the original, to know the noise


def test_what_was_spent_before_counts(relu_problem: MakeProblem) -> None:
    now_s = 100.0
    before = Tally(iterations=2, seconds=7.0, measure_s=1.0, measurements=5, real_measurements=3)
    budget = Budget(max_measurements=5, max_real_measurements=3)
    meter = Meter(budget, before=before, clock_fn=lambda: now_s, memory_fn=lambda: 0)
    objective = relu_problem().objective
    now_s += 50.0  # it takes as long as it takes
    meter.spend(iterations=1)
    with meter.measuring(objective):
        objective.measure_s += 1.0
    assert (meter.seconds, meter.wall_s, meter.measure_s) == (7.0, 8.0, 1.0)
    assert meter.may_execute()
    assert meter.exceeded() is None
    meter.spend(iterations=1)
    assert meter.spent == before
    now_s += 1.0
    assert (meter.seconds, meter.wall_s) == (8.0, 9.0)
    assert meter.exceeded() == StopReason.MEASUREMENTS
    assert not meter.may_execute()


def test_a_budget_of_seconds_is_not_had_twice(tmp_path: Path) -> None:
    path, agent = tmp_path / "search.json", build_option("agent", "random_search")
    limits = {"max_iterations": None, "max_seconds": 1.0}
    problem = squeezenet(path, is_resumed=False, **limits)

    def log(metrics: Mapping[str, float], step: int) -> None:
        if metrics["search/seconds"] > 0.8:
            raise SystemExit

    with pytest.raises(SystemExit):
        agent.optimize([problem], log)
    spent = json.loads(path.read_text())["progress"]["spent"]
    seconds: list[float] = []
    (result,) = agent.optimize(
        [squeezenet(path, is_resumed=True, **limits)],
        lambda metrics, step: seconds.append(metrics["search/seconds"]),
    )
    assert result.stop_reason == StopReason.SECONDS
    assert 1.0 <= result.optimisation_s < 1.125  # 1.8 at the least if it were had twice
    assert result.iterations > spent["iterations"]
    assert min(seconds) >= spent["seconds"] > 0.75
    assert seconds == sorted(seconds)


def test_what_taso_dropped_is_dropped_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = itertools.count(1)
    limits = {"max_iterations": 100, "max_memory_mb": 1e6}
    monkeypatch.setattr("xflowrl.agents.taso._SHORT_SLICE_S", 0.0)
    monkeypatch.setattr(Meter, "is_short_of_memory", lambda meter: next(asked) % 30 == 0)

    def search(*, is_resumed: bool) -> Result:
        problem = squeezenet(tmp_path / "search.json", is_resumed=is_resumed, **limits)
        (result,) = build_option("agent", "taso").optimize([problem], lambda metrics, step: None)
        return result  # type: ignore[no-any-return]

    with monkeypatch.context() as patch:  # killed at its end
        patch.setattr(SearchFile, "finish", lambda file, result: None)
        whole = search(is_resumed=False)
    assert whole.num_dropped > 0
    assert len(json.loads((tmp_path / "search.json").read_text())["progress"]["drops"]) == 3
    monkeypatch.setattr(Meter, "is_short_of_memory", lambda meter: False)
    assert untimed(search(is_resumed=True)) == untimed(whole)


def test_a_finished_search_is_not_made_again(tmp_path: Path) -> None:
    path, agent = tmp_path / "search.json", build_option("agent", "greedy")
    (found,) = agent.optimize([squeezenet(path, is_resumed=False)], lambda metrics, step: None)
    rows: list[int] = []
    (again,) = agent.optimize(
        [squeezenet(path, is_resumed=True)], lambda metrics, step: rows.append(step)
    )
    assert rows == []
    assert untimed(again) == untimed(found)
    assert again.optimisation_s == found.optimisation_s


def test_a_short_search_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_EVERY_S", 100.0)
    path = tmp_path / "search.json"
    build_option("agent", "greedy").optimize(
        [squeezenet(path, is_resumed=False)], lambda metrics, step: None
    )
    assert not path.exists()


def test_a_new_search_forgets_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "search.json"
    path.write_text("{}")
    assert SearchFile(path, is_resumed=False).before is None
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"progress": {}, "result": null}'])
def test_a_damaged_file_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "search.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"search\.json is damaged .*: remove it to search"):
        SearchFile(path, is_resumed=True)


def test_a_result_of_other_rules_is_refused(tmp_path: Path) -> None:
    path, agent = tmp_path / "search.json", build_option("agent", "greedy")
    agent.optimize([squeezenet(path, is_resumed=False)], lambda metrics, step: None)
    problem = squeezenet(path, is_resumed=True)
    with pytest.raises(ValueError, match="replay it with the rules it was recorded with"):
        agent.optimize([replace(problem, rules=problem.rules.select([]))], lambda m, step: None)


def test_states_to_race_are_no_part_of_the_search(tmp_path: Path) -> None:
    path = tmp_path / "search.json"
    problem = squeezenet(path, is_resumed=False)
    (found,) = build_option("agent", "greedy").optimize([problem], lambda metrics, step: None)
    kept = path.read_bytes()
    assert len([*diverse(found, squeezenet(path, is_resumed=True), 4)]) > 1
    assert path.read_bytes() == kept
