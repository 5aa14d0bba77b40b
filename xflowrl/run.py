"""`python -m xflowrl.run graph=... agent=...`: a model in, a cheaper verified model out."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xflowrl.cli.errors import one_line
from xflowrl.cli.jobs import Job, JobFailed, file_name, main
from xflowrl.cli.naming import comparable, graph_label, group_name
from xflowrl.cli.resume import claimed, resumed
from xflowrl.options import distinct
from xflowrl.progress import SearchFile
from xflowrl.shortage import memory_for

if TYPE_CHECKING:
    from xflowrl.judge import Judge
    from xflowrl.problem import Problem, Result
    from xflowrl.run_folder import GraphRecord, RunRecord
    from xflowrl.tracking import Label

logger = logging.getLogger(__name__)


def optimize(job: Job) -> float:
    """The task of this verb: optimizes the graphs, judges the results, writes the run folder.

    A resumed one keeps what was judged, and goes on with the training and the searches it finds.

    Returns the best cost in ms, of several graphs the sum: what a sweeper that leads a sweep makes
    small.

    An interrupt gives up what is in progress and no more: a search ends with its best so far, a
    graph whose judging it falls into is recorded as undecided, a graph whose search had not begun
    as interrupted. All else is judged and written.

    Raises:
        JobFailed: a file could not be read or delivered, which has been said.
        KeyboardInterrupt: before there is any result.
    """
    with claimed(job.folder, job.overrides) as is_same:
        # A job of a resumed sweep may have had other options: some sweepers draw them.
        return _optimize(job, is_resumed=job.line.is_resumed and is_same)


def _optimize(job: Job, *, is_resumed: bool) -> float:
    from xflowrl.console import ProgressBar, print_tables, printing
    from xflowrl.measurement import device_lock
    from xflowrl.run_folder import trace_record, write_record
    from xflowrl.tracking import Tracker

    before = _recorded_before(job.folder) if is_resumed else None
    if before is not None and before.finished:
        if job.sweep is None:
            print(f"run folder: {os.path.relpath(job.folder)} (finished before)", flush=True)
        return sum(entry.cost_best_ms or 0.0 for entry in before.results)
    with Tracker(label(job), job.build("wandb"), is_resumed=is_resumed) as tracker:
        judge = job.build("judge")
        kept = job.folder / "checkpoints"
        goes_on = is_resumed and "resume" in job.config["agent"] and (kept / "resume.ckpt").exists()
        agent = job.agent(resume=str(kept / "resume.ckpt")) if goes_on else job.agent()
        options = {"is_resumed": is_resumed, "keeps_result": judge.is_deferred}
        problems = [
            replace(problem, checkpoint=SearchFile(kept / f"search-{index}.json", **options))
            for index, problem in enumerate(job.problems())
        ]
        logger.info("graphs: %s", ", ".join(problem.name for problem in problems))
        tracker.begin(problems)
        progress = ProgressBar(problems, is_shown=job.sweep is None)
        with job.interrupts.held():
            with progress, device_lock().shared():

                def log(metrics: Mapping[str, float], step: int) -> None:
                    tracker.log(metrics, step)
                    progress.log(metrics, step)

                results: list[Result] = []
                # One that comes as the agent hands its results over loses none of them.
                with suppress(KeyboardInterrupt), job.interrupts.allowed():
                    results = agent.optimize(problems, log)
                if not results:
                    raise KeyboardInterrupt
            write_record(job.folder, trace_record(results))
            judged = {e.graph: e for e in before.results if e.is_final} if before else {}
            train_s = getattr(agent, "train_s", 0.0)
            is_searched = before is not None and not any(e.was_interrupted for e in before.results)
            is_deferred = judge.is_deferred and not is_searched
            record = _deliver(
                job,
                results,
                judge,
                problems,
                is_deferred=is_deferred,
                train_s=train_s,
                judged=judged,
            )
            tracker.finish(results, record)
            tracker.failed(job.interrupts.exit_code)
            if job.sweep is None:
                with printing():
                    print_tables(record.results)
                    if is_deferred:
                        place = os.path.relpath(job.folder)
                        print(f"judge it: python -m xflowrl.run {shlex.quote('resume=' + place)}")
                    print(f"run folder: {os.path.relpath(job.folder)}", flush=True)
        is_whole = not job.interrupts.exit_code
        write_record(job.folder, replace(record, finished=is_whole and not is_deferred))
        if problems[0].rules.faithful:
            if job.sweep is None:
                print("nothing is exported: with rules.faithful=true not all rules are sound")
        elif job.refusals and is_whole:
            raise JobFailed
    return sum(result.cost_best_ms for result in results)


def label(job: Job) -> Label:
    """What the run is known by: its options, the source's commit and the versions with it."""
    from xflowrl.provenance import git_commit, versions
    from xflowrl.tracking import Label

    choices = job.choices
    made_by = {"versions": versions(), "git_commit": git_commit()}
    graph = graph_label(job.config, choices)[:64]  # Weights & Biases takes no longer tag
    tags = [graph, choices["rules"], choices["measurement"]]
    return Label(
        folder=job.folder,
        wandb_folder=job.sweep or job.folder,
        name=job.name,
        group=group_name(job.sweep or job.folder),
        kind=choices["agent"],
        tags=[*tags, *filter(None, [choices.get("experiment")])],
        config=comparable(job.config, choices) | made_by,
    )


