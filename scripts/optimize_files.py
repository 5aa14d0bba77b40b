"""Optimises every .onnx file of a folder and has an independent judge compare what is delivered.

One row a file: delivered, refused (one line for the user) or crashed (anything else); what the
judge of `tests/files` says at several sizes; the share of tensors made that have a known type;
the cost saved under the roofline model; and the speed in ONNX Runtime as deployed, one thread,
against the user's file: medians of interleaved runs, and as noise the file against itself.

    python scripts/optimize_files.py FOLDER results.csv [--agent greedy] [--repeats 30]
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "files"))
from delivering import deliver
from judge import Feeds, complaints, drawn_feeds, open_session

FIELDS = (
    "file", "bytes", "opset", "nodes", "status", "seconds", "complaints", "nodes_after",
    "typed_share", "cost_saved", "original_ms", "speedup", "noise", "detail",
)  # fmt: skip


def main() -> None:
    """Writes the table, a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--agent", default="greedy")
    parser.add_argument("--repeats", type=int, default=30, help="timed runs of each; 0: none")
    arguments = parser.parse_args()
    with arguments.table.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, FIELDS, lineterminator="\n")
        table.writeheader()
        for row in rows(arguments.folder, agent=arguments.agent, repeats=arguments.repeats):
            table.writerow(row)
            file.flush()
            print(row["file"], row["status"], row["complaints"], row["detail"], flush=True)


def rows(folder: Path, *, agent: str, repeats: int) -> Iterator[dict[str, Any]]:
    """A row for each file, by name."""
    for path in sorted(folder.rglob("*.onnx")):
        with tempfile.TemporaryDirectory() as scratch:
            row = {"file": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size}
            yield row | _row(path, Path(scratch) / "delivered.onnx", agent, repeats)


def _row(path: Path, out: Path, agent: str, repeats: int) -> dict[str, Any]:
    model = onnx.load(path, load_external_data=False)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    row: dict[str, Any] = {"opset": opsets.get(""), "nodes": len(model.graph.node)}
    began_s = time.perf_counter()
    try:
        deliver(path, out, agent=agent)
        status, detail = "delivered", ""
    except ValueError as error:
        status, detail = "refused", " ".join(str(error).split())
    except Exception as error:
        status, detail = "crashed", f"{type(error).__name__}: {' '.join(str(error).split())}"
    row |= {"status": status, "seconds": round(time.perf_counter() - began_s, 2)}
    row |= {"complaints": "", "detail": detail[:200]}
    if status != "delivered":
        return row
    found = complaints(path, out)
    row |= {"complaints": "; ".join(found)[:300] or "none"}
    row["nodes_after"] = len(onnx.load(out, load_external_data=False).graph.node)
    row |= _costs(path, out)
    if repeats and not found:
        feeds = next(iter(drawn_feeds(path, open_session(path))))
        row |= _speed(path, out, feeds, repeats)
    return row


def _costs(path: Path, out: Path) -> dict[str, Any]:
    """How much of the graph is typed, and the share of the roofline cost that is saved."""
    from xflowrl.onnx_io import load_onnx
    from xflowrl.options import build_option

    try:
        before, after = (load_onnx(file).graph for file in (path, out))
        objective = build_option("measurement", "roofline")
        rules = build_option("rules", "core")
        costs = [objective.price(objective.state(graph, rules)).ms for graph in (before, after)]
        types = [kind.dtype for node in before.nodes() for kind in node.output_types]
    except ValueError as error:
        return {"detail": str(error)[:200]}
    saved = 1 - costs[1] / costs[0] if costs[0] else 0.0
    typed = float(np.mean([kind != "unknown" for kind in types]))
    return {"typed_share": round(typed, 3), "cost_saved": round(saved, 4)}


def _speed(path: Path, out: Path, feeds: Feeds, repeats: int) -> dict[str, Any]:
    """Interleaved medians: the user's file, the delivered one, the user's again."""
    sessions = [open_session(file, optimised=True) for file in (path, out, path)]
    times: list[list[float]] = [[], [], []]
    for repeat in range(repeats + 3):
        for session, samples in zip(sessions, times, strict=True):
            began_s = time.perf_counter()
            session.run(None, feeds)
            if repeat >= 3:  # the first ones warm up
                samples.append(time.perf_counter() - began_s)
    ours, theirs, again = (float(np.median(samples)) for samples in times)
    return {
        "original_ms": round(1e3 * ours, 4),
        "speedup": round(ours / theirs, 3),
        "noise": round(abs(ours / again - 1), 3),
    }


if __name__ == "__main__":
    main()
