"""Pickled objects come back as they were and behave alike ever after; damaged ones are refused."""

from __future__ import annotations

import contextlib
import copy
import functools
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zoo
from drawing import Sketch, corrected, roofline, rule_set
from sources import SMALL, nasbench_3x3

from xflowrl._engine import (
    BacktrackingSearch,
    CostTable,
    Graph,
    GraphBuilder,
    OpSignature,
    Rule,
    RuleSet,
    State,
    TensorType,
)
from xflowrl.rules import load_core
from xflowrl.taso.rules import load_taso

core = functools.cache(load_core)
NETWORKS = {**zoo.GRAPHS, **{name: lambda make=make: make().graph for name, make in SMALL.items()}}


def copied(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def seen(graph: Graph) -> list[object]:
    """All that can be seen of a graph, slot numbers and orders included."""
    nodes = [
        (node.id, node.signature.key, node.inputs, node.outputs, node.is_constant, node.is_opaque)
        for node in graph.nodes()
    ]
    leaves = [(name, graph.tensor_type(name)) for name in graph.inputs]
    constants = [list(graph.weights.items()), list(graph.literals.items())]
    ends = [graph.outputs, graph.output_tensors, graph.name, len(graph), graph.num_nodes]
    return [graph.hash, graph.merkle_hash, nodes, leaves, constants, ends]


def seen_state(state: State) -> list[object]:
    """The same of a state, its costs to the last bit."""
    cost = state.cost
    matches = [
        (m.rule, m.tensors, m.nodes, m.cost_difference_ms, m.size_difference, m.hash, m.taso_hash)
        for m in state.matches()
    ]
    arrays = {name: array.tobytes() for name, array in state.observe().items()}
    costs = [cost.ms, cost.flops, cost.bytes, cost.num_kernels]
    return [seen(state.graph), state.taso_hash, costs, matches, arrays]


def assert_same(ours: State, theirs: State) -> None:
    assert seen_state(theirs) == seen_state(ours)
    assert pickle.dumps(theirs.graph) == pickle.dumps(ours.graph)


def steps(start: State, *, num_steps: int, rng: random.Random) -> Iterator[State]:
    """States along a random walk, which ends early where nothing applies."""
    state = start
    for _ in range(num_steps):
        by_rule: dict[str, list[int]] = {}
        for index, match in enumerate(state.matches()):
            by_rule.setdefault(match.rule, []).append(index)
        if not by_rule or state.num_nodes > 2 * start.num_nodes + 10:
            return
        state = state.apply(rng.choice(by_rule[rng.choice(sorted(by_rule))]))
        yield state


# --- as they were --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", range(2))
def test_a_state_goes_on_as_if_it_had_not_been_pickled(name: str, seed: int) -> None:
    rng = random.Random(f"{name} {seed}")
    costs = CostTable.taso(19.5e12, 1.555e12, 0.005) if seed else roofline()
    *_, ours = steps(
        State(NETWORKS[name](), core(), costs, taso_hash=True),
        num_steps=rng.randint(1, 12),
        rng=rng,
    )
    theirs = copied(ours)
    assert_same(ours, theirs)
    choices = rng.getrandbits(64)
    walks = [steps(s, num_steps=6, rng=random.Random(choices)) for s in (ours, theirs)]
    for one, other in zip(*walks, strict=True):
        assert_same(one, other)


def test_numbers_go_on_from_where_they_were_though_the_last_node_is_gone() -> None:
    net = Sketch()
    graph = net.graph(net.node("Relu", net.node("Exp", net.input(2))))
    rules = rule_set("(rule make (Exp ?x) => (Tanh ?x))", "(rule drop (Tanh ?x) => ?x)")
    ours = State(graph, rules, roofline()).apply(0).apply(0)
    theirs = copied(ours)
    assert pickle.dumps(theirs.graph) == pickle.dumps(ours.graph)


def opaque_graph() -> Graph:
    """One node with every kind of attribute, omitted operands, literals, and a rewritable part."""
    net = Sketch("opaque")
    net.builder.add_literal("axes", TensorType("int64", [2]), [-1.0, 3.0])
    attributes = {
        "whole": -(2**63), "real": 0.1, "text": "\u00e9\0", "blob": b"\xff\0", "wholes": [1, -2],
        "reals": [0.5, float("inf")], "texts": ["a", ""],
    }  # fmt: skip
    x = net.input(2, 3)
    types = [TensorType("int4", [0, 7]), TensorType("string", [])]
    net.builder.add_node(
        "Odd", [x, "", "axes"], ["", "odd"], attributes, domain="my.own", output_types=types
    )
    relus = [net.node("Relu", x), net.node("Relu", x), net.node("Exp", net.node("Relu", x))]
    net.builder.set_outputs(["first", "odd", "x"], [net.node("Concat", *relus, axis=0), "odd", x])
    return net.builder.build()


def test_opaque_nodes_and_every_kind_of_attribute_come_back() -> None:
    graph = opaque_graph()
    theirs = copied(graph)
    assert seen(theirs) == seen(graph)
    assert [n.attributes for n in theirs.nodes()] == [n.attributes for n in graph.nodes()]
    assert [n.domain for n in theirs.nodes()] == [n.domain for n in graph.nodes()]


def test_rules_come_back_by_their_text() -> None:
    whole = core()
    odd = rule_set('(rule a:{op} :for op (Relu "Tanh") ({op} ?x) => ?x ; why\n)', commutative=True)
    for rules in (
        whole,
        whole.select(whole.names[::-3]),
        odd,
        RuleSet.parse("(rules no :faithful)"),
        RuleSet.parse("(rule new (Relu ?x) => ?x :opset 20)").for_opset(19),
    ):
        theirs = copied(rules)
        assert (theirs.name, theirs.commutative, theirs.faithful) == (
            rules.name, rules.commutative, rules.faithful,
        )  # fmt: skip
        ours_and_theirs = zip(rules.rules, theirs.rules, strict=True)
        for ours, other in [*ours_and_theirs, *((rule, copied(rule)) for rule in rules.rules)]:
            assert [getattr(ours, a) for a in ("name", "text", "filename", "line")] == [
                getattr(other, a) for a in ("name", "text", "filename", "line")
            ]
        assert pickle.dumps(theirs) == pickle.dumps(rules)


@pytest.mark.parametrize("faithful", [False, True])
def test_the_rules_of_taso_come_back(shared_dir: Path, faithful: bool) -> None:
    rules = load_taso(str(shared_dir / "taso" / "graph_subst.pb"), faithful)
    costs = CostTable.taso(19.5e12, 1.555e12, 0.005)
    ours = State(nasbench_3x3(1, 1).graph, rules, costs, taso_hash=True)
    theirs = copied(ours)
    assert_same(ours, theirs)
    walks = [steps(s, num_steps=5, rng=random.Random(6)) for s in (ours, theirs)]
    for one, other in zip(*walks, strict=True):
        assert_same(one, other)


def test_faithful_rules_still_match_constants() -> None:
    net = Sketch()
    weight = net.node("Relu", net.weight(2, 3))
    graph = net.graph(net.node("Add", net.input(2, 3), weight))
    for option, expected in ((":faithful", 1), ("", 0)):
        rules = RuleSet.parse(f"(rules r {option}) (rule r (Relu ?x) => (Exp (Tanh ?x)))")
        assert len(State(graph, copied(rules), roofline())) == expected


@pytest.mark.parametrize(
    "make",
    [roofline, corrected, lambda: CostTable.taso(19.5e12, 1.555e12, 0.004), CostTable.measured],
)
def test_cost_tables_come_back_with_what_they_were_asked(make: Any) -> None:
    costs = make()
    graph = SMALL["squeezenet"]().graph
    costs.price(graph)
    for number, signature in enumerate(costs.unknown()[:5]):
        costs.set(signature.key, 0.25 + number)
    theirs = copied(costs)
    keys = [node.signature.key for node in graph.nodes()]
    for table in (theirs, costs):
        assert len(table) == len(costs)
        assert [table.get(key) for key in keys] == [costs.get(key) for key in keys]
        assert [s.key for s in table.unknown()] == [s.key for s in costs.unknown()]
        for signature in table.unknown():
            table.set(signature.key, 0.125)
        assert table.unknown() == []
    assert repr(theirs.price(graph)) == repr(costs.price(graph))
    assert theirs.price(graph).ms == costs.price(graph).ms


def test_a_state_whose_costs_are_unknown_is_priced_once_they_are_told() -> None:
    costs = CostTable.measured()
    ours = State(zoo.layouts(), core(), costs)
    theirs, other = copied((ours, costs))
    for table in (costs, other):
        for signature in table.unknown():
            table.set(signature.key, len(signature.key) / 1000)
    ours, theirs = ours.repriced(), theirs.repriced()
    assert theirs.cost.ms == ours.cost.ms > 0
    assert [m.cost_difference_ms for m in theirs.matches()] == [
        m.cost_difference_ms for m in ours.matches()
    ]


def test_signatures_come_back() -> None:
    for graph in (opaque_graph(), zoo.awkward(), SMALL["squeezenet"]().graph):
        for ours in (node.signature for node in graph.nodes()):
            theirs = copied(ours)
            names = ("key", "op_type", "domain", "attributes", "is_opaque", "input_types")
            names += ("input_is_constant", "output_types", "flops", "bytes")
            assert [getattr(theirs, n) for n in names] == [getattr(ours, n) for n in names]


def test_what_is_shared_within_a_pickle_stays_shared() -> None:
    costs = CostTable.measured()
    state = State(zoo.layouts(), core(), costs)
    _, theirs = copied((state, costs))
    assert len(theirs.unknown()) == len(costs.unknown()) > 0
    for signature in theirs.unknown():
        theirs.set(signature.key, 1.0)
    first, second, shared = copied((state, state.apply(0), costs))
    for signature in shared.unknown():
        shared.set(signature.key, 1.0)
    first, second = first.repriced(), second.repriced()
    assert first.cost.ms == first.cost.num_kernels
    assert second.cost.ms > 0


def test_copies_of_immutable_objects_are_the_objects() -> None:
    state = State(zoo.layouts(), core(), roofline())
    assert copy.deepcopy([state, state.graph])[0] is state


def test_work_in_progress_and_views_refuse() -> None:
    state = State(zoo.layouts(), core(), roofline())
    views = (state.matches()[0], state.graph.nodes()[0])
    for value in (GraphBuilder(), BacktrackingSearch(state), *views):
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(value)


# --- bytes nobody should trust -------------------------------------------------------------------

MASK = 2**64 - 1


def mixed(x: int) -> int:
    x = ((x ^ x >> 33) * 0xFF51AFD7ED558CCD) & MASK
    x = ((x ^ x >> 29) * 0xC4CEB9FE1A85EC53) & MASK
    return x ^ x >> 32


def sealed(content: bytes) -> bytes:
    """The content and its hash, as the engine writes them: so that damage is not seen at once."""
    words = [12, len(content)]
    words += [int.from_bytes(content[i : i + 8], "big") for i in range(0, len(content), 8)]
    if len(content) % 8 == 0:
        words.append(0)
    a, b = 0x243F6A8885A308D3, 0x13198A2E03707344
    for word in words:
        a = mixed(((a ^ word) * 0x9E3779B97F4A7C15) & MASK)
        rotated = (word << 32 | word >> 32) & MASK
        b = mixed(((b + rotated + a) * 0xC2B2AE3D27D4EB4F) & MASK)
    return content + a.to_bytes(8, "little") + b.to_bytes(8, "little")


def restored(kind: type, data: bytes) -> Any:
    value = kind.__new__(kind)
    value.__setstate__(data)
    return value


def pickled_objects() -> list[Any]:
    graph = opaque_graph()
    costs = CostTable.measured()
    costs.price(graph)
    costs.set(costs.unknown()[0].key, 1.0)
    rules = rule_set(
        "(rule r (Concat (each Relu ?xs...) :axis ?k) => (Relu (Concat ?xs... :axis ?k)))"
    )
    *_, state = steps(State(zoo.layouts(), core(), roofline()), num_steps=5, rng=random.Random(1))
    signature = graph.nodes()[0].signature
    return [graph, state.graph, costs, rules, rules.rules[0], signature]


def use(value: Any) -> None:
    """Looks at all of an object that came through."""
    match value:
        case Graph():
            state = State(value, core(), roofline(), taso_hash=True)
            seen_state(state)
            for reached in steps(state, num_steps=3, rng=random.Random(0)):
                pickle.dumps(reached)
            State(value, core(), CostTable.measured()).matches()
        case CostTable():
            assert all(signature.key for signature in value.unknown())
            value.price(zoo.layouts())
        case RuleSet():
            State(zoo.layouts(), value, roofline()).matches()
        case Rule():
            assert value.text
        case OpSignature():
            assert value.key and value.flops >= 0 and value.bytes >= 0
            assert value.attributes is not None


@pytest.mark.parametrize("index", range(6))
def test_damaged_bytes_are_refused(index: int) -> None:
    value = pickled_objects()[index]
    data = value.__getstate__()
    assert sealed(data[:-16]) == data
    rng = random.Random(index)
    for _ in range(200):
        place = rng.randrange(len(data))
        for damaged in (
            data[:place],
            data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :],
            data[:place] + data[place + 1 :],
        ):
            with pytest.raises(ValueError, match=rf"^pickled {type(value).__name__}: .*again"):
                restored(type(value), damaged)
    for other in (b"", b"\0" * 40, pickled_objects()[index - 1].__getstate__()):
        if other[:-16] == b"" or not isinstance(value, type(pickled_objects()[index - 1])):
            with pytest.raises(ValueError, match=r"^pickled"):
                restored(type(value), other)


