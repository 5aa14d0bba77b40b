"""Tensors of a match that are outputs of the graph.

What the match would take away must stay; what it replaces keeps its names and values. For every
rule, built in or TASO's, on random instances of its source; then by hand; then in whole networks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import sources
from drawing import roofline

import xflowrl
from xflowrl._engine import Graph, GraphBuilder, Match, Node, Rule, RuleSet, State
from xflowrl.onnx_io import Model, export_onnx
from xflowrl.rules import load_core
from xflowrl.soundness.check import trials
from xflowrl.soundness.instances import Instance
from xflowrl.soundness.reference import check_valid, evaluate_graph
from xflowrl.taso.rules import load_taso

Read = Callable[[str], Instance]

CORE = load_core()
KEPT = "an inner result is used outside the match"
NUM_INSTANCES = 2


def with_outputs(graph: Graph, outputs: Mapping[str, str]) -> Graph:
    """The same graph with other outputs: name to tensor."""
    builder = GraphBuilder(graph.name)
    for name in graph.inputs:
        builder.add_input(name, graph.tensor_type(name))
    for name, tensor_type in graph.weights.items():
        builder.add_weight(name, tensor_type)
    for name, (tensor_type, values) in graph.literals.items():
        builder.add_literal(name, tensor_type, values)
    for node in graph.nodes():
        assert not node.is_opaque
        builder.add_node(node.op_type, node.inputs, node.outputs, node.attributes)
    builder.set_outputs(list(outputs), list(outputs.values()))
    return builder.build()


def outputs_of(graph: Graph) -> dict[str, str]:
    return dict(zip(graph.outputs, graph.output_tensors, strict=True))


def assert_equal(instance: Instance, before: Graph, after: Graph) -> None:
    """Names, validity and values of a graph that has the instance's inputs and weights."""
    assert after.outputs == before.outputs
    assert check_valid(after, instance.weights) is None
    expected = evaluate_graph(before, instance.feeds, instance.weights)
    actual = evaluate_graph(after, instance.feeds, instance.weights)
    for a, b in zip(expected, actual, strict=True):
        # double precision; functions such as erf round, and some sums cancel
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-10)


# --- every rule ------------------------------------------------------------------------------


def first_instances(rule: Rule, rules: RuleSet) -> list[tuple[Instance, State]]:
    """Random instances of a rule's source where the rule applies."""
    found = []
    for trial in trials(rule, 20_000):
        state = State(trial.instance.graph, rules, roofline())
        if state.matches():
            found.append((trial.instance, state))
        if len(found) == NUM_INSTANCES:
            break
    return found


def results_of(match: Match, graph: Graph) -> tuple[list[str], list[str], list[str]]:
    """Names of a match's results: those it replaces, inner ones, inner ones of constants alone."""
    matched, others = list[Node](), list[Node]()
    for node in graph.nodes():
        (matched if node.id in match.nodes else others).append(node)
    used = {name for node in others for name in node.inputs}.union(graph.output_tensors)
    replaced, inner, constant = list[str](), list[str](), list[str]()
    for node in matched:
        for name in node.outputs:
            kind = replaced if name in used else constant if node.is_constant else inner
            kind.append(name)
    return replaced, inner, constant


def same_match(state: State, match: Match) -> Match | None:
    """The match of the same tensors, whichever of two commuting operands comes first."""
    wanted = sorted(match.tensors)
    return next((other for other in state.matches() if sorted(other.tensors) == wanted), None)


def check_rule(rule: Rule, rules: RuleSet) -> None:
    instances = first_instances(rule, rules)
    assert len(instances) == NUM_INSTANCES
    for instance, state in instances:
        graph, match = state.graph, state.matches()[0]
        replaced, inner, constant = results_of(match, graph)
        outputs = outputs_of(graph)
        for name in inner:
            wanted = State(with_outputs(graph, outputs | {"wanted": name}), rules, roofline())
            assert same_match(wanted, match) is None, name
            assert KEPT in wanted.explain(rule.name), name
        # Every replaced result as an output of its own, beside those that are outputs already.
        # What depends on constants alone is computed beforehand: no match takes it away.
        more = {f"wanted_{name}": name for name in (*replaced, *constant)}
        wanted = State(with_outputs(graph, outputs | more), rules, roofline())
        again = same_match(wanted, match)
        assert again is not None
        assert_equal(instance, wanted.graph, wanted.apply(again).graph)


