"""Every kind is a trap: greedy and TASO's search end above the optimum, behind a barrier."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from trap_walks import descended, lowest_pass

from xflowrl._engine import BacktrackingSearch, RuleSet
from xflowrl.agents.exhaustive import Exhaustive
from xflowrl.graphs.layers import LayerBuilder
from xflowrl.graphs.random_cells import Draw, Style
from xflowrl.graphs.random_networks import random_network
from xflowrl.graphs.traps import FIRST_TRAPS, TRAPS, trap_cell
from xflowrl.measurement import roofline
from xflowrl.onnx_io import Model
from xflowrl.problem import Budget, Problem, StopReason
from xflowrl.rules import load_core
from xflowrl.verify import verify

IMAGE_SIZES = (16, 32)
SEEDS = (1, 3)


@dataclass(frozen=True)
class Promise:
    """What holds for every network of one kind of trap, alone with 32 channels.

    Attributes:
        saved: share of the cost at greedy's end that the optimum lies below it, at least.
        barrier_us: how far the lowest way from there to anything cheaper rises, at least.
        stops_taso: whether TASO's search with alpha = 1.05 ends where greedy does.
        is_small: whether `exhaustive` sees all of its graphs in 2,000 iterations.
    """

    saved: float
    barrier_us: float
    stops_taso: bool = True
    is_small: bool = True


PROMISES = {
    "chain": Promise(0.001, 0.01, stops_taso=False),
    "siblings": Promise(0.11, 0.01, stops_taso=False, is_small=False),
    "activations": Promise(0.09, 5.0),
    "groups": Promise(0.4, 2.5, is_small=False),
    "kernels": Promise(0.02, 2.5),
    "layouts": Promise(0.2, 10.0),
    "norms": Promise(0.09, 10.0),
    "products": Promise(0.25, 5.0, is_small=False),
    "weighted": Promise(0.25, 5.0),
}


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return load_core()


def alone(kind: str, seed: int, image_size: int) -> Model | None:
    net = LayerBuilder(kind)
    x = net.input("input", [1, 32, image_size, image_size])
    y = TRAPS[kind](net, x, kind, Draw(seed), Style(32, 0.5, 4, 3))
    return None if y is None else net.model({"output": y}, seed=0)


def problem_of(model: Model, rules: RuleSet) -> Problem:
    budget = Budget(max_iterations=2000)
    return Problem(model=model, rules=rules, objective=roofline(), budget=budget)


def test_every_kind_has_its_promise() -> None:
    assert list(PROMISES) == list(TRAPS)


@pytest.mark.parametrize("kind", TRAPS)
def test_the_way_to_anything_cheaper_leads_over_a_barrier(kind: str, rules: RuleSet) -> None:
    promise, num_traps = PROMISES[kind], 0
    for image_size in IMAGE_SIZES:
        for seed in SEEDS:
            model = alone(kind, seed, image_size)
            if model is None:
                continue
            num_traps += 1
            state = problem_of(model, rules).initial_state()
            stuck = descended(state)
            height_ms, beyond = lowest_pass(stuck)
            assert height_ms >= promise.barrier_us / 1000 - 1e-9
            assert beyond.cost.ms < stuck.cost.ms
            search = BacktrackingSearch(state, alpha=1.05)
            search.run(iterations=300)
            if promise.stops_taso:
                assert search.best.cost.ms == pytest.approx(stuck.cost.ms, abs=1e-9)
    assert num_traps >= len(SEEDS)


@pytest.mark.parametrize("kind", TRAPS)
def test_greedy_ends_above_the_optimum(kind: str, rules: RuleSet) -> None:
    promise = PROMISES[kind]
    model = alone(kind, 1, 32)
    assert model is not None
    problem = problem_of(model, rules)
    stuck = descended(problem.initial_state())
    if promise.is_small:
        (result,) = Exhaustive().optimize([problem], lambda metrics, step: None)
        assert result.stop_reason is StopReason.EXHAUSTED
        best_ms = result.cost_best_ms
    else:  # not proven optimal, but an upper bound of the optimum
        best_ms = descended(lowest_pass(stuck)[1]).cost.ms
    assert best_ms <= (1 - promise.saved) * stuck.cost.ms


@pytest.mark.parametrize("kind", TRAPS)
def test_a_trap_rewritten_over_its_barrier_computes_the_same(kind: str, rules: RuleSet) -> None:
    model = alone(kind, 1, 16)
    assert model is not None
    _, beyond = lowest_pass(descended(problem_of(model, rules).initial_state()))
    verdict = verify(model, model.with_graph(beyond.graph), draws=1)
    assert verdict.equal, verdict.detail


@pytest.mark.parametrize("kind", TRAPS)
def test_a_trap_is_an_image_of_the_same_size_whatever_the_image(kind: str) -> None:
    for image_size in (2, 4, 7, 8, 64):
        for seed in range(4):
            net = LayerBuilder(kind)
            x = net.input("input", [2, 16, image_size, image_size])
            y = TRAPS[kind](net, x, kind, Draw(seed), Style(16, 1.0, 4, 3))
            if y is not None:
                batch_size, channels, *rest = net.shape(y)
                assert (batch_size, rest) == (2, [image_size] * 2)
                assert channels % 8 == 0


def test_only_the_kinds_with_a_share_are_drawn() -> None:
    net = LayerBuilder("traps")
    x = net.input("input", [1, 16, 32, 32])
    shares = {kind: float(kind == "norms") for kind in TRAPS}
    for seed in range(5):
        y = trap_cell(net, x, f"cell{seed}", Draw(seed), Style(16, 0.5, 4, 3), shares)
        assert y is not None
        assert y.endswith("/relu")
    tiny = net.input("tiny", [1, 16, 2, 2])
    shares = {kind: float(kind == "chain") for kind in TRAPS}
    assert trap_cell(net, tiny, "none", Draw(0), Style(16, 0.5, 4, 3), shares) is None


def test_networks_without_kinds_have_the_first_two() -> None:
    def graph_hash(traps: dict[str, float] | None) -> str:
        return random_network(num_nodes=150, trap=0.8, traps=traps, seed=3).graph.hash

    assert graph_hash(None) == graph_hash(dict.fromkeys(FIRST_TRAPS, 1.0))
    assert graph_hash(None) != graph_hash(dict.fromkeys(TRAPS, 1.0))
