"""States that differ: subsets of what was found, completed, each once."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from xflowrl._engine import GraphBuilder, RuleSet, TensorType
from xflowrl.agents.greedy import Greedy
from xflowrl.candidates import Candidate, _further_merges, _groups, _kinds, diverse
from xflowrl.measurement import Objective, hybrid
from xflowrl.onnx_io import Model
from xflowrl.options import build_option
from xflowrl.problem import Budget, Problem, Result, Step
from xflowrl.replaying import record
from xflowrl.weights import DrawnWeights


def siblings(num_pairs: int, *, is_joined: bool = True, num_siblings: int = 2) -> Problem:
    """So many inputs, each read by convolutions with a BatchNormalization behind them.

    Args:
        is_joined: a Concat joins each input's results, so that a merge of them leaves no Split.
    """
    builder = GraphBuilder("siblings")
    window = {"strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1}
    outputs = []
    for pair in range(num_pairs):
        x = builder.add_input(f"x{pair}", TensorType("float32", [1, 8, 6, 6]))
        ends = []
        for side in range(num_siblings):
            name = f"{pair}_{side}"
            w = builder.add_weight(f"w{name}", TensorType("float32", [8, 8, 1, 1]))
            (last,) = builder.add_node("Conv", [x, w], [f"conv{name}"], window)
            facts = [
                builder.add_weight(f"{fact}{name}", TensorType("float32", [8]))
                for fact in ("scale", "bias", "mean", "var")
            ]
            (last,) = builder.add_node("BatchNormalization", [last, *facts], [f"norm{name}"])
            ends += builder.add_node("Relu", [last], [f"relu{name}"])
        outputs += (
            builder.add_node("Concat", ends, [f"y{pair}"], {"axis": 1}) if is_joined else ends
        )
    builder.set_outputs(outputs)
    graph = builder.build()
    return Problem(
        model=Model(graph, DrawnWeights(graph, 0)),
        rules=build_option("rules", "core"),
        objective=hybrid(guide="roofline"),
    )


def found(problem: Problem) -> Result:
    (result,) = Greedy().optimize([problem], lambda metrics, step: None)
    return result


def merges(candidate: Candidate) -> int:
    return sum("siblings" in step.rule for step in candidate.steps)


def folds(candidate: Candidate) -> int:
    return sum("BatchNormalization" in step.rule for step in candidate.steps)


def test_the_first_is_what_was_found_and_the_only_one_of_one() -> None:
    problem = siblings(4)
    result = found(problem)
    first, *others = diverse(result, problem, 4)
    assert first.is_found
    assert (first.steps, first.model) == (result.trace.steps, result.model)
    assert first.cost_ms == result.cost_best_ms
    assert not any(other.is_found for other in others)
    assert list(diverse(result, problem, 1)) == [first]


def test_states_take_all_some_and_none_of_the_merges() -> None:
    problem = siblings(10)
    result = found(problem)
    made = list(diverse(result, problem, 4))
    assert [merges(candidate) for candidate in made[:2]] == [10, 0]
    assert all(0 < merges(candidate) < 10 for candidate in made[2:])
    assert len(made) == 4
    assert all(folds(candidate) == 20 for candidate in made[1:])  # completed
    assert "merges 0 of" in made[1].takes
    assert made[1].takes.endswith("folds 20")


def test_states_are_what_their_steps_lead_to_and_differ() -> None:
    problem = siblings(5)
    made = list(diverse(found(problem), problem, 8))
    hashes = [candidate.model.graph.merkle_hash for candidate in made]
    assert len(set(hashes)) == len(hashes) > 4
    for candidate, expected in zip(made, hashes, strict=True):
        recording = record(problem, candidate.steps)
        assert recording.final.graph.merkle_hash == expected
        state = problem.objective.state(candidate.model.graph, problem.rules)
        assert candidate.cost_ms == pytest.approx(problem.objective.price(state).ms)


def test_what_was_found_early_is_completed() -> None:
    problem = replace(siblings(5), budget=Budget(max_iterations=4))
    result = found(problem)
    _, *others = diverse(result, problem, 4)
    assert [folds(candidate) for candidate in others if not merges(candidate)] == [10]
    for candidate in others:
        final = record(problem, candidate.steps).final.graph
        assert final.merkle_hash == candidate.model.graph.merkle_hash


def test_they_are_the_same_for_a_seed_and_others_for_another() -> None:
    problem = siblings(10)
    result = found(problem)

    def taken(seed: int) -> list[str]:
        made = diverse(result, replace(problem, seed=seed), 6)
        return [candidate.model.graph.merkle_hash for candidate in made]

    assert taken(3) == taken(3)
    assert taken(3)[:2] == taken(4)[:2]
    assert taken(3) != taken(4)


def test_merges_that_the_costs_dislike_a_little_are_offered() -> None:
    problem = siblings(1, is_joined=False, num_siblings=2)
    result = found(problem)
    first, merged = [c for c in diverse(result, problem, 4) if c.is_found or merges(c)]
    assert (merges(first), merges(merged)) == (0, 1)
    assert "merges 0 of 1" in first.takes
    assert merged.cost_ms >= first.cost_ms


def test_what_needs_a_merge_is_of_its_group() -> None:
    problem = siblings(2, is_joined=False, num_siblings=3)
    result = found(problem)
    steps = (*result.trace.steps, *_further_merges(result, problem, float("inf")))
    kinds = _kinds(problem)
    groups = _groups(record(problem, steps), [kinds[step.rule] for step in steps])
    rules = [sorted(steps[index].rule for index in group) for group in groups]
    assert rules == [["Conv-bias-siblings-join", "Conv-bias-siblings-merge"]] * 2
    assert not groups[0] & groups[1]


def test_a_long_chain_is_one_group() -> None:
    needs = [(), ("t0",), ("t1",), ("t2",), ("t0",), (), ("t1", "t4"), ("t5",)]
    steps = [Step("merge", tensors, 1.0) for tensors in needs]
    made = [(f"t{index}",) for index in range(len(steps))]
    recording: Any = SimpleNamespace(steps=steps, made=made)
    groups = _groups(recording, ["merges"] * len(steps))
    assert groups == [frozenset({0, 1, 2, 3, 4, 6}), frozenset({5, 7})]


def test_rules_of_other_files_are_left_out_in_groups() -> None:
    problem = siblings(4)
    text = "(rules mine :commutative)\n" + "\n".join(rule.text for rule in problem.rules.rules)
    foreign = replace(problem, rules=RuleSet.parse(text, "mine.rules"))
    result = found(foreign)
    made = list(diverse(result, foreign, 4))
    counts = [len(candidate.steps) for candidate in made]
    assert counts[0] == len(result.trace.steps)
    assert all(0 < count < counts[0] for count in counts[1:])
    assert len(made) > 2
    assert made[0].takes == f"applies {counts[0]}"


def test_without_time_there_is_what_was_found() -> None:
    problem = siblings(4)
    made = list(diverse(found(problem), problem, 4, deadline_s=time.monotonic() - 1.0))
    assert [candidate.is_found for candidate in made] == [True]


def test_where_nothing_was_found_there_is_no_state() -> None:
    problem = replace(
        siblings(1), rules=RuleSet.parse("(rules none) (rule n (Neg (Neg ?x)) => ?x)")
    )
    assert list(diverse(found(problem), problem, 4)) == []


def test_of_one_there_is_no_other_than_what_was_found() -> None:
    problem = siblings(4)
    result = found(problem)
    nothing = replace(
        result,
        model=problem.model,
        trace=replace(result.trace, steps=()),
        cost_best_ms=result.cost_initial_ms,
    )
    assert list(diverse(nothing, problem, 1)) == []
    assert list(diverse(nothing, problem, 4)) != []


def test_the_objective_says_how_many() -> None:
    assert hybrid(guide="roofline").num_real == 4
    assert hybrid(guide="roofline", num_real=7).num_real == 7
    objective: Objective = build_option("measurement", "roofline")
    assert objective.num_real == 1
    with pytest.raises(ValueError, match=r"measurement\.num_real is 0: give at least 1"):
        hybrid(num_real=0)


def test_the_guide_is_the_named_objective() -> None:
    assert hybrid(guide="roofline", prices="t4_fp32").device == "t4_fp32"
    guided = hybrid(runtime="onnxruntime", database=None)
    assert guided.runtime == "onnxruntime"
