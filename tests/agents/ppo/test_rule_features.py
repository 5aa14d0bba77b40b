"""What a policy sees of a rule."""

from __future__ import annotations

import pytest
import torch

from xflowrl._engine import RuleSet
from xflowrl.agents.ppo.rule_features import NUM_FEATURES, rule_features
from xflowrl.rules import load_core


def features(*texts: str) -> torch.Tensor:
    rules = [f"(rule r{index} {text})" for index, text in enumerate(texts)]
    return rule_features(RuleSet.parse("\n".join(["(rules toys)", *rules])))


def test_all_built_in_rules_can_be_told_apart() -> None:
    rows = rule_features(load_core())
    assert rows.shape == (len(load_core()), NUM_FEATURES)
    alike = (rows @ rows.T).fill_diagonal_(0.0)
    assert float(alike.max()) < 0.98
    assert rows.norm(dim=1).tolist() == pytest.approx([1.0] * len(rows), abs=1e-5)


def test_names_say_nothing() -> None:
    one, other = features("(Relu (Relu ?x)) => (Relu ?x)", "(Relu (Relu ?any)) => (Relu ?any)")
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    "other",
    [
        "(MatMul ?a (MatMul ?b ?c)) => (MatMul (MatMul ?a ?b) ?c)",  # the other way
        "(MatMul (MatMul ?a ?b) ?c) => (MatMul ?a (MatMul ?c ?b))",  # other variables
        "(Gemm (MatMul ?a ?b) ?c) => (MatMul ?a (MatMul ?b ?c))",  # another operator
        "(MatMul (MatMul ?a ?b) ?c) => (MatMul ?a (MatMul ?b ?c)) :if (= (rank ?a) 2)",  # a guard
    ],
)
def test_what_a_rule_says_matters(other: str) -> None:
    one, second = features("(MatMul (MatMul ?a ?b) ?c) => (MatMul ?a (MatMul ?b ?c))", other)
    assert float(one @ second) < 0.97


def test_rules_about_the_same_operators_are_neighbours() -> None:
    relu, tanh, matmul = features(
        '(Relu (Conv ?x ?w :attrs ?a)) => (Conv ?x ?w :attrs ?a :activation "Relu")',
        '(Tanh (Conv ?x ?w :attrs ?a)) => (Conv ?x ?w :attrs ?a :activation "Tanh")',
        "(MatMul (MatMul ?a ?b) ?c) => (MatMul ?a (MatMul ?b ?c))",
    )
    assert float(relu @ tanh) > 0.6 > 0.4 > float(relu @ matmul)
