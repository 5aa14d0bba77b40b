"""A rewrite that undoes another leads back to the same graph, weights and all.

Otherwise weights would become ever longer expressions, and a search would take each for news.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from xflowrl._engine import CostTable, State
from xflowrl.rules import load_core
from xflowrl.soundness.instances import Instance

CORE = load_core()

# What is merged, by which rule, and which rule parts it.
INVERSES = {
    "Conv": (
        "x[1,2,5] w[3,2,3] v[4,2,3]; c=Conv(x,w); d=Conv(x,v)",
        "Conv-siblings-merge",
        "Conv-Split-part",
    ),
    "Conv with biases": (
        "x[1,2,5] w[3,2,3] b[3] v[4,2,3] k[4]; c=Conv(x,w,b); d=Conv(x,v,k)",
        "Conv-bias-siblings-merge",
        "Conv-bias-Split-part",
    ),
    "MatMul": (
        "x[2,3,4] w[4,5] v[4,6]; c=MatMul(x,w); d=MatMul(x,v)",
        "MatMul-left-siblings-merge",
        "MatMul-left-Split-part",
    ),
    "Gemm": (
        "x[2,4] w[5,4] v[6,4]; c=Gemm(x,w) transB=1; d=Gemm(x,v) transB=1",
        "Gemm-left-siblings-merge",
        "Gemm-Split-part",
    ),
}


def step(state: State, rule: str) -> State:
    return state.apply(next(match for match in state.matches() if match.rule == rule))


@pytest.mark.parametrize("name", INVERSES)
def test_parting_undoes_merging(read_graph: Callable[[str], Instance], name: str) -> None:
    text, merge, part = INVERSES[name]
    start = State(read_graph(text).graph, CORE, CostTable.roofline(1e12, 1e12, 0.0))
    merged = step(start, merge)
    assert merged.hash != start.hash
    parted = step(merged, part)
    assert parted.hash == start.hash
    assert parted.graph.merkle_hash == start.graph.merkle_hash
    assert parted.graph.num_nodes == start.graph.num_nodes


@pytest.mark.parametrize("name", INVERSES)
def test_merging_undoes_parting(read_graph: Callable[[str], Instance], name: str) -> None:
    text, merge, part = INVERSES[name]
    start = State(read_graph(text).graph, CORE, CostTable.roofline(1e12, 1e12, 0.0))
    merged = step(start, merge)
    assert step(step(merged, part), merge).hash == merged.hash
