"""What a run shows on the terminal: a progress bar while it works, a table at its end."""

from __future__ import annotations

import io
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from xflowrl.api import Delivery, Watcher
from xflowrl.outcome import Outcome, bound_line
from xflowrl.problem import Problem
from xflowrl.run_folder import GraphRecord, RunRecord

if TYPE_CHECKING:
    from xflowrl.measurement import Objective

_RUNTIMES = {
    "onnxruntime": "ONNX Runtime",
    "onnxruntime_plain": "unoptimised ONNX Runtime",
    "torch": "eager PyTorch",
    "torch_compile": "compiled PyTorch",
}


class _Shown:
    """Shows its progress while it is entered."""

    _progress: Progress

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()


class ProgressBar(_Shown):
    """One bar a problem, with the time left; fed with the metrics agents log.

    An attempt is as far as the limit of its budget that it has used up most of; where it has no
    limit on what it counts, the bar tells costs only. Metrics `train/iteration` and
    `train/max_iterations` drive a bar for training. On standard error, on a terminal alone.

    Args:
        is_shown: false among the jobs of a sweep, which may run side by side.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        console: Console | None = None,
        *,
        is_shown: bool = True,
    ) -> None:
        console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not (is_shown and console.is_terminal),
        )
        self._limits = {problem.log_as: problem.budget.limits() for problem in problems}
        self._tasks = {
            problem.log_as: self._progress.add_task(problem.name, total=1.0, start=False, note="")
            for problem in problems
        }

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Moves the bars that the metrics speak of; takes what `Log` takes."""
        for prefix, limits in self._limits.items():
            if f"{prefix}/iteration" in metrics:
                note = "{:.4g} -> best {:.4g} ms".format(
                    metrics[f"{prefix}/current_cost_ms"], metrics[f"{prefix}/best_cost_ms"]
                )
                self._move(prefix, share_spent(metrics, prefix, limits), note)
        if "train/iteration" in metrics and "train/max_iterations" in metrics:
            if "train" not in self._tasks:
                self._tasks["train"] = self._progress.add_task("training", total=1.0, note="")
            share = metrics["train/iteration"] / max(metrics["train/max_iterations"], 1)
            self._move("train", share, "")

    def _move(self, name: str, share: float, note: str) -> None:
        task = self._tasks[name]
        self._progress.start_task(task)
        self._progress.update(task, completed=min(share, 1.0), note=note)


_COUNTED = {
    "max_iterations": ("iteration",),
    "max_candidates": ("candidates",),
    "max_seconds": ("seconds",),
    "max_wall_s": ("seconds", "measure_s"),
    "max_measurements": ("measurements",),
    "max_real_measurements": ("real_measurements",),
}


def share_spent(
    metrics: Mapping[str, float], prefix: str, limits: Mapping[str, float | None]
) -> float:
    """How much of the budget is gone, from 0 to 1: the largest share over its limits."""
    shares = [
        sum(metrics.get(f"{prefix}/{name}", 0.0) for name in counted) / limit
        for name, counted in _COUNTED.items()
        if (limit := limits[name])
    ]
    return max(shares, default=0.0)


def result_table(entries: Sequence[GraphRecord]) -> Table:
    """What was found, from the `results` of `result.json`."""
    table = Table(title="Results", title_justify="left")
    for column in ("graph", "agent"):
        table.add_column(column)
    for column in ("cost ms", "best ms", "saved", "nodes", "kernels", "iterations", "seconds"):
        table.add_column(column, justify="right")
    for column in ("stopped by", "verified", "best.onnx"):
        table.add_column(column)
    for entry in entries:
        before, after = entry.cost_initial_ms, entry.cost_best_ms
        table.add_row(
            entry.graph,
            entry.agent,
            "-" if before is None else f"{before:.4g}",
            "-" if after is None else f"{after:.4g}",
            f"{1 - after / before:.1%}" if before and after is not None else "-",
            f"{entry.num_nodes_initial} > {entry.num_nodes_best}",
            f"{entry.num_kernels_initial} > {entry.num_kernels_best}",
            str(entry.iterations),
            f"{entry.optimisation_s:.2f}",
            entry.stop_reason,
            "NOT EQUAL" if entry.verified.status == "different" else entry.verified.status,
            _written(entry),
        )
    return table


