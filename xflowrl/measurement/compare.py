"""The final measurement: the user's file and a few others, timed as they are deployed."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from xflowrl.measurement.runtimes import Run, Runtime
from xflowrl.measurement.runtimes.worker import InWorkers, checked, compile_each, fresh
from xflowrl.measurement.timer import Measurement, is_narrow, median_interval, sample_ms

_PRECISION = 0.005
_MAX_TOGETHER_BYTES = 2**30  # of files that are in memory at once
_NUM_AGAIN = 3  # fresh processes that the winner is timed in, where its file is small:
_MAX_SMALL_BYTES = 2**26


@dataclass(frozen=True)
class RealMeasurement:
    """A file beside the original, interleaved in one runtime on this machine.

    Attributes:
        noise: how far a ratio of medians may be from the truth here: the largest deviation from 1
            in the 95% confidence interval of (original again) / original, taken in the same rounds.
        layout: of the file's images in memory, where the runtime has tried several.
    """

    device: str
    runtime: str
    initial: Measurement
    best: Measurement
    noise: float
    layout: str = ""

    @property
    def speedup(self) -> float:
        """Median of the original over median of the result."""
        return self.initial.median_ms / self.best.median_ms

    @property
    def is_faster(self) -> bool:
        """Whether it is faster than the original by more than the noise."""
        return self.speedup > 1.0 + self.noise


def race(
    original: Path,
    candidates: Sequence[Path],
    feeds: Mapping[str, np.ndarray],
    runtime: Runtime,
    *,
    max_s: float,
    num_sessions: int = 1,
) -> dict[Path, RealMeasurement]:
    """Times candidates against the original, the best ones longest; the fastest comes first.

    Successive halving (Karnin et al. 2013; Jamieson and Talwalkar 2016): all are run in turn for a
    share of the time, then the slower half is dropped, and whatever the fastest leads beyond the
    noise, until one is left. Each is compared with the original in the rounds that it took part in,
    and in every round the original runs twice: how far it is from itself is the noise. A share ends
    early where all ratios are known to half a percent.

    Where it takes longer than `max_s` to open the files or to run them three times, the last
    candidates are left out, though never the first. The device lock is held exclusive. All files
    are in memory at once, and released at the end; where they are large one after the other is, the
    original first and last.

    Args:
        num_sessions: 2 opens the original twice. A file's time depends on where its memory came to
            lie, too, and that is then part of the noise.

    Raises:
        RuntimeError: the runtime refuses a file, or its inputs.
    """
    from xflowrl.onnx_io.model_file import inspect_file

    files = (*[original] * num_sessions, *candidates)
    if sum(inspect_file(file).num_bytes for file in files) > _MAX_TOGETHER_BYTES:
        make_runs = [
            partial(runtime.compile, _source(file), feeds) for file in files[num_sessions - 1 :]
        ]
        measured = _measured(*_samples_of_each(make_runs, runtime, max_s), runtime)
        ranked = sorted(zip(candidates, measured, strict=True), key=lambda e: -e[1].speedup)
        return dict(ranked)
    started_s = time.perf_counter()
    opened = _compile_all(files, num_sessions + 1, feeds, runtime, max_s)
    twice = [opened[0], opened[num_sessions - 1]]
    runs = dict(zip(candidates, opened[num_sessions:], strict=False))
    left_s = max(max_s / 2, max_s - (time.perf_counter() - started_s))
    with runtime.lock.exclusive():
        places = _halved(twice, runs, runtime, time.perf_counter() + left_s)
    del opened, twice
    runs.clear()
    runtime.release()
    return places


def time_again(
    original: Path,
    winner: Path,
    feeds: Mapping[str, np.ndarray],
    runtime: Runtime,
    *,
    max_s: float,
) -> RealMeasurement:
    """Times the winner of a race anew, in processes that have run nothing before.

    The best of several was lucky as well as fast, also in where its memory lies: two processes may
    differ by 15% about a small file. So there are three for a small file that opens quickly, each
    with its share of `max_s`; the middle one counts, and how far they are apart is noise.

    Raises:
        RuntimeError: as `race`.
    """
    from xflowrl.onnx_io.model_file import inspect_file

    is_small = inspect_file(original).num_bytes <= _MAX_SMALL_BYTES
    num_processes = _NUM_AGAIN if is_small and not isinstance(runtime, InWorkers) else 1
    found: list[RealMeasurement] = []
    for _ in range(num_processes):
        with fresh(runtime) as elsewhere:
            left_s = max_s / num_processes
            timed = race(original, [winner], feeds, elsewhere, max_s=left_s, num_sessions=2)
            found.append(timed[winner])
    return _middle(found)


def _middle(found: Sequence[RealMeasurement]) -> RealMeasurement:
    """The one of the median speed-up; its noise is theirs, or half the range of the speed-ups."""
    ranked = sorted(found, key=lambda measured: measured.speedup)
    middle = ranked[(len(ranked) - 1) // 2]
    half_range = (ranked[-1].speedup - ranked[0].speedup) / (2.0 * middle.speedup)
    noise = float(np.median([measured.noise for measured in ranked]))
    return replace(middle, noise=max(half_range, noise))


def _compile_all(
    files: Sequence[Path],
    num_needed: int,
    feeds: Mapping[str, np.ndarray],
    runtime: Runtime,
    max_s: float,
) -> list[Run]:
    """Runs of the first files: of those needed, and of more if `max_s` allows three rounds."""
    runs, once_ms, started_s = list[Run](), list[float](), 0.0
    for run in _compiled(files, feeds, runtime):
        runs.append(run)
        once_ms.append(run())
        if len(runs) == num_needed:
            started_s = time.perf_counter()
        # The original runs twice in a round, and the next file may take as long.
        needed_ms = 3 * (2 * once_ms[0] + sum(once_ms))
        if len(runs) >= num_needed and needed_ms > 1000.0 * (
            max_s - time.perf_counter() + started_s
        ):
            break
    return runs


def _halved(
    originals: Sequence[Run], runs: dict[Path, Run], runtime: Runtime, deadline_s: float
) -> dict[Path, RealMeasurement]:
    """Races the runs against the original's two; those dropped are let go."""
    racing = list(runs)
    samples_ms = np.empty((0, 2 + len(racing)))
    places: list[tuple[Path, RealMeasurement]] = []
    while True:
        num_shares = 1 + math.ceil(math.log2(len(racing)))
        left_s = max(0.0, deadline_s - time.perf_counter())
        share_ms = sample_ms(
            [*originals, *(runs[file] for file in racing)],
            max_ms=1000.0 * left_s / num_shares,
            precision=_PRECISION,
            min_rounds=3,
            settled_after=20,
            settled=_is_settled,
            min_warmup_ms=0.0 if len(samples_ms) else min(200.0, 100.0 * left_s),
        )
        samples_ms = np.concatenate([samples_ms, share_ms])
        order, num_close = _order(samples_ms)
        num_kept = min(num_close, math.ceil(len(racing) / 2))
        measured = _measured(samples_ms, [runs[file].layout for file in racing], runtime)
        dropped = order if len(racing) == 1 else order[num_kept:]
        places[:0] = [(racing[index], measured[index]) for index in dropped]
        if len(racing) == 1:
            return dict(places)
        for index in dropped:
            del runs[racing[index]]
        racing = [racing[index] for index in order[:num_kept]]
        samples_ms = samples_ms[:, [0, 1, *(2 + index for index in order[:num_kept])]]


