from __future__ import annotations

from collections import Counter

import pytest
from graph_counts import multiply_adds, operators, output_shapes, taso_nodes, trainable_parameters

from xflowrl.graphs.bert import bert_base, build_graph_bert


def test_it_is_the_graph_of_tasos_figures() -> None:
    graph = build_graph_bert().graph
    assert taso_nodes(graph) == 146
    assert operators(graph) == Counter(Relu=1, MatMul=8 * 6, Reshape=8 * 4, Transpose=8 * 4)


def test_attention_results_are_outputs_besides_the_last_product() -> None:
    graph = build_graph_bert().graph
    names = [f"attention{layer}" for layer in range(8)] + ["output"]
    assert output_shapes(graph) == dict.fromkeys(names, (64, 1024))


def test_every_layer_has_four_products_of_one_operand() -> None:
    graph = build_graph_bert().graph
    readers = Counter(
        node.inputs[0]
        for node in graph.nodes()
        if node.op_type == "MatMul" and node.inputs[1].endswith("/weight")
    )
    assert readers == Counter({"relu": 4} | {f"layer{layer}/output": 4 for layer in range(7)})


def test_weights_in_order_of_use() -> None:
    roles = ["query", "key", "value", "output"]
    expected = [f"layer{layer}/{role}/weight" for layer in range(8) for role in roles]
    assert list(build_graph_bert().graph.weights) == expected


def test_product_without_transpose_needs_square_heads() -> None:
    with pytest.raises(ValueError, match="sequence_length 32 times num_heads 16 is not"):
        build_graph_bert(sequence_length=32)


def test_published_figures_of_bert_base() -> None:
    # Devlin et al. 2018: 110 M parameters, of which 12 layers of 7,087,872 are the encoder;
    # 22.5 G operations at 128 tokens (Sun et al. 2020, table 2), a multiply-add being two of them
    graph = bert_base().graph
    assert trainable_parameters(graph) == 12 * 7_087_872
    assert 2 * multiply_adds(graph) == pytest.approx(22.5e9, rel=0.01)
    assert output_shapes(graph) == {"hidden_states": (1, 128, 768)}


def test_operators_of_bert_base() -> None:
    counts = operators(bert_base(num_layers=2).graph)
    assert (counts["Softmax"], counts["Gelu"], counts["LayerNormalization"]) == (2, 2, 4)
    assert counts["MatMul"] == 2 * 8


def test_sizes_are_overridden() -> None:
    graph = bert_base(num_layers=1, batch_size=2, sequence_length=5).graph
    assert output_shapes(graph) == {"hidden_states": (2, 5, 768)}
    with pytest.raises(ValueError, match="768 channels cannot be divided into 7 heads"):
        bert_base(num_heads=7)
