"""Training under Lightning: schedules, limits, options of its trainer, resuming."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from xflowrl.agents.ppo import algorithm
from xflowrl.agents.ppo.agent import PPO
from xflowrl.agents.ppo.checkpoint import read_record
from xflowrl.agents.ppo.policy import PolicySettings
from xflowrl.agents.ppo.settings import LearningSettings
from xflowrl.problem import Problem

MakeProblem = Callable[..., Problem]
Rows = list[Mapping[str, float]]


def train(problem: Problem, *, learning: Mapping[str, Any] | None = None, **options: Any) -> Rows:
    """A small training; what each iteration logged."""
    rows: Rows = []
    small = {"num_envs": 4, "num_steps": 8, "max_episode_steps": 8, "minibatch_size": 16}
    policy = {"policy": PolicySettings(hidden_size=16, initial_stop=0.5)}
    settings = LearningSettings(**(small | dict(learning or {})))
    agent = PPO(num_samples=0, learning=settings, **(policy | options))
    agent.optimize([problem], lambda metrics, step: rows.append(metrics))
    return [row for row in rows if "train/iteration" in row]


def read(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = torch.load(path, weights_only=True)
    return record


def test_learning_rate_and_entropy_weight_follow_their_schedules(relu_problem: MakeProblem) -> None:
    learning = {"learning_rate": 4e-3, "final_learning_rate": 0.0, "value_coefficient": 0.5}
    weights = {"entropy_coefficient": 0.4, "final_entropy_coefficient": 0.0}
    rows = train(relu_problem(6), learning=learning | weights, train_iterations=4)
    rates = [row["train/learning_rate"] for row in rows]
    assert rates == pytest.approx([4e-3, 3e-3, 2e-3, 1e-3])
    bonus = [r["loss/policy"] + 0.5 * r["loss/value"] - r["loss/total"] for r in rows]
    shares = [b / row["train/entropy"] for b, row in zip(bonus, rows, strict=True)]
    assert shares == pytest.approx([0.4, 0.3, 0.2, 0.1], rel=1e-3)  # sums of f32


@pytest.mark.parametrize(("reward", "expected"), [("incremental", True), ("final", False)])
def test_a_reward_that_pays_at_the_end_is_not_bootstrapped(
    relu_problem: MakeProblem, monkeypatch: pytest.MonkeyPatch, reward: str, expected: bool
) -> None:
    seen = []
    next_values = algorithm.next_values

    def spy(*arguments: Any, bootstraps: bool) -> Any:
        seen.append(bootstraps)
        return next_values(*arguments, bootstraps=bootstraps)

    monkeypatch.setattr(algorithm, "next_values", spy)
    train(relu_problem(4), reward=reward, train_iterations=1)
    assert seen == [expected]


def test_advantages_are_discounted_as_the_options_say(
    relu_problem: MakeProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    advantages = algorithm.advantages

    def spy(*arguments: Any, **discounts: float) -> Any:
        seen.append(discounts)
        return advantages(*arguments, **discounts)

    monkeypatch.setattr(algorithm, "advantages", spy)
    train(relu_problem(4), learning={"gamma": 0.9, "gae_lambda": 0.5}, train_iterations=1)
    assert seen == [{"gamma": 0.9, "lambda_": 0.5}]


# Limits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("patience", [2, 5])
def test_patience_ends_training(relu_problem: MakeProblem, tmp_path: Path, patience: int) -> None:
    options: Any = {"train_iterations": 100, "folder": str(tmp_path), "checkpoint_every": 1}
    rows = train(relu_problem(2), train_patience=patience, **options)  # one rewrite to the optimum
    record = read(tmp_path / "checkpoints" / "resume.ckpt")["ppo"]
    assert record["improved_at"] >= 1
    assert len(rows) == record["iteration"] == record["improved_at"] + patience < 40


def test_a_cheaper_graph_is_progress_without_a_return(relu_problem: MakeProblem) -> None:
    # Never stops: 39 rewrites are one episode, of 8 steps an iteration.
    policy = PolicySettings(hidden_size=16, initial_stop=1e-9)
    options: Any = {"policy": policy, "learning": {"max_episode_steps": 200}}
    rows = train(relu_problem(40), train_iterations=30, train_patience=1, **options)
    costs = [row["train/best_cost_ms"] for row in rows]
    assert ["train/episode_return" in row for row in rows] == [False] * 4 + [True, False]
    assert costs[4] == costs[5]
    assert all(costs[i] > costs[i + 1] for i in range(4))


def test_a_higher_return_is_progress_without_a_cheaper_graph(
    relu_problem: MakeProblem, tmp_path: Path
) -> None:
    # Under this reward the policy learns to stop at once.
    options: Any = {"reward_weights": {"runtime": -1.0}, "folder": str(tmp_path)}
    learning = {"num_steps": 32, "learning_rate": 1e-2}
    options |= {"learning": learning, "train_iterations": 12, "checkpoint_every": 12}
    costs = [row["train/best_cost_ms"] for row in train(relu_problem(8), **options)]
    record = read(tmp_path / "checkpoints" / "resume.ckpt")["ppo"]
    assert record["improved_at"] > 1 + costs.index(costs[-1])


def test_timing_operators_is_no_training_time(relu_problem: MakeProblem) -> None:
    problem, began_s = relu_problem(4), time.perf_counter()

    class Measuring(SimpleNamespace):
        """An objective that is measuring all the time."""

        @property
        def measure_s(self) -> float:
            return time.perf_counter() - began_s

    free = problem.objective
    asked = ("state", "complete", "matches", "price", "cost_ms", "reference")
    kept = {name: getattr(free, name) for name in (*asked, "is_real", "num_executed")}
    objective: Any = Measuring(**kept, num_measured=0)
    limits: Any = {"train_iterations": 8, "train_s": 0.02}  # of an iteration's time
    rows = train(relu_problem(4, objective=objective), **limits)
    assert len(rows) == 8
    assert rows[-1]["train/seconds"] < 0.02 < rows[-1]["train/measure_s"]
    assert len(train(problem, **limits)) < 8


# Options of the trainer ---------------------------------------------------------------------------


def test_training_in_bfloat16(relu_problem: MakeProblem, tmp_path: Path) -> None:
    found = {}
    for precision in ("32-true", "bf16-mixed"):
        folder = tmp_path / precision
        options: Any = {"train_iterations": 3, "folder": str(folder)}
        rows = train(relu_problem(6), trainer={"precision": precision}, **options)
        assert all(math.isfinite(value) for row in rows for value in row.values())
        found[precision] = read_record(folder / "checkpoints" / "last.pt")["weights"]
    full, mixed = found["32-true"], found["bf16-mixed"]
    assert all(weight.dtype is torch.float32 for weight in mixed.values())
    assert not all(torch.equal(full[name], mixed[name]) for name in full)


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ({"strategy": "ddp_spawn"}, "'ddp_spawn'.*of one machine.*; give strategy=auto and num_no"),
        ({"devices": 2, "num_nodes": 2}, "'num_nodes': 2.*processes of a training are of one mach"),
        ({"devices": 0}, "'devices': 0"),
        ({"strategy": "none"}, "invalid strategy name"),
        ({"accelerator": "abacus"}, "invalid accelerator name"),
        ({"precision": "17"}, "Precision '17' is invalid"),
        ({"precision": "64-true"}, "precision is 32-true or bf16-mixed here"),
        ({"max_epochs": 3}, "multiple values for keyword argument 'max_epochs'"),
        ({"speed": 3}, "unexpected keyword argument 'speed'"),
        ({"gradient_clip_val": 1.0}, "not supported for manual optimization"),
    ],
)
def test_what_the_trainer_cannot_do_is_refused_in_one_line(
    relu_problem: MakeProblem, trainer: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"^agent\.trainer {{.*{message}") as caught:
        train(relu_problem(4), trainer=trainer, train_iterations=1)
    assert "\n" not in str(caught.value)


# Files ------------------------------------------------------------------------------------------


def test_best_and_last_are_what_they_say(relu_problem: MakeProblem, tmp_path: Path) -> None:
    options: Any = {"train_iterations": 8, "folder": str(tmp_path), "checkpoint_every": 1}
    train(relu_problem(6), learning={"learning_rate": 1e-2}, **options)
    folder = tmp_path / "checkpoints"
    assert {path.name for path in folder.iterdir()} == {"best.pt", "last.pt", "resume.ckpt"}
    state = read(folder / "resume.ckpt")
    best, last = (read_record(folder / name)["weights"] for name in ("best.pt", "last.pt"))
    assert all(torch.equal(best[name], w) for name, w in state["ppo"]["best_weights"].items())
    assert all(torch.equal(last[name], state["state_dict"][f"policy.{name}"]) for name in last)
    assert not all(torch.equal(best[name], last[name]) for name in last)


# What a resume.ckpt says beside Lightning's own keys, since the format has had this name.
RESUME_RECORD = {
    *("format", "policy", "rule_set", "rules", "operators", "activations"),
    *("iteration", "num_env_steps", "seconds", "measure_s", "best_return", "improved_at"),
    *("recent_returns", "best_weights", "best", "generator", "envs"),
}


def test_a_training_without_the_state_of_callbacks_is_taken_up(
    relu_problem: MakeProblem, tmp_path: Path
) -> None:
    """As those were that were written before Lightning's own callbacks ended trainings."""
    options: Any = {"train_iterations": 5, "checkpoint_every": 3}
    whole = train(relu_problem(6), folder=str(tmp_path), **options)
    saved = read(tmp_path / "checkpoints" / "resume.ckpt")
    assert saved["ppo"].keys() == RESUME_RECORD
    assert saved["ppo"]["format"] == "xflowrl-ppo-2"
    assert saved["callbacks"], "or the next line changes nothing"
    old = tmp_path / "old.ckpt"
    torch.save(saved | {"callbacks": {}}, old)
    resumed = train(relu_problem(6), resume=str(old), **options)
    for ours, theirs in zip(resumed, whole[3:], strict=True):
        for name in ("loss/total", "train/iteration", "train/entropy"):
            assert ours[name] == theirs[name], name


