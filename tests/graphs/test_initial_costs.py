"""The networks of TASO's published figures cost what was published, under the honest price list."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from xflowrl._engine import CostTable, Graph
from xflowrl.graphs.bert import build_graph_bert
from xflowrl.graphs.nasbench import nasbench
from xflowrl.graphs.resnet import resnet18, resnet34, resnet50, resnet152
from xflowrl.graphs.squeezenet import squeezenet
from xflowrl.onnx_io import Model

BYTES_PER_S = 1.555e12


def nasbench_3x3() -> Model:
    path = Path(__file__).parents[2] / "conf" / "graph" / "nasbench_3x3.yaml"
    options = yaml.safe_load(path.read_text())
    return nasbench(options["matrix"], options["ops"])


def pseudo_weights_ms(graph: Graph) -> float:
    """What TASO's weights of pools, which no pool has, would take to read."""
    elements = 0
    for node in graph.nodes():
        if node.op_type.endswith("Pool"):
            _, channels, height, width = graph.tensor_type(node.inputs[0]).shape
            window = node.attributes.get("kernel_shape", [height, width])
            elements += channels * math.prod(window)
    return 1000 * 4 * elements / BYTES_PER_S


@pytest.mark.parametrize(
    ("build", "published_ms"),
    [
        (squeezenet, 0.3835),
        (resnet18, 0.5657),
        (resnet34, 1.0532),
        (resnet50, 1.4229),
        (resnet152, 4.0615),
        (build_graph_bert, 0.6445),
        (nasbench_3x3, 1.6269),
    ],
)
def test_initial_cost(build: Callable[[], Model], published_ms: float) -> None:
    graph = build().graph
    cost = CostTable.roofline(19.5e12, BYTES_PER_S, 0.005).price(graph)
    # half a unit of the last digit published
    assert cost.ms + pseudo_weights_ms(graph) == pytest.approx(published_ms, abs=5.1e-5)
