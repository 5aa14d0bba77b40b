"""`python -m xflowrl.calibrate graph=... measurement=...`: are estimates true?

A network and a sample of its rewrites are estimated by `measurement` and executed where the judge
decides (`judge.runtime`, `judge.device`, `judge.threads`), each twice. In the run folder are then a
table with a row a graph, `calibration.csv`, and, where matplotlib is installed, a scatter,
`calibration-NETWORK.png`. Rows are written as they are measured: a second call with the same
`hydra.run.dir` goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from xflowrl.calibrate.report import report, write_scatter
from xflowrl.calibrate.sample import Rewritten, Sampling, sample_rewrites
from xflowrl.calibrate.table import Row, append_row, classes_text, read_rows, write_rows
from xflowrl.calibrate.timing import PairTimer
from xflowrl.measurement.runtimes import open_runtime

if TYPE_CHECKING:
    from xflowrl.cli.jobs import Job
    from xflowrl.measurement.runtimes import Runtime
    from xflowrl.problem import Problem

_log = logging.getLogger(__name__)

TABLE = "calibration.csv"


def calibrate(job: Job) -> None:
    """The task of this verb."""
    from xflowrl.cli.jobs import file_name

    sampling: Sampling = job.build("calibrate")
    judge = job.config["judge"]
    runtime = open_runtime(
        judge["runtime"],
        device=judge["device"],
        threads=judge["threads"],
        precision=judge["precision"],
        group="judge",
    )
    for problem in job.problems():
        rows = _measured(job, problem, runtime, sampling)
        print(report(rows), end="\n\n", flush=True)
        write_scatter(job.folder / f"calibration-{file_name(problem.name)}.png", rows)


def _measured(job: Job, problem: Problem, runtime: Runtime, sampling: Sampling) -> list[Row]:
    """The rows of a network: those that the folder has, with estimates of now, and the others."""
    path = job.folder / TABLE

    def is_ours(row: Row) -> bool:
        return (row.network, row.version) == (problem.name, runtime.version)

    before = read_rows(path)
    known = {row.graph: row for row in before if is_ours(row)}
    sample = sample_rewrites(problem, sampling.num_graphs)
    missing = [rewritten for rewritten in sample if rewritten.graph.hash not in known]
    if missing:
        timer = PairTimer(problem.model, runtime, max_s=sampling.max_s)
        pairs = timer.time_pairs([rewritten.graph for rewritten in missing])
        for number, (rewritten, times_ms) in enumerate(zip(missing, pairs, strict=True), start=1):
            print(f"{problem.name}: {number} of {len(missing)}", end="\r", flush=True)
            if isinstance(times_ms, Exception):
                _log.warning("%s refuses a graph: %s", runtime.name, times_ms)
                continue
            known[rewritten.graph.hash] = _row(job, problem, runtime, rewritten, times_ms)
            append_row(path, known[rewritten.graph.hash])
    rows = [
        replace(
            known[rewritten.graph.hash],
            estimated_ms=rewritten.estimated_ms,
            ms_by_class=classes_text(rewritten.ms_by_class),
        )
        for rewritten in sample
        if rewritten.graph.hash in known
    ]
    write_rows(path, [*(row for row in before if not is_ours(row)), *rows])
    return rows


def _row(
    job: Job,
    problem: Problem,
    runtime: Runtime,
    rewritten: Rewritten,
    times_ms: Sequence[tuple[float, float]],
) -> Row:
    (real_ms, original_ms), (again_ms, original_again_ms) = times_ms
    return Row(
        network=problem.name,
        graph=rewritten.graph.hash,
        num_steps=rewritten.num_steps,
        num_nodes=len(rewritten.graph),
        estimated_ms=rewritten.estimated_ms,
        real_ms=real_ms,
        original_ms=original_ms,
        again_ms=again_ms,
        original_again_ms=original_again_ms,
        prices=problem.objective.runtime or job.choices["measurement"],
        runtime=runtime.name,
        kind=job.config["judge"]["device"],
        device=runtime.device,
        version=runtime.version,
        date=datetime.now(UTC).date().isoformat(),
        ms_by_class=classes_text(rewritten.ms_by_class),
    )


if __name__ == "__main__":
    # By its full name, so that there is one copy of this module, and jobs can be pickled.
    from xflowrl.calibrate import __main__ as verb
    from xflowrl.cli.jobs import main

    main(verb.calibrate)
