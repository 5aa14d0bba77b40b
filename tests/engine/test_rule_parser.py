"""Rule text: what is wrong is said with file, line and column; what is right is kept."""

from __future__ import annotations

import pytest
import zoo
from drawing import Sketch, bound, roofline, rule_set, state
from recompute import snapshot

from xflowrl._engine import RuleSet, State
from xflowrl.rules import load_core

# Rule text (one line or more) and the end of the message, from the position on.
WRONG = [
    ("(rule r (Relu ?x) => ?x", "1:1: this '(' is never closed"),
    ("(rule r\n  (Relu [?x => ?x)", "2:18: unexpected ')'"),
    ("(rule r (Relu ?x) => ?x))", "1:25: unexpected ')'"),
    ('(rule r (Gelu ?x :approximate "none) => ?x)', "1:31: this string is never closed"),
    ("(rule r (Relu ?x) => ?x)\n(\0rule s", "2:2: a zero byte: this is no text"),
    ("(rule r\0b (Relu ?x) => ?x)", "1:8: a zero byte: this is no text"),
    ("; \0", "1:3: a zero byte: this is no text"),
    ("relu", "1:1: expected (rule NAME SOURCE => TARGET) or (rules NAME)"),
    ("\n\n  (rule)", "3:3: expected (rule NAME SOURCE => TARGET) or (rules NAME)"),
    ("(rules a)\n(rules b)", "2:1: a file has one (rules ...) header"),
    ("(rules a :fast)", "1:10: unknown option"),
    ("(rule r (Relu ?x))", '1:1: rule "r": the rule has no "=>"'),
    ("(rule r => ?x)", '1:9: rule "r": the rule has no source'),
    ("(rule r (Relu ?x) =>)", 'rule "r": the rule has no target'),
    ("(rule r ?x => ?x)", '1:9: rule "r": a source is an operator\'s output'),
    ("(rule r (Rulu ?x) => ?x)", '1:10: rule "r": rules cannot speak of operator "Rulu"'),
    ("(rule r (Cast ?x) => ?x)", '1:10: rule "r": rules cannot speak of operator "Cast"'),
    ("(rule r (Input ?x) => ?x)", '1:10: rule "r": rules cannot speak of operator "Input"'),
    ("(rule r (Relu ?x ?y) => ?x)", '1:9: rule "r": Relu takes 1 operands, not 2'),
    ("(rule r (Add ?x) => ?x)", '1:9: rule "r": Add takes 2 operands, not 1'),
    ("(rule r (Conv ?x) => ?x)", '1:9: rule "r": Conv takes 2 to 3 operands, not 1'),
    ("(rule r (Relu ?xs...) => ?xs...)", '1:9: rule "r": Relu does not take a sequence'),
    ("(rule r (Relu ?x) => ?y)", '1:22: rule "r": target uses ?y, which the source does not bind'),
    ("(rule r (Relu ?x) =>\n  (Add ?x ?y))", '2:11: rule "r": target uses ?y'),
    ("(rule r (Add ?x ?y) => ?x)", '1:1: rule "r": the target loses ?y'),
    ("(rule r (Concat ?xs...) => (scalar 1 ?x))", "target uses ?x"),
    ("(rule r (Relu ?x :alpha 1) => ?x)", '1:18: rule "r": Relu has no attribute "alpha"'),
    ("(rule r (Softmax ?x :axis) => ?x)", '1:21: rule "r": this attribute has no value'),
    ("(rule r (Softmax ?x :axis ?a 3) => ?x)", '1:30: rule "r": expected :attribute value'),
    ("(rule r (Softmax ?x :axis b) => ?x)", '1:27: rule "r": "b" is neither number'),
    ("(rule r (Softmax ?x :axis (pow 2 2)) => ?x)", '1:28: rule "r": there is no function "pow"'),
    ("(rule r (Softmax ?x :axis (/ 2)) => ?x)", '1:27: rule "r": "/" does not take 1 arguments'),
    ("(rule r (Softmax ?x :axis (+ ?a 1)) => ?x)", '1:30: rule "r": no pattern binds ?a'),
    ("(rule r (Softmax ?x :axis ?x) => ?x)", '1:27: rule "r": ?x is used for two kinds'),
    ("(rule r (Relu ?x :attrs ?a) => ?x :if (= ?a 1))", "?a is a set of attributes, no value"),
    ("(rule r (Relu @s) => ?x)", '1:15: rule "r": @s is not defined before this place'),
    ("(rule r (Add (Relu@p ?x) (Relu@p ?y)) => ?x)", '1:26: rule "r": @p is defined twice'),
    ("(rule r (Relu (Split@s ?x)) @s.b => ?x)", '1:29: rule "r": "b" is no output number'),
    ("(rule r (Relu@p ?x) => @p)", '1:24: rule "r": @p is not defined before this place'),
    ("(rule r (Relu ?x) => ?x :if (= (dim @q 0) 1))", "@q is no node of the source"),
    ("(rule r (Relu ?x) => ?x :when 1)", '1:25: rule "r": unknown clause ":when"'),
    ("(rule r (Relu ?x) => ?x :opset)", '1:25: rule "r": :opset is written :opset N'),
    ("(rule r (Relu ?x) => ?x :opset new)", '1:25: rule "r": :opset is written :opset N'),
    ("(rule r (Relu ?x) => ?x :opset (20))", '1:25: rule "r": :opset is written :opset N'),
    ("(rule r (Relu ?x) => ?x :drops ?y)", '1:32: rule "r": the source does not bind ?y'),
    ("(rule r (Relu (none)) => (none))", "a target is a tensor"),
    ("(rule r (Conv ?x ?w [?b]) => ?b)", "a target is a tensor"),
    ("(rule r (Relu (scalar 1 ?x)) => ?x)", "a literal may only stand in a target"),
    ("(rule r (Relu ?x) => (scalar 1))", "a literal is written (scalar VALUE ?like)"),
    ('(rule r (Relu "x") => ?x)', '1:15: rule "r": a string is no tensor'),
    ("(rule r (Relu [?x ?y]) => ?x)", "an optional operand is written [?name]"),
    ("(rule r (Relu x) => ?x)", '1:15: rule "r": "x" is no variable; write ?name'),
    ("(rule r (outs ?x) => ?x)", "outs takes a node"),
    ("(rule r (each Relu ?xs...) => ?xs...)", "each"),
    ("(rule r (Concat (each Relu)) => ?x)", "each is written (each Operator"),
    ("(rule r (Concat (each Relu ?x)) => ?x)", "each takes one sequence of tensors"),
    ("(rule r (Concat (each Relu (outs (Split ?x)))) => ?x)", "takes a sequence variable"),
    ("(rule r :for a => ?x)", "1:9: :for is written :for name (value ...)"),
    ("(rule r (Relu ?x) => ?x)\n(rule r (Exp ?x) => ?x)", 'rule "r" is already defined in line 1'),
    ("(rule r{a} :for b (1 2) (Relu ?x) => ?x)", 'rule "r{a}" is already defined in line 1'),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_errors_say_where_and_what(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^my\.rules:\d+:\d+: ") as caught:
        RuleSet.parse(text, "my.rules")
    assert message in str(caught.value)
    if message[0].isdigit():
        assert str(caught.value).startswith(f"my.rules:{message}")
    assert "\n" not in str(caught.value)


def test_comments_and_white_space_mean_nothing() -> None:
    rules = RuleSet.parse("; said (by\n(rules mine)\n\t( rule r ; here\n(Relu\t?x)=> ?x)", "f")
    assert (rules.name, rules.names, rules.commutative) == ("mine", ["r"], False)
    (rule,) = rules.rules
    assert (rule.filename, rule.line) == ("f", 3)
    assert len(RuleSet.parse("")) == 0
    assert RuleSet.parse("(rules r :commutative)").commutative


def test_for_makes_one_rule_per_value_and_combination() -> None:
    text = (
        "(rule {a}-of-{b} :for a (Relu Tanh) :for b (Exp Abs)\n  ({a} ({b} ?x)) => ({b} ({a} ?x)))"
    )
    rules = RuleSet.parse(text)
    assert rules.names == ["Relu-of-Exp", "Relu-of-Abs", "Tanh-of-Exp", "Tanh-of-Abs"]
    assert {rule.line for rule in rules.rules} == {1}
    assert "(Relu (Abs ?x))" in rules.rules[1].text
    assert "(Tanh (Exp ?x))" in rules.rules[2].text
    assert ":for" not in rules.rules[0].text
    assert "{" not in rules.rules[0].text


@pytest.mark.parametrize("name", sorted(zoo.GRAPHS))
def test_a_rules_text_parses_to_the_same_rule(name: str) -> None:
    rules = load_core()
    header = "(rules core :commutative)\n" if rules.commutative else "(rules core)\n"
    again = RuleSet.parse(header + "\n".join(rule.text for rule in rules.rules))
    assert [(rule.name, rule.text) for rule in again.rules] == [
        (rule.name, rule.text) for rule in rules.rules
    ]
    ours, theirs = (State(zoo.GRAPHS[name](), parsed, roofline()) for parsed in (rules, again))
    assert len(ours) > 0
    assert snapshot(ours) == snapshot(theirs)


def test_select_and_join_keep_order_and_origin() -> None:
    first = RuleSet.parse("(rules a)\n(rule p (Relu ?x) => ?x)\n(rule q (Exp ?x) => ?x)", "a.rules")
    second = RuleSet.parse("(rules b)\n(rule s (Abs ?x) => ?x)", "b.rules")
    joined = RuleSet.join([first, second], "both")
    assert (joined.name, joined.names) == ("both", ["p", "q", "s"])
    assert [rule.filename for rule in joined.rules] == ["a.rules", "a.rules", "b.rules"]
    assert joined.select(["s", "p"]).names == ["s", "p"]
    with pytest.raises(ValueError, match='"both" has no rule "t"'):
        joined.select(["t"])
    with pytest.raises(ValueError, match='"p"'):
        RuleSet.join([first, first])
    with pytest.raises(ValueError, match="commutative"):
        RuleSet.join([first, RuleSet.parse("(rules c :commutative)")])


def test_rules_of_a_later_opset_match_nowhere() -> None:
    rules = RuleSet.parse(
        "(rule new (Relu ?x) => (Abs ?x) :opset 20 :if (= 1 1))\n(rule old (Relu ?x) => (Neg ?x))"
    )
    assert [rule.opset for rule in rules.rules] == [20, 0]
    net = Sketch()
    graph = net.graph(net.node("Relu", net.input(2, 3)))
    for chosen, names in (
        (rules, ["new", "old"]),
        (rules.for_opset(20), ["new", "old"]),
        (rules.for_opset(19), ["old"]),
        (rules.for_opset(19).select(["new"]), []),
    ):
        matches = State(graph, chosen, roofline()).matches()
        assert [match.rule for match in matches] == names
        assert [match.rule_index for match in matches] == [chosen.names.index(n) for n in names]


def test_attribute_variables_may_be_used_before_they_are_bound() -> None:
    rule = (
        "(rule r (Softmax (Transpose ?x :perm (list ?k 0)) :axis ?k)"
        " => (Transpose (Softmax ?x :axis ?k) :perm (list ?k 0)))"
    )
    net = Sketch()
    turned = net.node("Transpose", net.input(2, 3), perm=[1, 0])
    graph = net.graph(net.node("Softmax", turned, axis=1), net.node("Softmax", turned, axis=0))
    # The outer one with axis 0 wants perm (0 0); the other shares its operand.
    assert state(graph, rule).matches() == []
    net = Sketch()
    turned = net.node("Transpose", net.input(2, 3), perm=[1, 0])
    assert len(state(net.graph(net.node("Softmax", turned, axis=1)), rule).matches()) == 1


def test_drops_and_used_variables() -> None:
    net = Sketch()
    x, y = net.input(2), net.input(2)
    graph = net.graph(net.node("Where", net.node("Equal", x, x), x, y))
    rule = "(rule r (Where (Equal ?x ?x) ?a ?b) => ?a :drops ?x ?b)"
    (match,) = state(graph, rule).matches()
    assert match.rule == "r"
    assert len(state(graph, rule).apply(0).graph) == 0
    for partial in (":drops ?x", ":drops ?b", ":if (= (rank ?b) 1) (= (rank ?x) 1)"):
        with pytest.raises(ValueError, match="the target loses"):
            rule_set(f"(rule r (Where (Equal ?x ?x) ?a ?b) => ?a {partial})")


def test_numbers_strings_and_infinities() -> None:
    net = Sketch()
    x = net.input(2)
    wide = net.node("Clip", x)
    narrow = net.node("Clip", x, min=-1.5, max=1e-3)
    gelu = net.node("Gelu", x, approximate="tanh")
    graph = net.graph(wide, narrow, gelu)
    assert bound(state(graph, "(rule r (Clip ?x :min -inf :max inf) => ?x)")) == [[x, wide]]
    assert bound(state(graph, "(rule r (Clip ?x :min -1.5 :max 1e-3) => ?x)")) == [[x, narrow]]
    assert bound(state(graph, '(rule r (Gelu ?x :approximate "tanh") => ?x)')) == [[x, gelu]]
    assert bound(state(graph, '(rule r (Gelu ?x :approximate "none") => ?x)')) == []


def test_no_rule_set_is_none() -> None:
    with pytest.raises(ValueError, match="one is None"):
        RuleSet.join([RuleSet.parse("(rules a)"), None], "both")  # type: ignore[list-item]
