"""The table of runtimes."""

from __future__ import annotations

import pytest

from xflowrl.measurement.runtimes import RUNTIMES, open_runtime, runtimes_on


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