def _order(samples_ms: np.ndarray) -> tuple[list[int], int]:
    """The candidates, the fastest first, and how many of them it does not lead beyond the noise."""
    original, again, *candidates = samples_ms.T
    ratios = [float(np.median(times / original)) for times in candidates]
    order = sorted(range(len(ratios)), key=ratios.__getitem__)
    noise, fastest = _noise(original, again), candidates[order[0]]
    close = [i for i in order if median_interval(candidates[i] / fastest)[0] <= 1.0 + noise]
    order = close + [i for i in order if i not in close]
    return order, len(close)


def _samples_of_each(
    make_runs: Sequence[Callable[[], Run]], runtime: Runtime, max_s: float
) -> tuple[np.ndarray, list[str]]:
    """A column for the original, for the original again at the end, then for each candidate.

    What the machine did between the first and the last is noise. Beside it the candidates' layouts.
    """
    columns, layouts = list[np.ndarray](), list[str]()
    turns = (*make_runs, make_runs[0])
    for make in turns:
        run = make()
        with runtime.lock.exclusive():
            samples_ms = sample_ms(
                [run],
                max_ms=1000.0 * max_s / len(turns),
                precision=_PRECISION,
                min_rounds=3,
            )
        columns.append(samples_ms[:, 0])
        layouts.append(run.layout)
        del run
        runtime.release()
    num_rounds = min(map(len, columns))
    first, *others, last = (column[:num_rounds] for column in columns)
    return np.stack([first, last, *others], axis=1), layouts[1:-1]


def _compiled(
    files: Sequence[Path], feeds: Mapping[str, np.ndarray], runtime: Runtime
) -> Iterator[Run]:
    """A run for each file: one when it is asked for, or all at once where that is side by side."""
    return map(checked, compile_each(runtime, map(_source, files), feeds))


def _source(file: Path) -> bytes | Path:
    from xflowrl.onnx_io.model_file import inspect_file

    # The runtime takes no path that is not UTF-8, but needs one to find external data.
    is_utf8 = os.fsencode(file).decode("utf-8", "replace") == str(file)
    return file if is_utf8 or inspect_file(file).data_files else file.read_bytes()


def _is_settled(samples_ms: np.ndarray) -> bool:
    """Whether one of several leads beyond the noise, or every ratio is known."""
    order, num_close = _order(samples_ms)
    ratios = (times / samples_ms[:, 0] for times in samples_ms.T[1:])
    leads = len(order) > 1 and num_close == 1
    return leads or all(is_narrow(ratio, _PRECISION) for ratio in ratios)


def _noise(original: np.ndarray, again: np.ndarray) -> float:
    low, high = median_interval(again / original)
    return max(abs(low - 1.0), abs(high - 1.0))


def _measured(
    samples_ms: np.ndarray, layouts: Sequence[str], runtime: Runtime
) -> list[RealMeasurement]:
    """`samples_ms` has a column for the original, for the original again, then the candidates."""
    original, again, *others = samples_ms.T
    of = partial(Measurement.of, device=runtime.device, runtime=runtime.name)
    initial, noise = of(np.concatenate([original, again])), _noise(original, again)
    return [
        RealMeasurement(runtime.device, runtime.name, initial, of(times), noise, layout)
        for times, layout in zip(others, layouts, strict=True)
    ]
