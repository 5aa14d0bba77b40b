"""What a step is worth."""

from __future__ import annotations

import importlib
import inspect
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xflowrl.env import RewardWeights, RewriteEnv, Transition, reward_from_name
from xflowrl.measurement import as_real, roofline
from xflowrl.measurement.timer import Measurement
from xflowrl.onnx_io import Model
from xflowrl.problem import Problem

MakeProblem = Callable[..., Problem]


def kernels_removed(transition: Transition) -> float:
    """A user's reward."""
    return float(transition.before.cost.num_kernels - transition.after.cost.num_kernels)


def episode(env: RewriteEnv, actions: list[int]) -> list[float]:
    env.reset()
    return [env.step(action)[1] for action in actions]


def test_final_pays_once_at_stop(relu_problem: MakeProblem) -> None:
    env = RewriteEnv(relu_problem(5), reward_fn=reward_from_name("final"))
    assert episode(env, [0, 0, 2]) == pytest.approx([0.0, 0.0, 0.4])


def test_final_pays_where_the_budget_ends(relu_problem: MakeProblem) -> None:
    env = RewriteEnv(relu_problem(5, max_iterations=2), reward_fn=reward_from_name("final"))
    assert episode(env, [0, 0]) == pytest.approx([0.0, 0.4])


def test_incremental_and_final_have_the_same_return(tiny_problem: Problem) -> None:
    returns = [
        sum(episode(RewriteEnv(tiny_problem, reward_fn=reward_from_name(name)), [1, 0, 1, 2]))
        for name in ("incremental", "final")
    ]
    assert returns[0] == pytest.approx(returns[1])
    assert returns[0] != 0


def test_components_are_shares_of_the_initial_graph(relu_problem: MakeProblem) -> None:
    # Every relu is one kernel and a fifth of flops and bytes.
    for component in RewardWeights.__dataclass_fields__:
        weights = {"runtime": 0.0, component: 2.0}
        env = RewriteEnv(relu_problem(5), reward_fn=reward_from_name("incremental", weights))
        assert episode(env, [0]) == pytest.approx([0.4]), component


def test_a_users_function(relu_problem: MakeProblem, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(inspect.getsource(kernels_removed).replace(": Transition", ""))
    env = RewriteEnv(relu_problem(5), reward_fn=reward_from_name(f"{file}:kernels_removed"))
    assert episode(env, [0, 0, 2]) == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("name", ["best", "os.system", "xflowrl.env.no_such", ".", "os:system"])
def test_unknown_reward_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="give incremental, final, or a function of a Python file"):
        reward_from_name(name)


@pytest.mark.parametrize("text", [None, "x = 1", "reward = 3", "def reward(", "\0"])
def test_a_file_without_the_function_is_refused(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ValueError, match=r"no such function|is no function"):
        reward_from_name(f"{file}:reward")


def test_unknown_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="reward weight 'energy'"):
        reward_from_name("incremental", {"energy": 1.0})


def test_measured_latency_replaces_the_prices(relu_problem: MakeProblem) -> None:
    measured: list[str] = []

    def measure_fn(original: Model, state: object) -> float:
        measured.append(state.hash)  # type: ignore[attr-defined]
        return 10.0 + state.num_nodes**2  # type: ignore[attr-defined]

    env = RewriteEnv(relu_problem(3), measure_fn=measure_fn)
    for _ in range(2):
        assert episode(env, [0, 0]) == pytest.approx([(19 - 14) / 19, (14 - 11) / 19])
    assert len(measured) == len(set(measured)) == 3, "each graph is measured once"


def test_real_measurements_have_a_budget(relu_problem: MakeProblem) -> None:
    env = RewriteEnv(relu_problem(6, max_real_measurements=3), measure_fn=lambda *_: 1.0)
    env.reset()
    assert env.step(0)[3] is False  # the original, and the graph after the step
    *_, truncated, info = env.step(0)
    assert truncated
    assert info["stop_reason"] == "real_measurements"
    env.reset()
    assert env.step(0)[3] is False, "graphs that are known are not measured again"


def test_measuring_is_no_part_of_the_searching_time(relu_problem: MakeProblem) -> None:
    def measure_fn(original: Model, state: object) -> float:
        time.sleep(0.5)
        return 1.0

    env = RewriteEnv(relu_problem(3, max_seconds=0.5), measure_fn=measure_fn)
    env.reset()
    assert env.step(0)[3] is False


def test_a_users_reward_reaches_other_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("def half(transition): return 0.5\n")
    monkeypatch.chdir(tmp_path)
    sent = pickle.dumps(reward_from_name("mine.py:half"))
    monkeypatch.chdir("/")
    assert pickle.loads(sent)(None) == 0.5


def test_rewards_of_real_costs_are_shares_of_the_latency(
    relu_problem: MakeProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed: list[int] = []

    def time_graph(model: Model, runtime: Any, *, max_ms: float) -> Measurement:
        nodes = len(model.graph)
        executed.append(nodes)
        if nodes == 1:
            raise RuntimeError("no such kernel")
        return Measurement(10.0 * nodes, nodes, nodes, 9, runtime.device, runtime.name)

    module = importlib.import_module("xflowrl.measurement.real")
    monkeypatch.setattr(module, "time_graph", time_graph)
    env = RewriteEnv(relu_problem(4, objective=as_real(roofline())))
    assert episode(env, [0, 0, 0]) == pytest.approx([0.25, 0.25, 0.5 - 2.0])  # refused: twice
    assert executed == [4, 4, 3, 2, 1]
    assert [step.cost_ms for step in env.trace.steps] == [30.0, 20.0, 80.0]
    _, info = env.reset()
    assert info["cost_ms"] == 40.0
    assert env.observation["graph"][0] == env.state.cost.ms, "what is observed are prices"
    assert episode(env, [0, 0]) == pytest.approx([0.25, 0.25])
    assert len(executed) == 5


def test_the_budget_of_executions_ends_an_episode(
    relu_problem: MakeProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def time_graph(model: Model, runtime: Any, *, max_ms: float) -> Measurement:
        return Measurement(1.0, 1.0, 1.0, 9, runtime.device, runtime.name)

    module = importlib.import_module("xflowrl.measurement.real")
    monkeypatch.setattr(module, "time_graph", time_graph)
    problem = relu_problem(9, objective=as_real(roofline()), max_real_measurements=4)
    env = RewriteEnv(problem)
    env.reset()
    ended = [env.step(0)[3:] for _ in range(2)]
    assert [truncated for truncated, _ in ended] == [False, True]
    assert ended[-1][1]["stop_reason"] == "real_measurements"
