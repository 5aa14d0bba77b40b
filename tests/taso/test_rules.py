"""TASO's rules: their ids, which of them are wrong, and that each remedy is needed and enough."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xflowrl._engine import CostTable, RuleSet, State
from xflowrl.soundness.check import check_rule
from xflowrl.soundness.reference import evaluate_graph
from xflowrl.soundness.sexpr import comments_of, read_rule
from xflowrl.taso.builtin_rules import builtin_rules
from xflowrl.taso.rule_file import read_taso_file
from xflowrl.taso.rule_text import rule_text
from xflowrl.taso.rules import BUILTIN, FROM_FILE, load_taso

# Wrong as TASO has them: shared/taso/README.md, and beyond it 132 to 136 (unequal padding).
UNSOUND = (
    *(1, 2, 4, 5, 7, 8, 10, 11, 12, 13),
    *(77, 78, 79, 80, 116, 117, 118, 123),
    *(132, 133, 134, 135, 136),
    *(143, 144, 145, 146, 147, 148, 149),
)
# A mutant is told from the rule in so many applications; the slowest, rule 77, takes 69.
ENOUGH = 500


@pytest.fixture(scope="module")
def path(shared_dir: Path) -> str:
    """TASO's rule file."""
    return str(shared_dir / "taso" / "graph_subst.pb")


@pytest.fixture(scope="module")
def guarded(path: str) -> RuleSet:
    return load_taso(path)


@pytest.fixture(scope="module")
def faithful(path: str) -> RuleSet:
    return load_taso(path, faithful=True)


def state(graph: Any, rules: RuleSet) -> State:
    return State(graph, rules, CostTable.roofline(1e12, 1e12, 0.005))


def is_sound(rules: RuleSet, number: int, num_instances: int) -> bool:
    finding = check_rule(
        rules.rules[number].text, num_instances=num_instances, is_commutative=False
    )
    assert finding.status != "unchecked", finding.detail
    return finding.status == "sound"


def test_the_index_is_tasos_id(guarded: RuleSet, faithful: RuleSet) -> None:
    assert len(guarded) == 151
    assert guarded.names == faithful.names
    for number, name in enumerate(guarded.names):
        assert name.startswith(f"taso-{number:03d}-")
    assert guarded.names[112] == "taso-112-relu-relu-concat-to-concat-relu"
    assert (guarded.name, guarded.commutative, guarded.faithful) == ("taso", False, False)
    assert (faithful.name, faithful.commutative, faithful.faithful) == ("taso", False, True)


def test_only_rules_with_a_remedy_differ(guarded: RuleSet, faithful: RuleSet) -> None:
    pairs = enumerate(zip(guarded.rules, faithful.rules, strict=True))
    different = [number for number, (a, b) in pairs if read_rule(a.text) != read_rule(b.text)]
    assert different == list(UNSOUND)


def test_a_comment_says_what_is_wrong(guarded: RuleSet, faithful: RuleSet) -> None:
    for rules, word in ((guarded, "remedied: "), (faithful, "unsound: ")):
        comments = [comments_of(rule.text) for rule in rules.rules]
        assert [number for number, found in enumerate(comments) if found] == list(UNSOUND)
        assert all(found[0].startswith(word) for found in comments if found)


@pytest.mark.parametrize("number", UNSOUND)
def test_a_wrong_rule_is_caught(faithful: RuleSet, number: int) -> None:
    assert not is_sound(faithful, number, ENOUGH)


@pytest.mark.parametrize("number", UNSOUND)
def test_with_its_remedy_it_is_sound(guarded: RuleSet, number: int) -> None:
    assert is_sound(guarded, number, 40)


def test_the_other_rules_are_sound(guarded: RuleSet) -> None:
    for number in range(151):
        assert number in UNSOUND or is_sound(guarded, number, 16), guarded.names[number]


@pytest.mark.slow
def test_every_rule_is_sound_on_many_instances(guarded: RuleSet) -> None:
    for number in range(151):
        assert is_sound(guarded, number, 300), guarded.names[number]


GUARDS = [
    (number, position)
    for table in (BUILTIN, FROM_FILE)
    for number, remedy in table.items()
    for position, guard in enumerate(remedy.guards)
    if number not in (12, 13) or guard != "(= ?d0 ?d1)"  # see the test of unequal dilations
]


