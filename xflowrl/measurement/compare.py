"""The final measurement: the user's file and a few others, timed as they are deployed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from xflowrl.measurement.runtimes import Run, Runtime
from xflowrl.measurement.timer import Measurement, is_narrow, median_interval, sample_ms

_PRECISION = 0.005
_MAX_TOGETHER_BYTES = 2**30  # of files that are in memory at once


@dataclass(frozen=True)
class RealMeasurement:
    """A file beside the original, interleaved in one runtime on this machine.

    Attributes:
        noise: how far a ratio of medians may be from the truth here: the largest deviation from 1
            in the 95% confidence interval of (original again) / original, taken in the same rounds.
    """

    device: str
    runtime: str
    initial: Measurement
    best: Measurement
    noise: float

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
) -> list[RealMeasurement]:
    """Times files in turn; one measurement a candidate, in order, each against the original.

    Where it takes longer than `max_s` to open the files, the last candidates are left out, though
    never the first.

    In every round the original runs twice: how far it is from itself is the noise. Rounds go on
    until every ratio is known to half a percent, at most `max_s` seconds, at least three. The
    device lock is held exclusive. All files are in memory at once, and released at the end; where
    they are large one after the other is, the original first and last.

    Raises:
        RuntimeError: the runtime refuses a file, or its inputs.
    """
    from xflowrl.onnx_io.model_file import inspect_file

    files = (original, *candidates)
    is_large = sum(inspect_file(file).num_bytes for file in files) > _MAX_TOGETHER_BYTES
    sample = _samples_of_each if is_large else _samples_together
    samples_ms = sample(
        [partial(_compiled, file, feeds, runtime) for file in files], runtime, max_s
    )
    return _measured(samples_ms, runtime)


def _samples_together(
    make_runs: Sequence[Callable[[], Run]], runtime: Runtime, max_s: float
) -> np.ndarray:
    """A column for the original, for the original again, then for each candidate."""
    started_s, runs = time.perf_counter(), list[Run]()
    for make in make_runs:
        if len(runs) < 2 or time.perf_counter() - started_s < max_s:
            runs.append(make())
    runs.insert(0, runs[0])  # a second session of it would be one more model in memory
    with runtime.lock.exclusive():
        samples_ms = sample_ms(
            runs,
            max_ms=1000.0 * max_s,
            precision=_PRECISION,
            min_rounds=3,
            settled_after=20,
            settled=_ratios_are_known,
            min_warmup_ms=min(200.0, 100.0 * max_s),
        )
    runs.clear()
    runtime.release()
    return samples_ms


def _samples_of_each(
    make_runs: Sequence[Callable[[], Run]], runtime: Runtime, max_s: float
) -> np.ndarray:
    """The same columns; what the machine did between the first and the last is noise."""
    columns: list[np.ndarray] = []
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
        del run
        runtime.release()
    num_rounds = min(map(len, columns))
    first, *others, last = (column[:num_rounds] for column in columns)
    return np.stack([first, last, *others], axis=1)


def _compiled(file: Path, feeds: Mapping[str, np.ndarray], runtime: Runtime) -> Run:
    from xflowrl.onnx_io.model_file import inspect_file

    # The runtime takes no path that is not UTF-8, but needs one to find external data.
    is_utf8 = os.fsencode(file).decode("utf-8", "replace") == str(file)
    source = file if is_utf8 or inspect_file(file).data_files else file.read_bytes()
    return runtime.compile(source, feeds)


def _ratios_are_known(samples_ms: np.ndarray) -> bool:
    return all(is_narrow(times / samples_ms[:, 0], _PRECISION) for times in samples_ms.T[1:])


def _measured(samples_ms: np.ndarray, runtime: Runtime) -> list[RealMeasurement]:
    """`samples_ms` has a column for the original, for the original again, then the candidates."""
    original, again, *others = samples_ms.T
    of = partial(Measurement.of, device=runtime.device, runtime=runtime.name)
    low, high = median_interval(again / original)
    initial, noise = of(np.concatenate([original, again])), max(abs(low - 1.0), abs(high - 1.0))
    return [
        RealMeasurement(runtime.device, runtime.name, initial=initial, best=of(times), noise=noise)
        for times in others
    ]
