"""From run folders to the files of a report."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xflowrl.report import anytime, comparison, curves, estimates
from xflowrl.report.complexity import complexity_rows, complexity_tables, counted_graphs
from xflowrl.report.csv_file import csv_text
from xflowrl.report.entries import Entry, differing_options, entries, group, with_costs
from xflowrl.report.figure import Figure, Missing
from xflowrl.report.graph_view import graph_view
from xflowrl.report.html import page
from xflowrl.report.paper import files
from xflowrl.report.runs import Run, job_folders, read_runs
from xflowrl.report.summary import summary_rows
from xflowrl.shortage import space_for

# Of a sweep the best run of each problem is shown step by step, of at most so many.
_MAX_VIEWS = 8


def write_report(
    paths: Sequence[Path],
    out: Path | None = None,
    *,
    formats: Sequence[str] = ("png", "pdf", "svg"),
    title: str | None = None,
) -> Path:
    """Writes `index.html`, `summary.csv` and the figures; what was there of them is replaced.

    Args:
        paths: run folders, or folders of them.
        out: the folder; "report" in the first of `paths` by default.
        formats: of the figures beside the page.

    Returns:
        The page.

    Raises:
        ValueError: a path has no run folder in it, or a disk is full.
        OSError: the folder cannot be written.
    """
    jobs = job_folders(paths)
    runs = read_runs(jobs)
    found = entries(runs)
    drawn = _figures(found, jobs)
    figures = [figure for figure in drawn if isinstance(figure, Figure)]
    missing = [figure for figure in drawn if isinstance(figure, Missing)]
    counted = counted_graphs(jobs)
    if not counted:
        said = "give a folder of python -m xflowrl.taso.complexity graph=NETWORK too"
        missing.append(Missing("Complexity", f"no complexity.json: {said}"))
    views, unseen = _views(found)
    rows = summary_rows(runs, found)

    content: dict[str, bytes] = {}
    names: dict[str, list[str]] = {}
    for figure in figures:
        for name, picture in files(figure, formats):
            content[name] = picture
            names.setdefault(figure.name, []).append(name)
    content["summary.csv"] = csv_text(rows).encode()
    content |= _tables(found)
    if counted:
        content["complexity.csv"] = csv_text(complexity_rows(counted)).encode()
    text = page(
        title
        or f"xflowrl: {'/'.join(paths[0].resolve().parts[-2:]) if len(paths) == 1 else 'runs'}",
        _facts(runs, found),
        figures=figures,
        files=names,
        complexities=complexity_tables(counted),
        views=views,
        rows=rows,
        options=list(differing_options(runs)),
        missing=[*missing, *unseen],
    )
    content["index.html"] = text.encode()
    target = out if out is not None else paths[0] / "report"
    _write(target, content)
    return target / "index.html"


def _figures(found: Sequence[Entry], jobs: Sequence[Path]) -> list[Figure | Missing]:
    makers = (
        comparison.runtimes,
        comparison.costs,
        comparison.optimisation_times,
        curves.best_over_iterations,
        curves.best_over_seconds,
        curves.best_over_budgets,
        anytime.saved_over_seconds,
        anytime.saved_by_seconds,
        comparison.pareto,
        comparison.aggregates,
        curves.searches,
        curves.trainings,
        estimates.races,
    )
    return [*(maker(found) for maker in makers), estimates.calibrations(jobs)]


def _views(found: Sequence[Entry]) -> tuple[list[dict[str, Any]], list[Missing]]:
    """The best run of each problem, step by step."""
    title, views, missing = "Before and after", list[dict[str, Any]](), list[Missing]()
    rewritten = [e for e in with_costs(found) if e.record.graph in e.run.traces]
    for problem, same in [*group(rewritten, lambda e: e.problem).items()][:_MAX_VIEWS]:
        best = min(same, key=lambda e: e.best_ms)
        try:
            views.append(graph_view(best))
        except (ValueError, OSError) as error:
            missing.append(Missing(title, f"{problem}: {error}"))
    if not rewritten:
        missing.append(Missing(title, "no run has a trace"))
    return views, missing


def _tables(found: Sequence[Entry]) -> dict[str, bytes]:
    """The rows behind curves of searches and training, what was saved when, and what raced."""
    tables = {"search.csv": curves.logged_searches, "training.csv": curves.logged_trainings}
    content = {}
    for name, read in tables.items():
        rows = [
            {"run": e.run.name, "problem": e.problem, "agent": e.label, "seed": e.record.seed} | row
            for e, logged in read(found)
            for row in logged
        ]
        if rows:
            content[name] = csv_text(rows).encode()
    if proposed := [*estimates.proposals(found)]:
        content["proposals.csv"] = csv_text(proposed).encode()
    if runs := anytime.timed(found):
        sets = anytime.network_sets(runs)
        content["anytime.csv"] = csv_text([*anytime.anytime_rows(runs)]).encode()
        content["anytime_summary.csv"] = csv_text([*anytime.summary_of_sets(sets)]).encode()
        content["anytime_pairs.csv"] = csv_text([*anytime.pairs_of_sets(sets)]).encode()
    return content


def _facts(runs: Sequence[Run], found: Sequence[Entry]) -> str:
    failed = sum(run.record is None for run in runs)
    problems, agents = {e.problem for e in found}, dict.fromkeys(e.agent for e in found)
    commits = Counter(run.record.git_commit or "unknown" for run in runs if run.record is not None)
    parts = [f"{len(runs)} run{'s' * (len(runs) != 1)}" + (f", {failed} failed" if failed else "")]
    if found:
        parts.append(f"{len(problems)} problem{'s' * (len(problems) > 1)}")
        parts.append(f"agents: {', '.join(agents)}")
        parts.append(f"commit {', '.join(commit[:10] for commit in commits)}")
    return " · ".join(parts)


def _write(target: Path, content: dict[str, bytes]) -> None:
    """Writes all files or none: into a folder beside, from where they are moved when all are."""
    with space_for(target):
        target.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".report-", dir=target))
        try:
            for name, data in content.items():
                (partial / name).write_bytes(data)
            for name in content:
                os.replace(partial / name, target / name)  # noqa: PTH105
        finally:
            shutil.rmtree(partial, ignore_errors=True)
