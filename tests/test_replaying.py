"""Traces without some of their steps: names move on, what depends on a missing step falls away."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from xflowrl._engine import GraphBuilder, RuleSet, TensorType
from xflowrl.measurement import roofline
from xflowrl.onnx_io import Model
from xflowrl.problem import Problem, Step
from xflowrl.replaying import record, replay_some
from xflowrl.weights import DrawnWeights

RULES = """(rules branches)
(rule widen (Relu (Neg ?x)) => (Relu (Neg (Neg (Neg ?x)))))
(rule neg-neg (Neg (Neg ?x)) => ?x)
(rule sum (Add ?x ?y) => (Sum ?x ?y))
"""


@pytest.fixture
def problem() -> Problem:
    """The sum of two branches of Neg and Relu; `widen` gives each three new tensors."""
    builder = GraphBuilder("branches")
    x = builder.add_input("x", TensorType("float32", [8]))
    for side in "ab":
        builder.add_node("Neg", [x], [f"neg_{side}"])
        builder.add_node("Relu", [f"neg_{side}"], [f"relu_{side}"])
    builder.add_node("Add", ["relu_a", "relu_b"], ["y"])
    builder.set_outputs(["y"])
    graph = builder.build()
    return Problem(
        model=Model(graph, DrawnWeights(graph, 0)), rules=RuleSet.parse(RULES), objective=roofline()
    )


def walked(problem: Problem, *rules: str) -> list[Step]:
    """The first match of each rule, of those at the branch that is named behind its name."""
    state, steps = problem.unpriced_state(), list[Step]()
    for rule in rules:
        name, _, side = rule.partition("@")
        match = next(
            match
            for match in state.matches()
            if match.rule == name and any(f"_{side}" in tensor for tensor in match.tensors)
        )
        steps.append(Step(match.rule, tuple(match.tensors), 1.0))
        state = state.apply(match)
    return steps


def test_a_recording_knows_what_each_step_makes(problem: Problem) -> None:
    steps = walked(problem, "widen@a", "widen@b", "sum@a")
    recording = record(problem, steps)
    assert [len(made) for made in recording.made] == [3, 3, 0]
    assert len({name for made in recording.made for name in made}) == 6
    assert recording.final.num_nodes == recording.origin.num_nodes + 4


def test_later_steps_bind_the_names_that_there_are_without_an_earlier_one(
    problem: Problem,
) -> None:
    inner = Step("neg-neg", ("rewritten_3", "rewritten_4", "rewritten_5"), 1.0)
    recording = record(problem, [*walked(problem, "widen@a", "widen@b"), inner])
    assert recording.made[1] == inner.tensors
    state, kept = replay_some(recording, [1, 2])
    assert [step.tensors for step in kept] == [
        ("x", "neg_b", "relu_b"),
        ("rewritten_0", "rewritten_1", "rewritten_2"),
    ]
    assert record(problem, kept).final.hash == state.hash
    assert state.num_nodes == recording.origin.num_nodes


def test_a_step_falls_away_with_what_makes_its_tensors(problem: Problem) -> None:
    inner = Step("neg-neg", ("rewritten_0", "rewritten_1", "rewritten_2"), 1.0)
    recording = record(problem, [*walked(problem, "widen@a", "widen@b"), inner])
    # Without the first step the second one's tensors have these names.
    assert [step.rule for step in replay_some(recording, [1, 2])[1]] == ["widen"]


def test_all_steps_are_the_whole_trace(problem: Problem) -> None:
    steps = walked(problem, "widen@a", "widen@b", "sum@a")
    recording = record(problem, steps)
    state, kept = replay_some(recording, range(3))
    assert kept == steps
    assert state.hash == recording.final.hash


def test_steps_that_do_not_match_are_passed_over(problem: Problem) -> None:
    steps = [Step("no-such-rule", ("x",), 1.0), *walked(problem, "sum@a")]
    steps.append(replace(steps[-1]))  # there is no Add any more
    recording = record(problem, steps)
    assert replay_some(recording, range(3))[1] == steps[1:2]


def test_a_replay_keeps_to_its_deadline(problem: Problem) -> None:
    steps = walked(problem, "sum@a")
    with pytest.raises(TimeoutError):
        record(problem, steps, deadline_s=time.monotonic() - 1.0)
    with pytest.raises(TimeoutError):
        replay_some(record(problem, steps), [0], deadline_s=time.monotonic() - 1.0)
