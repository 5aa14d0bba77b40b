"""Random rewrites: what the engine keeps up to date equals what it computes from scratch."""

from __future__ import annotations

import functools
import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import zoo
from drawing import Sketch, corrected, roofline, state
from recompute import assert_equals_scratch, assert_valid, check_walk, random_walk, snapshot
from sources import LARGE, SMALL

from xflowrl._engine import CostTable, Graph, RuleSet, State, TensorType
from xflowrl.onnx_io import Model, load_onnx, save_onnx
from xflowrl.rules import load_core
from xflowrl.soundness.check import trials
from xflowrl.weights import DrawnWeights

NUM_STEPS_IN_ALL = 10_000
EXPORT_EVERY = 100

core = functools.cache(load_core)


def taso_costs() -> CostTable:
    return CostTable.taso(19.5e12, 1.555e12, 0.005)


def assert_survives_export(model: Model, path: Path) -> None:
    """Asserts that inputs, outputs and tensor types come back from the file."""
    save_onnx(model, path)
    before, after = model.graph, load_onnx(path).graph
    path.unlink()
    assert after.inputs == before.inputs
    assert after.outputs == before.outputs
    for name in before.inputs:
        assert after.tensor_type(name) == before.tensor_type(name)
    for ours, theirs in zip(before.output_tensors, after.output_tensors, strict=True):
        assert after.tensor_type(theirs) == before.tensor_type(ours)
    types: dict[str, TensorType] = {}
    for node in after.nodes():
        types.update(zip(node.outputs, node.output_types, strict=True))
    num_compared = 0
    for node in before.nodes():
        for name, tensor_type in zip(node.outputs, node.output_types, strict=True):
            if name in types:
                assert types[name] == tensor_type, name
                num_compared += 1
    # Constants are folded and outputs may be renamed, but most tensors keep their names.
    assert num_compared >= len(before) / 2


def walk_source(name: str, num_steps: int, seed: int, folder: Path) -> int:
    """Walks over one network; exports every hundredth state and the last. Returns the steps."""
    model = {**SMALL, **LARGE}[name]()
    costs = (roofline, taso_costs, corrected)[seed % 3]()
    count = 0
    last: State | None = None
    for reached in check_walk(model.graph, core(), costs, num_steps=num_steps, seed=seed):
        count, last = count + 1, reached
        if count % EXPORT_EVERY == 0:
            assert_survives_export(model.with_graph(reached.graph), folder / "state.onnx")
    assert last is not None, f"no rule applies to {name}"
    return count


@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_networks_equal_scratch_after_each_rewrite(name: str, tmp_path: Path) -> None:
    num_steps = 4 if name in LARGE else 10
    assert walk_source(name, num_steps, len(name), tmp_path) == num_steps


@pytest.mark.parametrize("name", zoo.GRAPHS)
@pytest.mark.parametrize("costs", [roofline, taso_costs, corrected])
def test_hand_made_graphs_equal_scratch_after_each_rewrite(name: str, costs: object) -> None:
    graph = zoo.GRAPHS[name]()
    assert callable(costs)
    assert len(list(check_walk(graph, core(), costs(), num_steps=40, seed=7))) == 40


def instances(rule_index: int, count: int, seed: int = 0) -> Iterator[Graph]:
    """Graphs drawn from a core rule's own source to which it applies."""
    rule = core().rules[rule_index]
    alone = core().select([rule.name])
    for trial in trials(rule, 2_000, seed):
        if count == 0:
            return
        if len(State(trial.instance.graph, alone, roofline())):
            count -= 1
            yield trial.instance.graph


def test_every_core_rule_fires() -> None:
    """On graphs drawn from its source each rule applies, alone and among the others."""
    never = []
    for index, name in enumerate(core().names):
        for graph in instances(index, 1):
            alone = core().select([name])
            for reached in check_walk(graph, alone, roofline(), num_steps=1, seed=0):
                assert_equals_scratch(reached, alone, roofline())
                break
            else:
                never.append(name)
            assert name in {match.rule for match in State(graph, core(), roofline()).matches()}
            assert len(list(check_walk(graph, core(), taso_costs(), num_steps=2, seed=index))) <= 2
            break
        else:
            never.append(name)
    assert not never


