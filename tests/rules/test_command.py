"""`python -m xflowrl.rules`: what it prints and when it fails."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from xflowrl._engine import GraphBuilder, RuleSet, TensorType
from xflowrl.rules import load_core
from xflowrl.rules.__main__ import main
from xflowrl.rules.explaining import explain
from xflowrl.soundness.instances import Instance

Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_command(*arguments: str, code: int = 0) -> str:
        assert main(arguments) == code
        out, err = capsys.readouterr()
        if code and not out:
            assert err.startswith("error: ")
            assert len(err.splitlines()) == 1
            return err
        assert err == ""
        return out

    return run_command


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def rule_file(folder: Path, *rules: str) -> str:
    path = folder / "mine.rules"
    path.write_text("\n".join(["(rules mine)", *rules]), encoding="utf-8")
    return str(path)


def test_list_prints_every_rule(run: Run) -> None:
    assert len(run("list").splitlines()) == len(load_core())
    assert run("list", "rules=core") == run("list")


def test_list_of_one_rule(run: Run) -> None:
    out = run("list", "--rule", "Neg-Neg")
    assert out.startswith("elimination.rules:")
    assert out.endswith(": (rule Neg-Neg (Neg (Neg ?x)) => ?x)\n")


def test_list_shows_comments_inside_a_rule(run: Run, tmp_path: Path) -> None:
    path = rule_file(tmp_path, "(rule r (Neg (Neg ?x)) ; twice\n => ?x) ; outside")
    assert run("list", path) == f"{path}:2: (rule r (Neg (Neg ?x)) => ?x)\n    twice\n"


def test_where_a_rule_applies_is_explained(run: Run) -> None:
    lines = run("explain", "Conv-Relu-fuse", "graph=squeezenet", "graph.image_size=64").splitlines()
    assert lines[0] == "Conv-Relu-fuse applies to squeezenet at 26 places."
    assert lines[1] == "  It binds input, stem/conv/weight, stem/conv, stem/relu."
    assert len(lines) == 27


@pytest.mark.parametrize(
    ("rule", "graph", "line"),
    [
        (
            "Conv-Relu-fuse",
            "x[1,2,4,4] w[3,2,3,3]; c=Conv(x,w); y=Relu(c); out c,y",
            "It does not at 1 place: an inner result is used outside the match.",
        ),
        (
            "Conv-Relu-fuse",
            "x[1,2,4,4] w[3,2,3,3]; c=Conv(x,w) activation=Tanh; y=Relu(c)",
            'It does not at 1 place: activation of Conv is "Tanh", not "".',
        ),
        (
            "Reshape-Reshape",
            "x[2,3]; y=Relu(x)",
            "The graph has no Reshape that a rule can match.",
        ),
        (
            "Neg-Neg",
            "x[2,3]; y=Neg(x)",
            "Its Neg are nowhere connected as in the rule.",
        ),
    ],
)
def test_why_a_rule_does_not_apply(
    rule: str, graph: str, line: str, read_graph: Callable[[str], Instance]
) -> None:
    lines = list(explain(load_core().select([rule]), read_graph(graph).graph))
    assert lines[0] == f"{rule} applies to case at 0 places."
    assert any(said.endswith(line) for said in lines[1:]), lines


@pytest.mark.parametrize(
    ("rest", "line"),
    [
        ("(Relu ?x) :if (> (rank ?x) 2)", "the guard (> (rank ?x) 2) does not hold."),
        (
            "(Transpose ?x :perm (list 0))",
            "the target cannot be made, for perm does not fit the rank.",
        ),
    ],
)
def test_guards_and_targets_are_explained(
    rest: str, line: str, read_graph: Callable[[str], Instance]
) -> None:
    rules = RuleSet.parse(f"(rules r)\n(rule r (Relu (Neg ?x)) => {rest})")
    graph = read_graph("x[2,3]; a=Neg(x); b=Relu(a); c=Neg(b); d=Relu(c)").graph
    assert list(explain(rules, graph))[1:] == [f"  It does not at 2 places: {line}"]


def test_the_most_frequent_reason_comes_first(read_graph: Callable[[str], Instance]) -> None:
    rules = RuleSet.parse("(rules r)\n(rule r (Relu (Neg ?x)) => (Relu ?x) :if (> (rank ?x) 2))")
    text = "x[2,3]; a=Neg(x); b=Relu(a); c=Neg(b); d=Relu(c); e=Neg(d); f=Relu(e); out e,f"
    lines = list(explain(rules, read_graph(text).graph))
    assert ["2 places" in line for line in lines[1:]] == [True, False]


def test_what_is_kept_as_it_is_counts_for_nothing() -> None:
    builder = GraphBuilder("kept")
    x = TensorType("float32", [2])
    builder.add_input("x", x)
    for operand, result in (("x", "a"), ("a", "y")):
        builder.add_node("Neg", [operand], [result], output_types=[x], opaque=True)
    builder.set_outputs(["y"])
    lines = list(explain(load_core().select(["Neg-Neg"]), builder.build()))
    assert lines[1:] == ["  The graph has no Neg that a rule can match."]


def test_rules_of_a_later_opset_are_explained(run: Run, tmp_path: Path) -> None:
    for opset, words in (
        (22, " needs opset 23; old has 22."),
        (23, " applies to old at 0 places."),
    ):
        text = f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[2] x) => (float[2] y)'
        onnx.save(onnx.parser.parse_model(text + "{ y = Relu(x) }"), tmp_path / "old.onnx")
        rule = "RMSNormalization-recognise-Pow"
        out = run("explain", rule, "graph=onnx", f"graph.path={tmp_path / 'old.onnx'}")
        assert out.splitlines()[0] == rule + words


def test_rules_and_graphs_of_ones_own_are_explained(run: Run, tmp_path: Path) -> None:
    path = rule_file(
        tmp_path, "(rule mine (MatMul ?a (MatMul ?b ?c)) => (MatMul (MatMul ?a ?b) ?c))"
    )
    out = run("explain", "mine", "graph=tiny", "rules=file", f"rules.path={path}")
    assert out.startswith("mine applies to tiny at ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "Neg-Ne", "graph=tiny"], 'has no rule "Neg-Ne": did you mean Neg-Neg'),
        (["explain", "zzz", "graph=tiny"], 'no rule "zzz": `list` prints them all'),
        (["explain", "Neg-Neg", "graph=tinny"], "'tinny' does not exist: give one of"),
        (["explain", "Neg-Neg", "graph=tiny", "graph.size=3"], "graph.size is no option"),
        (["explain", "Neg-Neg", "rules=core"], "give graph=NAME"),
        (["explain", "Neg-Neg", "graph=tiny", "agent=ppo"], "'agent=ppo' is not understood"),
        (["explain", "Neg-Neg", "graph=onnx", "graph.path=none.onnx"], '"none.onnx" does not'),
        (["list", "rules=taso"], "rules.path is not given"),
        (["check", "--rule", "Neg-Nge"], "did you mean Neg-Neg"),
    ],
)
def test_what_is_wrong_is_one_line(run: Run, arguments: list[str], message: str) -> None:
    assert message in run(*arguments, code=1)


def test_mutants_are_counted(run: Run) -> None:
    out = run("check", "--rule", "Neg-Neg", "--mutants", "--instances", "5")
    assert re.search(
        r"\n    mutants: \d+ caught, 0 refused, 0 same, 0 equivalent, 0 survived\n", out
    )


def test_a_mutant_that_survives_fails_the_check(run: Run, tmp_path: Path) -> None:
    idle = "(rule idle (Relu (Relu ?x)) => (Relu ?x) :if (= (rank ?x) (rank ?x)))"
    path = rule_file(tmp_path, idle)
    assert "1 sound" in run("check", path, "--instances", "5")
    out = run("check", path, "--instances", "5", "--mutants", code=1)
    assert "1 survived" in out
    assert "    survived: without guard (= (rank ?x) (rank ?x))\n" in out


def test_mutants_of_an_unsound_rule_are_not_tried(run: Run, tmp_path: Path) -> None:
    path = rule_file(tmp_path, "(rule wrong (Relu (Neg ?x)) => (Neg ?x))")
    assert "mutants: " not in run("check", path, "--instances", "5", "--mutants", code=1)