def real_table(entries: Sequence[GraphRecord]) -> Table:
    """What was measured on this machine, from the `results` of `result.json`."""
    table = Table(title="Measured here, interleaved", title_justify="left")
    for column in ("graph", "runtime"):
        table.add_column(column)
    for column in ("original ms", "fastest ms", "speed-up", "noise"):
        table.add_column(column, justify="right")
    table.add_column("decides")
    for entry in entries:
        for real in entry.real:
            table.add_row(
                entry.graph,
                real.runtime,
                f"{real.initial_ms.median:.4g}",
                f"{real.best_ms.median:.4g}",
                f"{real.speedup:.3f}",
                f"{real.noise:.1%}",
                "yes" if real.decides else "no",
            )
    return table


@contextmanager
def printing() -> Iterator[None]:
    """Within, standard output takes every character, as `?` where its encoding lacks it.

    Raises:
        ValueError: it cannot be written. All files are by then.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"standard output cannot be written: {error.strerror}; the files are written"
        ) from None


def print_tables(entries: Sequence[GraphRecord]) -> None:
    """Prints to standard output, in full width where that is no terminal."""
    console = _wide_console()
    console.print(result_table(entries))
    if any(entry.real for entry in entries):
        console.print(real_table(entries))
    for line in filter(None, map(bound_line, entries)):
        console.print(Text(line))


def _wide_console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, 160))


def outcome_line(record: RunRecord) -> str:
    """What a run came to: `0.383 -> 0.1687 ms, saved 56.0%, 1.29x here, equal`."""
    outcome = Outcome.of(record)
    parts = [outcome.verified]
    if outcome.speedup is not None:
        parts.insert(0, f"{outcome.speedup:.3g}x here")
    if outcome.cost_initial_ms is not None and outcome.cost_best_ms is not None:
        costs = f"{outcome.cost_initial_ms:.4g} -> {outcome.cost_best_ms:.4g} ms"
        parts.insert(0, f"{costs}, saved {outcome.saved or 0.0:.1%}")
    return ", ".join(parts)


class SweptJob(NamedTuple):
    """A job of a sweep, as the table at its end has it; `error` is empty unless it failed."""

    name: str
    record: RunRecord | None
    seconds: float
    error: str


def job_table(jobs: Sequence[SweptJob], *, title: str, is_narrow: bool = False) -> Table:
    """What the jobs of a sweep came to, a row a job; `is_narrow` has what fits in 80 columns."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.pad_edge, table.collapse_padding = not is_narrow, is_narrow
    table.add_column("job", overflow="fold")
    columns = ["cost ms", "best ms", "saved", "speed-up"]
    columns += ["seconds"] if is_narrow else ["noise", "train s", "search s", "seconds"]
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    for job in jobs:
        o = Outcome.of(job.record) if job.record is not None else None
        numbers = [
            (o.cost_initial_ms if o else None, "{:.4g}"),
            (o.cost_best_ms if o else None, "{:.4g}"),
            (o.saved if o else None, "{:.1%}"),
            (o.speedup if o else None, "{:.3f}"),
            (o.speedup_noise if o else None, "{:.1%}"),
            (o.train_s if o else None, "{:.1f}"),
            (o.optimisation_s if o else None, "{:.2f}"),
        ]
        cells = [form.format(value) if value is not None else "-" for value, form in numbers]
        cells = [*cells[: len(columns) - 1], f"{job.seconds:.1f}"]
        table.add_row(job.name, *cells, Text(job.error or (o.verified if o else "-")))
    return table


def print_jobs(jobs: Sequence[SweptJob], *, total: int | None, folder: Path) -> None:
    """Prints what a sweep came to, and where it is."""
    num_failed = sum(bool(job.error) for job in jobs)
    counts = f"{len(jobs)}{f' of {total}' if total else ''} jobs"
    title = f"{counts}, {num_failed} failed" if num_failed else counts
    with printing():
        console = _wide_console()
        console.print(job_table(jobs, title=title, is_narrow=console.width < 130))
        where = os.path.relpath(folder)
        print(f"sweep folder: {where}", flush=True)
        if (folder / "wandb").is_dir():  # a folder above it is none to leet
            print(f"compare: wandb leet {shlex.quote(f'{where}/wandb')}", flush=True)
        if num_failed or len(jobs) < (total or 0):
            print(f"to go on: python -m xflowrl.run resume={where}", flush=True)


