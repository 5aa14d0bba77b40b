from __future__ import annotations

import os
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from xflowrl._engine import Graph, GraphBuilder, TensorType
from xflowrl.measurement import compare
from xflowrl.measurement.compare import RealMeasurement, _is_settled, _measured, race
from xflowrl.measurement.device import cpu_name
from xflowrl.measurement.operand_values import draw
from xflowrl.measurement.runtimes import RUNTIMES, Run, Runtime, open_runtime
from xflowrl.measurement.runtimes.worker import InWorkers
from xflowrl.onnx_io import Model, save_onnx


def measured(original: list[float], best: list[float], again: list[float]) -> RealMeasurement:
    samples = np.array([original, again, best]).T
    runtime: Any = SimpleNamespace(device="d", name="r")
    (result,) = _measured(samples, [""], runtime)
    return result


def test_quartiles_and_speed_up_are_those_of_the_samples() -> None:
    result = measured([2.0] * 8, [1.0] * 8, [2.0] * 8)
    assert result.initial.quartiles() == {"median": 2.0, "q1": 2.0, "q3": 2.0}
    assert (result.initial.num_repeats, result.best.num_repeats) == (16, 8)
    assert (result.speedup, result.noise) == (2.0, 0.0)


def test_faster_means_beyond_the_noise() -> None:
    quiet = measured([1.1] * 20, [1.0] * 20, [1.11] * 20)
    assert quiet.noise == pytest.approx(0.01 / 1.1)
    assert quiet.is_faster
    loud = measured([1.25] * 20, [1.2] * 20, [1.7] * 20)
    assert loud.speedup > 1.2
    assert not loud.is_faster
    assert not measured([1.0] * 20, [1.1] * 20, [1.0] * 20).is_faster


def test_the_noise_has_two_sides() -> None:
    again_faster = measured([1.0] * 20, [0.98] * 20, [0.97] * 20)
    assert again_faster.noise == pytest.approx(0.03)
    assert again_faster.speedup > 1.0
    assert not again_faster.is_faster


def test_noise_includes_what_the_median_hides() -> None:
    again = [0.9, 1.1] * 10  # median ratio near 1, but not known to be
    assert measured([1.0] * 20, [1.0] * 20, again).noise == pytest.approx(0.1)


def test_drift_that_hits_all_alike_is_no_noise() -> None:
    drift = np.linspace(1.0, 2.0, 20)
    result = measured(list(drift), list(drift / 2), list(drift))
    assert result.noise == 0.0
    assert result.speedup == pytest.approx(2.0)


def test_rounds_go_on_until_both_is_settled() -> None:
    steady, wild = np.ones(20), np.tile([0.8, 1.2], 10)
    assert _is_settled(np.array([steady, steady, steady]).T)
    assert not _is_settled(np.array([steady, wild, steady]).T)
    assert not _is_settled(np.array([steady, steady, wild]).T)


class DrawnFromName:
    """Weights for any name: random, from the name's length as a seed."""

    def __init__(self, graph: Graph) -> None:
        self._types = graph.weights

    def get(self, name: str) -> np.ndarray:
        return draw(self._types[name], seed=len(name))


def convolutions(num_layers: int, *, size: int = 16) -> Model:
    builder = GraphBuilder(f"convolutions_{num_layers}")
    last = builder.add_input("x", TensorType("float32", [1, 16, size, size]))
    for i in range(num_layers):
        weight = builder.add_weight("w" * (i + 1), TensorType("float32", [16, 16, 3, 3]))
        window = {"strides": [1, 1], "pads": [1] * 4, "dilations": [1, 1], "group": 1}
        (last,) = builder.add_node("Conv", [last, weight], [f"c{i}"], window)
        (last,) = builder.add_node("Relu", [last], [f"r{i}"])
    builder.set_outputs([last])
    graph = builder.build()
    return Model(graph, DrawnFromName(graph))


@pytest.fixture(params=[2**30, 0], ids=["small files", "large files"])
def max_together(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "_MAX_TOGETHER_BYTES", request.param)


@pytest.fixture(params=[name for name in RUNTIMES if name != "torch_compile"])  # it takes seconds
def runtime(request: pytest.FixtureRequest, max_together: None) -> Runtime:
    return open_runtime(request.param, group="judge")


def race_models(
    folder: Path, runtime: Runtime, original: Model, *others: Model, max_s: float = 0.5
) -> list[RealMeasurement]:
    files = []
    for number, model in enumerate((original, *others)):
        files.append(folder / f"{number}.onnx")
        save_onnx(model, files[-1])
    feeds = {"x": draw(original.graph.tensor_type("x"))}
    places = race(files[0], files[1:], feeds, runtime, max_s=max_s)
    return [places[file] for file in files[1:] if file in places]


