"""The table of runtimes."""

from __future__ import annotations

import importlib.util
import time

import numpy as np
import pytest
from onnx import parser

from xflowrl.measurement.runtimes import RUNTIMES, open_runtime, runtimes_on
from xflowrl.measurement.runtimes.runtime import clock_ns


def test_every_runtime_bears_its_name() -> None:
    assert [open_runtime(name, group="judge").name for name in RUNTIMES] == list(RUNTIMES)
    assert {"onnxruntime", "onnxruntime_plain"} <= set(runtimes_on("cpu", group="judge"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "tensorrt"}, r"judge\.runtime='tensorrt': use one of onnxruntime, onnx"),
        ({"device": "tpu"}, r"judge\.device='tpu': onnxruntime runs on cpu"),
        ({"threads": 0}, r"judge\.threads=0: give at least 1"),
    ],
)
def test_unknown_values_are_one_clear_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_runtime(**{"name": "onnxruntime", "group": "judge", **options})  # type: ignore[arg-type]


def test_a_device_without_runtimes_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"judge\.device='tpu': use one of cpu"):
        runtimes_on("tpu", group="judge")


def test_one_thread_is_timed_without_what_others_do_on_the_cpu() -> None:
    def slept_ms(threads: int) -> float:
        started_ns = clock_ns(threads)
        time.sleep(0.02)
        return (clock_ns(threads) - started_ns) / 1e6

    assert slept_ms(1) < 5.0
    assert slept_ms(2) >= 20.0


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "torch_compile" else [])
        for name in RUNTIMES
    ],
)
def test_a_run_says_how_long_it_took(name: str) -> None:
    model = parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 18]> '
        "one (float[512, 512] x) => (float[512, 512] y) { y = MatMul(x, x) }"
    )
    run = open_runtime(name, group="judge").compile(
        model.SerializeToString(), {"x": np.ones((512, 512), np.float32)}
    )
    started_s = time.perf_counter()
    times_ms = [run() for _ in range(20)]
    wall_ms = 1000.0 * (time.perf_counter() - started_s)
    assert 0.05 * wall_ms < sum(times_ms) <= wall_ms


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_runtime_that_is_not_installed_says_how_to(name: str, monkeypatch) -> None:
    package = name.removesuffix("_plain").removesuffix("_compile")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda found: None if found == package else find_spec(found)
    )
    open_runtime.cache_clear()
    with pytest.raises(ValueError, match=rf"is not installed here; pip install {package}$"):
        open_runtime(name, group="judge")
