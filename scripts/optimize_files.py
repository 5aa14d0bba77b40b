"""Optimises every .onnx file of a folder of packages; an independent judge compares each result.

Below FOLDER every package has a folder `PACKAGE-VERSION` with its files in it. One row a file:

- delivered without any option, as a user would: `status` is delivered, refused (one line for the
  user) or crashed; `delivered` is ours or copy; the seconds; what the judge of `tests/files` says
  (`complaints`) at several sizes; the speed as deployed (ONNX Runtime, one thread) over the user's
  file: a median of paired runs, and as noise the same of the user's file against itself;
- what was found, delivered without a race (roofline costs, greedy): the `rewrites`, the judge's
  `found_complaints`, the speed of that file, the share of nodes that are typed (arithmetic on
  shapes is) and why the others are not, and the share of the roofline cost that is saved. Costs are
  those of the files read anew, each with the activations fused that a runtime fuses;
  `fixed_cost_saved` is the same of a copy whose dynamic sizes are fixed at the priced ones.

    python scripts/optimize_files.py FOLDER results.csv [--only PART] [--repeats 30]
"""

from __future__ import annotations

import argparse
import csv
import filecmp
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "files"))
from judge import Feeds, complaints, drawn_feeds, open_session

import xflowrl
from xflowrl.agents.greedy import Greedy
from xflowrl.onnx_io import Model, load_onnx, save_onnx
from xflowrl.options import build_option
from xflowrl.problem import Problem, Result

FIELDS = (
    "package", "version", "file", "bytes", "opset", "nodes",
    "status", "seconds", "delivered", "complaints", "original_ms", "speedup", "noise",
    "found_seconds", "rewrites", "given_up", "nodes_after", "found_complaints", "found_speedup",
    "found_noise", "typed_share", "untyped", "cost_saved", "fixed_cost_saved", "detail",
)  # fmt: skip
UNRACED: dict[str, Any] = {"measurement": "roofline", "judge.measure": False}
MAX_TIMED_S = 10.0


