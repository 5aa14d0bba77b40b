"""The graph before and after: what is shown at each step is the graph at that step."""

from __future__ import annotations

import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from report_runs import MakeRun

from xflowrl.options import build_option
from xflowrl.problem import Problem
from xflowrl.replaying import states
from xflowrl.report import graph_view as module
from xflowrl.report.entries import Entry, entries
from xflowrl.report.graph_view import graph_view
from xflowrl.report.runs import job_folders, read_runs


def read(folder: Path) -> Entry:
    (entry,) = entries(read_runs(job_folders([folder])))
    return entry


def there(view: dict[str, Any], place: int) -> list[list[Any]]:
    """The nodes, without inputs and outputs, that a place of the slider shows."""
    return [
        node
        for node in view["nodes"]
        if node[0] not in ("input", "output")
        and node[4] <= place
        and (node[5] == -1 or place < node[5])
    ]


@pytest.fixture
def problem() -> Problem:
    """That of the real run, built without its configuration."""
    return Problem(
        model=build_option("graph", "tiny"),
        rules=build_option("rules", "core"),
        objective=build_option("measurement", "roofline"),
    )


@pytest.mark.parametrize("max_states", [200, 2])
def test_each_place_shows_the_graph_after_so_many_rewrites(
    max_states: int, real_run: Path, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_STATES", max_states)
    entry = read(real_run)
    view = graph_view(entry)
    steps = entry.run.traces["tiny"].steps
    assert len(steps) == 3
    walk = list(states(problem, steps))
    indices = [said["index"] for said in view["states"]]
    assert indices == ([0, 1, 2, 3] if max_states == 200 else [0, 2, 3])
    for place, index in enumerate(indices):
        expected = Counter(node.op_type for node in walk[index].graph.nodes())
        assert Counter(node[0].split()[0] for node in there(view, place)) == expected
        operands = sum(
            name in {output for other in walk[index].graph.nodes() for output in other.outputs}
            or name in walk[index].graph.inputs
            for node in walk[index].graph.nodes()
            for name in set(node.inputs)
        )
        alive = [e for e in view["edges"] if e[2] <= place and (e[3] == -1 or place < e[3])]
        assert len(alive) == operands + len(walk[index].graph.outputs)
    costs = [said["cost_ms"] for said in view["states"]]
    assert costs[0] == entry.record.cost_initial_ms
    assert costs[-1] == pytest.approx(entry.record.cost_best_ms)
    assert view["states"][-1]["rules"][-1] == steps[-1].rule


def test_a_rewrite_moves_nothing_else_and_hides_nothing(real_run: Path) -> None:
    view = graph_view(read(real_run))
    width, height = view["node_size"]
    for place in range(len(view["states"])):
        boxes = [node[2:4] for node in view["nodes"] if node in there(view, place)]
        for index, (x, y) in enumerate(boxes):
            assert all(abs(x - a) >= width or abs(y - b) >= height for a, b in boxes[:index])
    for source, reader, born, _ in view["edges"]:
        if born == 0:
            assert view["nodes"][source][3] < view["nodes"][reader][3], "operands lie above"


def test_a_graph_of_900_nodes_is_laid_out_in_seconds() -> None:
    import time

    model = build_option("graph", "nasbench_3x3", {"num_modules_per_stack": 9})
    nodes, edges = module._seen(model.graph)
    assert len(nodes) > 900
    began_s = time.process_time()
    places = module._layered(list(nodes), edges)
    assert time.process_time() - began_s < 5  # 0.1 s where nothing else runs
    boxes = sorted((y, x) for x, y in places.values())
    for (y, x), (b, a) in pairwise(boxes):
        assert b > y or a - x >= module._WIDTH - 1e-6


def test_a_graph_that_cannot_be_built_is_a_reason(tmp_path: Path, make_run: MakeRun) -> None:
    folder = make_run(tmp_path / "0", {"graph._target_": "os.system"})
    with pytest.raises(ValueError, match="give a function or class of xflowrl"):
        graph_view(read(folder))
    shutil.rmtree(folder / ".hydra")
    with pytest.raises(ValueError, match="is no configuration of a run"):
        graph_view(read(folder))
    other = make_run(tmp_path / "1", {"graph._target_": "xflowrl.graphs.squeezenet.squeezenet"})
    with pytest.raises(ValueError, match=r"graph.* is no option|gives no graph 'tiny'"):
        graph_view(read(other))
