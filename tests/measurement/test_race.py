"""Successive halving, with made-up times: who is dropped when, and who comes first."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from xflowrl.measurement import compare
from xflowrl.measurement.compare import RealMeasurement, race
from xflowrl.measurement.timer import Measurement


class MadeUpRun:
    """Takes so many milliseconds, a draw later by up to `spread` of it; counts its calls."""

    def __init__(self, ms: float, spread: float, seed: int) -> None:
        self._ms, self._spread = ms, spread
        self._generator = np.random.default_rng(seed)
        self.num_calls = 0
        self.layout = f"as {ms:g}"

    def __call__(self) -> float:
        self.num_calls += 1
        return self._ms * (1.0 + self._spread * self._generator.random())

    def output_shapes(self) -> list[tuple[int, ...]]:
        return []


class MadeUpRuntime:
    """A file `NAME.onnx` takes `times_ms[NAME]`."""

    name, device = "made_up", "none"

    def __init__(self, times_ms: Mapping[str, float], spread: float = 0.01) -> None:
        self.times_ms, self.spread = times_ms, spread
        self.runs: dict[str, MadeUpRun] = {}
        self.sessions: list[float] = []  # factors of the next ones' times
        self.alive: list[weakref.ref[MadeUpRun]] = []
        self.lock = SimpleNamespace(exclusive=self.exclusive)
        self.num_released = 0

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        yield

    def compile(self, model: Path, feeds: Any) -> MadeUpRun:
        factor = self.sessions.pop() if self.sessions else 1.0
        ms = self.times_ms[model.stem] * factor
        run = MadeUpRun(ms, self.spread, seed=len(self.alive))
        self.alive.append(weakref.ref(run))
        return run

    def release(self) -> None:
        self.num_released += 1


RaceThem = Callable[..., dict[str, RealMeasurement]]


@pytest.fixture
def race_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RaceThem:
    outline = SimpleNamespace(num_bytes=1, data_files=())
    monkeypatch.setattr("xflowrl.onnx_io.model_file.inspect_file", lambda file: outline)

    def race_them(
        max_s: float = 1.0, spread: float = 0.01, sessions: Sequence[float] = (), **times_ms: float
    ) -> Any:
        runtime: Any = MadeUpRuntime(times_ms, spread)
        runtime.sessions = list(reversed(sessions))
        num_sessions = max(1, len(sessions))
        original, *others = (tmp_path / f"{name}.onnx" for name in times_ms)
        places = race(original, others, {}, runtime, max_s=max_s, num_sessions=num_sessions)
        assert runtime.num_released == 1
        assert all(ref() is None for ref in runtime.alive)
        return {file.stem: measured for file, measured in places.items()}

    return race_them


def rounds(places: Mapping[str, RealMeasurement]) -> dict[str, int]:
    return {name: measured.best.num_repeats for name, measured in places.items()}


def test_the_fastest_comes_first_and_the_slowest_last(race_them: RaceThem) -> None:
    places = race_them(user=1.0, a=0.9, b=1.4, c=0.5, d=0.7)
    assert list(places) == ["c", "d", "a", "b"]
    assert places["c"].speedup == pytest.approx(2.0, rel=0.02)
    assert places["b"].speedup == pytest.approx(1 / 1.4, rel=0.02)
    assert places["c"].is_faster
    assert not places["b"].is_faster


def test_whoever_leads_beyond_the_noise_leaves_all_behind_at_once(race_them: RaceThem) -> None:
    counts = rounds(race_them(user=1.0, a=0.9, b=1.4, c=0.5, d=0.7))
    assert counts["d"] == counts["a"] == counts["b"] < counts["c"]


def test_of_close_ones_half_goes_on(race_them: RaceThem) -> None:
    counts = rounds(race_them(spread=0.2, user=1.0, a=1.0, b=1.001, c=1.0, d=1.001))
    assert len(set(counts.values())) == 3  # four, then two, then one
    ordered = list(counts.values())
    assert ordered[0] > ordered[1] > ordered[2] == ordered[3]


def test_a_far_one_is_dropped_among_close_ones(race_them: RaceThem) -> None:
    counts = rounds(race_them(spread=0.2, user=1.0, a=0.8, b=0.801, c=3.0, d=0.8, e=0.801, f=4.0))
    assert list(counts)[-2:] == ["c", "f"]
    assert counts["c"] == min(counts.values())


def test_a_single_one_gets_all_the_time(race_them: RaceThem) -> None:
    places = race_them(max_s=0.2, spread=0.5, user=1.0, a=1.0)
    assert rounds(places)["a"] > 20
    assert not places["a"].is_faster


def test_those_that_cannot_run_three_times_are_left_out(race_them: RaceThem) -> None:
    places = race_them(max_s=0.05, user=4.0, a=4.0, b=4.0, c=4.0)  # a round of three: 16 ms
    assert sorted(places) == ["a", "b"]
    assert list(race_them(max_s=0.0, user=4.0, a=4.0, b=4.0)) == ["a"]


def test_how_two_sessions_of_the_original_differ_is_noise(race_them: RaceThem) -> None:
    places = race_them(sessions=[1.0, 1.1], user=1.0, a=0.96)
    assert places["a"].noise == pytest.approx(0.1, abs=0.02)
    assert not places["a"].is_faster


def test_what_a_runtime_chose_is_said_of_each(race_them: RaceThem) -> None:
    places = race_them(user=1.0, a=0.9, b=0.5, c=0.7)
    assert {name: place.layout for name, place in places.items()} == {
        "a": "as 0.9",
        "b": "as 0.5",
        "c": "as 0.7",
    }


def test_of_several_processes_the_middle_one_counts_and_the_others_are_noise() -> None:
    def measured(speedup: float, noise: float) -> RealMeasurement:
        one, other = (Measurement(ms, ms, ms, 9, "d", "r") for ms in (speedup, 1.0))
        return RealMeasurement("d", "r", one, other, noise)

    of = compare._middle([measured(1.3, 0.01), measured(1.1, 0.02), measured(1.15, 0.03)])
    assert of.speedup == 1.15
    assert of.noise == pytest.approx(0.1 / 1.15)
    of = compare._middle([measured(1.12, 0.01), measured(1.1, 0.05), measured(1.11, 0.02)])
    assert (of.speedup, of.noise) == (1.11, 0.02)
    assert compare._middle([measured(1.1, 0.02)]).noise == 0.02


def test_what_is_dropped_is_let_go(monkeypatch: pytest.MonkeyPatch, race_them: RaceThem) -> None:
    left: list[int] = []
    halved = compare._halved

    def watched(originals: list[Any], runs: dict[Path, Any], *args: Any) -> Any:
        places = halved(originals, runs, *args)
        left.append(len(runs))
        return places

    monkeypatch.setattr(compare, "_halved", watched)
    race_them(user=1.0, a=0.9, b=1.4, c=0.5, d=0.7)
    assert left == [1]  # the fastest
