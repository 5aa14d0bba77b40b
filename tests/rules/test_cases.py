"""Each built-in rule: one graph where it applies, one where it must not.

Where it applies: the operators left (structure), ONNX's checker (validity), equal values (numbers).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from xflowrl._engine import CostTable, Graph, RuleSet, State
from xflowrl.rules import load_core
from xflowrl.soundness.instances import Instance
from xflowrl.soundness.reference import check_valid, evaluate_graph

CORE = load_core()


@dataclass(frozen=True)
class Case:
    rule: str
    applies: str
    left: str
    must_not: str


def read_cases() -> list[Case]:
    text = (Path(__file__).parent / "cases.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    cases = []
    for name, applies, must_not in zip(lines[::3], lines[1::3], lines[2::3], strict=True):
        assert applies.startswith("+ "), name
        assert must_not.startswith("- "), name
        graph, _, left = applies[2:].partition(" -> ")
        cases.append(Case(name, graph, left, must_not[2:]))
    return cases


CASES = read_cases()


def state_of(graph: Graph, rules: RuleSet) -> State:
    return State(graph, rules, CostTable.roofline(1e12, 1e12, 0.0))


def operators(graph: Graph) -> list[str]:
    """Operators that are not constant, each with its fused activation, in alphabetical order."""
    fused = [
        (n.op_type, n.attributes.get("activation")) for n in graph.nodes() if not n.is_constant
    ]
    return sorted(f"{op}+{activation}" if activation else op for op, activation in fused)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_applies(case: Case, read_graph: Callable[[str], Instance]) -> None:
    instance = read_graph(case.applies)
    state = state_of(instance.graph, CORE.select([case.rule]))
    matches = state.matches()
    assert matches, state.explain(case.rule)
    result = state.apply(matches[0]).graph
    assert operators(result) == sorted(case.left.split())
    assert check_valid(result, instance.weights) is None
    before = evaluate_graph(instance.graph, instance.feeds, instance.weights)
    after = evaluate_graph(result, instance.feeds, instance.weights)
    for a, b in zip(before, after, strict=True):
        # values below 1e3 in double precision; any wrong operand shows in the first digits
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_must_not_apply(case: Case, read_graph: Callable[[str], Instance]) -> None:
    state = state_of(read_graph(case.must_not).graph, CORE.select([case.rule]))
    assert not state.matches()


def test_every_rule_has_a_case() -> None:
    places = {rule.name: (rule.filename, rule.line) for rule in CORE.rules}
    covered = {places[case.rule] for case in CASES}
    missing = [name for name, place in places.items() if place not in covered]
    assert not missing
