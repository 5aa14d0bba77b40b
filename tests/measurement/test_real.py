"""The objective `real`: whole graphs are executed, once each, and counted beyond the noise."""

from __future__ import annotations

import importlib
import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xflowrl._engine import GraphBuilder, RuleSet, TensorType
from xflowrl.agents.attempt import Attempt
from xflowrl.agents.beam import Beam
from xflowrl.agents.greedy import Greedy
from xflowrl.agents.taso import Taso
from xflowrl.measurement import Objective, as_real, estimated, real, roofline
from xflowrl.measurement.device import cpu_name
from xflowrl.measurement.op_database import list_kept
from xflowrl.measurement.timer import Measurement
from xflowrl.onnx_io import Model
from xflowrl.problem import Problem, StopReason
from xflowrl.weights import DrawnWeights

MakeProblem = Callable[..., Problem]
Fake = Callable[..., list[str]]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Has graphs take what a function of their number of nodes says, and lists the executed.

    With `of_graph` it is a function of the graph.
    """

    def install(ms_of: Callable[[Any], float], *, of_graph: bool = False) -> list[str]:
        executed: list[str] = []

        def time_graph(model: Any, runtime: Any, *, max_ms: float) -> Measurement:
            executed.append(model.graph.hash)
            samples = np.full(9, ms_of(model.graph if of_graph else len(model.graph)))
            return Measurement.of(samples, device=runtime.device, runtime=runtime.name)

        monkeypatch.setattr(
            importlib.import_module("xflowrl.measurement.real"), "time_graph", time_graph
        )
        return executed

    return install


def quick(path: Path | None = None, **options: Any) -> Objective:
    database = str(path) if path else None
    return real(**{"guide": "roofline", "database": database, "max_ms": 5.0} | options)


def quiet(metrics: Any, step: int) -> None:
    pass


def test_graphs_are_really_executed(relu_problem: MakeProblem) -> None:
    objective = quick(runtime="onnxruntime_plain")
    long, short = (relu_problem(number, objective=objective) for number in (400, 2))
    reference = objective.reference(long.model, long.initial_state())
    assert (objective.device, objective.runtime) == (cpu_name(), "onnxruntime_plain")
    assert objective.num_executed == 2
    assert reference.noise_ms >= 0.01 * reference.cost_ms
    assert 0 < 3 * objective.cost_ms(short.model, short.initial_state()) < reference.cost_ms
    spent_s = objective.measure_s
    (result,) = Greedy().optimize([short], quiet)
    assert result.real_measurements == 2  # the original once more, and one relu
    assert 0 < result.measure_s <= objective.measure_s - spent_s
    assert result.measurements == 0


def test_latencies_are_kept_and_the_original_is_executed_again(
    relu_problem: MakeProblem, fake: Fake, tmp_path: Path
) -> None:
    path = tmp_path / "costs.sqlite"
    executed = fake(float)
    first = Greedy().optimize([relu_problem(4, objective=quick(path))], quiet)[0]
    assert first.real_measurements == len(executed) == 5  # the original twice, and three more
    assert [entry.num_graphs for entry in list_kept(path)] == [4]
    again = Greedy().optimize([relu_problem(4, objective=quick(path))], quiet)[0]
    assert again.real_measurements == len(executed) - 5 == 1
    assert again.trace == first.trace
    others = ({"threads": 2}, {"runtime": "onnxruntime_plain"})
    for options in others:
        quick(path, **options).cost_ms(relu_problem(4).model, relu_problem(4).initial_state())
    assert len(executed) == 8
    assert [entry.num_graphs for entry in list_kept(path)] == [4, 1, 1]


def test_a_gain_counts_beyond_what_the_original_differs_from_itself(
    relu_problem: MakeProblem, fake: Fake
) -> None:
    times = iter([10.0, 11.0, 9.5, 8.9])
    fake(lambda nodes: next(times))
    problem = relu_problem(3, objective=quick())
    attempt = Attempt(problem, quiet)
    assert (attempt.initial_cost_ms, attempt.noise_ms) == (10.0, pytest.approx(1.0))
    (match, _) = attempt.matches(attempt.initial)
    state, trace = attempt.step(attempt.initial, attempt.origin, match)
    assert attempt.improvements[1:] == []  # it has fewer nodes and is no slower, so it is kept
    assert attempt.best_cost_ms == 9.5
    (match,) = attempt.matches(state)
    attempt.step(state, trace, match)
    assert attempt.improvements[1:] == []  # 0.6 ms less than the best: no more than noise
    assert attempt.best_cost_ms == 8.9


def test_graphs_of_one_structure_are_executed_once(relu_problem: MakeProblem, fake: Fake) -> None:
    executed = fake(float)
    problem = relu_problem(5, objective=quick())
    attempt = Attempt(problem, quiet)
    after = [attempt.initial.apply(match) for match in attempt.matches(attempt.initial)]
    assert len({state.graph.hash for state in after}) == len(after) == 4
    assert {attempt.cost_ms(state) for state in after} == {4.0}
    assert len(executed) == 3


def test_what_is_shared_is_part_of_the_structure(fake: Fake) -> None:
    executed = fake(float)
    objective, models = quick(), []
    for num_exps in (1, 2):
        builder = GraphBuilder("sum")
        x = builder.add_input("x", TensorType("float32", [4]))
        names = [f"exp{number}" for number in range(num_exps)]
        for name in names:
            builder.add_node("Exp", [x], [name])
        builder.add_node("Add", [names[0], names[-1]], ["y"])
        builder.set_outputs(["y"])
        graph = builder.build()
        models.append(Model(graph, DrawnWeights(graph, 0)))
    assert models[0].graph.merkle_hash == models[1].graph.merkle_hash
    rules = RuleSet.parse("(rules none)")
    costs = [objective.cost_ms(m, objective.state(m.graph, rules)) for m in models]
    assert (costs, len(executed)) == ([2.0, 3.0], 2)


def test_noise_is_at_least_what_timing_promises(relu_problem: MakeProblem, fake: Fake) -> None:
    fake(lambda nodes: 10.0)
    assert Attempt(relu_problem(3, objective=quick()), quiet).noise_ms == pytest.approx(0.1)


def test_a_graph_that_is_refused_is_never_the_best(
    relu_problem: MakeProblem, fake: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(nodes: int) -> float:
        if nodes < 4:
            raise RuntimeError("no such kernel")
        return 4.0

    executed = fake(refuse)
    objective = quick()
    for agent in (Greedy(), Taso()):
        (result,) = agent.optimize([relu_problem(4, objective=objective)], quiet)
        assert (result.trace.steps, result.cost_best_ms) == ((), 4.0)
    assert len(executed) == len(set(executed)) + 1, "what is refused is not tried again"
    assert "onnxruntime refuses a graph: no such kernel" in caplog.text


def test_an_original_that_is_refused_is_one_line(relu_problem: MakeProblem, fake: Fake) -> None:
    def refuse(nodes: int) -> float:
        raise RuntimeError("no such kernel")

    fake(refuse)
    with pytest.raises(ValueError, match=r"relus: onnxruntime cannot run it \(no such kernel\)"):
        Greedy().optimize([relu_problem(4, objective=quick())], quiet)


def test_what_is_expected_follows_the_prices_in_proportion(
    relu_problem: MakeProblem, fake: Fake
) -> None:
    fake(lambda nodes: 10.0 * nodes)
    attempt = Attempt(relu_problem(4, objective=quick()), quiet)
    match = attempt.matches(attempt.initial)[0]
    assert attempt.expected_ms(attempt.initial, match) == pytest.approx(30.0)


def test_backtracking_executes_what_it_takes_from_the_queue(
    relu_problem: MakeProblem, fake: Fake
) -> None:
    executed = fake(float)
    (result,) = Taso().optimize([relu_problem(5, objective=quick())], quiet)
    assert (result.cost_best_ms, result.stop_reason) == (1.0, StopReason.EXHAUSTED)
    assert len(executed) == result.real_measurements == 1 + 5
    (short,) = Taso(size_limit=1.1).optimize([relu_problem(5, objective=quick())], quiet)
    assert short.cost_best_ms == 1.0


def test_backtracking_does_not_go_on_from_what_is_really_dearer(
    relu_problem: MakeProblem, fake: Fake
) -> None:
    executed = fake(lambda nodes: 5.0 if nodes == 5 else 5.4 if nodes == 4 else 1.0)
    (strict,) = Taso(alpha=1.05).optimize([relu_problem(5, objective=quick())], quiet)
    assert (strict.cost_best_ms, len(executed)) == (5.0, 3)
    (lax,) = Taso(alpha=1.1).optimize([relu_problem(5, objective=quick())], quiet)
    assert lax.cost_best_ms == 1.0


def test_greedy_takes_the_first_that_is_really_faster(
    relu_problem: MakeProblem, fake: Fake
) -> None:
    def latency_ms(graph: Any) -> float:
        kinds = [node.op_type for node in graph.nodes()]
        return 30.0 if len(kinds) == 1 else 10.0 * kinds.count("Relu") + kinds.count("Tanh")

    fake(latency_ms, of_graph=True)
    merging = "(rule merge (Relu (Relu ?x)) => (Relu ?x))"  # what the prices say is best
    rules = RuleSet.parse(f"(rules toy)\n{merging}\n(rule to-tanh (Relu ?x) => (Tanh ?x))")
    (result,) = Greedy().optimize([replace(relu_problem(2, objective=quick()), rules=rules)], quiet)
    assert [step.rule for step in result.trace.steps] == ["to-tanh", "to-tanh"]
    assert [step.cost_ms for step in result.trace.steps] == [11.0, 2.0]


def test_the_last_graph_that_may_be_executed_counts(relu_problem: MakeProblem, fake: Fake) -> None:
    fake(float)
    for agent in (Greedy(), Taso(), Beam(width=1)):
        problem = relu_problem(5, objective=quick(), max_real_measurements=4)
        (result,) = agent.optimize([problem], quiet)
        assert (result.cost_best_ms, result.real_measurements) == (3.0, 4)
        assert result.stop_reason is StopReason.REAL_MEASUREMENTS


def test_the_guide_times_operators_where_none_is_compiled(relu_problem: MakeProblem) -> None:
    objective = real(guide="estimated", database=None, max_ms=2.0)
    relu_problem(3, objective=objective).initial_state()
    assert objective.num_measured == 1
    assert objective.num_executed == 0
    assert objective.is_real


def test_as_real_takes_the_runtime_of_the_operators() -> None:
    assert as_real(estimated(runtime="torch", database=None)).runtime == "torch"
    assert as_real(roofline()).runtime == "onnxruntime"


def test_a_copy_knows_what_was_executed(relu_problem: MakeProblem, fake: Fake) -> None:
    executed = fake(float)
    problem = relu_problem(3, objective=quick())
    attempt = Attempt(problem, quiet)
    theirs = pickle.loads(pickle.dumps(problem.objective))
    assert theirs.cost_ms(problem.model, attempt.initial) == 3.0
    assert len(executed) == 2


def test_what_is_not_known_before_an_interrupt_is_nan(relu_problem: MakeProblem) -> None:
    problem = relu_problem(3, objective=quick())
    attempt = Attempt(problem, quiet, initial=problem.unpriced_state())
    assert math.isnan(attempt.initial_cost_ms)
    assert attempt.meter.real_measurements == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "tensorrt"}, r"measurement\.runtime='tensorrt': use one of onnxruntime"),
        ({"device": "tpu"}, r"measurement\.device='tpu': onnxruntime runs on cpu"),
        ({"threads": 0}, r"measurement\.threads=0: give at least 1"),
        ({"max_ms": 0.0}, r"measurement\.max_ms=0\.0: give a number above 0"),
    ],
)
def test_bad_options_are_one_clear_line(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quick(**options)
