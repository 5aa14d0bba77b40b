"""The tidy table: a row for every run and graph, and one for every run that failed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from xflowrl.report.entries import Entry, differing_options
from xflowrl.report.runs import Run
from xflowrl.run_folder import GraphRecord

_FAILED_COLUMNS = ("graph", "agent", "rules", "measurement")
_NESTED = ("real", "raced", "verified", "given_up")


def summary_rows(runs: Sequence[Run], found: Sequence[Entry]) -> list[dict[str, Any]]:
    """Their columns are the keys of `result.json`, and every option that differs."""
    options = differing_options(runs)
    of_run = {run.name: {name: options[name][i] for name in options} for i, run in enumerate(runs)}
    by_run: dict[str, list[Entry]] = {}
    for entry in found:
        by_run.setdefault(entry.run.name, []).append(entry)
    rows = []
    for run in runs:
        if run.record is None or not run.record.results:
            said = run.failure or "no graph"
            row = {name: run.choices.get(name) for name in _FAILED_COLUMNS}
            rows.append(
                {"run": run.name, "folder": run.place, "status": "failed", **row, "failure": said}
            )
            rows[-1] |= {"seed": run.options.get("seed")}
            rows[-1] |= of_run[run.name]
        for entry in by_run.get(run.name, ()):
            status = "done" if run.record and run.record.finished else "interrupted"
            row = {"run": run.name, "folder": run.place, "status": status, **_row(entry)}
            rows.append(row | of_run[run.name])
    return _filled(rows)


def _row(entry: Entry) -> dict[str, Any]:
    record, run = entry.record, entry.run.record
    row: dict[str, Any] = {
        field.name: getattr(record, field.name)
        for field in fields(GraphRecord)
        if field.name not in _NESTED
    }
    row["problem"] = entry.problem
    row["saved"] = entry.saved if math.isfinite(entry.saved) else None
    for real in record.real:
        if real.decides:  # of what is delivered
            row["speedup"] = 1.0 if record.kept_original else real.speedup
            row["speedup_noise"], row["device"] = real.noise, real.device
        row[f"{real.runtime}_initial_ms"] = real.initial_ms.median
        row[f"{real.runtime}_best_ms"] = real.best_ms.median
        row[f"{real.runtime}_speedup"] = real.speedup
        row[f"{real.runtime}_noise"] = real.noise
    row["verified"] = record.verified.status
    row["max_rel_error"] = record.verified.max_rel_error
    row["given_up"] = " ".join(record.given_up)
    if record.raced:
        row["num_raced"] = len(record.raced)
        # What the search alone would have delivered, and what is delivered.
        row["picked_speedup"] = next((r.speedup for r in record.raced if r.is_found), None)
        row["takes"] = next((r.takes for r in record.raced if r.is_delivered), None)
    if run is not None:
        row["train_s"] = run.train_s
        row["peak_rss_mb"] = run.peak_rss_mb
        row["git_commit"] = run.git_commit
        # A path is of one machine alone.
        row["overrides"] = " ".join(o for o in run.overrides if ".path=" not in o)
    return row


def _filled(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with all columns each, those of results first."""
    by_status = sorted(rows, key=lambda row: row["status"] == "failed")
    names = dict.fromkeys(name for row in by_status for name in row)
    return [{name: row.get(name) for name in names} for row in rows]
