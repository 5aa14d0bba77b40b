"""The vision transformer (Dosovitskiy et al. 2020, table 1)."""

from __future__ import annotations

from xflowrl.graphs.bert import feed_forward, self_attention
from xflowrl.graphs.layers import LayerBuilder
from xflowrl.onnx_io import Model

_EPSILON = 1e-6  # of layer normalisation, as in the authors' code


def vit_base(
    *,
    patch_size: int = 16,
    batch_size: int = 1,
    image_size: int = 224,
    num_labels: int = 1000,
    seed: int = 0,
) -> Model:
    """ViT-Base with a linear head: [N, 3, S, S] to [N, num_labels].

    Departures from the paper: none; the softmax of the loss is left out.
    """
    if patch_size < 1 or image_size % patch_size:
        raise ValueError(
            f"vit_base: image_size {image_size} is not a multiple of patch_size {patch_size}"
        )
    net = LayerBuilder("vit_base")
    x = net.image_input(batch_size, image_size)
    x = _embedded_patches(net, x, patch_size)
    for layer in range(12):
        name = f"layer{layer}"
        y = net.layer_norm(x, f"{name}/norm1", epsilon=_EPSILON)
        y = self_attention(net, y, f"{name}/attention", 12)
        x = net.add(y, x, f"{name}/attention/residual")
        y = net.layer_norm(x, f"{name}/norm2", epsilon=_EPSILON)
        y = feed_forward(net, y, f"{name}/mlp", 3072)
        x = net.add(y, x, f"{name}/mlp/residual")
    x = net.layer_norm(x, "norm", epsilon=_EPSILON)
    x = net.slice(x, "classifier/token", starts=[0], ends=[1], axes=[1])
    x = net.dense(net.flatten(x, "classifier/flatten"), "classifier/dense", num_labels)
    return net.model({"logits": x}, seed=seed)


def _embedded_patches(net: LayerBuilder, x: str, patch_size: int) -> str:
    """A class token and one token per patch, with positions: [N, 1 + patches, 768]."""
    width = 768
    x = net.conv(x, "embedding/patches", width, patch_size, stride=patch_size, padding=0, bias=True)
    batch_size, _, rows, columns = net.shape(x)
    x = net.reshape(x, "embedding/reshape", [batch_size, width, rows * columns])
    x = net.transpose(x, "embedding/transpose", (0, 2, 1))
    token = net.weight("embedding/class_token", [1, 1, width])
    if batch_size > 1:
        shape = [batch_size, 1, width]
        token = net.node("Expand", [token], "embedding/class_tokens", shape=shape)
    x = net.concat([token, x], "embedding/concat")
    positions = net.weight("embedding/positions", [1, 1 + rows * columns, width])
    return net.add(x, positions, "embedding/add")
