"""The built-in rules are sound, and the checker catches rules that are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from xflowrl._engine import Rule
from xflowrl.rules import load_core
from xflowrl.rules.loading import parse_file
from xflowrl.soundness.check import check_rule
from xflowrl.soundness.choosers import CHOOSERS

CORE = load_core()
WRONG = parse_file(str(Path(__file__).parent / "wrong.rules"))


def name_of(rule: Rule) -> str:
    return rule.name


def first_of_each(rules: list[Rule]) -> list[Rule]:
    """One rule of each that is written for several operators."""
    return list({(rule.filename, rule.line): rule for rule in reversed(rules)}.values())[::-1]


@pytest.mark.parametrize("rule", first_of_each(CORE.rules), ids=name_of)
def test_built_in_rule_is_sound(rule: Rule) -> None:
    finding = check_rule(rule.text, num_instances=12)
    assert finding.status == "sound", finding.detail


@pytest.mark.slow
@pytest.mark.parametrize("rule", CORE.rules, ids=name_of)
def test_built_in_rule_is_sound_in_depth(rule: Rule) -> None:
    finding = check_rule(rule.text, num_instances=500, seed=1)
    assert finding.status == "sound", finding.detail
    assert finding.num_applied >= 500


@pytest.mark.parametrize("rule", WRONG.rules, ids=name_of)
def test_wrong_rule_is_caught(rule: Rule) -> None:
    finding = check_rule(rule.text)
    assert finding.status == "unsound"
    assert "before:" in finding.detail
    assert "after:" in finding.detail


def test_there_are_ten_wrong_rules() -> None:
    assert len(WRONG) >= 10


def test_verdict_does_not_depend_on_the_run() -> None:
    text = WRONG.rules[0].text
    assert check_rule(text, seed=3) == check_rule(text, seed=3)


def test_functions_that_saturate_are_replaced() -> None:
    """For whole numbers tanh(4x) is nearly tanh(3x); an arbitrary function tells them apart."""
    wrong = "(rule wrong (Tanh (Add ?x (Add ?x (Add ?x ?x)))) => (Tanh (Add ?x (Add ?x ?x))))"
    assert check_rule(wrong).status == "unsound"


def test_rule_that_never_applies_is_unchecked() -> None:
    finding = check_rule("(rule never (Relu ?x) => ?x :if (= 1 2))")
    assert (finding.status, finding.num_applied) == ("unchecked", 0)


def test_rule_of_an_operator_without_samples_is_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(CHOOSERS, "Pow")
    finding = check_rule("(rule unknown (Relu (Pow ?x ?y)) => (Pow (Relu ?x) ?y))")
    assert finding.status == "unchecked"
    assert "Pow" in finding.detail


def test_text_that_is_no_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="Nonsense"):
        check_rule("(rule wrong (Nonsense ?x) => ?x)")
