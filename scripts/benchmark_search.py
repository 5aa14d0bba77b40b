"""Speed and memory of the search, `agent=taso measurement=roofline`, on a small and a large graph.

`python scripts/benchmark_search.py [--iterations N]` prints a row a graph: iterations and
candidates a second, seconds, and the growth of peak resident memory, all during `optimize` alone.
Every graph has a process of its own, so that one's memory is not the other's.
"""

from __future__ import annotations

import argparse
import multiprocessing

GRAPHS = {"nasbench_3x3": {}, "onnx_light resnet50": {"name": "resnet50"}}


def measure(label: str, iterations: int) -> dict[str, float | str]:
    """One row: a search of one graph."""
    from xflowrl.problem import Budget, Problem, peak_resident_bytes
    from xflowrl.run import build, load_option

    option, changes = label.split()[0], GRAPHS[label]
    built = build(load_option("graph", option, changes, seed=0))
    problem = Problem(
        model=built[0] if isinstance(built, list) else built,
        rules=build(load_option("rules", "core", {}, seed=0)),
        cost_model=build(load_option("measurement", "roofline", {}, seed=0)),
        budget=Budget(max_iterations=iterations),
    )
    agent = build(load_option("agent", "taso", {}, seed=0))
    before = peak_resident_bytes()
    (result,) = agent.optimize([problem], lambda metrics, step: None)
    grown_mb = (peak_resident_bytes() - before) / 2**20
    return {
        "graph": label,
        "iterations": result.iterations,
        "seconds": result.optimisation_s,
        "iterations/s": result.iterations / result.optimisation_s,
        "candidates/s": result.candidates / result.optimisation_s,
        "peak MB": grown_mb,
        "cost ms": result.cost_initial_ms,
        "best ms": result.cost_best_ms,
        "stopped by": str(result.stop_reason),
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=200)
    iterations = parser.parse_args().iterations
    context = multiprocessing.get_context("spawn")
    for index, label in enumerate(GRAPHS):
        with context.Pool(1) as pool:
            row = pool.apply(measure, (label, iterations))
        if index == 0:
            print("  ".join(f"{name:>19}" for name in row))
        print(
            "  ".join(f"{v:>19.4g}" if isinstance(v, float) else f"{v:>19}" for v in row.values())
        )


if __name__ == "__main__":
    main()