def _recorded_before(folder: Path) -> RunRecord | None:
    from xflowrl.run_folder import read_result

    return read_result(folder) if (folder / "result.json").exists() else None


def _deliver(
    job: Job,
    results: Sequence[Result],
    judge: Judge,
    problems: Sequence[Problem],
    *,
    is_deferred: bool,
    train_s: float,
    judged: Mapping[str, GraphRecord],
) -> RunRecord:
    """Judges the results, writes the models and `result.json`, and returns its content.

    The record is written anew with every model, so that a process that dies leaves what it has.

    Args:
        is_deferred: judging is left to a later process.
        judged: what an earlier process came to, by graph.
    """
    from xflowrl.problem import StopReason
    from xflowrl.run_folder import (
        DEFERRED,
        NEVER_JUDGED,
        NOT_JUDGED,
        graph_record,
        run_record,
        undecided,
        write_record,
    )

    labels = {name: job.choices[name] for name in ("agent", "rules", "measurement")}
    labels["seed"] = job.config["seed"]
    before = NEVER_JUDGED if judge.is_idle else DEFERRED if is_deferred else NOT_JUDGED
    waiting, is_judged = undecided(before), before == NOT_JUDGED
    entries = [
        judged.get(result.graph) or graph_record(result, waiting, labels=labels)
        for result in results
    ]

    def record() -> RunRecord:
        made = run_record(entries, train_s=train_s, overrides=job.overrides)
        write_record(job.folder, made)
        return made

    record()
    files = model_files([result.graph for result in results])
    for index, (result, problem) in enumerate(zip(results, problems, strict=True)):
        if result.graph in judged:
            continue
        if problem.rules.faithful:
            reason = undecided("rules.faithful=true, not exported")
            entries[index] = graph_record(result, reason, labels=labels)
        elif is_judged and (result.iterations or result.stop_reason != StopReason.INTERRUPTED):
            with suppress(KeyboardInterrupt):
                entries[index] = _judged(job, result, problem, judge, labels, files[index])
        entry = entries[index]
        logger.info(
            "%s: cost %s -> %s ms in %d iterations (%s), %s: %s",
            *(entry.graph, entry.cost_initial_ms, entry.cost_best_ms, entry.iterations),
            *(entry.stop_reason, entry.verified.status, entry.verified.detail),
        )
        record()
    return record()


def _judged(
    job: Job, result: Result, problem: Problem, judge: Judge, labels: Mapping[str, Any], file: str
) -> GraphRecord:
    """Judges one result and delivers the fastest proven model.

    Raises:
        KeyboardInterrupt: the judging is interrupted; nothing is written.
    """
    from xflowrl.run_folder import Verified, graph_record, undecided

    try:
        with job.interrupts.allowed():
            target, source = job.folder / file, problem.model.file or job.folder / file
            with memory_for(source):
                judgement = judge.deliver(result, problem, target, seed=job.seed)
    except (ValueError, OSError, MemoryError) as error:
        job.refused(f"{result.graph}: {one_line(error)}")
        return graph_record(result, undecided(one_line(error)), labels=labels)
    return graph_record(
        result,
        Verified.of(judgement.verdict),
        labels=labels,
        judgement=judgement,
        best_onnx=file,
    )


def model_files(graphs: Sequence[str]) -> list[str]:
    """A file name for the best model of each graph; no two differ in upper and lower case alone."""
    if len(graphs) == 1:
        return ["best.onnx"]
    names: list[str] = []
    for name in map(file_name, graphs):
        names.append(distinct(name, {taken.lower() for taken in names}, str.lower))
    return [f"best-{name}.onnx" for name in names]


def command() -> None:
    """`python -m xflowrl.run`; also `xflowrl-run`, a name that shells can complete."""
    main(optimize, resumed)


if __name__ == "__main__":
    # By its full name, so that there is one copy of this module, and jobs can be pickled.
    from xflowrl import run

    run.command()
