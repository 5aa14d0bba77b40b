from __future__ import annotations

import numpy as np
import pytest

from xflowrl.measurement.compare import RealMeasurement, _measured, _ratios_are_known


def measured(original: list[float], best: list[float], again: list[float]) -> RealMeasurement:
    samples = np.array([original, best, again]).T
    return _measured(samples, device="d", runtime="r", decides=True)


def test_the_entry_has_the_documented_keys() -> None:
    entry = measured([2.0] * 8, [1.0] * 8, [2.0] * 8).entry()
    assert entry == {
        "device": "d",
        "runtime": "r",
        "decides": True,
        "initial_ms": {"median": 2.0, "q1": 2.0, "q3": 2.0},
        "best_ms": {"median": 1.0, "q1": 1.0, "q3": 1.0},
        "speedup": 2.0,
        "noise": 0.0,
    }


def test_slower_means_beyond_the_noise() -> None:
    quiet = measured([1.0] * 20, [1.1] * 20, [1.01] * 20)
    assert quiet.noise == pytest.approx(0.01)
    assert quiet.is_slower
    loud = measured([1.0] * 20, [1.1] * 20, [1.3] * 20)
    assert loud.noise == pytest.approx(0.3)
    assert not loud.is_slower
    assert not measured([1.0] * 20, [0.9] * 20, [1.0] * 20).is_slower


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
