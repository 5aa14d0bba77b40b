"""Every graph source, small where only repetition would make it large."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from xflowrl.graphs import (
    bert,
    inception,
    mobilenet,
    nasbench,
    nasnet,
    nasrnn,
    onnx_light,
    resnet,
    squeezenet,
    tiny,
    vgg,
    vit,
)
from xflowrl.onnx_io import Model

DENSE_MATRIX = [
    [0, 1, 1, 1, 1, 1, 0],
    [0, 0, 1, 0, 0, 0, 1],
    [0, 0, 0, 1, 0, 0, 1],
    [0, 0, 0, 0, 1, 0, 1],
    [0, 0, 0, 0, 0, 1, 1],
    [0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0, 0],
]
OPS = ["input", "conv1x1-bn-relu", *["conv3x3-bn-relu"] * 3, "maxpool3x3", "output"]


def nasbench_3x3(num_stacks: int = 3, num_modules_per_stack: int = 3) -> Model:
    """conf/graph/nasbench_3x3.yaml, or fewer stacks and modules of it."""
    return nasbench.nasbench(
        matrix=DENSE_MATRIX,
        ops=OPS,
        num_stacks=num_stacks,
        num_modules_per_stack=num_modules_per_stack,
    )


SMALL: dict[str, Callable[[], Model]] = {
    "nasbench_1x1": partial(nasbench_3x3, 1, 1),
    "squeezenet": squeezenet.squeezenet,
    "squeezenet_bias": partial(squeezenet.squeezenet, bias=True),
    "resnet18": resnet.resnet18,
    "bert_taso": partial(bert.build_graph_bert, num_layers=2),
    "bert": partial(bert.bert_base, num_layers=1),
    "vit": partial(vit.vit_base),
    "nasrnn": partial(nasrnn.nasrnn, num_steps=2),
    "tiny": tiny.tiny,
    "vgg16": vgg.vgg16,
    "mobilenet_v2": mobilenet.mobilenet_v2,
    **{f"onnx_light_{name}": partial(onnx_light.onnx_light, name) for name in onnx_light.NAMES},
}

LARGE: dict[str, Callable[[], Model]] = {
    "nasbench_3x3": nasbench_3x3,
    "resnet50": resnet.resnet50,
    "resnext50": resnet.resnext50,
    "resnet152": resnet.resnet152,
    "inception_v3": inception.inception_v3,
    "nasnet_a": nasnet.nasnet_a,
    "bert_base": bert.bert_base,
    "vgg19": vgg.vgg19,
}