def test_a_resumed_training_has_the_patience_it_is_given(
    relu_problem: MakeProblem, tmp_path: Path
) -> None:
    options: Any = {"train_iterations": 100, "folder": str(tmp_path), "checkpoint_every": 1}
    first = train(relu_problem(2), train_patience=2, learning={"learning_rate": 0.0}, **options)
    saved = str(tmp_path / "checkpoints" / "resume.ckpt")
    more = train(
        relu_problem(2), train_patience=6, resume=saved, learning={"learning_rate": 0.0}, **options
    )
    record = read(tmp_path / "checkpoints" / "resume.ckpt")["ppo"]
    assert len(first) + len(more) == record["improved_at"] + 6


@pytest.mark.parametrize(
    "limit", [{"train_patience": 2}, {"train_s": 0.0}, {"train_iterations": 3}]
)
def test_a_training_that_a_limit_ended_stays_ended(
    relu_problem: MakeProblem, tmp_path: Path, limit: dict[str, Any]
) -> None:
    options: Any = {"train_iterations": 100, "folder": str(tmp_path)} | limit
    options["learning"] = {"learning_rate": 0.0}
    assert train(relu_problem(2), **options)
    saved = tmp_path / "checkpoints" / "resume.ckpt"
    before = read(tmp_path / "checkpoints" / "last.pt")["weights"]
    assert train(relu_problem(2), resume=str(saved), **options) == []
    after = read(tmp_path / "checkpoints" / "last.pt")["weights"]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_every_iteration_is_kept_whole(
    relu_problem: MakeProblem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    replace = Path.replace

    def spy(file: Path, target: Path) -> Path:
        assert file.parent == target.parent, "else it is no move but a copy, which a kill cuts off"
        seen.append((target.name, torch.load(file, weights_only=True).get("epoch")))
        return replace(file, target)

    monkeypatch.setattr(Path, "replace", spy)
    train(relu_problem(3), train_iterations=3, folder=str(tmp_path))
    assert [epoch for name, epoch in seen if name == "resume.ckpt"] == [0, 1, 2]
