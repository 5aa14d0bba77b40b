"""The progress bar and the table."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from xflowrl.console import ProgressBar, real_table, result_table, share_spent
from xflowrl.problem import Budget, Problem

ENTRY: dict[str, Any] = {
    "graph": "squeezenet",
    "agent": "greedy",
    "cost_initial_ms": 0.4,
    "cost_best_ms": 0.3,
    "num_nodes_initial": 60,
    "num_nodes_best": 40,
    "num_kernels_initial": 58,
    "num_kernels_best": 38,
    "iterations": 20,
    "best_iteration": 19,
    "optimisation_s": 1.25,
    "stop_reason": "exhausted",
    "verified": {"status": "equal"},
    "kept_original": False,
    "best_onnx": "best.onnx",
    "real": [
        {
            "runtime": "onnxruntime",
            "initial_ms": {"median": 4.0},
            "best_ms": {"median": 2.0},
            "speedup": 2.0,
            "noise": 0.01,
            "decides": True,
        }
    ],
}


def render(entry: dict[str, Any]) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(result_table([entry]))
    console.print(real_table([entry]))
    return console.export_text()


def test_table_tells_what_came_out() -> None:
    text = render(ENTRY)
    for part in ("squeezenet", "25.0%", "60 > 40", "exhausted", "equal", "2.000", "yes"):
        assert part in text


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"kept_original": True}, "the original"),
        ({"best_onnx": None, "verified": {"status": "different"}}, "NOT EQUAL"),
        ({"best_onnx": None, "verified": {"status": "undecided"}}, "undecided"),
        ({"cost_initial_ms": 0.0, "cost_best_ms": 0.0}, "-"),
    ],
)
def test_table_tells_what_went_wrong(changes: dict[str, Any], shown: str) -> None:
    assert shown in render(ENTRY | changes)


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
