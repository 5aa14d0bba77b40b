"""The arrays of an observation say what the graph and the matches say."""

from __future__ import annotations

import numpy as np
import pytest
import zoo
from drawing import Sketch, corrected, roofline, state

from xflowrl._engine import CostTable, State, TensorType, activation_names, operator_names
from xflowrl.rules import load_core


def right_aligned(tensor_type: TensorType) -> list[int]:
    """Four columns: shorter shapes get ones in front, longer ones a product."""
    shape = [1] * (4 - len(tensor_type.shape)) + list(tensor_type.shape)
    return [int(np.prod(shape[: len(shape) - 3])), *shape[len(shape) - 3 :]]


@pytest.mark.parametrize("name", zoo.GRAPHS)
def test_rows_and_edges_are_those_of_the_graph(name: str) -> None:
    start = State(zoo.GRAPHS[name](), load_core(), roofline())
    start = start.apply(len(start) // 2)  # so that rows are not merely in slot order
    graph, arrays = start.graph, start.observe()
    inputs = list(graph.inputs)
    nodes = {node.outputs[0]: node for node in graph.nodes() if not node.is_constant}
    num_rows = len(inputs) + len(nodes)
    for column, dtype in {
        "node_op": np.int32,
        "node_flops": np.float64,
        "node_bytes": np.float64,
        "node_cost_ms": np.float64,
        "node_num_constants": np.int32,
        "node_activation": np.int32,
    }.items():
        assert arrays[column].shape == (num_rows,)
        assert arrays[column].dtype == dtype
    assert arrays["node_shape"].shape == (num_rows, 4)
    assert arrays["node_cost_ms"].sum() == pytest.approx(start.cost.ms, rel=1e-12)
    assert arrays["node_flops"].sum() == start.cost.flops
    assert arrays["node_bytes"].sum() == pytest.approx(start.cost.bytes)

    # Every edge is told by what a row shows of itself, for rows bear no names.
    table = [*operator_names(), "unknown"]

    seen = []
    for row in range(num_rows):
        incoming = np.flatnonzero(arrays["edge_dst"] == row)
        producers = [table[arrays["node_op"][source]] for source in arrays["edge_src"][incoming]]
        operands = arrays["edge_operand"][incoming].tolist()
        edges = zip(operands, producers, arrays["edge_shape"][incoming].tolist(), strict=True)
        seen.append((table[arrays["node_op"][row]], arrays["node_shape"][row].tolist(), [*edges]))
    constants = {
        *graph.weights,
        *graph.literals,
        *(output for node in graph.nodes() if node.is_constant for output in node.outputs),
    }
    makers = {output: node for node in nodes.values() for output in node.outputs}

    def op_of(tensor: str) -> str:
        op = makers[tensor].op_type if tensor in makers else "Input"
        return op if op in table else "unknown"

    expected: list[object] = [
        ("Input", right_aligned(graph.tensor_type(name)), []) for name in inputs
    ]
    num_constants = []
    for node in nodes.values():
        incoming_edges = [
            (operand, op_of(tensor), right_aligned(tensor_type))
            for operand, (tensor, tensor_type) in enumerate(
                zip(node.inputs, node.input_types, strict=True)
            )
            if tensor and tensor not in constants and tensor_type is not None
        ]
        shape = right_aligned(node.output_types[0])
        expected.append((op_of(node.outputs[0]), shape, incoming_edges))
        num_constants.append(sum(tensor in constants for tensor in node.inputs))
    assert sorted(map(str, seen)) == sorted(map(str, expected))
    assert sorted(arrays["node_num_constants"]) == sorted([0] * len(inputs) + num_constants)
    outputs = {makers[t].outputs[0] if t in makers else t for t in graph.output_tensors}
    assert int(arrays["node_is_output"].sum()) == len(outputs - constants)


def test_matches_are_those_of_the_state() -> None:
    start = State(zoo.siblings(), load_core(), roofline())
    arrays, matches = start.observe(), start.matches()
    assert arrays["match_rule"].tolist() == [match.rule_index for match in matches]
    assert arrays["match_size"].tolist() == [match.size_difference for match in matches]
    costs = [match.cost_difference_ms for match in matches]
    np.testing.assert_array_equal(arrays["match_cost_ms"], costs)
    assert len(arrays["match_node_ptr"]) == len(matches) + 1
    assert arrays["match_node_ptr"][-1] == len(arrays["match_node"])
    rows = len(arrays["node_op"])
    for index, match in enumerate(matches):
        bound = arrays["match_node"][slice(*arrays["match_node_ptr"][index : index + 2])]
        assert ((bound >= 0) & (bound < rows)).all()
        # No constants' nodes are matched in this graph, so that all have rows.
        assert len(bound) == len(match.nodes)
    for name, values in start.observe().items():
        np.testing.assert_array_equal(values, arrays[name])


def test_a_small_graph_row_by_row() -> None:
    net = Sketch()
    x, w = net.input(2, 3, 4, 5, 6), net.weight(6)
    y = net.node("Add", x, w)
    net.builder.add_node("Unheard", [y], ["z"], output_types=[TensorType("float32", [7])])
    fused = net.node("MatMul", "z", net.weight(7, 8), activation="Relu")
    net.builder.set_outputs(["a", "b", "c"], [fused, y, y])
    start = state(net.builder.build(), "(rule r (Add ?x ?y) => (Add ?x ?y))")
    arrays = start.observe()
    names = operator_names()
    assert arrays["node_op"].tolist() == [
        names.index("Input"),
        names.index("Add"),
        len(names),
        names.index("MatMul"),
    ]
    assert arrays["node_shape"].tolist() == [[6, 4, 5, 6], [6, 4, 5, 6], [1, 1, 1, 7], [1, 1, 1, 8]]
    assert arrays["node_num_constants"].tolist() == [0, 1, 0, 1]
    assert arrays["node_is_output"].tolist() == [False, True, False, True]
    assert [activation_names()[i] for i in arrays["node_activation"]] == ["", "", "", "Relu"]
    assert arrays["edge_src"].tolist() == [0, 1, 2]
    assert arrays["edge_dst"].tolist() == [1, 2, 3]
    assert arrays["edge_operand"].tolist() == [0, 0, 0]
    assert arrays["edge_shape"].tolist() == [[6, 4, 5, 6], [6, 4, 5, 6], [1, 1, 1, 7]]
    assert arrays["node_flops"].tolist() == [0, 720, 0, 2 * 7 * 8]
    assert arrays["match_node"].tolist() == [1]


def test_arrays_outlive_their_state() -> None:
    """They own their memory: a rollout keeps arrays and drops states."""
    arrays = State(zoo.layouts(), load_core(), roofline()).observe()
    again = State(zoo.layouts(), load_core(), roofline()).observe()
    arrays["node_shape"][:] = 0
    assert State(zoo.layouts(), load_core(), roofline()).observe()["node_shape"].any()
    assert again["node_shape"].any()


def test_empty_lists_have_their_shapes() -> None:
    net = Sketch()
    start = state(net.graph(net.input(3)), "(rule r (Relu ?x) => (Relu ?x))")
    arrays = start.observe()
    assert arrays["edge_shape"].shape == (0, 4)
    assert arrays["match_node_ptr"].tolist() == [0]
    assert arrays["node_op"].tolist() == [operator_names().index("Input")]
    assert arrays["node_is_output"].tolist() == [True]


def test_unknown_costs_are_nan() -> None:
    net = Sketch()
    x = net.input(3)
    graph = net.graph(net.node("Relu", net.node("Reshape", x, shape=[1, 3])))
    costs = State(graph, load_core(), CostTable.measured()).observe()["node_cost_ms"]
    assert np.isnan(costs).tolist() == [False, False, True]


def test_prices_know_what_a_node_reads() -> None:
    """Where two nodes differ by nothing but that."""
    net = Sketch()
    x = net.input(4, 4)
    product = net.node("MatMul", x, net.weight(4, 4))
    graph = net.graph(net.node("Relu", product), net.node("Relu", x))
    start = State(graph, load_core(), corrected())
    costs, ops = (start.observe()[name] for name in ("node_cost_ms", "node_op"))
    after_product, alone = costs[ops == operator_names().index("Relu")]
    assert after_product < alone / 2
    assert costs.sum() == pytest.approx(start.cost.ms)
