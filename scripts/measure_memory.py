"""Does measuring leak? Resident memory over thousands of real measurements, a curve a runtime.

    python scripts/measure_memory.py results/memory.csv
    python scripts/measure_memory.py results/memory.csv --runtimes torch --device cuda
    python scripts/measure_memory.py results/memory.csv --runtimes torch_compile --timings 200

Fifty graphs take turns: rewrites of a small SqueezeNet, and a few of SqueezeNet itself. Each
measurement exports the graph, compiles it, times it for a moment and drops all. With `--timings`
each graph that is compiled (in a worker process, if it is torch.compile) is timed so often. Exit
code 1 if the memory of host or device grew by more than 10 MB after the warm-up.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from xflowrl._engine import State
from xflowrl.calibrate.sample import sample_rewrites
from xflowrl.graphs.squeezenet import squeezenet
from xflowrl.measurement import Runtime, latency_ms, open_runtime, roofline
from xflowrl.measurement.latency import feeds_of
from xflowrl.measurement.runtimes import export_for
from xflowrl.onnx_io import Model
from xflowrl.problem import Problem, resident_bytes
from xflowrl.rules import load_core

MAX_GROWTH_MB = 10.0
_NUM_LARGE = 5  # of the fifty
_MAX_MS = 5.0  # of timing one graph, or three executions


@dataclass(frozen=True)
class Point:
    """Memory after so many measurements, MB; that of the device is NaN where it is the host's."""

    runtime: str
    version: str
    device: str
    date: str
    num_measurements: int
    host_mb: float
    device_mb: float


def rotation(num_graphs: int = 50, num_large: int = _NUM_LARGE) -> list[tuple[Model, State]]:
    """Models beside their rewritten states, small ones and some of full size."""
    small = states(squeezenet(image_size=64, num_labels=10), num_graphs - num_large)
    return [*small, *(states(squeezenet(), num_large) if num_large else [])]


def states(model: Model, count: int) -> list[tuple[Model, State]]:
    """A model beside states that rewrites lead to."""
    problem = Problem(model=model, rules=load_core(), objective=roofline())
    sample = sample_rewrites(problem, count)[:count]
    return [(model, problem.objective.state(each.graph, problem.rules)) for each in sample]


def curve(
    runtime: Runtime,
    graphs: Sequence[tuple[Model, State]],
    num_measurements: int,
    every: int,
    num_timings: int = 1,
) -> Iterator[Point]:
    """Measures the graphs in turn; a point after each `every` measurements."""
    date = datetime.now(UTC).date().isoformat()
    turns = itertools.islice(itertools.cycle(graphs), num_measurements // num_timings)
    for number, (model, state) in enumerate(turns, start=1):
        if num_timings == 1:
            latency_ms(model, state, runtime=runtime, max_ms=_MAX_MS)
        else:
            time_often(model, state, runtime, num_timings)
        if number * num_timings % every == 0:
            yield Point(
                *(runtime.name, runtime.version, runtime.device, date, number * num_timings),
                *(resident_bytes() / 1e6, device_bytes(runtime) / 1e6),
            )


def time_often(model: Model, state: State, runtime: Runtime, num_timings: int) -> None:
    """Compiles the graph once and executes it so often."""
    rewritten = model.with_graph(state.graph)
    run = runtime.compile(export_for(runtime, rewritten), feeds_of(rewritten))
    for _ in range(num_timings):
        run()
    del run
    runtime.release()


def device_bytes(runtime: Runtime) -> float:
    """What the device has handed out to all processes; NaN for the host's own memory."""
    if "cuda" not in runtime.version:
        return float("nan")
    import torch

    free, total = torch.cuda.mem_get_info()
    return float(total - free)


def growth_mb(points: Sequence[Point], num_warmup: int) -> float:
    """The last point over the first one after the warm-up, host or device, whichever grew more."""
    first = next(point for point in points if point.num_measurements >= num_warmup)
    last = points[-1]
    grown = [last.host_mb - first.host_mb, last.device_mb - first.device_mb]
    return max(value for value in grown if value == value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=Path)
    parser.add_argument("--runtimes", default="onnxruntime,onnxruntime_plain,torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--measurements", type=int, default=10_000)
    parser.add_argument("--timings", type=int, default=1, help="of what is compiled once")
    parser.add_argument("--warmup", type=int, default=500)
    arguments = parser.parse_args()
    graphs = rotation(num_large=_NUM_LARGE if arguments.timings == 1 else 0)
    is_new, grew = not arguments.csv.exists(), False
    with arguments.csv.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(Point.__annotations__), lineterminator="\n")
        if is_new:
            writer.writeheader()
        for name in arguments.runtimes.split(","):
            runtime = open_runtime(name, device=arguments.device, group="measurement")
            points = []
            every = max(1, arguments.measurements // 100)
            turns = (arguments.measurements, every, arguments.timings)
            for point in curve(runtime, graphs, *turns):
                points.append(point)
                writer.writerow(
                    {k: f"{v:.2f}" if isinstance(v, float) else v for k, v in asdict(point).items()}
                )
                file.flush()
                print(f"{name:20}{point.num_measurements:8}{point.host_mb:10.1f} MB", flush=True)
            grown = growth_mb(points, arguments.warmup)
            grew |= grown > MAX_GROWTH_MB
            print(f"{name}: {grown:+.1f} MB after the warm-up", flush=True)
    return int(grew)


if __name__ == "__main__":
    sys.exit(main())
