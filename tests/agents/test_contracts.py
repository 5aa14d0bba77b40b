"""What holds for every agent: each file of `conf/agent` is built as its option and put to it."""

from __future__ import annotations

import importlib
import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.graphs.random_networks import random_network
from xflowrl.graphs.tiny import tiny
from xflowrl.measurement import Objective, roofline
from xflowrl.measurement.timer import Measurement
from xflowrl.metrics import meaning_of
from xflowrl.onnx_io import Model
from xflowrl.options import build, build_option, load_option
from xflowrl.problem import Agent, Budget, Problem, Result, StopReason, Trace, replay
from xflowrl.rules import load_core

OPTIONS = sorted(
    path.stem for path in (Path(__file__).parents[2] / "conf" / "agent").glob("*.yaml")
)

# Where the defaults would take minutes; everything else is as the option has it.
SMALL: dict[str, dict[str, Any]] = {
    "ppo": {
        "train_iterations": 2,
        "learning": {
            "_target_": "xflowrl.agents.ppo.settings.LearningSettings",
            "num_envs": 2,
            "num_steps": 8,
        },
    }
}

# A search outside: it tells no steps and no matches, as its docstring says.
FOREIGN = {"taso_native"}

# What it has executed in training is known to it.
TRAINS = {"ppo"}

# Metrics that no two runs have alike.
TIMED = re.compile(r".*(seconds|_s|memory_mb)")

METRIC = re.compile(r"(search|train|loss|rules)(/[\w-]+)+")

MakeAgent = Callable[[], Agent]
Rows = list[tuple[int, dict[str, float]]]


