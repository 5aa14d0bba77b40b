"""The Python API, as it is imported: `import xflowrl` and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import xflowrl
from xflowrl.options import build_option
from xflowrl.problem import Problem
from xflowrl.run_folder import GraphRecord, read_result

MakeProblem = Callable[..., Problem]


@pytest.fixture
def relus_onnx(relu_problem: MakeProblem, tmp_path: Path) -> Path:
    """A file with four relus in a row."""
    path = tmp_path / "relus.onnx"
    xflowrl.save_onnx(relu_problem(4).model, path)
    return path


def test_a_file_goes_in_and_a_model_comes_out(relus_onnx: Path) -> None:
    result = xflowrl.optimize(relus_onnx, agent="taso", measurement="roofline", alpha=1.0)
    proto = xflowrl.export_onnx(result.model)
    assert [node.op_type for node in proto.graph.node] == ["Relu"]
    onnx.checker.check_model(proto, full_check=True)


def test_models_and_names_as_well_as_objects(relu_problem: MakeProblem) -> None:
    from xflowrl.agents.greedy import Greedy

    problem = relu_problem(4)
    result = xflowrl.optimize(
        problem.model,
        agent=Greedy(),
        rules=problem.rules,
        measurement=problem.objective,
        budget=xflowrl.Budget(max_iterations=1),
    )
    assert (result.num_nodes_best, str(result.stop_reason)) == (3, "iterations")


def test_budget_by_its_differences(relu_problem: MakeProblem) -> None:
    model = relu_problem(6).model
    limits = {"max_iterations": 2}
    result = xflowrl.optimize(model, measurement="roofline", budget=limits)
    assert result.iterations == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"agent": "nobody"}, "agent 'nobody' does not exist: give one of "),
        ({"rules": "none"}, "rules 'none' does not exist"),
        ({"alpha": 1.0}, "agent.alpha is no option of xflowrl.agents.greedy.Greedy"),
        ({"agent": "taso", "alpha": "x"}, "agent.alpha is 'x' (str): give float"),
        ({"budget": {"iterations": 1}}, "budget.iterations is no option of"),
    ],
)
def test_bad_options_are_refused(
    relu_problem: MakeProblem, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError) as raised:
        xflowrl.optimize(relu_problem(2).model, **{"measurement": "roofline"} | options)  # type: ignore[arg-type]
    assert str(raised.value).startswith(message)


def test_options_of_an_object_are_refused(relu_problem: MakeProblem) -> None:
    from xflowrl.agents.greedy import Greedy

    with pytest.raises(ValueError, match="agent is an object: set alpha in it"):
        xflowrl.optimize(relu_problem(2).model, agent=Greedy(), alpha=1.0)


def command_line(folder: Path, *arguments: str) -> GraphRecord:
    """The same by the command line: what it recorded for its only graph."""
    command = [sys.executable, "-m", "xflowrl.run", "agent=greedy", "judge.draws=1"]
    command += ["measurement=roofline", "judge.measure=false", "wandb.mode=disabled", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (run,) = folder.glob("multirun/*/*/0")
    (entry,) = read_result(run).results
    return entry


def assert_same(result: xflowrl.Result, entry: GraphRecord) -> None:
    assert result.num_nodes_initial == entry.num_nodes_initial
    assert result.cost_initial_ms == entry.cost_initial_ms
    assert result.num_nodes_best == entry.num_nodes_best
    assert result.cost_best_ms == entry.cost_best_ms


def test_the_command_line_opens_the_same_gemms(tmp_path: Path) -> None:
    """A rule set called as TASO's wants a Gemm as a product and a sum."""
    weights = [
        onnx.numpy_helper.from_array(np.ones(shape, np.float32), name)
        for name, shape in (("w", (4, 4)), ("b", (4,)))
    ]
    make = onnx.helper.make_tensor_value_info
    x, y = (make(name, onnx.TensorProto.FLOAT, [1, 4]) for name in "xy")
    nodes = [
        onnx.helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
        onnx.helper.make_node("Relu", ["h"], ["r"]),
        onnx.helper.make_node("Relu", ["r"], ["y"]),
    ]
    graph = onnx.helper.make_graph(nodes, "gemm", [x], [y], weights)
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.save(model, tmp_path / "gemm.onnx")
    (tmp_path / "my.rules").write_text("(rules taso)\n(rule r (Relu (Relu ?x)) => (Relu ?x))\n")
    rules = build_option("rules", "file", {"path": str(tmp_path / "my.rules")})
    result = xflowrl.optimize(tmp_path / "gemm.onnx", rules=rules, measurement="roofline")
    assert (result.num_nodes_initial, result.num_nodes_best) == (4, 3)
    options = ("graph=onnx", "graph.path=gemm.onnx", "rules=file", "rules.path=my.rules")
    assert_same(result, command_line(tmp_path, *options))


def test_the_command_line_finds_the_same_with_tasos_rules(shared_dir: Path, tmp_path: Path) -> None:
    path = str(shared_dir / "taso" / "graph_subst.pb")
    rules = build_option("rules", "taso", {"path": path, "faithful": True})
    model = build_option("graph", "vgg16")
    result = xflowrl.optimize(model, rules=rules, measurement="roofline", verify=False)
    assert result.num_nodes_initial == 42
    options = ("graph=vgg16", "rules=taso", f"rules.path={path}", "rules.faithful=true")
    assert_same(result, command_line(tmp_path, *options))


def test_networks_are_reached_from_the_package() -> None:
    code = "import xflowrl; print(len(xflowrl.graphs.bert.build_graph_bert().graph) > 100)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr


def test_public_names_exist() -> None:
    for name in xflowrl.__all__:
        assert getattr(xflowrl, name) is not None
    assert set(xflowrl.__all__) <= set(dir(xflowrl))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        xflowrl.nothing  # noqa: B018
