"""A sweep: which jobs it has, what is said as they end, and what all of them came to.

Jobs may run in other processes and on other machines, so what they share are two files of the
sweep's folder: `sweep.json` has the overrides of every job, `jobs.jsonl` a line a job that ended.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hydra.core.plugins import Plugins
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from xflowrl.cli.resume import KEPT_OPTIONS
from xflowrl.options import conf_folder
from xflowrl.run_folder import read_result, write_json
from xflowrl.shortage import space_for

# What is in the folder of a sweep before its first job begins.
_OF_NO_JOB = {".lock", KEPT_OPTIONS, "multirun.yaml", "sweep.json"}

Plugins.instance()  # looks for plugins, which makes their classes anew: before one is derived from
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # noqa: E402


class Combinations(BasicSweeper):
    """Hydra's sweep over all combinations, in which an option goes to the choices that have it.

    `agent=taso,greedy agent.alpha=1,1.2` is three jobs: `greedy` has no `alpha` and runs once. An
    option that no choice has is an error as ever, unless it is a preset's, whose choices the
    command line has narrowed.
    """

    _given: frozenset[str] = frozenset()  # on the command line

    def get_job_batch(self) -> Sequence[Sequence[str]]:
        """The overrides of the next jobs."""
        if self.batch_index == 0:
            assert self.overrides is not None and self.config is not None
            every = [list(job) for batch in self.overrides for job in batch]
            jobs, notes = self._fitting(every)
            for note in notes:
                print(note)
            self.overrides = list(self.split_overrides_to_chunks(jobs, self.max_batch_size))
            folder = Path(self.config.hydra.sweep.dir)
            write_plan(folder, jobs, len(jobs))
        batch: Sequence[Sequence[str]] = super().get_job_batch()
        return batch

    def sweep(self, arguments: list[str]) -> Any:
        """Runs the jobs; what they came to is shown even if one failed."""
        self._given = frozenset(argument.partition("=")[0] for argument in arguments)
        try:
            return super().sweep(arguments)
        except BaseException:
            assert self.config is not None
            show_jobs(Path(self.config.hydra.sweep.dir))
            raise

    def _fitting(self, jobs: list[list[str]]) -> tuple[list[list[str]], list[str]]:
        """The jobs without options that their choices lack, each once; and what to say of it."""
        assert self.hydra_context is not None and self.config is not None
        loader, config = self.hydra_context.config_loader, self.config
        groups = set(loader.list_groups(""))
        options: dict[tuple[str, ...], Any] = {}

        def has(job: list[str], name: str) -> bool:
            choices = tuple(o for o in job if o.partition("=")[0] in groups)
            if choices not in options:
                composed = loader.load_sweep_config(config, list(choices))
                options[choices] = OmegaConf.to_container(composed, resolve=False)
            at = options[choices]
            for key in name.split("."):
                if not isinstance(at, dict) or key not in at:
                    return False
                at = at[key]
            return True

        names = {o.partition("=")[0] for job in jobs for o in job}
        choices = {tuple(o for o in job if o.partition("=")[0] in groups) for job in jobs}
        if len(choices) < 2 and names <= self._given:
            return jobs, []
        partial: dict[str, list[str]] = {}
        for name in sorted(n for n in names if n.partition(".")[0] in groups and "." in n):
            group = name.partition(".")[0]
            lacking = [job for job in jobs if not has(job, name)]
            if lacking and (len(lacking) < len(jobs) or name not in self._given):
                chosen = [o for job in lacking for o in job if o.partition("=")[0] == group]
                partial[name] = list(dict.fromkeys(chosen))
        fitting: dict[tuple[str, ...], list[str]] = {}
        for job in jobs:
            kept = [o for o in job if (n := o.partition("=")[0]) not in partial or has(job, n)]
            fitting.setdefault(tuple(kept), kept)
        without = "; ".join(f"{name} is left out of {', '.join(c)}" for name, c in partial.items())
        fewer = f": {len(fitting)} jobs, not {len(jobs)}" if len(fitting) < len(jobs) else ""
        return list(fitting.values()), [without + fewer] if partial else []


def as_choices(arguments: Sequence[str]) -> list[str]:
    """The command line of a sweep, each option of a group that is swept being swept, too.

    Hydra gives any other option to the default choice of the group, before it looks at the sweep,
    which may also be that of a preset.
    """
    given = {name: value for name, _, value in (a.partition("=") for a in arguments)}
    swept = {name for name, value in given.items() if "," in value}
    swept |= _swept_by(given.get("experiment", "")) - given.keys()
    wrapped = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        is_plain = re.match(r"\w+\(", value) is None and name.partition(".")[0] in swept - {name}
        wrapped.append(f"{name}=choice({value})" if is_plain and value else argument)
    return wrapped


def _swept_by(preset: str) -> set[str]:
    """What a preset sweeps, or those that it is a difference to."""
    path = conf_folder() / "experiment" / f"{preset}.yaml"
    content: Any = OmegaConf.load(path) if path.is_file() else {}
    before = (name for name in content.get("defaults", ()) if isinstance(name, str))
    swept = content.get("hydra", {}).get("sweeper", {}).get("params", {})
    return {*swept}.union(*map(_swept_by, before))


def use_combinations() -> None:
    """Makes Hydra's basic sweeper, which is its default, be `Combinations`."""
    name = f"{BasicSweeper.__module__}.{BasicSweeper.__name__}"
    Plugins.instance().class_name_to_class[name] = Combinations