@pytest.mark.parametrize("name", ["nasbench_1x1", "squeezenet_bias", "bert", "nasrnn"])
def test_networks_survive_export_after_rewrites(name: str, tmp_path: Path) -> None:
    model = SMALL[name]()
    *_, (_, _, last) = random_walk(model.graph, core(), roofline(), num_steps=30, seed=3)
    assert last.hash != State(model.graph, core(), roofline()).hash
    assert_survives_export(model.with_graph(last.graph), tmp_path / "state.onnx")


@pytest.mark.parametrize("name", zoo.GRAPHS)
def test_hand_made_graphs_survive_export_after_rewrites(name: str, tmp_path: Path) -> None:
    graph = zoo.GRAPHS[name]()
    *_, (_, _, last) = random_walk(graph, core(), roofline(), num_steps=25, seed=4)
    model = Model(last.graph, DrawnWeights(graph, 0))
    assert_survives_export(model, tmp_path / "state.onnx")


@pytest.mark.slow
def test_ten_thousand_rewrites(tmp_path: Path) -> None:
    """Section 5's promise, over all graph sources; weights never enter but for the exports."""
    num_steps = int(os.environ.get("XFLOWRL_WALK_STEPS", NUM_STEPS_IN_ALL))
    names = [*SMALL, *LARGE]
    share = num_steps // (len(names) + 2) + 1
    total = sum(walk_source(name, share, seed, tmp_path) for seed, name in enumerate(names))
    for seed, make in enumerate(zoo.GRAPHS.values()):
        for reached in check_walk(make(), core(), roofline(), num_steps=share // 5 + 1, seed=seed):
            total += 1
            assert reached.num_nodes >= 0
    index = 0
    while total < num_steps:
        for graph in instances(index % len(core()), 1, seed=index):
            total += len(list(check_walk(graph, core(), taso_costs(), num_steps=8, seed=index)))
        index += 1
    assert total >= num_steps


def test_comparison_catches_a_wrong_state() -> None:
    """The comparison itself: another graph, rules or prices are noticed."""
    graph, other = zoo.layouts(), zoo.siblings()
    start = State(graph, core(), roofline(), taso_hash=True)
    assert_equals_scratch(start, core(), roofline())
    with pytest.raises(AssertionError):
        assert_equals_scratch(start, core(), CostTable.roofline(1e12, 1.555e12, 0.006))
    fewer = core().select(core().names[:40])
    with pytest.raises(AssertionError):
        assert_equals_scratch(start, fewer, roofline())
    assert snapshot(start) != snapshot(State(other, core(), roofline(), taso_hash=True))


JOIN = (
    "(rule join (Add ?x ?a) (Add ?x ?b) => (outs (Split (Add (Concat ?x ?x :axis 0)"
    " (Concat ?a ?b :axis 0)) :axis 0 :split (list (dim ?a 0) (dim ?b 0)))))"
)


def reached_from(graph: Graph) -> dict[str, set[str]]:
    """Every tensor, with all that can be computed from it alone or with others."""
    reached: dict[str, set[str]] = {}
    for node in reversed(graph.nodes()):
        behind = {name for output in node.outputs for name in reached.get(output, {output})}
        behind.update(node.outputs)
        for name in node.inputs:
            reached.setdefault(name, {name}).update(behind)
    return reached


def test_exactly_the_convex_places_are_listed() -> None:
    """Against plain reachability, while rewrites move nodes up and down and make paths."""
    rules = RuleSet.parse(
        f"(rules toy)\n{JOIN}\n"
        "(rule grow (Relu ?x) => (Relu (Relu (Relu ?x))))\n"
        "(rule shrink (Relu (Relu ?x)) => (Relu ?x))"
    )
    num_blocked = num_joined = 0
    for seed in range(8):
        rng = random.Random(seed)
        net = Sketch()
        tensors = [net.input(2, 4) for _ in range(3)]
        for _ in range(25):
            x = rng.choice(tensors[-8:])
            op_type = rng.choice(["Add", "Add", "Relu"])
            operands = [x] if op_type == "Relu" else [x, rng.choice(tensors)]
            tensors.append(net.node(op_type, *operands))
        here = State(net.graph(*tensors[3:]), rules, roofline())
        for _ in range(12):
            reached = reached_from(here.graph)
            adds = [node for node in here.graph.nodes() if node.op_type == "Add"]
            listed = {tuple(m.tensors) for m in here.matches() if m.rule == "join"}
            for first, second in itertools.permutations(adds, 2):
                (x, a), (y, b) = first.inputs, second.inputs
                if x != y:
                    continue
                (p,), (q,) = first.outputs, second.outputs
                is_convex = b not in reached.get(p, {p}) and a not in reached.get(q, {q})
                assert ((x, a, b, p, q) in listed) == is_convex, (x, a, b, p, q)
                num_blocked += not is_convex
                num_joined += is_convex
            here = here.apply(rng.choice(here.matches()))
            assert_valid(here.graph)
    assert num_blocked > 30
    assert num_joined > 100


def relus(net: Sketch, x: str, count: int) -> str:
    for _ in range(count):
        x = net.node("Relu", x)
    return x


def joins(here: State, *places: str) -> list[int]:
    """The indices of the matches of `join` at two nodes."""
    return [i for i, match in enumerate(here.matches()) if match.tensors[-2:] == list(places)]


@pytest.mark.parametrize("depths", [(0, 0), (8, 0), (0, 8)])
def test_a_path_that_comes_from_afar_is_noticed(depths: tuple[int, int]) -> None:
    """Two sums may be joined until others are, which lie between them; all are far apart."""
    net = Sketch()
    x, y = (relus(net, net.input(2, 4), depth) for depth in depths)
    p = net.node("Add", x, net.input(2, 4), name="p")
    r = net.node("Add", y, relus(net, p, 4), name="r")
    s = net.node("Add", y, net.input(2, 4), name="s")
    q = net.node("Add", x, relus(net, s, 4), name="q")
    before = state(net.graph(r, q), JOIN)
    assert joins(before, "p", "q")
    assert joins(before, "q", "p")
    after = before.apply(joins(before, "r", "s")[0])
    assert not joins(after, "p", "q")
    assert not joins(after, "q", "p")
    assert len(after) == 0
    assert_valid(after.graph)


def test_a_path_that_goes_far_away_is_noticed() -> None:
    drop = "(rule drop (Mul ?y ?z) => ?y :drops ?z)"
    net = Sketch()
    x = net.input(2, 4)
    p = net.node("Add", x, net.input(2, 4), name="p")
    through = relus(net, p, 4)
    product = net.node("Mul", net.node("Tanh", net.input(2, 4)), through)
    q = net.node("Add", x, relus(net, product, 4), name="q")
    before = state(net.graph(through, q), JOIN, drop)
    assert [match.rule for match in before.matches()] == ["drop"]
    after = before.apply(0)
    assert len(joins(after, "p", "q")) == len(joins(after, "q", "p")) == 1
    assert_valid(after.apply(0).graph)


def test_rule_that_needs_convexity_makes_no_cycle() -> None:
    """Two relus of which one feeds the other may not become one; two unrelated ones may."""
    merge = (
        "(rule merge (MatMul ?a ?w) (MatMul ?b ?w) => (outs (Split (MatMul (Concat ?a ?b :axis 0)"
        " ?w) :axis 0 :split (list (dim ?a 0) (dim ?b 0)))))"
    )
    net = Sketch()
    x, w = net.input(2, 4), net.weight(4, 4)
    first = net.node("MatMul", x, w, name="first")
    second = net.node("MatMul", net.node("Relu", first), w, name="second")
    chained = state(net.graph(first, second), merge)
    assert chained.matches() == []
    assert chained.explain("merge") == {"a path leaves the match and comes back": 2}
    net = Sketch()
    x, w = net.input(2, 4), net.weight(4, 4)
    first = net.node("MatMul", x, w, name="first")
    second = net.node("MatMul", net.node("Relu", x), w, name="second")
    apart = state(net.graph(first, second), merge)
    assert len(apart.matches()) == 2
    assert_valid(apart.apply(0).graph)


def test_a_rule_set_without_rules_has_no_walk() -> None:
    nothing = RuleSet.parse("(rules nothing)")
    graph = zoo.layouts()
    assert list(random_walk(graph, nothing, roofline(), num_steps=5, seed=0)) == []
