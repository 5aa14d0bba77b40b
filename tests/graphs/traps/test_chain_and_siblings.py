"""Traps hold what they promise: a descent ends in them, and a dearer step leads on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from trap_walks import descended

from xflowrl._engine import CostTable, RuleSet, State
from xflowrl.graphs.layers import LayerBuilder
from xflowrl.graphs.random_cells import Draw, Style
from xflowrl.graphs.random_networks import random_network
from xflowrl.graphs.traps.chain import RING, chain_trap, drawn_chain
from xflowrl.graphs.traps.siblings import sibling_trap
from xflowrl.onnx_io import Model
from xflowrl.rules import load_core

Trap = Callable[[LayerBuilder, str, str, Draw, Style], str | None]


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return load_core()


def alone(trap: Trap, seed: int, image_size: int) -> Model | None:
    net = LayerBuilder("trap")
    x = net.input("input", [1, 16, image_size, image_size])
    y = trap(net, x, "trap", Draw(seed), Style(16, 0.5, 4, 3))
    return None if y is None else net.model({"output": y}, seed=0)


def start(model: Model, rules: RuleSet) -> State:
    return State(model.graph, rules, CostTable.roofline(19.5e12, 1.555e12, 0.005))


def applied(state: State, *parts: str) -> State:
    """Any match of a rule whose name contains one of `parts`, as long as there is one."""
    while True:
        match = next((m for m in state.matches() if any(part in m.rule for part in parts)), None)
        if match is None:
            return state
        state = state.apply(match)


@pytest.mark.parametrize("image_size", [8, 16, 32, 64])
@pytest.mark.parametrize("seed", range(3))
def test_merging_siblings_pays_only_in_the_end(seed: int, image_size: int, rules: RuleSet) -> None:
    model = alone(sibling_trap, seed, image_size)
    assert model is not None
    stuck = descended(start(model, rules))
    merges = [m for m in stuck.matches() if "siblings-merge" in m.rule]
    assert len(merges) >= 6  # three siblings in pairs, in both orders
    assert all(0 < m.cost_difference_ms < 0.002 for m in merges)
    merged = applied(stuck, "siblings-merge")
    assert merged.cost.ms > stuck.cost.ms
    assert applied(merged, "Split-of-Split").cost.ms < 0.92 * stuck.cost.ms


@pytest.mark.parametrize("seed", range(4))
def test_a_chain_is_bracketed_into_a_local_minimum(seed: int, rules: RuleSet) -> None:
    model = alone(chain_trap, seed, 32)
    assert model is not None
    stuck = descended(start(model, rules))
    assert all(m.cost_difference_ms > -1e-9 for m in stuck.matches())
    found, waiting = {stuck.cost.ms}, [stuck]
    seen = {stuck.graph.merkle_hash}
    while waiting:
        state = waiting.pop()
        for match in state.matches():
            if not match.rule.startswith("MatMul-associate"):
                continue
            after = state.apply(match)
            if after.graph.merkle_hash not in seen:
                seen.add(after.graph.merkle_hash)
                found.add(after.cost.ms)
                waiting.append(after)
    assert len(seen) == len(RING)
    assert min(found) < stuck.cost.ms - 1e-4  # a tenth of a microsecond and more


def test_small_images_hold_no_chain() -> None:
    assert drawn_chain(Draw(0), 49, 1) is None
    assert alone(chain_trap, 0, 7) is None


def test_trap_density_is_kept() -> None:
    def num_traps(trap: float) -> int:
        graph = random_network(num_nodes=2000, trap=trap, seed=1).graph
        names = [name for node in graph.nodes() for name in node.outputs]
        return len(
            {n.split("/")[1] for n in names if "/sibling0/conv" in n or "/factor0/relu" in n}
        )

    assert num_traps(0.0) == 0
    assert 0 < num_traps(0.1) < num_traps(0.5) < num_traps(1.0)
