"""Real measurements leave nothing behind: the short form of scripts/measure_memory.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from measure_memory import curve, growth_mb, rotation

from xflowrl.measurement import open_runtime
from xflowrl.measurement.runtimes import onnxruntime

NUM_WARMUP, MAX_GROWTH_MB = 60, 2.0
NUM_MEASUREMENTS = {"onnxruntime": 200, "onnxruntime_plain": 200, "torch": 100}


@pytest.fixture(scope="module")
def graphs():
    return rotation(10, num_large=0)


def grown_mb(name: str, graphs, num_measurements: int) -> float:
    runtime = open_runtime(name, group="measurement")
    return growth_mb(list(curve(runtime, graphs, num_measurements, every=20)), NUM_WARMUP)


@pytest.mark.parametrize("name", NUM_MEASUREMENTS)
def test_memory_does_not_grow(name: str, graphs) -> None:
    assert grown_mb(name, graphs, NUM_MEASUREMENTS[name]) <= MAX_GROWTH_MB


@contextmanager
def sessions_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A runtime that forgets nothing it opened."""
    kept, open_session = [], onnxruntime.open_session

    def open_and_keep(*arguments, **options):
        kept.append(open_session(*arguments, **options))
        return kept[-1]

    with monkeypatch.context() as patched:
        patched.setattr(onnxruntime, "open_session", open_and_keep)
        yield
    assert kept


def test_a_leak_is_seen(monkeypatch: pytest.MonkeyPatch, graphs) -> None:
    with sessions_kept(monkeypatch):
        assert grown_mb("onnxruntime", graphs, 100) > MAX_GROWTH_MB
