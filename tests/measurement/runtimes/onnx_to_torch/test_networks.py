"""Whole networks by the table: the same numbers as ONNX Runtime's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from test_exported_networks import LARGE_NETWORKS, NETWORKS

from xflowrl import optimize
from xflowrl.graphs.random_networks import random_network
from xflowrl.measurement.operand_values import draw
from xflowrl.measurement.runtimes.onnx_to_torch import OnnxModule
from xflowrl.measurement.runtimes.onnxruntime import open_session
from xflowrl.onnx_io import Model, export_onnx

FUSED = frozenset({("Conv", "float32", "Relu")})


def difference(model: Model, *, spoil: bool = False, device: str = "cpu") -> float:
    """The largest, as a share of the largest number that ONNX Runtime computes."""
    exported = export_onnx(model, fused=FUSED)
    feeds = {name: draw(model.graph.tensor_type(name)) for name in model.graph.inputs}
    session = open_session(exported.SerializeToString())
    expected = session.run(None, {i.name: feeds[i.name] for i in session.get_inputs()})
    module = OnnxModule(exported)
    if spoil:
        next(t for t in module.buffers() if t.is_floating_point() and t.ndim > 1).mul_(1.01)
    module.to(device)
    inputs = [torch.from_numpy(feeds[given.name]).to(device) for given in module.inputs]
    with torch.inference_mode(), torch.device(device):
        actual = [result.cpu() for result in module(*inputs)]
    shares = [
        float(np.max(np.abs(ours.numpy() - theirs)) / np.max(np.abs(theirs)))
        for ours, theirs in zip(actual, expected, strict=True)
        if ours.shape == theirs.shape and ours.numpy().dtype == theirs.dtype
    ]
    assert len(shares) == len(expected)
    return max(shares)


# Single precision over some hundred layers, in two orders of summation.
TOLERANCE = 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_built_in_networks(name: str) -> None:
    assert difference(NETWORKS[name]()) < TOLERANCE


@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
)  # cuDNN has a kernel of its own
def test_fused_kernels(device: str) -> None:
    found = optimize(NETWORKS["squeezenet"](), measurement="roofline", verify=False).model
    exported = export_onnx(found, fused=FUSED)
    assert sum(node.op_type == "FusedConv" for node in exported.graph.node) > 10
    torch.backends.cudnn.allow_tf32 = False
    assert difference(found, device=device) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE_NETWORKS)
def test_large_networks(name: str) -> None:
    assert difference(LARGE_NETWORKS[name]()) < TOLERANCE


@pytest.mark.parametrize("seed", range(6))
def test_random_networks(seed: int) -> None:
    assert difference(random_network(num_nodes=80, trap=0.3, seed=seed)) < TOLERANCE


@pytest.mark.parametrize("make", [NETWORKS["squeezenet"], NETWORKS["bert"]])
def test_a_wrong_weight_is_seen(make: Callable[[], Model]) -> None:
    assert difference(make(), spoil=True) > TOLERANCE