@pytest.mark.parametrize("index", range(6))
def test_forged_bytes_are_refused_or_harmless(index: int) -> None:
    """The hash of forged content is right: what is inside is not trusted either."""
    value = pickled_objects()[index]
    content = value.__getstate__()[:-16]
    rng = random.Random(index)
    refused = 0
    for _ in range(1500):
        forged = bytearray(content)
        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            place = rng.randrange(len(forged))
            match rng.randrange(4):
                case 0:
                    forged[place] = rng.randrange(256)
                case 1:
                    forged[place] ^= 1 << rng.randrange(8)
                case 2:
                    forged[place : place + rng.randrange(1, 9)] = b""
                case _:
                    forged[place:place] = forged[(start := rng.randrange(len(forged))) : start + 9]
        try:
            came = restored(type(value), sealed(bytes(forged)))
        except ValueError:
            refused += 1
            continue
        with contextlib.suppress(UnicodeDecodeError):  # a text that is none is seen when shown
            use(came)
    assert refused > 100


@pytest.mark.parametrize(
    ("written", "forged", "reason"),
    [
        (b"\x06Exp", b"\x06Add", "wrong number of operands"),
        (b"\x06Exp", b"\x06Foo", "not in the table"),
        (b"\0\x04\x04\x06", b"\0\x04\x06\x06", "does not compute the types it declares"),
        (b"\x02y", b"\x02x", "a name occurs twice"),
        (b"\x02y", b"\x01y", "out of range"),
    ],
)
def test_what_no_builder_makes_is_refused(written: bytes, forged: bytes, reason: str) -> None:
    net = Sketch()
    net.builder.set_outputs(["out"], [net.node("Exp", net.input(2, 3, name="x"), name="y")])
    content = net.builder.build().__getstate__()[:-16]
    before, after = content.rsplit(written, 1)
    with pytest.raises(ValueError, match=reason):
        restored(Graph, sealed(before + forged + after))


def test_an_object_cannot_be_set_again() -> None:
    graph = zoo.layouts()
    with pytest.warns(RuntimeWarning, match="already"), pytest.raises(TypeError):
        graph.__setstate__(zoo.siblings().__getstate__())
    assert seen(graph) == seen(zoo.layouts())


def test_a_pickled_network_is_small() -> None:
    """About 100 bytes a node; a state adds its rules."""
    graph = nasbench_3x3().graph
    assert len(pickle.dumps(graph)) < 150 * graph.num_nodes


@pytest.mark.parametrize("missing", [1, 2])
def test_a_state_without_rules_or_costs_is_refused(missing: int) -> None:
    parts = list(State(zoo.layouts(), core(), roofline()).__getstate__())
    parts[missing] = None
    with pytest.raises(ValueError, match="no rules or no costs"):
        State.__new__(State).__setstate__(tuple(parts))