@pytest.mark.parametrize("rule", CORE.rules, ids=lambda rule: rule.name)
def test_built_in_rule(rule: Rule) -> None:
    check_rule(rule, CORE.select([rule.name]))


def test_rules_of_taso(shared_dir: Path) -> None:
    rules = load_taso(str(shared_dir / "taso" / "graph_subst.pb"))
    for rule in rules.rules:
        check_rule(rule, rules.select([rule.name]))


# --- by hand ---------------------------------------------------------------------------------

IMAGE = "x[1,2,4,4] w[3,2,3,3] v[2,2,3,3]"
NORM = "k[3] o[3] m[3] u[3]"
REFUSED = {
    "Conv-Relu-fuse": f"{IMAGE}; c=Conv(x,w); y=Relu(c); out y,c",
    "MatMul-Add-fuse": "x[2,3] w[3,4] b[4]; c=MatMul(x,w); y=Add(c,b); out y,c",
    "Conv-BatchNormalization-fold": (
        f"{IMAGE} {NORM}; c=Conv(x,w); y=BatchNormalization(c,k,o,m,u) epsilon=0.5; out y,c"
    ),
    "Conv-siblings-Concat-merge": (
        f"{IMAGE}; c=Conv(x,w); d=Conv(x,v); y=Concat(c,d) axis=1; out y,d"
    ),
    "Conv-siblings-join": (
        f"{IMAGE} k[1,2,3,3]; c=Conv(x,w); a,b=Split(c) axis=1 split=1,2; d=Conv(x,k); out a,b,d,c"
    ),
    "Split-of-Relu": "x[2,5]; r=Relu(x); a,b=Split(r) axis=1 split=2,3; out a,b,r",
    "Concat-of-Split": "x[2,5]; a,b=Split(x) axis=1 split=2,3; y=Concat(a,b) axis=1; out y,b",
    "Split-of-Split": (
        "x[2,6]; a,b=Split(x) axis=1 split=2,4; c,d=Split(b) axis=1 split=1,3; out a,c,d,b"
    ),
    "Concat-of-Relu": "x[2,3] z[2,4]; a=Relu(x); b=Relu(z); y=Concat(a,b) axis=1; out y,a",
    "Gelu-recognise-product-Div": (
        "x[3] c[]=1.4142135 one[]=1.0 half[]=0.5;"
        "d=Div(x,c); e=Erf(d); a=Add(e,one); p=Mul(x,a); y=Mul(p,half); out y,e"
    ),
}


@pytest.mark.parametrize("rule", REFUSED)
def test_an_inner_result_that_is_an_output_is_not_taken(rule: str, read_graph: Read) -> None:
    text = REFUSED[rule]
    state = State(read_graph(text).graph, CORE.select([rule]), roofline())
    assert state.matches() == []
    assert KEPT in state.explain(rule)
    without = text.rpartition(",")[0]  # the inner one stands last
    assert State(read_graph(without).graph, CORE.select([rule]), roofline()).matches()