class ShowJobs(Callback):
    """Shows what the jobs came to at the end of a sweep, whichever sweeper it had."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Prints the table; the exit code is 1 if one failed."""
        folder = Path(config.hydra.sweep.dir)
        show_jobs(folder)
        began = _plan(folder).get("began", 0.0)
        if any(job.exit_code and job.ended >= began for job in ended_jobs(folder)):
            sys.exit(1)


@contextmanager
def kept_if_begun(folder: Path) -> Iterator[None]:
    """Takes a sweep's new folder away again if no job began: an option was misspelt."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        if made and folder.exists() and {path.name for path in folder.iterdir()} <= _OF_NO_JOB:
            shutil.rmtree(folder)
            with suppress(OSError):  # others are at work there
                for parent in made[1:]:
                    parent.rmdir()


@dataclass(frozen=True, kw_only=True)
class EndedJob:
    """How a job ended: a line of `jobs.jsonl`. Of two about a job the later one holds."""

    job: int
    name: str
    folder: str
    exit_code: int
    error: str
    seconds: float
    ended: float


def jobs_of(folder: Path) -> list[list[str]]:
    """The overrides of every job of a sweep's folder; empty if it is not known."""
    return list(_plan(folder).get("jobs", ()))


def ended_jobs(folder: Path) -> list[EndedJob]:
    """The jobs of a sweep's folder that ended, in their order, each once."""
    ended: dict[int, EndedJob] = {}
    try:
        lines = (folder / "jobs.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        try:
            job = EndedJob(**json.loads(line))
        except (ValueError, TypeError):
            continue  # one that a kill cut off
        ended[job.job] = job
    return [ended[number] for number in sorted(ended)]


def show_jobs(folder: Path) -> None:
    """Prints one table of a sweep's jobs, those that failed with the reason."""
    from xflowrl.console import SweptJob, print_jobs

    rows = []
    for job in ended_jobs(folder):
        place = folder / job.folder
        record = read_result(place) if (place / "result.json").exists() else None
        error = job.error or ("failed" if job.exit_code else "")
        rows.append(SweptJob(job.name, record, job.seconds, error))
    if rows:
        print_jobs(rows, total=_num_jobs(folder) or None, folder=folder)


class SayJob:
    """While it is entered, a job of a sweep runs: says when it begins and how it ended.

    On the terminal a job has at most three lines: these two, and its first warning. All else is in
    its `run.log`.
    """

    def __init__(self, sweep: Path, folder: Path, number: int, name: str) -> None:
        self._sweep, self._folder, self._number, self._name = sweep, folder, number, name
        self._handlers: list[logging.Handler] = []
        self._errors: list[str] = []
        self._num_warnings = 0
        self._began_s = time.monotonic()
        self._result_before = self._result_time()

    def __enter__(self) -> Self:
        self._handlers = [h for h in logging.root.handlers if type(h) is logging.StreamHandler]
        for handler in self._handlers:
            handler.addFilter(self._passes)
        left = time_left(self._sweep, time.time())
        print(f"{self._title()}{left}", flush=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        from xflowrl.console import outcome_line

        for handler in self._handlers:
            handler.removeFilter(self._passes)
        code = error.code if isinstance(error, SystemExit) else int(kind is not None)
        ended = EndedJob(
            job=self._number,
            name=self._name,
            folder=str(self._folder.relative_to(self._sweep)),
            exit_code=code if isinstance(code, int) else 1,
            error=self._errors[0] if code and self._errors else "",
            seconds=time.monotonic() - self._began_s,
            ended=time.time(),
        )
        if not self._is_kept(ended):
            path = self._sweep / "jobs.jsonl"
            with space_for(path), path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(ended)) + "\n")
        if ended.exit_code:
            more = f" (and {len(self._errors) - 1} more)" if len(self._errors) > 1 else ""
            print(f"{self._title()}: {ended.error or 'error'}{more}", file=sys.stderr, flush=True)
        elif (self._folder / "result.json").exists():
            print(f"{self._title()}: {outcome_line(read_result(self._folder))}", flush=True)

    def _is_kept(self, ended: EndedJob) -> bool:
        """Whether it ended well before the sweep was resumed: nothing ran, its line holds."""
        if ended.exit_code or self._result_before is None:
            return False
        was_done = any(j.job == ended.job and not j.exit_code for j in ended_jobs(self._sweep))
        return was_done and self._result_time() == self._result_before

    def _result_time(self) -> int | None:
        path = self._folder / "result.json"
        return path.stat().st_mtime_ns if path.exists() else None

    def _title(self) -> str:
        total = _num_jobs(self._sweep)
        return f"job {self._number + 1}{f'/{total}' if total else ''} {self._name}"

    def _passes(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR and not record.exc_info:
            self._errors.append(record.getMessage())
            return False
        self._num_warnings += record.levelno == logging.WARNING
        return self._num_warnings < 2 or record.levelno != logging.WARNING


def time_left(sweep: Path, now: float) -> str:
    """`, ETA 3 min`: the time that the jobs which ended took, for those that have not."""
    plan = _plan(sweep)
    began, total = plan.get("began", now), _num_jobs(sweep)
    ended = ended_jobs(sweep)
    num_ended = sum(job.ended >= began for job in ended)
    num_kept = sum(job.ended < began and not job.exit_code for job in ended)  # of a resumed sweep
    num_left = total - num_kept - num_ended
    if not num_ended or num_left <= 0:
        return ""
    left_s = (now - began) / num_ended * num_left
    return f", ETA {left_s:.0f} s" if left_s < 100 else f", ETA {left_s / 60:.0f} min"


def write_plan(folder: Path, jobs: Sequence[Sequence[str]], num_jobs: int) -> None:
    """Notes in a sweep's folder that it begins, and with which jobs.

    Args:
        jobs: the overrides of each; none if they are drawn as it goes on.
        num_jobs: 0 if it is not known.
    """
    plan = {"schema": 1, "began": time.time(), "jobs": jobs, "num_jobs": num_jobs}
    write_json(folder / "sweep.json", plan)


def _num_jobs(folder: Path) -> int:
    """Of a sweep; 0 if it is not known."""
    plan = _plan(folder)
    return int(plan.get("num_jobs", len(plan.get("jobs", ()))))


def _plan(folder: Path) -> Mapping[str, Any]:
    try:
        plan = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return plan if isinstance(plan, dict) else {}
