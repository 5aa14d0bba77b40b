"""Reading and writing expressions, and the values that a source asks of attributes."""

from __future__ import annotations

import pytest

from xflowrl.rules import load_core
from xflowrl.soundness.check import rule_set
from xflowrl.soundness.expressions import Bindings, NoValue, Unbound, evaluate
from xflowrl.soundness.sexpr import read_rule, read_sexprs, replace_at, subexpressions, write_sexpr


def test_forms_are_written_as_they_are_read() -> None:
    text = '(rule a (Relu [?b] ?xs... :mode "a b; c" :min -inf) => @k.1)'
    assert write_sexpr(read_sexprs(f"; a comment\n{text} ; another")[0]) == text


@pytest.mark.parametrize("text", ["(a", "a)", "(a))("])
def test_brackets_must_match(text: str) -> None:
    with pytest.raises(ValueError, match="rule text"):
        read_sexprs(text)


def test_every_built_in_rule_survives_reading_and_writing() -> None:
    for rule in load_core().rules:
        written = read_rule(rule.text).text
        (again,) = rule_set(written).rules
        assert again.name == rule.name
        assert read_rule(again.text) == read_rule(rule.text)


def test_parts_are_found_and_replaced_by_path() -> None:
    (expr,) = read_sexprs("(a (b c) d)")
    paths = {write_sexpr(part): path for path, part in subexpressions(expr)}
    assert paths == {
        "(a (b c) d)": (),
        "a": (0,),
        "(b c)": (1,),
        "b": (1, 0),
        "c": (1, 1),
        "d": (2,),
    }
    assert write_sexpr(replace_at(expr, (1, 1), "e")) == "(a (b e) d)"
    assert write_sexpr(replace_at(expr, (1,), None)) == "(a d)"


KNOWN = Bindings({"?k": 1, "?s": [3, 4]}, {"?x": (2, 7)}, {"?xs": [(2, 3), (2, 4)]})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(iota (rank ?x))", [0, 1]),
        ("(list (dim ?x -1) (sum (dims ?xs... ?k)))", [7, 7]),
        ("(fill (* 2 (rank ?x)) 0)", [0, 0, 0, 0]),
        ("(- (take ?s 1) 1)", [2]),
        ("(cat (drop ?s 1) (shape ?x))", [4, 2, 7]),
        ("(/ (size ?x) 4)", 3),
        ("(nth ?s ?k)", 4),
        ('"constant"', "constant"),
        ("-1.5", -1.5),
    ],
)
def test_values_of_expressions(text: str, value: object) -> None:
    assert evaluate(read_sexprs(text)[0], KNOWN) == value


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("(dim ?y 0)", Unbound),
        ("?t", Unbound),
        ("(dim ?x 2)", NoValue),
        ("(nth ?s 5)", NoValue),
        ("(mystery ?x)", ValueError),
    ],
)
def test_expressions_without_value(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        evaluate(read_sexprs(text)[0], KNOWN)
