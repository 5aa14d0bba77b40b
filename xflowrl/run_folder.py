"""The files of a run folder that others read: `result.json` and `trace.json`.

Both are interfaces: their keys are documented in the README, stable, and carry `schema: 1`.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xflowrl.problem import Result, Step, Trace, peak_resident_bytes

if TYPE_CHECKING:
    from xflowrl.judge import Judgement

SCHEMA = 1

_VERSIONED = (
    *("xflowrl", "numpy", "onnx", "onnxruntime"),
    *("torch", "torch-geometric", "pytorch-lightning", "gymnasium", "hydra-core", "wandb"),
)


def result_entry(
    result: Result, judgement: Judgement, *, labels: Mapping[str, Any], best_onnx: str | None
) -> dict[str, Any]:
    """One entry of `results` in `result.json`.

    Args:
        labels: agent, rules, measurement, seed.
        best_onnx: the model's file name in the run folder; None if it was not written.
    """
    verdict = judgement.verdict
    return {
        "graph": result.graph,
        **labels,
        "cost_initial_ms": result.cost_initial_ms,
        "cost_best_ms": result.cost_best_ms,
        "iterations": result.iterations,
        "candidates": result.candidates,
        "measurements": result.measurements,
        "best_iteration": result.best_iteration,
        "best_seconds": result.best_seconds,
        "optimisation_s": result.optimisation_s,
        "measure_s": result.measure_s,
        "memory_mb": result.memory_mb,
        "stop_reason": str(result.stop_reason),
        "num_unexpanded": result.num_unexpanded,
        "num_dropped": result.num_dropped,
        "num_nodes_initial": result.num_nodes_initial,
        "num_nodes_best": result.num_nodes_best,
        "num_kernels_initial": result.num_kernels_initial,
        "num_kernels_best": result.num_kernels_best,
        "num_steps": len(result.trace.steps),
        "real": [
            measured.entry() | {"decides": measured is judgement.decisive}
            for measured in judgement.real
        ],
        "verified": {
            "status": verdict.status,
            "max_abs_error": verdict.max_abs_error,
            "max_rel_error": verdict.max_rel_error,
            "detail": verdict.detail,
        },
        "kept_original": judgement.kept_original,
        "best_onnx": best_onnx,
    }


def result_record(
    entries: Sequence[Mapping[str, Any]], *, train_s: float, overrides: Sequence[str]
) -> dict[str, Any]:
    """The content of `result.json`."""
    return {
        "schema": SCHEMA,
        "results": [dict(entry) for entry in entries],
        "train_s": train_s,
        "peak_rss_mb": peak_resident_bytes() / 2**20,
        "versions": versions(),
        "git_commit": git_commit(),
        "overrides": list(overrides),
    }


def trace_record(results: Sequence[Result]) -> dict[str, Any]:
    """The content of `trace.json`."""
    return {
        "schema": SCHEMA,
        "traces": [
            {
                "graph": result.graph,
                "graph_hash": result.trace.graph_hash,
                "steps": [asdict(step) for step in result.trace.steps],
                "improvements": [asdict(improvement) for improvement in result.improvements],
            }
            for result in results
        ],
    }


def read_traces(path: Path) -> dict[str, Trace]:
    """The traces of a `trace.json`, by graph.

    Raises:
        ValueError: the file is not a trace file of a schema this version reads.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        schema = record["schema"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a trace file: {error}") from error
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema}: this version reads schema {SCHEMA}")
    return {
        entry["graph"]: Trace(
            entry["graph_hash"],
            tuple(
                Step(step["rule"], tuple(step["tensors"]), step["cost_ms"])
                for step in entry["steps"]
            ),
        )
        for entry in record["traces"]
    }


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Writes JSON whole or not at all; numbers JSON does not know (nan, inf) become null."""
    text = json.dumps(_finite(record), indent=2, allow_nan=False)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages a result may depend on; what is absent is left out."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in _VERSIONED:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """The commit of the source tree this package runs from, "-dirty" if changed; None if none."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty"]
    command += ["--exclude", "*"]  # the commit itself, never a tag's name
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
