"""The built-in networks are valid ONNX models that run, with the types that the engine inferred."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from xflowrl.graphs.bert import bert_base, build_graph_bert
from xflowrl.graphs.inception import inception_v3
from xflowrl.graphs.mobilenet import mobilenet_v2
from xflowrl.graphs.nasbench import nasbench
from xflowrl.graphs.nasnet import nasnet_a
from xflowrl.graphs.nasrnn import nasrnn
from xflowrl.graphs.resnet import resnet18, resnext50
from xflowrl.graphs.squeezenet import squeezenet
from xflowrl.graphs.tiny import tiny
from xflowrl.graphs.vgg import vgg16
from xflowrl.graphs.vit import vit_base
from xflowrl.onnx_io import Model, export_onnx
from xflowrl.options import build_option

CELL = [[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
OPS = ["input", "bottleneck5x5", "maxpool3x3-conv1x1", "output"]

# as small as keeps every kind of layer
NETWORKS: dict[str, Callable[[], Model]] = {
    "nasbench": lambda: nasbench(CELL, OPS, num_modules_per_stack=1, stem_channels=17),
    "squeezenet": lambda: squeezenet(image_size=64, bias=True),
    "resnet18": lambda: resnet18(image_size=64),
    "bert": lambda: build_graph_bert(num_layers=2, hidden_size=64, num_heads=4, sequence_length=16),
    "bert_base": lambda: bert_base(num_layers=1, hidden_size=48, batch_size=2, sequence_length=7),
    "tiny": tiny,
    "mobilenet_v2": lambda: mobilenet_v2(image_size=64),
    "nasnet_a": lambda: nasnet_a(num_cells=1, penultimate_channels=264, image_size=64),
    "nasrnn": lambda: nasrnn(num_steps=2, hidden_size=16, batch_size=3),
}
# Families that are here, or read from elsewhere; a network of another is taken in its own size.
FAMILIES = {"bert", "inception", "mobilenet", "nasbench", "nasnet", "nasrnn", "onnx_files"}
FAMILIES |= {"onnx_light", "random_networks", "resnet", "squeezenet", "tiny", "vgg", "vit"}
FAMILIES |= {"training_set", "unseen"}  # several networks, of families that are here
for option in sorted((Path(__file__).parents[2] / "conf" / "graph").glob("*.yaml")):
    target = re.search(r"xflowrl\.graphs\.(\w+)", option.read_text("utf-8"))
    if target is not None and target[1] not in FAMILIES:
        NETWORKS[option.stem] = partial(build_option, "graph", option.stem)
LARGE_NETWORKS: dict[str, Callable[[], Model]] = {
    "resnext50": lambda: resnext50(image_size=64),
    "vgg16": lambda: vgg16(image_size=32),
    "inception_v3": lambda: inception_v3(image_size=75),
    "vit_base": lambda: vit_base(image_size=64, batch_size=2),
}


def check_export(model: Model) -> None:
    """Checker, strict shape inference, one run; names, types and magnitude of the outputs."""
    graph = model.graph
    exported = export_onnx(model)
    onnx.checker.check_model(exported, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(exported, strict_mode=True, data_prop=True)
    known = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in inferred.graph.value_info
    }
    shapes = {
        output: tuple(type_.shape)
        for node in graph.nodes()
        for output, type_ in zip(node.outputs, node.output_types, strict=True)
        if output in known
    }
    assert shapes
    assert shapes == {name: known[name] for name in shapes}

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        exported.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    random = np.random.default_rng(0)
    feeds = {
        name: random.standard_normal(graph.tensor_type(name).shape).astype(np.float32)
        for name in graph.inputs
    }
    values = dict(zip(graph.outputs, session.run(graph.outputs, feeds), strict=True))
    for name, tensor in zip(graph.outputs, graph.output_tensors, strict=True):
        assert values[name].shape == tuple(graph.tensor_type(tensor).shape)
        assert np.isfinite(values[name]).all()
        assert values[name].std() > 1e-6, f"{name} is constant: a comparison would prove nothing"


@pytest.mark.parametrize("name", NETWORKS)
def test_export(name: str) -> None:
    check_export(NETWORKS[name]())


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE_NETWORKS)
def test_export_of_large_networks(name: str) -> None:
    check_export(LARGE_NETWORKS[name]())