def test_each_file_is_compared_with_the_original(runtime: Runtime, tmp_path: Path) -> None:
    eight, two, four = (convolutions(number) for number in (8, 2, 4))
    quarter, half = race_models(tmp_path, runtime, eight, two, four)
    assert (quarter.device, quarter.runtime) == (cpu_name(), runtime.name)
    assert quarter.speedup > 2.0  # a quarter of the work
    assert quarter.is_faster
    assert quarter.speedup > half.speedup > 1.2
    assert half.best.num_repeats >= 3


def test_a_slower_file_is_not_faster(runtime: Runtime, tmp_path: Path) -> None:
    (slower,) = race_models(tmp_path, runtime, convolutions(2), convolutions(8))
    assert slower.speedup < 0.6
    assert not slower.is_faster


def test_memory_does_not_grow(runtime: Runtime, tmp_path: Path) -> None:
    """16 MB of tensors a session, three sessions a race: kept ones would show within two races."""
    model = convolutions(2, size=256)

    def resident_mb() -> float:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def race_some(times: int) -> None:
        for _ in range(times):
            race_models(tmp_path, runtime, model, model, max_s=0.01)

    race_some(2)
    before_mb = resident_mb()
    race_some(6)
    assert resident_mb() - before_mb < 8.0


def test_large_files_are_in_memory_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = convolutions(2)
    for name in ("0", "1", "2"):
        save_onnx(original, tmp_path / f"{name}.onnx")
    plain = open_runtime("onnxruntime_plain", group="judge")
    compiled: list[str] = []
    alive: list[weakref.ref[object]] = []

    def compile(file: Path, feeds: Any) -> Run:
        assert not any(ref() is not None for ref in alive)
        run = plain.compile(file, feeds)
        compiled.append(file.stem)
        alive.append(weakref.ref(run))
        return run

    runtime: Any = SimpleNamespace(
        **{name: getattr(plain, name) for name in ("name", "device", "lock", "release")},
        compile=compile,
    )
    monkeypatch.setattr(compare, "_MAX_TOGETHER_BYTES", 0)
    files = [tmp_path / f"{name}.onnx" for name in ("0", "1", "2")]
    feeds = {"x": draw(original.graph.tensor_type("x"))}
    measured = race(files[0], files[1:], feeds, runtime, max_s=0.2)
    assert compiled == ["0", "1", "2", "0"]
    assert all(2 * m.best.num_repeats == m.initial.num_repeats for m in measured.values())


def test_files_for_which_there_is_no_time_are_left_out(tmp_path: Path) -> None:
    model = convolutions(2)
    measured = race_models(
        tmp_path, open_runtime("onnxruntime", group="judge"), model, model, model, max_s=0.0
    )
    assert len(measured) == 1


def test_the_winner_is_timed_again_in_a_fresh_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = open_runtime("onnxruntime", group="judge")
    save_onnx(convolutions(8), tmp_path / "user.onnx")
    save_onnx(convolutions(2), tmp_path / "best.onnx")
    seen: list[InWorkers] = []

    def watched(
        original: Path, files: list[Path], feeds: Any, runtime: InWorkers, **keywords: Any
    ) -> Any:
        seen.append(runtime)
        return race(original, files, feeds, runtime, **keywords)

    monkeypatch.setattr(compare, "race", watched)
    feeds = {"x": draw(convolutions(1).graph.tensor_type("x"))}
    files = tmp_path / "user.onnx", tmp_path / "best.onnx"
    measured = compare.time_again(*files, feeds, here, max_s=0.3)
    assert measured.is_faster
    assert [runtime.inner for runtime in seen] == [here] * 3
    assert not any(runtime._workers for runtime in seen)  # they have ended


def test_files_are_compiled_side_by_side_where_that_is_offered(tmp_path: Path) -> None:
    runtime = InWorkers(open_runtime("onnxruntime", group="judge"), num_workers=2)
    model = convolutions(2)
    try:
        assert len(race_models(tmp_path, runtime, model, model, model, max_s=0.3)) == 2
        (tmp_path / "1.onnx").write_bytes(b"no model")
        with pytest.raises(RuntimeError):
            list(compare._compiled([tmp_path / "0.onnx", tmp_path / "1.onnx"], {}, runtime))
    finally:
        runtime.close()
