"""The axes that runs are compared on."""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Callable

import pytest

from xflowrl.problem import Problem
from xflowrl.tracking.curves import AXES, Curves


def searching(stage: str, iteration: int, seconds: float, best_ms: float) -> dict[str, float]:
    named = {"iteration": iteration, "seconds": seconds, "best_cost_ms": best_ms, "memory_mb": 1.0}
    return {f"{stage}/{name}": value for name, value in named.items()}


def training(steps: int, seconds: float, **best_ms: float) -> dict[str, float]:
    costs = {f"train/{name}": ms for name, ms in best_ms.items()}
    return {"train/env_steps": steps, "train/seconds": seconds, "loss/policy": 0.5, **costs}


def test_a_search_begins_where_training_ends() -> None:
    curves = Curves(["tiny"])
    assert curves.row(training(0, 0.0, best_cost_ms=4.0))["search/saved"] == 0.0
    row = curves.row(training(64, 2.0, best_cost_ms=3.0))
    assert (row["iteration"], row["seconds"]) == (64, 2.0)
    assert row["search/best_cost_ms"] == row["by_seconds/best_cost_ms"] == 3.0
    assert row["search/saved"] == row["by_seconds/saved"] == 0.25
    assert row["loss/policy"] == 0.5
    row = curves.row(searching("search", 0, 0.0, 4.0))  # it starts from the original again
    assert (row["iteration"], row["seconds"], row["search/best_cost_ms"]) == (64, 2.0, 3.0)
    row = curves.row(searching("search", 5, 0.5, 2.0))
    assert (row["iteration"], row["seconds"], row["search/best_cost_ms"]) == (69, 2.5, 2.0)


def test_seconds_never_run_backwards() -> None:
    curves = Curves(["tiny"])
    rows = [curves.row(searching("search", *at, 1.0)) for at in ((3, 0.3), (4, 0.2), (5, 0.4))]
    assert [row["seconds"] for row in rows] == [0.3, 0.3, 0.4]
    assert [row["iteration"] for row in rows] == [3, 4, 5]


def test_graphs_follow_one_another_under_the_same_names() -> None:
    curves = Curves(["a", "b"])
    first = curves.row(searching("search/a", 10, 1.0, 4.0))
    assert "search/best_cost_ms" not in first  # what b costs is not known
    assert first["search/saved"] == 0.0
    curves.row(searching("search/a", 20, 2.0, 2.0))
    row = curves.row(searching("search/b", 1, 0.5, 10.0))
    assert (row["iteration"], row["seconds"]) == (21, 2.5)
    assert row["search/best_cost_ms"] == 12.0
    assert row["search/saved"] == 0.25  # the mean of a half and of nothing
    assert (row["graph/a/best_cost_ms"], row["graph/b/best_cost_ms"]) == (2.0, 10.0)
    assert row["search/memory_mb"] == 1.0
    one = Curves(["a"]).row(searching("search", 10, 1.0, 4.0))
    assert one.keys() - first.keys() == {"search/best_cost_ms", "by_seconds/best_cost_ms"}
    assert first.keys() <= one.keys()


def test_training_on_several_graphs_is_told_under_the_same_names() -> None:
    row = Curves(["a", "b"]).row(training(8, 1.0, **{"a/best_cost_ms": 1.0, "b/best_cost_ms": 2.0}))
    assert row["search/best_cost_ms"] == 3.0
    assert not any(name.startswith("train/") and name.endswith("cost_ms") for name in row)


def test_unknown_costs_are_left_out() -> None:
    row = Curves(["a"]).row(searching("search", 1, 0.1, float("nan")))
    assert not any("best_cost_ms" in name or "saved" in name for name in row)


def test_rows_without_a_clock_stay_where_they_are() -> None:
    curves = Curves(["a"])
    curves.row(searching("search", 7, 0.5, 1.0))
    row = curves.row({"mine": 3.0})
    assert (row["mine"], row["iteration"], row["seconds"]) == (3.0, 7, 0.5)


def test_each_metric_has_one_axis(relu_problem: Callable[..., Problem]) -> None:
    from xflowrl.agents.greedy import Greedy

    rows: list[dict[str, float]] = []
    curves = Curves(["relus"])
    Greedy().optimize([relu_problem(4)], lambda metrics, step: rows.append(curves.row(metrics)))
    names = {*rows[-1], *Curves(["relus"]).row(training(8, 1.0, best_cost_ms=2.0))}
    for name in names - {"iteration", "seconds"}:
        assert sum(fnmatch.fnmatch(name, pattern) for pattern in AXES) == 1, name
    prefixes = [pattern.removesuffix("*") for pattern in AXES]
    assert not any(a.startswith(b) for a, b in itertools.permutations(prefixes, 2))


@pytest.mark.parametrize("num_rows", [1, 2])
def test_a_run_goes_on_after_its_earlier_rows(num_rows: int) -> None:
    rows = [training(0, 0.0, best_cost_ms=4.0), training(64, 2.0, best_cost_ms=3.0)]
    last = searching("search", 5, 0.5, 2.0)
    whole, resumed = Curves(["tiny"]), Curves(["tiny"])
    for row in rows:
        whole.row(row)
    for row in rows:
        resumed.axes(row)
    assert resumed.row(last) == whole.row(last)
