from __future__ import annotations

from collections import Counter

import pytest
from graph_counts import multiply_adds, operators, output_shapes, trainable_parameters

from xflowrl.graphs.nasrnn import nasrnn


def test_published_cell() -> None:
    # TensorFlow's NASCell: [512, 8*512] for the input and as much for the output
    graph = nasrnn().graph
    assert trainable_parameters(graph) == 2 * 512 * 8 * 512
    assert multiply_adds(graph) == 5 * 2 * 512 * 8 * 512
    assert output_shapes(graph) == {"output": (1, 512), "cell": (1, 512)}
    assert list(graph.inputs) == ["x0", "x1", "x2", "x3", "x4", "initial_output", "initial_cell"]


def test_operators_of_one_step() -> None:
    # gates: 7 additions and 1 product; pairs: 2 and 2; then + cell, the new cell, +, the output
    counts = operators(nasrnn(num_steps=1).graph)
    assert counts == Counter(MatMul=16, Add=11, Mul=5, Sigmoid=5, Relu=2, Tanh=8)


def test_eight_products_share_their_left_operand() -> None:
    readers = Counter(n.inputs[0] for n in nasrnn().graph.nodes() if n.op_type == "MatMul")
    assert set(readers.values()) == {8}
    assert len(readers) == 10


def test_sizes_are_overridden() -> None:
    graph = nasrnn(num_steps=2, hidden_size=16, batch_size=3).graph
    assert output_shapes(graph) == {"output": (3, 16), "cell": (3, 16)}
    with pytest.raises(ValueError, match="num_steps: 0"):
        nasrnn(num_steps=0)
