"""The fixture `install_taso`: a package `taso` with TASO's interface and its manners."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

# Takes a relu of a relu for one; forgets names, epsilons and the operator set, as TASO does.
STAND_IN = """
import onnx
CALLS = {calls!r}
def load_onnx(path):
    return onnx.load(path)
def optimize(graph, alpha=1.0, budget=1000, print_subst=False):
    with open(CALLS, "a") as file:
        print(alpha, budget, file=file)
    made = {{o: n for n in graph.graph.node for o in n.output}}
    for node in graph.graph.node:
        for i, x in enumerate(node.input):
            if node.op_type == "Relu" and x in made and made[x].op_type == "Relu":
                node.input[i] = made[x].input[0]
    read = {{x for n in graph.graph.node for x in n.input}} | {{o.name for o in graph.graph.output}}
    for node in [n for n in graph.graph.node if not read & set(n.output)]:
        graph.graph.node.remove(node)
    {more}
    return graph
def export_onnx(graph):
    weights = {{t.name for t in graph.graph.initializer}}
    for info in [*graph.graph.input, *graph.graph.output]:
        for node in graph.graph.node:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    if name == info.name:
                        names[i] = "op_" + name
        info.name = "op_" + info.name
    for node in graph.graph.node:
        for attribute in [a for a in node.attribute if a.name == "epsilon"]:
            assert node.op_type == "BatchNormalization" and attribute.f == 0
            node.attribute.remove(attribute)
    del graph.opset_import[:]
    return graph
"""


@pytest.fixture
def install_taso(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts a stand-in on the path; `more` is what else its `optimize` does. Returns its calls."""

    def put(more: str = "pass") -> Path:
        folder = tmp_path / "site"
        folder.mkdir()
        calls = tmp_path / "calls"
        (folder / "taso.py").write_text(STAND_IN.format(calls=str(calls), more=more))
        monkeypatch.syspath_prepend(str(folder))
        return calls

    return put
