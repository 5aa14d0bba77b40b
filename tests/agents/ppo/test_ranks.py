"""Training by two processes: they stay alike, end together, and go on together."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from xflowrl.agents.ppo.agent import PPO
from xflowrl.agents.ppo.policy import PolicySettings
from xflowrl.agents.ppo.settings import LearningSettings
from xflowrl.agents.ppo.training import Best, Findings, PPOModule
from xflowrl.problem import Problem, StopReason

MakeProblem = Callable[..., Problem]
NoteFn = Callable[[Mapping[str, float]], None]

# Updates are ended by the divergence, after other minibatches in one process than in the other, if
# each decided alone.
LEARNING = LearningSettings(
    num_envs=4, num_steps=8, max_episode_steps=8, minibatch_size=8, max_kl=1e-4, learning_rate=1e-2
)


def train(problem: Problem, *, note_fn: NoteFn = lambda row: None, **options: Any) -> StopReason:
    """A training by two processes; `note_fn` gets what each iteration logs."""
    settings: Any = {"policy": PolicySettings(hidden_size=16, initial_stop=0.5)}
    settings |= {"learning": LEARNING, "trainer": {"devices": 2}, "num_samples": 0}

    def log(metrics: Mapping[str, float], step: int) -> None:
        if "train/iteration" in metrics:
            note_fn(metrics)

    (result,) = PPO(**(settings | options)).optimize([problem], log)
    return result.stop_reason


def read(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = torch.load(path, weights_only=True)
    return record


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that have been started."""
    started = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    return started


def test_two_processes_learn_the_same_and_go_on_to_the_same(
    relu_problem: MakeProblem, tmp_path: Path
) -> None:
    # That their weights are equal to the last bit, each training looks at itself when it ends.
    rows: list[Mapping[str, float]] = []
    options: Any = {"train_iterations": 5, "checkpoint_every": 3}
    train(relu_problem(6), note_fn=rows.append, folder=str(tmp_path), **options)
    assert [row["train/env_steps"] for row in rows] == [64, 128, 192, 256, 320]
    assert {row["train/num_updates"] for row in rows} - {12}, "or no update was ended early"
    folder = tmp_path / "checkpoints"
    assert {path.name for path in folder.iterdir()} >= {"last.pt", "resume.ckpt"}
    record = read(folder / "resume.ckpt")["ppo"]
    (other,) = record["others"]
    assert not torch.equal(other["generator"], record["generator"])

    whole = read(folder / "last.pt")["weights"]
    again: list[Mapping[str, float]] = []
    resume = str(folder / "resume.ckpt")
    train(
        relu_problem(6), note_fn=again.append, folder=str(tmp_path / "2"), resume=resume, **options
    )
    resumed = read(tmp_path / "2" / "checkpoints" / "last.pt")["weights"]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert [row["loss/total"] for row in again] == [row["loss/total"] for row in rows[3:]]
    with pytest.raises(ValueError, match=r"by 2 processes, not 1; give agent\.trainer\.devices=2$"):
        train(relu_problem(6), resume=resume, trainer={}, **options)


def test_a_process_that_dies_ends_the_training_in_one_line(
    relu_problem: MakeProblem, others: list[subprocess.Popen[bytes]]
) -> None:
    with pytest.raises(ValueError, match="training process 1 was ended by SIGKILL; begin") as told:
        train(relu_problem(6), note_fn=lambda row: others[0].kill())
    assert "\n" not in str(told.value)
    assert not torch.distributed.is_initialized(), "or the next training would meet nobody"


def test_what_any_process_found_is_kept(
    relu_problem: MakeProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_if_two(module: PPOModule, value: Any) -> list[Any]:
        if not isinstance(value, Findings):
            return [value]
        found = replace(value, best=[Best(1e-6, (0,))], improved_at=7, seconds=1e9)
        return [value, found]

    monkeypatch.setattr(PPOModule, "_of_all", as_if_two)
    rows: list[Mapping[str, float]] = []
    train(relu_problem(6), note_fn=rows.append, trainer={}, train_iterations=1, train_s=1e6)
    (row,) = rows
    assert row["train/best_cost_ms"] == 1e-6
    assert row["train/env_steps"] == 64
    assert row["train/seconds"] < 1e6, "the clock is that of the first"


@pytest.mark.slow  # some seconds to start a process, in each
def test_ctrl_c_ends_both(relu_problem: MakeProblem, others: list[subprocess.Popen[bytes]]) -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        reason = train(relu_problem(6), note_fn=lambda row: os.kill(os.getpid(), signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)
    assert reason == StopReason.INTERRUPTED
    assert [process.poll() is None for process in others] == [False]


@pytest.mark.slow
@pytest.mark.parametrize("limit", [{"train_s": 0.0}, {"train_patience": 1}])
def test_a_limit_ends_both(relu_problem: MakeProblem, limit: dict[str, Any]) -> None:
    rows: list[Mapping[str, float]] = []
    train(relu_problem(2), note_fn=rows.append, train_iterations=100, **limit)
    assert len(rows) < 20


@pytest.mark.slow
def test_a_policy_without_scores_for_rules_learns_too(relu_problem: MakeProblem) -> None:
    rows: list[Mapping[str, float]] = []
    flat = PolicySettings(hidden_size=16, head="flat")  # it leaves parameters without gradients
    train(relu_problem(6), note_fn=rows.append, train_iterations=2, policy=flat)
    assert [row["train/env_steps"] for row in rows] == [64, 128]


def test_processes_that_drift_apart_are_noticed(
    relu_problem: MakeProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_if_two(module: PPOModule, value: Any) -> list[Any]:
        return [value, f"not {value}"] if isinstance(value, str) else [value]

    monkeypatch.setattr(PPOModule, "_of_all", as_if_two)
    with pytest.raises(AssertionError, match="2 processes with different weights"):
        train(relu_problem(6), trainer={}, train_iterations=1)
