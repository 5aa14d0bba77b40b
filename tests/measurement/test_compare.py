from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from xflowrl._engine import Graph, GraphBuilder, TensorType
from xflowrl.measurement.compare import RealMeasurement, _measured, _ratios_are_known, compare
from xflowrl.measurement.device import cpu_name
from xflowrl.measurement.operand_values import draw
from xflowrl.measurement.runtimes import RUNTIMES, Runtime, open_runtime
from xflowrl.onnx_io import Model


def measured(original: list[float], best: list[float], again: list[float]) -> RealMeasurement:
    samples = np.array([original, best, again]).T
    return _measured(samples, device="d", runtime="r")


def test_quartiles_and_speed_up_are_those_of_the_samples() -> None:
    result = measured([2.0] * 8, [1.0] * 8, [2.0] * 8)
    assert result.initial.quartiles() == {"median": 2.0, "q1": 2.0, "q3": 2.0}
    assert (result.initial.num_repeats, result.best.num_repeats) == (16, 8)
    assert (result.speedup, result.noise) == (2.0, 0.0)


def test_slower_means_beyond_the_noise() -> None:
    quiet = measured([1.0] * 20, [1.1] * 20, [1.01] * 20)
    assert quiet.noise == pytest.approx(0.01)
    assert quiet.is_slower
    loud = measured([1.0] * 20, [1.25] * 20, [1.3] * 20)
    assert loud.speedup < 0.95
    assert loud.noise == pytest.approx(0.3)
    assert not loud.is_slower
    assert not measured([1.0] * 20, [0.9] * 20, [1.0] * 20).is_slower


def test_the_noise_has_two_sides() -> None:
    again_faster = measured([1.0] * 20, [1.005] * 20, [0.97] * 20)
    assert again_faster.noise == pytest.approx(0.03)
    assert again_faster.speedup < 1.0
    assert not again_faster.is_slower


def test_noise_includes_what_the_median_hides() -> None:
    again = [0.9, 1.1] * 10  # median ratio near 1, but not known to be
    assert measured([1.0] * 20, [1.0] * 20, again).noise == pytest.approx(0.1)


def test_drift_that_hits_all_alike_is_no_noise() -> None:
    drift = np.linspace(1.0, 2.0, 20)
    result = measured(list(drift), list(drift / 2), list(drift))
    assert result.noise == 0.0
    assert result.speedup == pytest.approx(2.0)


def test_rounds_go_on_until_both_ratios_are_known() -> None:
    steady, wild = np.ones(20), np.tile([0.8, 1.2], 10)
    assert _ratios_are_known(np.array([steady, steady, steady]).T)
    assert not _ratios_are_known(np.array([steady, wild, steady]).T)
    assert not _ratios_are_known(np.array([steady, steady, wild]).T)


class DrawnFromName:
    """Weights for any name: random, from the name's length as a seed."""

    def __init__(self, graph: Graph) -> None:
        self._types = graph.weights

    def get(self, name: str) -> np.ndarray:
        return draw(self._types[name], seed=len(name))


def convolutions(num_layers: int, *, size: int = 16, fused: bool = False) -> Model:
    builder = GraphBuilder(f"convolutions_{num_layers}")
    last = builder.add_input("x", TensorType("float32", [1, 16, size, size]))
    for i in range(num_layers):
        weight = builder.add_weight("w" * (i + 1), TensorType("float32", [16, 16, 3, 3]))
        window = {"strides": [1, 1], "pads": [1] * 4, "dilations": [1, 1], "group": 1}
        activation = "Relu" if fused else ""
        builder.add_node("Conv", [last, weight], [f"c{i}"], {**window, "activation": activation})
        last = f"c{i}"
        if not fused:
            last = builder.add_node("Relu", [last], [f"r{i}"])[0]
    builder.set_outputs([last])
    graph = builder.build()
    return Model(graph, DrawnFromName(graph))


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    return open_runtime(request.param, group="judge")


def test_a_faster_model_is_found_faster(runtime: Runtime) -> None:
    entry = compare(convolutions(8), convolutions(2), runtime, max_s=0.5)
    assert (entry.device, entry.runtime) == (cpu_name(), runtime.name)
    assert entry.speedup > 2.0  # a quarter of the work
    assert not entry.is_slower
    assert entry.best.num_repeats >= 3


def test_a_slower_model_is_found_slower(runtime: Runtime) -> None:
    assert compare(convolutions(2), convolutions(8), runtime, max_s=0.5).is_slower


def test_fused_nodes_run_everywhere(runtime: Runtime) -> None:
    entry = compare(convolutions(3), convolutions(3, fused=True), runtime, max_s=0.2)
    assert 0.3 < entry.speedup < 5.0


def test_memory_does_not_grow(runtime: Runtime) -> None:
    """16 MB of tensors a session, three sessions a call: kept ones would show within two calls."""
    model = convolutions(2, size=256)

    def resident_mb() -> float:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def compare_some(times: int) -> None:
        for _ in range(times):
            compare(model, model, runtime, max_s=0.01)

    compare_some(2)
    before_mb = resident_mb()
    compare_some(6)
    assert resident_mb() - before_mb < 8.0