# The outputs are named in `out`; a second name for a tensor is given as name=tensor.
REPLACED = {
    "Conv-Relu-fuse": (f"{IMAGE}; c=Conv(x,w); r=Relu(c); y=Neg(r)", "r y"),
    "MatMul-Add-fuse": ("x[2,3] w[3,4] b[4]; c=MatMul(x,w); y=Add(c,b)", "y same=y more=y"),
    "Conv-BatchNormalization-fold": (
        f"{IMAGE} {NORM}; c=Conv(x,w); b=BatchNormalization(c,k,o,m,u) epsilon=0.5; y=Relu(b)",
        "y b same=b",
    ),
    "Conv-siblings-merge": (f"{IMAGE}; c=Conv(x,w); d=Conv(x,v); y=Relu(d)", "c y"),
    "MatMul-left-siblings-merge": (
        "x[2,3] w[3,4] v[3,5]; c=MatMul(x,w); d=MatMul(x,v)",
        "d c same=c",
    ),
    "Conv-siblings-join": (
        f"{IMAGE} k[1,2,3,3]; c=Conv(x,w); a,b=Split(c) axis=1 split=1,2; d=Conv(x,k); y=Neg(a)",
        "y b d",
    ),
    "Conv-Split-part": (f"{IMAGE}; c=Conv(x,w); a,b=Split(c) axis=1 split=1,2", "b a"),
    "Split-of-Relu": ("x[2,5]; r=Relu(x); a,b=Split(r) axis=1 split=2,3; y=Neg(a)", "b y a"),
    "Relu-of-Split": (
        "x[2,5]; s,t=Split(x) axis=1 split=2,3; a=Relu(s); b=Relu(t); y=Neg(b)",
        "b y same=b a",
    ),
    "Split-of-Split": (
        "x[2,6]; a,b=Split(x) axis=1 split=2,4; c,d=Split(b) axis=1 split=1,3",
        "d c a same=c",
    ),
    # outputs that become the graph's own inputs, or one another
    "Identity-eliminate": ("x[2,3]; r=Relu(x); y=Identity(r); t=Identity(x)", "r y t x"),
    "Neg-Neg": ("x[2,3]; a=Neg(x); y=Neg(a)", "y same=y"),
    "Split-of-Concat": (
        "x[2,3] z[2,4]; c=Concat(x,z) axis=1; a,b=Split(c) axis=1 split=3,4; y=Neg(a)",
        "b y a same=a x",
    ),
    "Concat-of-Split": ("x[2,5]; a,b=Split(x) axis=1 split=2,3; y=Concat(a,b) axis=1", "y"),
    # constants and their results as outputs
    "Gemm-Transpose-right": ("x[2,3] w[4,3]; t=Transpose(w) perm=1,0; y=Gemm(x,t)", "t y"),
    "Mul-Conv-fold": (f"{IMAGE} s[2,1,1]; m=Mul(x,s); y=Conv(m,w)", "w y s"),
    "Add-zero-eliminate": ("x[2,3] k[]=0.0; r=Relu(x); y=Add(r,k)", "y k"),
}


@pytest.mark.parametrize("rule", REPLACED)
def test_a_replaced_result_keeps_its_names(rule: str, read_graph: Read) -> None:
    text, names = REPLACED[rule]
    instance = read_graph(text)
    outputs = {
        name: tensor or name for name, _, tensor in (n.partition("=") for n in names.split())
    }
    graph = with_outputs(instance.graph, outputs)
    state = State(graph, CORE.select([rule]), roofline())
    assert state.matches()
    while state.matches():
        state = state.apply(0)
        assert state.graph.hash != graph.hash
        assert_equal(instance, graph, state.graph)


# --- whole networks --------------------------------------------------------------------------

NETWORKS = ("squeezenet", "nasbench_1x1", "nasrnn")


def with_many_outputs(name: str, share: float) -> Model:
    """A built-in network; this share of its inner tensors are outputs too."""
    model = sources.SMALL[name]()
    rng = random.Random(name)
    outputs = outputs_of(model.graph)
    for node in model.graph.nodes():
        for tensor in node.outputs:
            if tensor not in outputs and rng.random() < share:
                outputs[tensor] = tensor
    return model.with_graph(with_outputs(model.graph, outputs))


def check_search(model: Model, rules: RuleSet, measurement: str) -> float:
    """Searches, and returns the share of the cost that is left."""
    result = xflowrl.optimize(
        model, "taso", rules=rules, measurement=measurement, budget={"max_iterations": 100}
    )  # raises where the result is not proven equal, in every output
    saved = export_onnx(result.model)
    onnx.checker.check_model(saved, full_check=True)
    assert [output.name for output in saved.graph.output] == model.graph.outputs
    return result.cost_best_ms / result.cost_initial_ms


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_some_of_whose_tensors_are_outputs(name: str) -> None:
    assert check_search(with_many_outputs(name, 0.3), CORE, "roofline") < 0.9


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_all_of_whose_tensors_are_outputs(name: str) -> None:
    """Nothing may vanish; only siblings become one operator and a Split."""
    model = with_many_outputs(name, 1.0)
    assert check_search(model, CORE, "roofline") <= 1.0


@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_with_tasos_rules(shared_dir: Path, name: str, share: float) -> None:
    rules = load_taso(str(shared_dir / "taso" / "graph_subst.pb"))
    assert check_search(with_many_outputs(name, share), rules, "taso") < 0.9
