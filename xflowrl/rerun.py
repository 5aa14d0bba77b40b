"""`python -m xflowrl.rerun FOLDER`: a run once more, in a folder of its own, and what differs.

Under a price list, and with budgets that do not count seconds, nothing does.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xflowrl.cli.jobs import Job, JobFailed, main
from xflowrl.cli.resume import repeated
from xflowrl.run import optimize

# Of an entry of `results`: what the search and the proof came to, and not how long it took.
_COMPARED = (
    *("cost_initial_ms", "cost_best_ms", "iterations", "candidates", "best_iteration"),
    *("stop_reason", "num_unexpanded", "num_dropped", "num_nodes_best", "num_kernels_best"),
)


def repeat(job: Job) -> None:
    """The task of this verb: runs a recorded configuration, and compares with its record.

    Raises:
        JobFailed: a number differs, which has been said.
        ValueError: there is no record to compare with.
    """
    from xflowrl.run_folder import read_result

    assert job.line.recorded is not None, "the command line names a folder"
    before, folder = job.line.recorded, job.folder
    if not (before / "result.json").exists() or not read_result(before).finished:
        raise ValueError(f"{before} did not come to its end: python -m xflowrl.run resume={before}")
    shutil.copy(before / ".hydra" / "config.yaml", folder / ".hydra" / "config.yaml")
    optimize(job)
    for line in other_versions(before, folder):
        print(line)
    differences = [*differing(before, folder)]
    for line in differences:
        print(line)
    print(f"{before} again, in {folder}: {len(differences) or 'no'} differences", flush=True)
    if differences and not job.interrupts.exit_code:
        raise JobFailed


def differing(before: Path, after: Path) -> Iterator[str]:
    """One line for every number of two run folders that should be the same, and is not.

    Raises:
        ValueError: a record is none.
        OSError: there is none.
    """
    from xflowrl.run_folder import read_result, read_traces

    was, now = ({e.graph: e for e in read_result(f).results} for f in (before, after))
    was_traced, now_traced = read_traces(before), read_traces(after)
    yield from _changes("the run", {"graphs": [*was]}, {"graphs": [*now]})
    for graph in (graph for graph in was if graph in now):
        yield from _changes(
            graph, *({k: getattr(e[graph], k) for k in _COMPARED} for e in (was, now))
        )
        if was_traced[graph] != now_traced[graph]:
            yield f"{graph}: trace.json has other steps"


def other_versions(before: Path, after: Path) -> Iterator[str]:
    """One line for everything that two runs were made with, and that changed between them."""
    from xflowrl.run_folder import read_result

    made_with = [
        {**record.versions, "git_commit": record.git_commit}
        for record in map(read_result, (before, after))
    ]
    yield from _changes("version", *made_with)


def _changes(what: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in {**was, **now}:
        if was.get(name) != now.get(name):
            yield f"{what}: {name} was {was.get(name)} and is {now.get(name)}"


if __name__ == "__main__":
    from xflowrl import rerun

    main(rerun.repeat, repeated)
