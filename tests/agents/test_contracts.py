"""What every agent keeps to: one test for each option of conf/agent, found by listing the folder.

An agent that is added is tested without a word here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from xflowrl.metrics import meaning
from xflowrl.options import build_option, conf_folder
from xflowrl.problem import Agent, Problem, Result, StopReason, replay

MakeProblem = Callable[..., Problem]

OPTIONS = sorted(path.stem for path in (conf_folder() / "agent").glob("*.yaml"))

# What keeps a learning agent short; others have no such options.
BRIEF: dict[str, dict[str, Any]] = {"ppo": {"train_iterations": 2, "num_samples": 1}}

# TASO is a program of its own: it tells one result at the end, neither matches nor rewrites.
WITHOUT_TRACE = {"taso_native"}


@pytest.fixture(params=OPTIONS)
def name(request: pytest.FixtureRequest, install_taso: Callable[..., Path]) -> str:
    """An option of conf/agent; TASO's package is a stand-in that makes two relus one."""
    option: str = request.param
    if option == "taso_native":
        install_taso()
    return option


@pytest.fixture
def agent(name: str) -> Agent:
    """The agent as its option makes it."""
    made: Agent = build_option("agent", name, BRIEF.get(name))
    return made


class Log:
    """Keeps what is logged; interrupts at the row whose number is given."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.rows: list[dict[str, float]] = []
        self._interrupt_at = interrupt_at

    def __call__(self, metrics: Mapping[str, float], step: int) -> None:
        self.rows.append(dict(metrics))
        if len(self.rows) == self._interrupt_at:
            raise KeyboardInterrupt


def check(problem: Problem, result: Result, name: str) -> None:
    """A result never costs more than the original, and its trace leads to it."""
    assert result.cost_best_ms <= result.cost_initial_ms
    if name in WITHOUT_TRACE:
        return
    state = replay(problem, result.trace)
    assert state.graph.hash == result.model.graph.hash
    assert state.cost.ms == pytest.approx(result.cost_best_ms, rel=1e-9)


def test_no_match(agent: Agent, name: str, relu_problem: MakeProblem) -> None:
    problem = relu_problem(1)
    (result,) = agent.optimize([problem], Log())
    assert result.stop_reason is (
        StopReason.EXHAUSTED if name in WITHOUT_TRACE else StopReason.NO_MATCH
    )
    assert result.model.graph.hash == problem.model.graph.hash
    assert result.trace.steps == ()


def test_budget_of_nothing(agent: Agent, name: str, relu_problem: MakeProblem) -> None:
    problem = relu_problem(5, max_iterations=0)
    (result,) = agent.optimize([problem], Log())
    assert result.stop_reason is StopReason.ITERATIONS
    assert result.iterations == 0
    if name not in BRIEF:  # what was found in training counts
        assert result.model.graph.hash == problem.model.graph.hash
    check(problem, result, name)


def test_results_replay(agent: Agent, name: str, relu_problem: MakeProblem) -> None:
    problems = [relu_problem(n) for n in (6, 3)]
    results = agent.optimize(problems, Log())
    for problem, result in zip(problems, results, strict=True):
        assert result.num_nodes_initial == len(problem.model.graph)
        assert result.cost_best_ms < result.cost_initial_ms
        check(problem, result, name)


@pytest.mark.parametrize("row", [1, 2, 4])
def test_interrupted(agent: Agent, name: str, relu_problem: MakeProblem, row: int) -> None:
    problems = [relu_problem(9), relu_problem(8)]
    log = Log(interrupt_at=row)
    results = agent.optimize(problems, log)
    assert len(log.rows) >= row
    for problem, result in zip(problems, results, strict=True):
        check(problem, result, name)
    if not any(key.startswith("train/") for key in log.rows[row - 1]):
        assert results[-1].stop_reason is StopReason.INTERRUPTED


def test_same_seed_same_result(name: str, relu_problem: MakeProblem) -> None:
    found = []
    for _ in range(2):
        agent = build_option("agent", name, BRIEF.get(name), seed=3)
        (result,) = agent.optimize([relu_problem(7, seed=3, max_iterations=9)], Log())
        found.append((result.trace, result.iterations, result.candidates, result.stop_reason))
    assert found[0] == found[1]


def test_metrics_are_finite_and_documented(agent: Agent, relu_problem: MakeProblem) -> None:
    log = Log()
    agent.optimize([relu_problem(5)], log)
    assert log.rows
    for row in log.rows:
        for metric, value in row.items():
            assert meaning(metric), f"{metric} is in no table of xflowrl.metrics"
            assert math.isfinite(value), metric


def test_every_option_is_discovered() -> None:
    folder = Path(__file__).parents[2] / "conf" / "agent"
    assert {path.stem for path in folder.iterdir()} == set(OPTIONS)
    assert {"greedy", "ppo", "taso"} <= set(OPTIONS)
