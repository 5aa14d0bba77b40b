"""BERT: the stack of attention layers that TASO optimises, and the encoder of the paper."""

from __future__ import annotations

import math

from xflowrl.graphs.layers import LayerBuilder, require_positive
from xflowrl.onnx_io import Model


def build_graph_bert(
    *,
    num_layers: int = 8,
    hidden_size: int = 1024,
    num_heads: int = 16,
    sequence_length: int = 64,
    seed: int = 0,
) -> Model:
    """TASO's BERT: linear parts of attention layers, [S, hidden] to [S, hidden], without a batch.

    Each layer makes q, k, v and multiplies (q k) v per head, without softmax, scale or transpose of
    k, so hidden_size / num_heads must equal sequence_length. The next layer reads a fourth
    product of the layer's *input*, so four products with one left operand stand side by side,
    and the attention result is read by nobody: all of them, `attention0`, ..., are outputs of
    the graph, before the last product, `output`. 146 nodes by default, inputs and weights counted.
    """
    require_positive(
        num_layers=num_layers,
        hidden_size=hidden_size,
        num_heads=num_heads,
        sequence_length=sequence_length,
    )
    if sequence_length * num_heads != hidden_size:
        raise ValueError(
            f"bert: sequence_length {sequence_length} times num_heads {num_heads} is not "
            f"hidden_size {hidden_size}; TASO's graph multiplies q and k without a transpose, "
            "which needs it"
        )
    net = LayerBuilder("bert", weights_first=False)
    x = net.relu(net.input("input", [sequence_length, hidden_size]), "relu")
    outputs = {}
    for layer in range(num_layers):
        name = f"layer{layer}"
        roles = ("query", "key", "value")
        weights = [net.weight(f"{name}/{role}/weight", [hidden_size] * 2) for role in roles]
        heads = [
            net.node("MatMul", [x, w], f"{name}/{role}")
            for role, w in zip(roles, weights, strict=True)
        ]
        heads = [
            net.reshape(h, f"{h}/reshape", [sequence_length, num_heads, sequence_length])
            for h in heads
        ]
        q, k, v = (
            net.transpose(h, f"{name}/{role}/heads", (1, 0, 2))
            for role, h in zip(roles, heads, strict=True)
        )
        y = net.node("MatMul", [q, k], f"{name}/attention/logits")
        y = net.node("MatMul", [y, v], f"{name}/attention/heads")
        y = net.transpose(y, f"{name}/attention/transpose", (1, 0, 2))
        y = net.reshape(y, f"{name}/attention", [sequence_length, hidden_size])
        outputs[f"attention{layer}"] = y
        x = net.matmul(x, f"{name}/output", hidden_size)
    outputs["output"] = x
    return net.model(outputs, seed=seed)


def bert_base(
    *,
    num_layers: int = 12,
    hidden_size: int = 768,
    num_heads: int = 12,
    batch_size: int = 1,
    sequence_length: int = 128,
    seed: int = 0,
) -> Model:
    """The encoder of BERT-base (Devlin et al. 2018): [N, S, hidden] embeddings to hidden states.

    Departures from the paper: starts behind the embedding layer and has no padding mask, that is,
    sequences are full; the pooler, which only the pre-training task reads, is left out.
    """
    require_positive(
        num_layers=num_layers,
        num_heads=num_heads,
        hidden_size=hidden_size,
        batch_size=batch_size,
        sequence_length=sequence_length,
    )
    epsilon = 1e-12
    net = LayerBuilder("bert_base")
    x = net.input("embeddings", [batch_size, sequence_length, hidden_size])
    for layer in range(num_layers):
        name = f"layer{layer}"
        y = self_attention(net, x, f"{name}/attention", num_heads)
        x = net.layer_norm(
            net.add(y, x, f"{name}/attention/residual"), f"{name}/norm1", epsilon=epsilon
        )
        y = feed_forward(net, x, f"{name}/mlp", 4 * hidden_size)
        x = net.layer_norm(net.add(y, x, f"{name}/mlp/residual"), f"{name}/norm2", epsilon=epsilon)
    return net.model({"hidden_states": x}, seed=seed)


def self_attention(net: LayerBuilder, x: str, name: str, num_heads: int) -> str:
    """Scaled dot-product attention of x [N, S, C] with itself, and its output projection."""
    batch_size, sequence_length, width = net.shape(x)
    if width % num_heads:
        raise ValueError(f"{name}: {width} channels cannot be divided into {num_heads} heads")
    split = [batch_size, sequence_length, num_heads, width // num_heads]
    heads = []
    # k is transposed to [N, heads, C / heads, S], so that q k needs no transpose of its own
    for role, perm in (("query", (0, 2, 1, 3)), ("key", (0, 2, 3, 1)), ("value", (0, 2, 1, 3))):
        h = net.linear(x, f"{name}/{role}", width)
        h = net.reshape(h, f"{name}/{role}/reshape", split)
        heads.append(net.transpose(h, f"{name}/{role}/heads", perm))
    q, k, v = heads
    scores = net.node("MatMul", [q, k], f"{name}/scores")
    scale = net.scalar(f"{name}/scale", 1.0 / math.sqrt(width // num_heads))
    scores = net.node("Mul", [scores, scale], f"{name}/scaled")
    weights = net.node("Softmax", [scores], f"{name}/softmax", axis=3)
    y = net.node("MatMul", [weights, v], f"{name}/context")
    y = net.transpose(y, f"{name}/context/transpose", (0, 2, 1, 3))
    y = net.reshape(y, f"{name}/context/reshape", [batch_size, sequence_length, width])
    return net.linear(y, f"{name}/output", width)


def feed_forward(net: LayerBuilder, x: str, name: str, hidden_size: int) -> str:
    """Two linear layers with a gelu (the exact one) between them, back to the width of x."""
    width = net.shape(x)[-1]
    x = net.linear(x, f"{name}/linear1", hidden_size)
    x = net.node("Gelu", [x], f"{name}/gelu", approximate="none")
    return net.linear(x, f"{name}/linear2", width)