class StatusLine(_Shown, Watcher):
    """One line with the stage and the time left; on standard error, on a terminal alone."""

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            _Stage(),
            *(TimeElapsedColumn(), _Left()),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("reading", total=None, objective=None, deadline_s=None)

    def stage(self, name: str) -> None:
        self._progress.update(self._task, description=name)

    def begun(self, *, deadline_s: float, objective: Objective | None = None) -> None:
        self._progress.update(self._task, deadline_s=deadline_s, objective=objective)


class _Stage(ProgressColumn):
    """The stage; searching begins with the operators' times, which are counted."""

    def render(self, task: Task) -> Text:
        objective = task.fields["objective"]
        if task.description == "searching" and objective is not None and objective.num_measured:
            return Text(f"searching, {objective.num_measured} operators timed")
        return Text(task.description)


class _Left(ProgressColumn):
    """The time left, at most."""

    def render(self, task: Task) -> Text:
        if task.fields["deadline_s"] is None:
            return Text("")
        left_s = max(0.0, task.fields["deadline_s"] - time.monotonic())
        return Text(f"at most {left_s:.0f} s left" if left_s else "nearly done")


def print_delivery(delivery: Delivery, console: Console | None = None) -> None:
    """Prints what was delivered: one sentence, the proof, and what changed in the file."""
    console = console or Console()

    def say(text: str) -> None:
        console.print(Text(text), soft_wrap=not console.is_terminal)

    say(_outcome(delivery))
    if not delivery.kept_original:
        say(f"{delivery.proof[:1].upper()}{delivery.proof[1:]}.")
        say(f"Rewritten: {delivery.rewritten or 'fused activations alone'}.")
    if delivery.given_up:
        say(f"Given up, not proven equal: {_counted(delivery.given_up)}.")
    if delivery.fixed:
        say(f"Given up, because they need a fixed size: {_counted(delivery.fixed)}.")
    if delivery.operators_before != delivery.operators_after:
        console.print(operator_table(delivery))
    sizes = f"{_size(delivery.num_bytes_after)} (was {_size(delivery.num_bytes_before)})"
    say(f"{delivery.path}: {sizes}, in {delivery.seconds:.1f} s")


def _counted(names: Sequence[str]) -> str:
    return ", ".join(f"{n} {name}" for name, n in Counter(names).most_common())


def operator_table(delivery: Delivery) -> Table:
    """The operators whose number changed, and the total."""
    before, after = delivery.operators_before, delivery.operators_after
    table = Table(box=SIMPLE_HEAD)
    table.add_column("operator")
    for column in ("before", "after"):
        table.add_column(column, justify="right")
    changed = sorted(name for name in before | after if before[name] != after[name])
    for name in changed:
        table.add_row(Text(name), str(before[name]), str(after[name]))
    table.add_row("all", str(before.total()), str(after.total()), style="bold")
    return table


def _outcome(delivery: Delivery) -> str:
    where = _RUNTIMES.get(delivery.runtime, delivery.runtime)
    where += f", {delivery.threads} thread{'s' * (delivery.threads > 1)}"
    if delivery.noise is None or delivery.initial_ms is None or delivery.best_ms is None:
        return (
            f"Unchanged, a copy of the original: {delivery.detail}."
            if delivery.kept_original
            else "Rewritten and not timed."
        )
    noise = f"noise {delivery.noise:.1%}"
    if delivery.kept_original:
        ratio = f"the best is {delivery.initial_ms / delivery.best_ms:.3g}x"
        return f"Unchanged, a copy of the original: {delivery.detail} ({ratio}, {noise})."
    times = f"{delivery.initial_ms:.4g} -> {delivery.best_ms:.4g} ms"
    return f"{delivery.speedup:.2f}x faster in {where} ({noise}): {times}."


def _size(num_bytes: int) -> str:
    unit = next((unit for unit in ("B", "kB", "MB") if num_bytes < 1000 ** _POWER[unit]), "GB")
    return f"{num_bytes / 1000 ** (_POWER[unit] - 1):.3g} {unit}"


_POWER = {"B": 1, "kB": 2, "MB": 3, "GB": 4}


def _written(entry: GraphRecord) -> str:
    if entry.best_onnx is None:
        return "not written"
    return "the original" if entry.kept_original else "written"
