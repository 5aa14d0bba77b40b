"""The proof in `tiny`'s docstring, done by the engine: every state, its price, every move."""

from __future__ import annotations

import re

import pytest

from xflowrl._engine import CostTable, Graph, State
from xflowrl.graphs.tiny import tiny
from xflowrl.rules import load_core

NUM_BRACKETINGS = 5


def bracketing(graph: Graph) -> str:
    """The product that the graph computes, such as `(a b) (c d)`, with `relu` where it is apart."""
    text = {name: name for name in "abcd"}
    for node in graph.nodes():
        operands = [text[name] for name in node.inputs]
        if node.op_type == "MatMul":
            operands = [f"({operand})" if " " in operand else operand for operand in operands]
            text[node.outputs[0]] = " ".join(operands)
        else:
            text[node.outputs[0]] = f"relu {operands[0]}"
    return text[graph.output_tensors[0]]


@pytest.fixture(scope="module")
def states() -> dict[str, tuple[float, set[str]]]:
    """All states: price in us, and the states that one rewrite makes of it."""
    start = State(tiny().graph, load_core(), CostTable.roofline(19.5e12, 1.555e12, 0.005))
    found: dict[str, tuple[float, set[str]]] = {}
    waiting = [start]
    while waiting:
        state = waiting.pop()
        name = bracketing(state.graph)
        if name in found:
            continue
        children = [state.apply(match) for match in state.matches()]
        found[name] = (
            1000 * state.cost.ms,
            {bracketing(child.graph) for child in children} - {name},
        )
        waiting.extend(children)
    return found


def test_there_are_ten_states(states: dict[str, tuple[float, set[str]]]) -> None:
    assert len(states) == 2 * NUM_BRACKETINGS
    fused = {name: next_ for name, (_, next_) in states.items() if not name.startswith("relu")}
    assert len(fused) == NUM_BRACKETINGS
    assert all(len(neighbours) == 2 and neighbours <= set(fused) for neighbours in fused.values())


def test_prices_are_those_of_the_docstring(states: dict[str, tuple[float, set[str]]]) -> None:
    rows = re.findall(
        r"^ {8}([(a-d][a-d ()]*d\)*) {2,}.* = \d+ +([\d.]+)", tiny.__doc__ or "", re.M
    )
    assert len(rows) == NUM_BRACKETINGS
    for name, price in rows:
        assert states[name][0] == pytest.approx(float(price), abs=6e-4)  # three digits printed
        relu = states[f"relu {name}"][0] - states[name][0]
        assert relu == pytest.approx(5.063, abs=6e-4)


def test_greedy_gets_stuck_and_one_dearer_step_leads_on(
    states: dict[str, tuple[float, set[str]]],
) -> None:
    price = {name: price for name, (price, _) in states.items()}
    name = "relu ((a b) c) d"
    while any(price[other] < price[name] for other in states[name][1]):
        name = min(states[name][1], key=price.__getitem__)
    assert name == "((a b) c) d"
    best = min(price, key=price.__getitem__)
    assert best == "a (b (c d))"
    bridge = states[name][1] & states[best][1]
    assert bridge == {"(a b) (c d)"}
    assert 1.02 < price["(a b) (c d)"] / price[name] < 1.03