@pytest.fixture(params=OPTIONS)
def option(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def make_agent(option: str, install_taso: Callable[..., Path]) -> MakeAgent:
    install_taso()
    return lambda: build(load_option("agent", option, SMALL.get(option, {}), seed=0))


def relus(num_relus: int) -> Model:
    """Relus in a row, which a rule makes one; of one relu nothing can be made."""
    net = LayerBuilder(f"relus{num_relus}")
    tensor = net.input("x", [8, 8])
    for index in range(num_relus):
        tensor = net.relu(tensor, f"relu{index}")
    return net.model({"y": tensor}, seed=0)


def make_problems(
    models: Sequence[Model], objective: Objective | None = None, **limits: Any
) -> list[Problem]:
    rules, costs = load_core(), objective or roofline()
    return [
        Problem(
            model=model,
            rules=rules,
            objective=costs,
            budget=Budget(**limits),
            log_as=f"search/{model.graph.name}",
        )
        for model in models
    ]


def three_problems() -> list[Problem]:
    """One that every agent improves, one with a local minimum, one too large for enumeration."""
    families = {"dag": 1, "inception": 1, "residual": 1}  # TASO does not know all operators
    network = random_network(num_nodes=50, families=families, channels=8, image_size=16)
    return make_problems([relus(5), tiny(), network], max_iterations=25)


def original_hash(problem: Problem) -> str:
    """Of the original as states hash it: under the rules an addition's operands have no order."""
    return problem.initial_state().graph.hash


def price(problem: Problem, result: Result) -> float:
    """What the result's graph costs, priced anew, in ms."""
    return problem.objective.state(result.model.graph, problem.rules).cost.ms


def best_logged_ms(problem: Problem, rows: Rows) -> float:
    """The lowest cost logged for a problem; the original's if there is none."""
    name = f"/{problem.name}/best_cost_ms"
    logged = [value for _, row in rows for key, value in row.items() if key.endswith(name)]
    return min(logged, default=problem.initial_state().cost.ms)


def run(
    make_agent: MakeAgent,
    problems: Sequence[Problem],
    raise_if: Callable[[Rows], bool] | None = None,
) -> tuple[list[Result], Rows]:
    """The results and what was logged; Ctrl-C, once, in the log at which `raise_if` is true."""
    rows: Rows = []
    is_interrupted = False

    def log(metrics: Mapping[str, float], step: int) -> None:
        nonlocal is_interrupted
        rows.append((step, dict(metrics)))
        if raise_if is not None and not is_interrupted and raise_if(rows):
            is_interrupted = True
            raise KeyboardInterrupt

    results = make_agent().optimize(problems, log)
    assert raise_if is None or is_interrupted, "the moment of the interrupt never came"
    return results, rows


def test_no_problem_no_result(make_agent: MakeAgent) -> None:
    assert run(make_agent, []) == ([], [])


def test_no_match_gives_the_original_back(make_agent: MakeAgent, option: str) -> None:
    (problem,) = make_problems([relus(1)])
    (result,), _ = run(make_agent, [problem])
    expected = StopReason.EXHAUSTED if option in FOREIGN else StopReason.NO_MATCH
    assert result.stop_reason is expected
    assert result.model.graph.hash == original_hash(problem)
    assert result.trace.steps == ()
    assert result.cost_best_ms == result.cost_initial_ms


@pytest.mark.parametrize("limit", Budget().limits())
def test_a_budget_of_nothing_gives_the_original_back(make_agent: MakeAgent, limit: str) -> None:
    (problem,) = make_problems([relus(4)], **{limit: 0})
    (result,), _ = run(make_agent, [problem])
    assert result.stop_reason == limit.removeprefix("max_").removesuffix("_mb")
    assert (result.iterations, result.candidates, result.trace.steps) == (0, 0, ())
    assert result.model.graph.hash == original_hash(problem)
    assert result.cost_best_ms == result.cost_initial_ms


def is_better_than_at_first(rows: Rows) -> bool:
    """Is a lower best cost logged, as a part of searching, than the first of that problem was?"""
    named = [key for key in rows[-1][1] if re.fullmatch(r"search/.*/best_cost_ms", key)]
    first = {key: value for _, row in reversed(rows) for key, value in row.items()}
    return any(rows[-1][1][key] < first[key] for key in named)


@pytest.mark.parametrize(
    "raise_if", [lambda rows: True, is_better_than_at_first], ids=["first_log", "improved"]
)
def test_an_interrupt_loses_nothing(
    make_agent: MakeAgent, option: str, raise_if: Callable[[Rows], bool]
) -> None:
    problems = three_problems()
    results, rows = run(make_agent, problems, raise_if)
    logged = {name.rpartition("/")[0] for _, row in rows for name in row if "search/" in name}
    assert logged <= {problems[0].log_as}, "the problems after it are not begun"
    assert [result.graph for result in results] == [problem.name for problem in problems]
    for problem, result in zip(problems, results, strict=True):
        assert result.stop_reason is StopReason.INTERRUPTED
        assert result.cost_best_ms <= best_logged_ms(problem, rows) * (1 + 1e-12)
        assert result.cost_best_ms == pytest.approx(price(problem, result), rel=1e-12)
        if option not in FOREIGN or result.cost_best_ms == result.cost_initial_ms:
            assert result.model.graph.hash == replay(problem, result.trace).graph.hash


def test_the_trace_leads_to_the_result(make_agent: MakeAgent, option: str) -> None:
    problems = three_problems()
    results, _ = run(make_agent, problems)
    assert results[0].cost_best_ms < results[0].cost_initial_ms
    for problem, result in zip(problems, results, strict=True):
        assert result.cost_best_ms == pytest.approx(price(problem, result), rel=1e-12)
        state = replay(problem, result.trace)
        if option in FOREIGN:
            assert result.trace.steps == ()
            continue
        assert state.graph.hash == result.model.graph.hash
        assert state.cost.ms == pytest.approx(result.cost_best_ms, rel=1e-12)


def test_the_seed_decides(make_agent: MakeAgent) -> None:
    (first, rows), (second, other_rows) = (run(make_agent, three_problems()) for _ in range(2))
    untimed, other_untimed = (
        [{name: value for name, value in row.items() if not TIMED.fullmatch(name)} for _, row in x]
        for x in (rows, other_rows)
    )
    assert untimed == other_untimed
    for one, other in zip(first, second, strict=True):
        assert one.trace == other.trace
        assert one.model.graph.hash == other.model.graph.hash
        assert one.cost_best_ms == other.cost_best_ms
        assert (one.iterations, one.candidates) == (other.iterations, other.candidates)


@pytest.mark.parametrize(
    "name", [name for name in OPTIONS if "seed" in load_option("agent", name, {}, seed=0)]
)
def test_a_seed_of_the_agent_takes_the_place_of_the_problems(name: str) -> None:
    def done(agent_seed: int | None, seed: int) -> list[tuple[Trace, int]]:
        options = SMALL.get(name, {}) | {"seed": agent_seed}
        problems = [replace(problem, seed=seed) for problem in three_problems()]
        results, _ = run(lambda: build_option("agent", name, options), problems)
        return [(result.trace, result.candidates) for result in results]

    assert done(5, 0) == done(None, 5)
    assert done(6, 5) != done(None, 5), "or nothing is drawn"


def test_one_result_a_problem_never_dearer(make_agent: MakeAgent) -> None:
    problems = three_problems()
    hashes = [problem.model.graph.hash for problem in problems]
    results, _ = run(make_agent, problems)
    assert [result.graph for result in results] == [problem.name for problem in problems]
    assert [problem.model.graph.hash for problem in problems] == hashes
    for problem, result in zip(problems, results, strict=True):
        assert result.original is problem.model
        assert result.cost_initial_ms == problem.initial_state().cost.ms
        assert result.cost_best_ms <= result.cost_initial_ms


def test_metrics_are_numbers_with_names_that_go_one_way(make_agent: MakeAgent) -> None:
    problems = three_problems()
    results, rows = run(make_agent, problems)
    series: dict[str, list[float]] = defaultdict(list)
    for step, row in rows:
        for name, value in row.items():
            assert METRIC.fullmatch(name), name
            assert meaning_of(name), f"{name} is not in xflowrl.metrics"
            assert isinstance(value, int | float), name
            assert math.isfinite(value), name
            series[name].append(value)
            assert not name.endswith("/iteration") or value == step
    for problem, result in zip(problems, results, strict=True):
        costs, iterations = (
            series[f"search/{problem.name}/{name}"] for name in ("best_cost_ms", "iteration")
        )
        assert costs == sorted(costs, reverse=True)
        assert costs[-1] == pytest.approx(result.cost_best_ms)
        assert iterations == sorted(iterations)
        assert len(iterations) > 1


# Costs that are latencies -------------------------------------------------------------------------


def real_objective() -> Objective:
    options = {"guide": "roofline", "database": None, "max_ms": 2.0}
    objective: Objective = build_option("measurement", "real", options)
    return objective


def pretend(monkeypatch: pytest.MonkeyPatch, ms_of: Callable[[int], float]) -> None:
    """Has graphs take what a function of their number of nodes says."""

    def time_graph(model: Model, runtime: Any, *, max_ms: float) -> Measurement:
        ms = ms_of(len(model.graph))
        return Measurement(ms, ms, ms, 9, runtime.device, runtime.name)

    module = importlib.import_module("xflowrl.measurement.real")
    monkeypatch.setattr(module, "time_graph", time_graph)


def test_latencies_decide_what_is_best(make_agent: MakeAgent, option: str, monkeypatch) -> None:
    pretend(monkeypatch, lambda nodes: 10.0 * nodes)
    (problem,) = make_problems([relus(5)], real_objective(), max_iterations=25)
    (result,), rows = run(make_agent, [problem])
    assert (result.cost_initial_ms, result.cost_best_ms) == (50.0, 10.0)
    assert len(result.model.graph) == 1
    assert result.improvements[-1].cost_ms == 10.0
    assert result.real_measurements >= (0 if option in TRAINS else 2)
    logged = [row for _, row in rows if f"{problem.log_as}/real_measurements" in row]
    assert logged[-1][f"{problem.log_as}/best_cost_ms"] == 10.0
    assert logged[-1][f"{problem.log_as}/real_measurements"] == result.real_measurements
    if option not in FOREIGN:
        nodes = [len(relus(5).graph) - 1 - number for number in range(4)]
        assert [step.cost_ms for step in result.trace.steps] == [10.0 * n for n in nodes]
        assert replay(problem, result.trace).graph.hash == result.model.graph.hash


def test_what_is_really_slower_is_never_the_result(make_agent: MakeAgent, monkeypatch) -> None:
    pretend(monkeypatch, lambda nodes: 100.0 - 10.0 * nodes)  # the prices promise a gain
    (problem,) = make_problems([relus(5)], real_objective(), max_iterations=25)
    (result,), _ = run(make_agent, [problem])
    assert result.model.graph.hash == original_hash(problem)
    assert (result.trace.steps, result.cost_best_ms) == ((), 50.0)


def test_graphs_are_executed_within_the_budget(make_agent: MakeAgent, option: str) -> None:
    (problem,) = make_problems([tiny()], real_objective(), max_real_measurements=4)
    (result,), rows = run(make_agent, [problem])
    assert (0 if option in TRAINS else 2) <= result.real_measurements <= 4
    assert 0 < result.cost_best_ms <= result.cost_initial_ms
    assert result.measure_s > 0
    executes = result.real_measurements == 4
    assert not executes or result.stop_reason is StopReason.REAL_MEASUREMENTS
    assert all(math.isfinite(value) for _, row in rows for value in row.values())


def test_the_clock_on_the_wall_ends_it(make_agent: MakeAgent, monkeypatch) -> None:
    def slowly(nodes: int) -> float:
        time.sleep(0.05)
        return float(nodes)

    pretend(monkeypatch, slowly)
    (problem,) = make_problems([tiny()], real_objective(), max_wall_s=0.12)
    (result,), _ = run(make_agent, [problem])
    assert result.real_measurements <= 4  # begun before 0.12 s are over, the original's two too
    if result.real_measurements > 3:
        assert result.stop_reason is StopReason.WALL