def main() -> None:
    """Writes the table, a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--only", default="", help="files whose path has this part")
    parser.add_argument("--repeats", type=int, default=30, help="timed runs of each, at most")
    arguments = parser.parse_args()
    with arguments.table.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, FIELDS, lineterminator="\n")
        table.writeheader()
        for path in sorted(arguments.folder.rglob("*.onnx")):
            name = path.relative_to(arguments.folder)
            if arguments.only not in name.as_posix():
                continue
            package, _, version = name.parts[0].rpartition("-")
            row = {"package": package, "version": version, "file": Path(*name.parts[1:]).as_posix()}
            row |= _row(path, arguments.repeats)
            table.writerow(row)
            file.flush()
            print(*(f"{key}={row[key]}" for key in FIELDS if row.get(key, "") != ""), flush=True)


def _row(path: Path, repeats: int) -> dict[str, Any]:
    proto = onnx.load(path, load_external_data=False)
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    row: dict[str, Any] = {"bytes": path.stat().st_size, "opset": opsets.get("")}
    row["nodes"] = len(proto.graph.node)
    with tempfile.TemporaryDirectory() as scratch:
        delivered, found = Path(scratch) / "delivered.onnx", Path(scratch) / "found.onnx"
        began_s = time.perf_counter()
        try:
            delivery = xflowrl.optimize_file(path, delivered)
        except ValueError as error:
            return row | {"status": "refused", "detail": _line(error)}
        except Exception as error:
            return row | {"status": "crashed", "detail": f"{type(error).__name__}: {_line(error)}"}
        row |= {"status": "delivered", "seconds": round(time.perf_counter() - began_s, 2)}
        is_copy = filecmp.cmp(path, delivered, shallow=False)
        row |= {"detail": _line(delivery.detail), "delivered": "copy" if is_copy else "ours"}
        row["complaints"] = "none" if is_copy else _complaints(path, delivered)
        began_s = time.perf_counter()
        delivery = _unraced(path, found)
        row["found_seconds"] = round(time.perf_counter() - began_s, 2)
        row |= {"rewrites": delivery.rewritten, "given_up": " ".join(delivery.given_up)}
        row["nodes_after"] = sum(delivery.operators_after.values())
        row["found_complaints"] = _complaints(path, found)
        row |= _typed(load_onnx(path)) | _saved(path, found, Path(scratch))
        feeds = next(iter(drawn_feeds(path, open_session(path))), None)
        if feeds is not None:
            ours, theirs = _speeds(path, [delivered, found], feeds, repeats)
            row |= ours if row["delivered"] == "ours" else {"original_ms": ours["original_ms"]}
            if delivery.steps:
                row |= {f"found_{key}": theirs[key] for key in ("speedup", "noise")}
    return row


def _unraced(path: Path, out: Path) -> xflowrl.Delivery:
    return xflowrl.optimize_file(path, out, agent="greedy", seconds=5, settings=UNRACED)


def _complaints(path: Path, out: Path) -> str:
    return "; ".join(complaints(path, out))[:300] or "none"


def _line(text: object) -> str:
    return " ".join(str(text).split())[:200]


def _typed(model: Model) -> dict[str, Any]:
    """The share of nodes that are typed, and which are not, the most frequent first."""
    source = model.source
    assert source is not None, "it was read from a file"
    untyped = Counter(
        node.op_type
        for node in model.graph.nodes()
        if any(kind.dtype == "unknown" for kind in node.output_types)
    )
    share = source.num_typed / max(source.num_nodes, 1)
    reason = ", ".join(f"{n} {name}" for name, n in untyped.most_common(4)) if share < 0.95 else ""
    return {"typed_share": round(share, 3), "untyped": "; ".join([reason, *source.failures[:1]])}


def _saved(path: Path, found: Path, scratch: Path) -> dict[str, Any]:
    """The share of the cost that is saved, and the same of a copy with fixed sizes."""
    shapes = load_onnx(path).input_shapes()
    before = _cost_ms(path, shapes)
    saved: dict[str, Any] = {"cost_saved": round(1 - _cost_ms(found, shapes) / before, 4)}
    proto = onnx.load(path)
    dynamic = [i for i in proto.graph.input if i.name in shapes and _is_dynamic(i)]
    if dynamic:
        for info in dynamic:
            for dim, size in zip(info.type.tensor_type.shape.dim, shapes[info.name], strict=True):
                dim.dim_value = size
        fixed, out = scratch / "fixed.onnx", scratch / "fixed.found.onnx"
        onnx.save(proto, fixed)
        save_onnx(_searched(load_onnx(fixed), "all").model, out)
        saved["fixed_cost_saved"] = round(1 - _cost_ms(out, {}) / _cost_ms(fixed, {}), 4)
    return saved


def _is_dynamic(info: onnx.ValueInfoProto) -> bool:
    return any(not d.HasField("dim_value") for d in info.type.tensor_type.shape.dim)


def _cost_ms(path: Path, shapes: dict[str, tuple[int, ...]]) -> float:
    return float(_searched(load_onnx(path, input_shapes=shapes), "fusion.rules").cost_best_ms)


def _searched(model: Model, file: str) -> Result:
    """What greedy search finds with the rules of a file, or with all."""
    rules = build_option("rules", "core")
    names = [rule.name for rule in rules.rules if file in ("all", rule.filename)]
    objective = build_option("measurement", "roofline")
    problem = Problem(model=model, rules=rules.select(names), objective=objective)
    (result,) = Greedy().optimize([problem], lambda metrics, step: None)
    return result


def _speeds(path: Path, others: list[Path], feeds: Feeds, repeats: int) -> list[dict[str, Any]]:
    """How much faster than the user's file the others are, and the noise; all runs interleaved."""
    sessions = [open_session(file, optimised=True) for file in (path, *others, path)]
    rounds: list[list[float]] = []
    began_s = time.perf_counter()
    while len(rounds) < 6 or (
        len(rounds) < repeats + 3 and time.perf_counter() - began_s < MAX_TIMED_S
    ):
        rounds.append([0.0] * len(sessions))
        for turn in range(len(sessions)):
            index = (len(rounds) + turn) % len(sessions)
            start_s = time.perf_counter()
            sessions[index].run(None, feeds)
            rounds[-1][index] = time.perf_counter() - start_s
    times = np.array(rounds[3:])  # the first ones warm up
    noise = abs(float(np.median(times[:, 0] / times[:, -1])) - 1)
    return [
        {
            "original_ms": round(1e3 * float(np.median(times[:, 0])), 4),
            "speedup": round(float(np.median(times[:, 0] / column)), 3),
            "noise": round(noise, 3),
        }
        for column in times.T[1:-1]
    ]


if __name__ == "__main__":
    main()
