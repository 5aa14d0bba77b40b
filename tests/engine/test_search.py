"""Backtracking search against a plain account of TASO's loop, which builds every candidate."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import partial

import pytest
import zoo
from drawing import Sketch, roofline, rule_set
from sources import nasbench_3x3

from xflowrl._engine import BacktrackingSearch, CostTable, Graph, RuleSet, State
from xflowrl.graphs.random_networks import random_network
from xflowrl.graphs.squeezenet import squeezenet
from xflowrl.graphs.tiny import tiny
from xflowrl.rules import load_core


@dataclass
class Outcome:
    best_ms: float
    best_hash: str
    num_candidates: int
    num_expanded: int
    queue_length: int
    expanded_ms: list[float]


def plain_search(
    graph: Graph,
    rules: RuleSet,
    costs: CostTable,
    *,
    alpha: float,
    size_limit: float,
    hash: str,
    max_iterations: int,
) -> Outcome:
    """TASO's `optimize` (Jia et al. 2019, algorithm 2; shared/taso/README.md, "Search").

    It queues whatever is new, where the engine leaves candidates in the order of their state until
    they are taken: only graphs of equal cost could come in another order.

    Costs and sizes of candidates are those of the graphs themselves; only costs within rounding of
    the limit could be decided otherwise than by differences.
    """
    start = State(graph, rules, costs, taso_hash=True)

    def hash_of(state: State) -> object:
        return state.taso_hash if hash == "taso" else state.hash

    queue: list[tuple[float, int, State]] = [(start.cost.ms, 0, start)]
    seen, best = {hash_of(start)}, start
    num_queued = num_candidates = 0
    expanded_ms: list[float] = []
    while queue and len(expanded_ms) < max_iterations:
        _, _, state = heapq.heappop(queue)
        expanded_ms.append(state.cost.ms)
        if state.cost.ms < best.cost.ms:
            best = state
        for match in sorted(
            state.matches(), key=lambda m: (m.cost_difference_ms, m.size_difference)
        ):
            num_candidates += 1
            child = state.apply(match)
            if not child.cost.ms < best.cost.ms * alpha:
                continue
            if child.graph.num_nodes >= size_limit * start.graph.num_nodes:
                continue
            if hash_of(child) in seen:
                continue
            seen.add(hash_of(child))
            num_queued += 1
            # The engine orders by the promised cost; ties go to the first come.
            promised = state.cost.ms + match.cost_difference_ms
            heapq.heappush(queue, (promised, num_queued, child))
    return Outcome(
        best.cost.ms, best.hash, num_candidates, len(expanded_ms), len(queue), expanded_ms
    )


def engine_search(
    graph: Graph,
    rules: RuleSet,
    costs: CostTable,
    *,
    alpha: float,
    size_limit: float,
    hash: str,
    max_iterations: int,
) -> Outcome:
    start = State(graph, rules, costs, taso_hash=hash == "taso")
    search = BacktrackingSearch(start, alpha=alpha, size_limit=size_limit, hash=hash)
    expanded_ms: list[float] = []
    while len(expanded_ms) < max_iterations and search.run(iterations=1):
        expanded_ms.append(search.current_cost_ms)
    best = State(search.best.graph, rules, costs)
    assert best.cost.ms == pytest.approx(search.best_cost_ms, rel=1e-9)
    return Outcome(
        search.best_cost_ms,
        search.best.graph.hash,
        search.num_candidates,
        search.num_expanded,
        search.queue_length,
        expanded_ms,
    )


GRAPHS = {
    "tiny": lambda: tiny().graph,
    "layouts": zoo.layouts,
    "normalised": zoo.normalised,
    "squeezenet": lambda: squeezenet().graph,
    "nasbench": lambda: nasbench_3x3(1, 1).graph,
}


@pytest.mark.parametrize("hash", ["exact", "taso"])
@pytest.mark.parametrize(("alpha", "size_limit"), [(1.0, 2.0), (1.05, 2.0), (1.2, 1.1)])
@pytest.mark.parametrize("name", GRAPHS)
def test_search_is_tasos_loop(name: str, alpha: float, size_limit: float, hash: str) -> None:
    num_iterations = 60 if name == "tiny" else 6
    limits = {"alpha": alpha, "size_limit": size_limit, "hash": hash}
    arguments = (GRAPHS[name](), load_core(), roofline())
    plain = plain_search(*arguments, **limits, max_iterations=num_iterations)
    engine = engine_search(*arguments, **limits, max_iterations=num_iterations)
    assert engine.num_expanded == plain.num_expanded
    assert engine.num_candidates == plain.num_candidates
    assert engine.queue_length >= plain.queue_length
    assert (engine.queue_length == 0) == (plain.queue_length == 0)
    assert engine.best_hash == plain.best_hash
    assert engine.best_ms == pytest.approx(plain.best_ms, rel=1e-9)
    assert engine.expanded_ms == pytest.approx(plain.expanded_ms, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_search_is_tasos_loop_on_random_networks(seed: int) -> None:
    """Forty expansions, in which most graphs are reached in several ways."""
    graph = random_network(num_nodes=50, trap=0.5, channels=16, image_size=16, seed=seed).graph
    plain, engine = (
        search(
            *(graph, load_core(), roofline()),
            **{"alpha": 1.05, "size_limit": 1.2, "hash": "exact", "max_iterations": 40},
        )
        for search in (plain_search, engine_search)
    )
    assert engine.queue_length > plain.queue_length
    assert engine.expanded_ms == pytest.approx(plain.expanded_ms, rel=1e-9)
    assert (engine.num_candidates, engine.best_hash) == (plain.num_candidates, plain.best_hash)


def test_alpha_lets_the_search_pass_a_dearer_state() -> None:
    """`tiny` is built so: 22.421 us lies behind states dearer than the start."""
    search = partial(
        engine_search, tiny().graph, load_core(), roofline(), size_limit=2.0, hash="exact"
    )
    greedy = search(alpha=1.0, max_iterations=100)
    patient = search(alpha=1.5, max_iterations=100)
    assert greedy.best_ms > patient.best_ms
    assert patient.best_ms == pytest.approx(0.022421, rel=1e-3)
    assert patient.queue_length == 0


GROW = "(rule grow (Relu ?x) => (Relu (Relu ?x)))"


def chain() -> Graph:
    net = Sketch()
    return net.graph(net.node("Relu", net.node("Relu", net.node("Relu", net.input(8, 8)))))


@pytest.mark.parametrize(("size_limit", "largest"), [(1.26, 5), (1.5, 5), (1.51, 6), (2.0, 7)])
def test_size_limit_counts_inputs_and_is_exclusive(size_limit: float, largest: int) -> None:
    """Four nodes with the input: states of fewer than size_limit * 4 nodes are expanded."""
    start = State(chain(), rule_set(GROW), roofline())
    search = BacktrackingSearch(start, alpha=100.0, size_limit=size_limit)
    sizes = []
    while search.run(iterations=1):
        # Each relu costs the same, so the cost tells the number of nodes.
        sizes.append(round(search.current_cost_ms / (start.cost.ms / 3)) + 1)
    assert max(sizes) == largest
    assert sizes == sorted(sizes)


def test_the_coarse_hash_takes_equal_places_for_one_another() -> None:
    net = Sketch()
    inputs = [net.input(4, 4) for _ in range(3)]
    arms = [net.node("Exp", net.node("Relu", net.node("Relu", x))) for x in inputs]
    graph = net.graph(net.node("Sum", *arms))
    rules = rule_set("(rule once (Relu (Relu ?x)) => (Relu ?x))")
    expanded = {}
    for hash in ("exact", "taso"):
        expanded[hash] = engine_search(
            graph, rules, roofline(), alpha=10.0, size_limit=2.0, hash=hash, max_iterations=100
        )
    assert expanded["exact"].num_expanded == 8  # any subset of the three arms
    assert expanded["taso"].num_expanded == 4  # only how many of them
    assert expanded["exact"].best_ms == pytest.approx(expanded["taso"].best_ms)


def test_steps_lead_from_the_start_to_the_best_graph() -> None:
    graph, rules, costs = zoo.normalised(), load_core(), roofline()
    start = State(graph, rules, costs)
    search = BacktrackingSearch(start, alpha=1.05)
    for _ in range(20):
        search.run(iterations=1)
    steps = search.best_steps()
    assert len(steps) >= 5
    state = start
    for rule, tensors, cost_ms in steps:
        (match,) = (m for m in state.matches() if m.rule == rule and list(m.tensors) == tensors)
        state = state.apply(match)
        assert state.cost.ms == pytest.approx(cost_ms, rel=1e-9)
    assert state.hash == search.best.graph.hash
    assert search.best_cost_ms == pytest.approx(state.cost.ms)
    assert search.best_cost_ms < start.cost.ms


def test_a_run_asks_for_prices_before_the_state_is_expanded() -> None:
    net = Sketch()
    graph = net.graph(net.node("Relu", net.node("Relu", net.input(4))))
    rules = rule_set(
        "(rule tanh (Relu (Relu ?x)) => (Tanh ?x))", "(rule exp (Tanh ?x) => (Exp ?x))"
    )
    table = CostTable.measured()
    search = BacktrackingSearch(State(graph, rules, table), alpha=10.0)
    prices = {"Relu": 3.0, "Tanh": 2.0, "Exp": 1.0}
    asked: list[str] = []
    while search.run():
        for signature in table.unknown():
            asked.append(signature.op_type)
            table.set(signature.key, prices[signature.op_type])
    assert asked == ["Relu", "Tanh", "Exp"]
    assert search.best_cost_ms == 1.0
    assert [row[0] for row in search.take_improvements()], "though its start had no price"
    assert not search.run(iterations=1)
    assert search.num_expanded == 3


def test_the_history_keeps_the_first_iterations_and_thins_the_rest() -> None:
    search = BacktrackingSearch(State(GRAPHS["squeezenet"](), load_core(), roofline()), alpha=1.5)
    search.run(iterations=1100)
    history = search.take_history()
    kept = [row[0] for row in history]
    assert kept == sorted(set(kept))
    assert kept[:256] == list(range(1, 257))
    improvements = {row[0] for row in search.take_improvements()}
    assert {k for k in kept if 512 < k <= 1024} - improvements <= set(range(512, 1025, 4))
    assert improvements <= set(kept)
    assert [row[3] for row in history] == sorted((row[3] for row in history), reverse=True)
    assert [row[4] for row in history] == sorted(row[4] for row in history)
    assert search.take_history() == []


def test_dropping_the_dearest_leaves_the_cheapest_in_their_order() -> None:
    """Half of the graphs go; what the others' cheapest candidates lead to is expanded as before."""
    whole, half = (
        BacktrackingSearch(State(GRAPHS["squeezenet"](), load_core(), roofline()), alpha=1.5)
        for _ in range(2)
    )
    for search in (whole, half):
        search.run(iterations=50)
    length = half.queue_length
    num_dropped = half.drop_dearest(0.5)
    assert 0 < num_dropped < length
    assert half.queue_length == length - num_dropped
    expanded = set()
    for _ in range(20):
        whole.run(iterations=1)
        half.run(iterations=1)
        assert half.current_cost_ms == whole.current_cost_ms
        expanded.add(half.current_cost_ms)
    assert len(expanded) > 5
    while half.drop_dearest(0.5):
        pass
    length = half.queue_length
    assert length > 0, "the cheapest graph's candidates are kept"
    assert half.drop_dearest(1.0) == length
    assert half.queue_length == 0
    assert not half.run()
    assert half.best_cost_ms <= half.best.cost.ms
    assert len(half.best) >= 0  # its matches are listed again


def test_a_search_without_matches_ends_after_its_start() -> None:
    search = BacktrackingSearch(State(chain(), rule_set(), roofline()))
    assert search.queue_length == 1
    assert search.run(iterations=1)
    assert not search.run(iterations=1)
    assert (search.num_expanded, search.num_candidates, search.queue_length) == (1, 0, 0)
    assert search.best_steps() == []
    assert search.best.graph.hash == chain().hash


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0.9}, r"alpha is 0.9.* at least 1"),
        ({"alpha": float("nan")}, "alpha"),
        ({"size_limit": 1.0}, "size_limit is 1.0"),
        ({"hash": "coarse"}, 'hash is "coarse"'),
        ({"hash": "taso"}, "taso_hash=True"),
    ],
)
def test_bad_limits_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BacktrackingSearch(State(chain(), rule_set(), roofline()), **arguments)  # type: ignore[arg-type]
