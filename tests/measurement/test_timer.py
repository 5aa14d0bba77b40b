from __future__ import annotations

import numpy as np

from xflowrl.measurement.timer import Measurement, is_narrow, median_interval, sample_ms


class Counted:
    """A run that counts its executions and, on a virtual clock, takes `cost_ms`."""

    def __init__(self, clock: list[int], cost_ms: float) -> None:
        self.clock, self.cost_ms, self.order = clock, cost_ms, 0

    def __call__(self) -> float:
        self.order += 1
        self.clock[0] += int(self.cost_ms * 1e6)
        return self.cost_ms


def virtual_clock(monkeypatch) -> list[int]:
    clock = [0]
    monkeypatch.setattr("xflowrl.measurement.timer.time.perf_counter", lambda: clock[0] / 1e9)
    return clock


def test_samples_are_the_times_of_each_run(monkeypatch) -> None:
    clock = virtual_clock(monkeypatch)
    a, b = Counted(clock, 2.0), Counted(clock, 3.0)
    samples = sample_ms([a, b], max_ms=1000.0, precision=0.01)
    assert samples.shape == (10, 2)  # exact times: settled as soon as there are enough rounds
    np.testing.assert_allclose(samples, np.tile([2.0, 3.0], (10, 1)), rtol=1e-12)
    assert a.order == b.order == 11  # one warm-up


def test_the_limit_holds_and_one_round_is_always_timed(monkeypatch) -> None:
    clock = virtual_clock(monkeypatch)
    run = Counted(clock, 12.0)
    assert sample_ms([run], max_ms=50.0, precision=0.01).shape == (3, 1)
    assert clock[0] <= 50e6  # warm-up included
    slow = Counted(clock, 80.0)
    assert sample_ms([slow], max_ms=50.0, precision=0.01).shape == (1, 1)
    assert slow.order == 2


def test_settled_samples_are_not_believed_at_once(monkeypatch) -> None:
    clock = virtual_clock(monkeypatch)
    run = Counted(clock, 1.0)
    assert len(sample_ms([run], max_ms=500.0, precision=0.01, min_ms=100.0)) >= 99
    assert clock[0] < 140e6


def test_warm_up_lasts_as_long_as_asked(monkeypatch) -> None:
    clock = virtual_clock(monkeypatch)
    run = Counted(clock, 1.0)
    sample_ms([run], max_ms=100.0, precision=0.01, min_warmup_ms=7.0)
    assert run.order == 17


def test_noisy_runs_are_repeated_until_the_median_is_known(monkeypatch) -> None:
    clock = virtual_clock(monkeypatch)
    rng = np.random.default_rng(0)

    def noisy() -> float:
        cost_ms = rng.normal(1.0, 0.1)
        clock[0] += int(cost_ms * 1e6)
        return cost_ms

    samples = sample_ms([noisy], max_ms=1e6, precision=0.01, max_rounds=100_000)
    # +-1.96 * 1.2533 * 0.1 / sqrt(n) <= 0.01 needs n of about 600
    assert 300 < len(samples) < 1300
    assert abs(float(np.median(samples)) - 1.0) < 0.02


def test_no_run_always_follows_the_same_neighbour() -> None:
    order: list[str] = []
    sample_ms(
        [lambda name=name: order.append(name) or 1.0 for name in "abc"],
        max_ms=1000.0,
        precision=0.0,
        max_rounds=3,
    )
    assert "".join(order[3:]) == "abcbcacab"


def test_median_interval_covers_the_true_median() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        low, high = median_interval(rng.exponential(size=101))
        covered += low <= np.log(2.0) <= high
    assert 370 <= covered <= 399  # 95% of 400 is 380, standard deviation 4.4


def test_few_samples_give_their_range() -> None:
    assert median_interval(np.array([3.0, 1.0, 2.0])) == (1.0, 3.0)
    assert not is_narrow(np.array([1.0, 1.1]), 0.01)
    assert is_narrow(np.array([1.0, 1.01]), 0.01)


def test_measurement_reports_median_and_quartiles() -> None:
    measurement = Measurement.of(np.array([1.0, 2.0, 3.0, 4.0, 100.0]), device="d", runtime="r")
    assert measurement.quartiles() == {"median": 3.0, "q1": 2.0, "q3": 4.0}
    assert measurement.num_repeats == 5
