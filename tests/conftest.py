"""Fixtures of the whole suite."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest_plugins = ["graph_text", "taso_stand_in"]  # the fixtures `read_graph`, `install_taso`

REPOSITORY = Path(__file__).resolve().parent.parent

# Tests start the command line in other folders; a source tree that is not installed is found there
# too. Last on the path, so that an installed package goes first.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [os.environ.get("PYTHONPATH"), str(REPOSITORY)])
)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of reference material beside the repository.

    Where it is missing the test is skipped, or fails if XFLOWRL_REQUIRE_SHARED=1.
    """
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        reason = "needs the folder shared/ beside the repository"
        if os.environ.get("XFLOWRL_REQUIRE_SHARED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture
def relu_problem() -> Callable[..., Any]:
    """Makes problems of a chain of relus, two of which in a row a rule makes one.

    The optimum is one relu, reached in `num_relus - 1` rewrites, each saving the same. Keyword
    arguments are limits of the budget, or `seed`.
    """
    from xflowrl._engine import CostTable, GraphBuilder, RuleSet, TensorType
    from xflowrl.onnx_io import Model
    from xflowrl.problem import Budget, Problem
    from xflowrl.weights import DrawnWeights

    rules = RuleSet.parse("(rules toy)\n(rule relu-of-relu (Relu (Relu ?x)) => (Relu ?x))")

    def make(
        num_relus: int = 4, *, seed: int = 0, cost_model: Any = None, **limits: Any
    ) -> Problem:
        builder = GraphBuilder("relus")
        tensor = builder.add_input("x", TensorType("float32", [8, 8]))
        for index in range(num_relus):
            (tensor,) = builder.add_node("Relu", [tensor], [f"relu{index}"])
        builder.set_outputs([tensor])
        graph = builder.build()
        table = CostTable.roofline(1e12, 1e12, 0.005)
        free = SimpleNamespace(table=table, fill=lambda: 0, measure_s=0.0, num_measured=0)
        return Problem(
            model=Model(graph, DrawnWeights(graph, 0)),
            rules=rules,
            cost_model=cost_model or free,
            budget=Budget(**limits),
            seed=seed,
        )

    return make
