"""Names of runs, and what of their options is compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xflowrl.cli.naming import comparable, graph_label, group_name, run_name

CHOICES = {"agent": "taso", "graph": "squeezenet", "rules": "core", "hydra/launcher": "basic"}
CONFIG: dict[str, Any] = {
    "agent": {"_target_": "xflowrl.agents.taso.Taso", "alpha": 1.05, "folder": "/tmp/run"},
    "budget": {"_target_": "xflowrl.problem.Budget", "max_iterations": 100, "max_seconds": None},
    "graph": {"_target_": "x"},
    "seed": 0,
    "folder": "/tmp/run",
    "wandb": {"mode": "offline"},
}


def test_a_name_has_agent_graph_budget_and_seed() -> None:
    assert run_name(CONFIG, CHOICES, []) == "taso-squeezenet-i100-s0"
    timed = CONFIG | {"budget": {"max_iterations": None, "max_seconds": 2.5}, "seed": 7}
    assert run_name(timed, CHOICES, []) == "taso-squeezenet-2.5s-s7"


def test_what_is_said_already_is_not_said_twice() -> None:
    said = ["agent=taso", "graph=squeezenet", "budget.max_iterations=100", "seed=0"]
    silent = ["wandb.mode=disabled", "experiment=smoke", "folder=x", "graph.path=a.onnx"]
    assert run_name(CONFIG, CHOICES, said + silent) == "taso-squeezenet-i100-s0"


def test_in_a_sweep_only_what_differs_is_named() -> None:
    first = ["agent.alpha=1.2", "measurement=roofline", "rules.path=/a/b/my.rules"]
    second = ["agent.alpha=1", "measurement=roofline", "rules.path=/a/b/my.rules"]
    named = "taso-squeezenet-i100-s0-alpha1.2"
    assert run_name(CONFIG, CHOICES, first, [first, second]) == named
    assert run_name(CONFIG, CHOICES, first) == f"{named}-roofline-pathmy.rules"
    assert run_name(CONFIG, CHOICES, first, [first]) == f"{named}-roofline-pathmy.rules"


def test_names_are_short() -> None:
    drawn = run_name(CONFIG, CHOICES, ["agent.alpha=1.2744067519636624"])
    assert drawn == "taso-squeezenet-i100-s0-alpha1.274"
    assert len(run_name(CONFIG, CHOICES, [f"+agent.a={'x' * 80}"] * 9)) == 120


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({"path": "models/a b.onnx"}, "a b"),
        ({"path": None, "paths": ["x/a.onnx", "b.onnx"]}, "a+b"),
        ({"names": ["tiny", "bert", "vgg16", "vgg19"]}, "tiny+3"),
        ({"bias": False}, "squeezenet"),
    ],
)
def test_a_graph_is_called_as_its_files_are(options: dict[str, Any], label: str) -> None:
    assert graph_label({"graph": options}, CHOICES) == label


def test_a_group_is_the_sweep() -> None:
    assert group_name(Path("/home/me/multirun/2026-01-02/03-04-05")) == "2026-01-02/03-04-05"
    assert group_name(Path("/home/multirun/me/results/alphas")) == "me/results/alphas"
    assert group_name(Path("/home/me/multirun")) == "multirun"
    assert group_name(Path("results/alphas")) == "alphas"


def test_options_are_the_same_on_every_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [str(tmp_path / "models" / "a.onnx"), "/elsewhere/b.onnx", "relative/c.onnx"]
    config = CONFIG | {"graph": {"paths": paths}}
    assert comparable(config, CHOICES) == {
        "choices": {"agent": "taso", "graph": "squeezenet", "rules": "core"},
        "agent": {"alpha": 1.05},
        "budget": {"max_iterations": 100, "max_seconds": None},
        "graph": {"paths": ["models/a.onnx", "b.onnx", "relative/c.onnx"]},
        "seed": 0,
    }
