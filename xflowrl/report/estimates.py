"""Estimated against real speed-ups: of states that raced, and of calibrations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xflowrl.calibrate.table import Latencies, by_network, read_rows
from xflowrl.report.entries import Entry, group, with_costs
from xflowrl.report.figure import MAX_SERIES, Figure, Missing, Panel, Points

_X, _Y = "estimated speed-up", "real speed-up"


def races(found: Sequence[Entry]) -> Figure | Missing:
    """What prices promise of the states that raced, and what came out."""
    title = "Estimate against real: races"
    panels, num_points = [], 0
    for problem, same in group(with_costs(found), lambda e: e.problem).items():
        points = []
        for setting, of in group(same, lambda e: e.setting).items():
            raced = [
                (e.initial_ms / state.cost_ms, state.speedup, state.takes)
                for e in of
                for state in e.record.raced
                if state.cost_ms
            ]
            if raced:
                x, y, texts = zip(*raced, strict=True)
                agent = of[0].agent
                points.append(Points(name=setting, agent=agent, x=x, y=y, texts=texts))
                num_points += len(raced)
        if points:
            shown = points[:MAX_SERIES]
            panels.append(Panel(title=problem, x=_X, y=_Y, points=shown, is_diagonal=True))
    if not panels:
        return Missing(title, "nothing raced: measurement=hybrid judge.measure=true races states")
    return Figure(
        name="races",
        title=title,
        caption="States that raced for real against the original: the ratio of the original's cost "
        "to theirs, and of its median time to theirs. On the line the estimate is right; "
        f"n = {num_points} states.",
        panels=panels,
    )


def proposals(found: Sequence[Entry]) -> Iterator[dict[str, Any]]:
    """A row for every run and graph that had states raced: how fast the best one is.

    `num_real` states were allowed, `num_raced` that differ were there. `speedup` is that of the
    fastest: timed once more, alone, if it was faster than the original; that of the search's own
    find is of the race.
    """
    for entry in found:
        record = entry.record
        decisive = next((real for real in record.real if real.decides), None)
        if not record.raced or decisive is None:
            continue
        yield {
            "graph": record.graph,
            "problem": entry.problem,
            "agent": entry.setting,
            "seed": entry.seed,
            "num_real": entry.run.options.get("measurement.num_real"),
            "num_raced": len(record.raced),
            "speedup": decisive.speedup,
            "noise": decisive.noise,
            "is_delivered": not record.kept_original,
            "found_speedup": next((s.speedup for s in record.raced if s.is_found), None),
            "takes": next((s.takes for s in record.raced if s.is_delivered), record.raced[0].takes),
        }


def calibrations(folders: Sequence[Path]) -> Figure | Missing:
    """The tables of `python -m xflowrl.calibrate` in these folders."""
    title = "Estimate against real: calibration"
    paths = [path for folder in folders if (path := folder / "calibration.csv").exists()]
    panels, num_points = [], 0
    for path in paths:
        for network, rows in by_network(read_rows(path)).items():
            latencies = Latencies.of(rows).mean
            original = next((i for i, row in enumerate(rows) if row.num_steps == 0), None)
            if original is None:
                continue
            points = Points(
                name=network,
                agent="taso",
                x=[rows[original].estimated_ms / row.estimated_ms for row in rows],
                y=(latencies[original] / latencies).tolist(),
                texts=[f"{row.num_steps} rewrites" for row in rows],
            )
            num_points += len(rows)
            title_of = f"{network}: {rows[0].prices}, {rows[0].version}"
            panels.append(Panel(title=title_of, x=_X, y=_Y, points=[points], is_diagonal=True))
    if not panels:
        return Missing(
            title,
            "no calibration.csv: give a folder of python -m xflowrl.calibrate graph=NETWORK too",
        )
    return Figure(
        name="calibration",
        title=title,
        caption="A network and its rewrites: the ratio of the original's estimate to theirs, "
        "without corrections, and of its latency to theirs, the mean of two measurements. On the "
        f"line the estimate is right; n = {num_points} graphs.",
        panels=panels,
    )
