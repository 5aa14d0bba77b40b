"""Every mutant of every built-in rule is caught, refused, no change at all, or equivalent."""

from __future__ import annotations

import re

import pytest

from xflowrl._engine import Rule
from xflowrl.rules import load_core
from xflowrl.soundness.mutant_check import EQUIVALENT, try_mutants
from xflowrl.soundness.mutants import mutants_of

CORE = {rule.name: rule for rule in load_core().rules}

# One of each kind: grouped, enlarged, broadcast, transposed, with several roots, with sequences.
QUICK = [
    "Conv-LeakyRelu-fuse",
    "Conv-BatchNormalization-fold",
    "Conv-bias-Mul-fold",
    "Gemm-bias-Div-fold",
    "MatMul-Mul-fold-left",
    "Pad-Conv-fold",
    "Conv-bias-siblings-merge",
    "Conv-Concat-groups",
    "MatMul-right-siblings-merge",
    "MatMul-left-Add-distribute",
    "Conv-input-Add-distribute",
    "Concat-of-Relu",
    "Concat-of-Transpose",
    "Transpose-Transpose",
    "Clip-Clip",
]


def survivors(rule: Rule, num_attempts: int) -> list[str]:
    outcomes = try_mutants(rule.text, num_attempts=num_attempts)
    return [outcome.mutant.change for outcome in outcomes if outcome.status == "survived"]


@pytest.mark.parametrize("name", QUICK)
def test_mutants_are_caught(name: str) -> None:
    assert not survivors(CORE[name], num_attempts=3000)


@pytest.mark.slow
@pytest.mark.parametrize("name", CORE)
def test_mutants_are_caught_in_depth(name: str) -> None:
    assert not survivors(CORE[name], num_attempts=5000)


def test_every_equivalence_is_needed() -> None:
    mutants = [mutant for rule in CORE.values() for mutant in mutants_of(rule.text)]
    for name, pattern, _ in EQUIVALENT:
        assert any(
            re.fullmatch(name, mutant.rule) and re.fullmatch(pattern, mutant.change)
            for mutant in mutants
        ), pattern


def test_known_equivalents_are_not_tried() -> None:
    outcomes = try_mutants(CORE["Sum-of-Sum"].text, num_instances=2, num_attempts=20)
    equivalent = [one for one in outcomes if one.status == "equivalent"]
    assert equivalent
    assert all("exchanged" in one.mutant.change for one in equivalent)
    assert not any(one.num_applied for one in equivalent)


def test_mutants_of_a_rule() -> None:
    source = '(Relu (Conv ?x ?w :activation "" :attrs ?a))'
    text = f"(rule r {source} => (Conv ?x ?w :attrs ?a) :if (= 1 1))"
    changes = [(mutant.kind, mutant.change) for mutant in mutants_of(text)]
    assert changes == [
        ("guard", "without guard (= 1 1)"),
        ("condition", 'source 0 (1, 3): :activation need not be ""'),
        ("target", "target 0 (): Conv with operands 1 and 2 swapped"),
        ("target", "target 0 (): Conv without operand 1"),
        ("target", "target 0 (): Conv without operand 2"),
        ("target", "target 0 (): Conv left out"),
        ("target", "target 0 (): Conv without :attrs"),
    ]
