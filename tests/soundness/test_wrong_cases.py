"""Wrong rules that a check on small whole numbers alone calls sound."""

from __future__ import annotations

from pathlib import Path

import pytest

from xflowrl._engine import RuleSet
from xflowrl.rules.loading import parse_file
from xflowrl.soundness.check import check_rule
from xflowrl.soundness.sexpr import read_rule, read_sexprs, write_sexpr

# Listed among the wrong ones, and right by what "equal" means (rules/README.md): real arithmetic on
# finite values; a window that rounding up adds changes the type, which the engine refuses.
RIGHT = {"w-max-add", "w-sqrt-sq-abs", "w-mean", "w-avg-ceil", "conv-relu"}


def verdict(text: str) -> str:
    try:
        RuleSet.parse(text)
    except ValueError:
        return "refused"
    return check_rule(text).status


@pytest.mark.parametrize("name", ["wrong_rules_called_sound.rules", "guard.rules"])
def test_wrong_rules_are_refuted(shared_dir: Path, name: str) -> None:
    text = (shared_dir / "cases" / name).read_text("utf-8")
    rules = [write_sexpr(expr) for expr in read_sexprs(text) if expr[0] == "rule"]
    sound = {read_rule(rule).name for rule in rules if verdict(rule) not in ("unsound", "refused")}
    assert len(rules) > 1
    assert sound <= RIGHT


@pytest.mark.parametrize(
    "rule",
    [
        "(rule fractions (Floor ?x) => ?x)",
        "(rule upper-bound (Clip ?x :min 0.0 :max 6.0) => (Relu ?x))",
        "(rule far-bound (Clip ?x :min -1000.0 :max 1000.0) => ?x)",
        "(rule large (Relu ?x) => (Min (Relu ?x) (scalar 5000.0 ?x)))",
        "(rule zero-divisor (Div (Mul ?x ?y) ?y) => ?x :drops ?y)",
        "(rule pads (AveragePool ?x :count_include_pad 0 :attrs ?a)"
        " => (AveragePool ?x :attrs ?a :count_include_pad 1))",
        "(rule negative-index (Gather ?x ?i :axis ?k) => (Gather ?x (Abs ?i) :axis ?k))",
        "(rule small-attribute (Elu ?x :alpha ?a) => (Relu ?x) :if (< ?a 0.01))",
    ],
)
def test_what_one_kind_of_value_shows(rule: str) -> None:
    assert verdict(rule) == "unsound"


def test_zeros_of_both_signs_are_equal() -> None:
    assert verdict("(rule zero (Add ?x ?y) => ?x :if (= (value ?y) 0.0) :drops ?y)") == "sound"


def test_all_of_many_wrong_rules_are_refuted() -> None:
    rules = parse_file(str(Path(__file__).parent / "wrong_more.rules"))
    missed = {
        rule.name
        for rule in rules.rules
        if check_rule(rule.text, is_commutative=rules.commutative).status != "unsound"
    }
    assert len(rules) >= 60
    assert not missed
