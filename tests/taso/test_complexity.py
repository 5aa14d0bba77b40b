"""The places where rules apply, against TASO's published tables and counts made by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xflowrl._engine import Graph, GraphBuilder, RuleSet, TensorType
from xflowrl.graphs import bert, resnet, squeezenet
from xflowrl.rules.__main__ import main
from xflowrl.soundness.check import check_rule
from xflowrl.taso.complexity import Counts, count_places, record, table
from xflowrl.taso.open_gemms import OPENING_RULES, open_gemms
from xflowrl.taso.rules import load_taso

# shared/taso/README.md, "Places where a rewrite applies": TASO's count by rule, valid, distinct.
PUBLISHED: dict[str, tuple[Callable[[], Any], dict[int, int], int, int]] = {
    "squeezenet": (
        squeezenet.squeezenet,
        {0: 17, 9: 1, 12: 8, 112: 6, 113: 8, 138: 8},
        99,
        74,
    ),
    "resnet18": (resnet.resnet18, {1: 13, 7: 7}, 20, 20),
    "resnet34": (resnet.resnet34, {1: 29, 7: 7}, 36, 36),
    "resnet50": (resnet.resnet50, {1: 46, 7: 7, 12: 2, 145: 2}, 57, 57),
    "resnet152": (resnet.resnet152, {1: 148, 7: 7, 12: 2, 145: 2}, 159, 159),
    "bert": (bert.build_graph_bert, {95: 80}, 96, 96),
}


@pytest.fixture(scope="module")
def path(shared_dir: Path) -> str:
    """TASO's rule file."""
    return str(shared_dir / "taso" / "graph_subst.pb")


@pytest.fixture(scope="module", params=[True, False], ids=["faithful", "guarded"])
def rules(path: str, request: pytest.FixtureRequest) -> RuleSet:
    """In these graphs the guards hold everywhere."""
    return load_taso(path, faithful=request.param)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(rules: RuleSet, name: str) -> None:
    build, taso, valid, distinct = PUBLISHED[name]
    complexity = count_places(build().graph, rules)
    counted = {index: p.taso for index, p in complexity.places.items() if p.taso}
    assert counted == taso
    assert complexity.num_places == Counts(sum(taso.values()), valid, distinct)
    assert complexity.num_rules.taso == len(taso)


@pytest.mark.parametrize(("name", "num_places"), [("nasbench_3x3", 1024), ("inception", 1117)])
def test_published_counts_of_nasbench(path: str, name: str, num_places: int) -> None:
    """TASO's own count depends here on the order in which a builder made the nodes."""
    rules = load_taso(path, faithful=True)
    graph = nasbench_graph(name)
    complexity = count_places(graph, rules)
    assert (complexity.num_places.valid, complexity.num_places.distinct) == (num_places,) * 2


def nasbench_graph(name: str) -> Graph:
    from xflowrl.options import build_option

    option = {"inception": "nasbench_inception"}.get(name, name)
    graph: Graph = build_option("graph", option).graph
    return graph


def relus() -> Graph:
    """Two chains of two relus of one input; one of them is wider."""
    builder = GraphBuilder("relus")
    builder.add_input("x", TensorType("float32", [2, 3]))
    builder.add_input("y", TensorType("float32", [2, 5]))
    for chain, tensor in (("a", "x"), ("b", "x"), ("c", "y")):
        for index in range(2):
            (tensor,) = builder.add_node("Relu", [tensor], [f"{chain}{index}"])
    builder.set_outputs(["a1", "b1", "c1"])
    return builder.build()


TWICE = """(rules twice)
(rule relu-of-relu (Relu (Relu ?x)) => (Relu ?x))
(rule relu-of-relu-again (Relu (Relu ?x)) => (Relu ?x))"""


def test_three_ways_of_counting() -> None:
    """Chains a and b differ by the output they feed; TASO sees neither names nor outputs."""
    complexity = count_places(relus(), RuleSet.parse(TWICE))
    assert complexity.places == {0: Counts(2, 3, 3), 1: Counts(0, 3, 0)}
    assert complexity.num_rules == Counts(1, 2, 1)
    assert complexity.num_places == Counts(2, 6, 3)
    assert table(complexity).splitlines() == [
        "relus, rules twice",
        "  id  rule                                             TASO    valid distinct",
        "   0  relu-of-relu                                        2        3        3",
        "   1  relu-of-relu-again                                  0        3        0",
        "Total number of available substitutions                   1        2        1",
        "Total available locations for graph substitutions         2        6        3",
    ]
    (entry,) = record([complexity])["graphs"]
    assert entry["num_locations"] == {"taso": 2, "valid": 6, "distinct": 3}
    assert entry["places"][0] == {
        **{"id": 0, "name": "relu-of-relu"},
        **{"taso": 2, "valid": 3, "distinct": 3},
    }


def gemm(alpha: float = 1.0) -> Graph:
    builder = GraphBuilder("gemm")
    builder.add_input("x", TensorType("float32", [2, 3]))
    builder.add_weight("w", TensorType("float32", [5, 3]))
    builder.add_weight("b", TensorType("float32", [5]))
    attributes = {"alpha": alpha, "beta": 1.0, "transA": 0, "transB": 1}
    builder.add_node("Gemm", ["x", "w", "b"], ["y"], attributes)
    builder.set_outputs(["y"])
    return builder.build()


def test_a_gemm_is_opened() -> None:
    opened = open_gemms(gemm())
    assert [node.op_type for node in opened.nodes()] == ["Transpose", "MatMul", "Add"]
    assert opened.outputs == ["y"]
    kept = open_gemms(gemm(alpha=0.5))
    assert [node.op_type for node in kept.nodes()] == ["Gemm"]


@pytest.mark.parametrize("text", OPENING_RULES)
def test_opening_is_sound(text: str) -> None:
    finding = check_rule(text, num_instances=40, is_commutative=False)
    assert finding.status == "sound", finding.detail


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "xflowrl.taso.complexity",
        *arguments,
        f"hydra.run.dir={folder}",
    ]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def test_command_line(path: str, tmp_path: Path) -> None:
    done = run(tmp_path, "graph=squeezenet", "rules=taso", f"rules.path={path}")
    assert done.returncode == 0, done.stderr
    assert " 112  taso-112-relu-relu-concat-to-concat-relu            6 " in done.stdout
    written = json.loads((tmp_path / "complexity.json").read_text("utf-8"))
    assert written["schema"] == 1
    (entry,) = written["graphs"]
    assert (entry["graph"], entry["rules"], entry["faithful"]) == ("squeezenet", "taso", False)
    assert entry["num_locations"] == {"taso": 48, "valid": 99, "distinct": 74}
    assert entry["num_substitutions"] == {"taso": 6, "valid": 7, "distinct": 6}


def test_a_bad_rule_file_is_one_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pb"
    bad.write_bytes(b"\x0a\x7f\x01")
    done = run(tmp_path, "graph=squeezenet", "rules=taso", f"rules.path={bad}")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        f'error: "{bad}" is no TASO rule file, or a truncated one'
    ]


def test_a_rule_is_explained_on_open_gemms(
    shared_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule = "taso-023-matmul-matmul-add-to-matmul-add-matmul"
    path = shared_dir / "taso" / "graph_subst.pb"
    assert main(["explain", rule, "graph=vgg16", "rules=taso", f"rules.path={path}"]) == 0
    assert "Its Add and MatMul are nowhere connected" in capsys.readouterr().out
