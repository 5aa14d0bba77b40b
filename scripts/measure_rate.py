"""How many real measurements a second, and what of their time is not spent on timed executions.

    python scripts/measure_rate.py results/measurement_rate.csv

A measurement exports a rewritten graph, compiles it and times it until its median is known;
rewrites of SqueezeNet and ResNet-50 take turns, in each runtime. Times are on the wall.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from measure_memory import states

from xflowrl.graphs.resnet import resnet50
from xflowrl.graphs.squeezenet import squeezenet
from xflowrl.measurement import Runtime, latency_ms, open_runtime
from xflowrl.measurement.runtimes import Run

_NETWORKS = {"squeezenet": squeezenet, "resnet50": resnet50}


class Watched:
    """A runtime that says how long compiling, with the first execution, and executing took."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.compile_s = 0.0
        self.run_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def compile(self, model: bytes | Path, feeds: Mapping[str, np.ndarray]) -> Run:
        """As the runtime's."""
        started_s = time.perf_counter()
        run = self._runtime.compile(model, feeds)
        self.compile_s += time.perf_counter() - started_s
        return WatchedRun(run, self)


class WatchedRun:
    """One of its runs."""

    def __init__(self, run: Run, watch: Watched) -> None:
        self._run = run
        self._watch = watch
        self.layout = run.layout

    def __call__(self) -> float:
        started_s = time.perf_counter()
        ms = self._run()
        self._watch.run_s += time.perf_counter() - started_s
        return ms

    def output_shapes(self) -> list[tuple[int, ...]]:
        """As the run's."""
        return self._run.output_shapes()


@dataclass(frozen=True)
class Rate:
    """Shares are of the whole time; the rest is exporting, feeding and releasing."""

    network: str
    runtime: str
    version: str
    device: str
    date: str
    num_measurements: int
    per_second: float
    share_executing: float
    share_compiling: float
    share_outside: float


def rate(name: str, runtime: Runtime, num_graphs: int, rounds: int) -> Rate:
    """Measures rewrites of a network in turn; the first round is not counted."""
    graphs = states(_NETWORKS[name](), num_graphs)
    watched = Watched(runtime)
    for model, state in graphs:
        latency_ms(model, state, runtime=watched)
    watched.compile_s = watched.run_s = 0.0
    started_s = time.perf_counter()
    for model, state in graphs * rounds:
        latency_ms(model, state, runtime=watched)
    total_s = time.perf_counter() - started_s
    return Rate(
        *(name, runtime.name, runtime.version, runtime.device),
        datetime.now(UTC).date().isoformat(),
        *(len(graphs) * rounds, len(graphs) * rounds / total_s),
        *(watched.run_s / total_s, watched.compile_s / total_s, 1 - watched.run_s / total_s),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=Path)
    parser.add_argument("--runtimes", default="onnxruntime,onnxruntime_plain,torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--graphs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parsed = parser.parse_args(arguments)
    with parsed.csv.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Rate)])
        for name in _NETWORKS:
            for key in parsed.runtimes.split(","):
                runtime = open_runtime(key, device=parsed.device, group="measurement")
                found = rate(name, runtime, parsed.graphs, parsed.rounds)
                writer.writerow(
                    f"{value:.3f}" if isinstance(value, float) else value
                    for value in vars(found).values()
                )
                file.flush()
                print(
                    f"{name:12}{key:20}{found.per_second:8.2f} a second, executing "
                    f"{found.share_executing:.0%}, compiling {found.share_compiling:.0%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