@pytest.mark.parametrize(("number", "position"), GUARDS)
def test_every_guard_is_needed(path: str, number: int, position: int) -> None:
    guards = (BUILTIN.get(number) or FROM_FILE[number]).guards
    rest = (*guards[:position], *guards[position + 1 :])
    if number < 18:
        text = builtin_rules(epsilon=True, guards={number: rest})[number]
    else:
        text = rule_text(read_taso_file(path)[number - 18], "mutant", rest)
    finding = check_rule(text, num_instances=ENOUGH, is_commutative=False)
    assert finding.status == "unsound", guards[position]


def test_merging_unequal_dilations_is_wrong(
    guarded: RuleSet, faithful: RuleSet, read_graph: Callable[[str], Any]
) -> None:
    """Sizes agree, for the second pads more at the end, and so do the first taps."""
    instance = read_graph(
        "x[1,2,6,6] w[3,2,3,3] v[3,2,3,3];"
        "a=Conv(x,w) pads=1,1,1,1; b=Conv(x,v) pads=1,1,3,3 dilations=2,2"
    )
    names = [guarded.names[12]]
    assert len(state(instance.graph, guarded.select(names))) == 0
    wrong = state(instance.graph, faithful.select(names))
    assert len(wrong) == 2
    before, after = (
        evaluate_graph(graph, instance.feeds, instance.weights, replace_functions=False)
        for graph in (instance.graph, wrong.apply(0).graph)
    )
    assert abs(before[0] - after[0]).max() > 1.0


def test_grouped_siblings_are_merged_by_faithful_rules_alone(
    guarded: RuleSet, faithful: RuleSet, read_graph: Callable[[str], Any]
) -> None:
    text = "x[1,4,6,6] w[2,{0},3,3] v[4,{0},3,3];a=Conv(x,w) pads=1,1,1,1 {1};"
    text += "b=Conv(x,v) pads=1,1,1,1 {1}"
    names = [guarded.names[145]]
    grouped = read_graph(text.format(2, "group=2")).graph
    whole = read_graph(text.format(4, "")).graph
    assert len(state(grouped, faithful.select(names))) == 2
    assert len(state(grouped, guarded.select(names))) == 0
    assert len(state(whole, guarded.select(names))) == 2


def test_a_convolution_with_bias_is_none_of_tasos(
    guarded: RuleSet, read_graph: Callable[[str], Any]
) -> None:
    text = "x[1,2,6,6] w[2,2,3,3] b[2];c=Conv(x,w{}) pads=1,1,1,1;y=Relu(c)"
    assert len(state(read_graph(text.format(",b")).graph, guarded)) == 0
    assert len(state(read_graph(text.format("")).graph, guarded)) == 2  # ids 0 and 82


def test_same_and_valid(guarded: RuleSet, read_graph: Callable[[str], Any]) -> None:
    """1x1 counts as SAME, else no padding is VALID and any other padding SAME."""
    text = "x[1,2,6,6] w[2,2,{k},{k}];c=Conv(x,w) pads={p} strides={s};y=Relu(c)"
    cases = {
        (1, "0,0,0,0", "1,1"): [0, 82],
        (3, "0,0,0,0", "1,1"): [3],
        (3, "1,1,0,0", "1,1"): [0, 82],
        (3, "1,1,1,1", "2,2"): [6],
        (3, "0,0,0,0", "2,2"): [9],
        (3, "0,0,0,0", "2,1"): [],
    }
    for (kernel, pads, strides), ids in cases.items():
        graph = read_graph(text.format(k=kernel, p=pads, s=strides)).graph
        assert [m.rule_index for m in state(graph, guarded).matches()] == ids


def test_faithful_rules_match_constants(
    guarded: RuleSet, faithful: RuleSet, read_graph: Callable[[str], Any]
) -> None:
    graph = read_graph("x[4,4] a[4,4] b[4,4] c[4,4];p=Add(a,b);q=Add(c,p);y=Add(x,q)").graph
    on_weights = {42, 46}
    assert on_weights <= {
        m.rule_index for m in state(graph, faithful).matches() if m.tensors[-1] == "q"
    }
    assert not [m for m in state(graph, guarded).matches() if m.tensors[-1] == "q"]


def test_another_file_is_used_with_a_warning(
    path: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load_taso(path)
    assert not caplog.records
    content = Path(path).read_bytes()
    other = tmp_path / "twice.pb"
    other.write_bytes(content + content)  # protobuf joins repeated fields
    with caplog.at_level(logging.WARNING):
        rules = load_taso(str(other))
    assert len(rules) == 18 + 2 * 133
    assert "is not the rule file of TASO's master" in caplog.text
    guards = rules.rules[145].text.split(" => ")[1]
    assert "(= ?g0 1)" in guards
    assert guards == rules.rules[145 + 133].text.split(" => ")[1]
