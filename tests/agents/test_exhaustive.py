"""Exhaustive search: the proven optimum, or what remained."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import pytest

from xflowrl._engine import GraphBuilder, RuleSet, TensorType
from xflowrl.agents.exhaustive import Exhaustive
from xflowrl.graphs.tiny import tiny
from xflowrl.measurement import roofline
from xflowrl.onnx_io import Model
from xflowrl.problem import Budget, Problem, StopReason, replay
from xflowrl.rules import load_core
from xflowrl.weights import DrawnWeights

MakeProblem = Callable[..., Problem]


class Recorder:
    """A log that keeps the last value of each metric."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}

    def __call__(self, metrics: Mapping[str, float], step: int) -> None:
        self.last.update(metrics)


def test_proves_the_optimum_of_tiny(caplog: pytest.LogCaptureFixture) -> None:
    log = Recorder()
    problem = Problem(model=tiny(), rules=load_core(), objective=roofline())
    with caplog.at_level(logging.INFO, "xflowrl.agents.exhaustive"):
        (result,) = Exhaustive().optimize([problem], log)
    assert result.stop_reason is StopReason.EXHAUSTED
    assert 1000 * result.cost_best_ms == pytest.approx(22.421, abs=6e-4)  # as in its docstring
    assert (log.last["search/num_states"], log.last["search/num_unexpanded"]) == (10, 0)
    assert "tiny: all 10 reachable graphs seen, 0.0224207 ms is optimal" in caplog.text
    assert replay(problem, result.trace).graph.hash == result.model.graph.hash


def test_says_what_remained(relu_problem: MakeProblem, caplog: pytest.LogCaptureFixture) -> None:
    log = Recorder()
    (result,) = Exhaustive().optimize([relu_problem(6, max_iterations=3)], log)
    assert result.stop_reason is StopReason.ITERATIONS
    assert log.last["search/num_unexpanded"] == log.last["search/num_states"] - 3 > 0
    assert "not proven optimal" in caplog.text
    assert f"{log.last['search/num_unexpanded']:.0f} of them not expanded" in caplog.text


def test_expands_each_graph_once(relu_problem: MakeProblem) -> None:
    log = Recorder()
    (result,) = Exhaustive().optimize([relu_problem(5)], log)
    # chains of 5, 4, ... 1 relus: whichever two are joined, the chain is the same
    assert (result.iterations, log.last["search/num_states"]) == (5, 5)
    assert (result.num_nodes_best, result.stop_reason) == (1, StopReason.EXHAUSTED)


def test_ctrl_c_says_what_remained(
    relu_problem: MakeProblem, caplog: pytest.LogCaptureFixture
) -> None:
    def log(metrics: Mapping[str, float], step: int) -> None:
        if step == 2:
            raise KeyboardInterrupt

    (result,) = Exhaustive().optimize([relu_problem(6)], log)
    assert result.stop_reason is StopReason.INTERRUPTED
    assert result.cost_best_ms < result.cost_initial_ms
    assert "3 graphs reached, 2 of them not expanded" in caplog.text


def test_no_match_is_said_as_such(relu_problem: MakeProblem) -> None:
    (result,) = Exhaustive().optimize([relu_problem(1)], Recorder())
    assert result.stop_reason is StopReason.NO_MATCH


def test_one_node_read_twice_is_not_two_equal_nodes() -> None:
    """Both have one Merkle hash, but only of the two nodes one can be rewritten alone."""
    rules = RuleSet.parse(
        "(rules toy)\n"
        "(rule share (Add (Relu ?x) (Relu ?x)) => (Add (Relu@r ?x) @r))\n"
        "(rule double (Add (Relu@r ?x) @r) => (Mul (scalar 2.0 ?x) (Relu ?x)))\n"
    )
    builder = GraphBuilder("twice")
    x = builder.add_input("x", TensorType("float32", [64, 64]))
    terms = [builder.add_node("Relu", [x], [f"relu{i}"])[0] for i in range(2)]
    builder.set_outputs(builder.add_node("Add", terms, ["sum"]))
    graph = builder.build()
    model = Model(graph, DrawnWeights(graph, 0))
    problem = Problem(model=model, rules=rules, objective=roofline(), budget=Budget())
    start = problem.initial_state()
    (share,) = {match.rule: match for match in start.matches()}.values()
    assert start.apply(share).graph.merkle_hash == graph.merkle_hash
    (result,) = Exhaustive().optimize([problem], Recorder())
    assert [step.rule for step in result.trace.steps][:1] == ["share"]
    assert result.num_kernels_best == 2
