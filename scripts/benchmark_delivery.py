"""What is delivered, over the user's file, in the deployed runtime: networks and files on a CPU.

    python scripts/benchmark_delivery.py results/delivery_cpu.csv [--only NAME ...] [--seconds S]
    python scripts/benchmark_delivery.py results/delivery_files.csv --files FOLDER/*/model.onnx

Each network is written to a file, unless it is one, and delivered as a user would have it
(`xflowrl model.onnx`, one thread decides). Then the delivered file is timed against the user's
anew, in ONNX Runtime in a fresh process, on one thread and on two, interleaved: the median of the
ratios of the same rounds, the 95% interval of that median, and as noise how far the same interval
of the user's file to itself is from 1. A copy is the same file, its speed-up 1. `pick_speedup` is
what the search's own pick had in the race, `num_real` the states that raced: what measuring added.

A row is written as soon as it is known; networks that the table has already are left out.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

import xflowrl
from xflowrl.graphs.onnx_light import NAMES
from xflowrl.measurement.runtimes import open_runtime
from xflowrl.measurement.runtimes.worker import fresh
from xflowrl.measurement.timer import is_narrow, median_interval, sample_ms
from xflowrl.onnx_io import Model, load_onnx, save_onnx
from xflowrl.options import build_option, conf_folder
from xflowrl.proof import draw_feeds
from xflowrl.provenance import git_commit

FIELDS = (
    "network", "delivered", "speedup", "low", "high", "noise", "original_ms", "delivered_ms",
    "speedup_2_threads", "low_2_threads", "high_2_threads", "noise_2_threads",
    "num_real", "pick_speedup", "takes", "rewrites", "seconds", "detail",
    "device", "runtime", "xflowrl_commit", "date",
)  # fmt: skip
# Of the group `graph`.
NO_NETWORKS = {"nasbench_random", "networks", "onnx", "onnx_light", "random", "training_set"}
NO_NETWORKS |= {f"unseen_{kind}" for kind in ("builtin", "cells", "families", "random", "traps")}


def main() -> None:
    """Writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--only", nargs="+", help="these built-in networks")
    which.add_argument("--files", nargs="+", type=Path, help="these files; their names are rows")
    parser.add_argument("--seconds", type=float, help="of optimize_file; its default if left out")
    parser.add_argument("--time-s", type=float, default=20.0, help="at most, of a timing")
    options = parser.parse_args()
    known = set[str]()
    if options.table.exists():
        with options.table.open(encoding="utf-8", newline="") as file:
            known = {row["network"] for row in csv.DictReader(file)}
    with options.table.open("a", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, FIELDS, restval="", lineterminator="\n")
        if not file.tell():
            table.writeheader()
        files = {path.stem: path for path in options.files or ()}
        for name in files or options.only or names():
            if name not in known:
                row = _row(name, files.get(name), options.seconds, options.time_s)
                table.writerow(
                    {k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()}
                )
                file.flush()
                print(*(f"{key}={row[key]}" for key in FIELDS[:16] if key in row), flush=True)


def names() -> list[str]:
    """The networks: options of `graph`, and of `graph=onnx_light` its names."""
    built_in = sorted(path.stem for path in (conf_folder() / "graph").glob("*.yaml"))
    light = [f"onnx_light/{name}" for name in NAMES]
    return [name for name in built_in if name not in NO_NETWORKS] + light


def _network(name: str) -> Model:
    group, _, light = name.partition("/")
    model: Model = build_option("graph", group, {"name": light} if light else {})
    return model


def _row(name: str, file: Path | None, seconds: float | None, time_s: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        user, faster = file or Path(scratch) / "user.onnx", Path(scratch) / "faster.onnx"
        model = load_onnx(user) if file else _network(name)
        if file is None:
            save_onnx(model, user)
        delivery = xflowrl.optimize_file(user, faster, seconds=seconds)
        row = {
            "network": name,
            "delivered": "copy" if delivery.kept_original else "ours",
            "speedup": 1.0,
            "num_real": len(delivery.raced),
            "pick_speedup": next((e.speedup for e in delivery.raced if e.is_found), ""),
            "takes": next((e.takes for e in delivery.raced if e.is_delivered), ""),
            "rewrites": delivery.rewritten,
            "seconds": delivery.seconds,
            "detail": delivery.detail,
            "device": open_runtime("onnxruntime", group="judge").device,
            "runtime": open_runtime("onnxruntime", group="judge").version,
            "xflowrl_commit": git_commit(),
            "date": date.today().isoformat(),
        }
        if not delivery.kept_original:
            feeds = draw_feeds(user, model.input_shapes(), 1)
            row |= _timed(user, faster, feeds, 1, time_s)
            two = _timed(user, faster, feeds, 2, time_s)
            row |= {f"{key}_2_threads": two[key] for key in ("speedup", "low", "high", "noise")}
    return row


def _timed(
    user: Path, faster: Path, feeds: Mapping[str, np.ndarray], threads: int, max_s: float
) -> dict[str, float]:
    """The ratio of the two files' times, from rounds in which the user's file runs twice."""
    with fresh(open_runtime("onnxruntime", threads=threads, group="judge")) as runtime:
        original, delivered = (runtime.compile(file, feeds) for file in (user, faster))
        with runtime.lock.exclusive():
            samples_ms = sample_ms(
                [original, original, delivered],
                max_ms=1000.0 * max_s,
                precision=0.002,
                min_rounds=6,
                settled_after=50,
                min_warmup_ms=500.0,
                settled=lambda samples: is_narrow(samples[:, 0] / samples[:, 2], 0.002),
            )
    first, again, own = samples_ms.T
    low, high = median_interval(first / own)
    noise = median_interval(again / first)
    return {
        "speedup": float(np.median(first / own)),
        "low": low,
        "high": high,
        "noise": max(abs(bound - 1.0) for bound in noise),
        "original_ms": float(np.median(first)),
        "delivered_ms": float(np.median(own)),
    }


if __name__ == "__main__":
    main()
