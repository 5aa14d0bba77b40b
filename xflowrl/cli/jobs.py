"""From the command line to jobs: the only reader of Hydra's configuration.

`main(task)` composes and checks it, then calls the task with a `Job` for every run folder. Every
verb of the package is such a task: `python -m xflowrl.run`, `xflowrl.calibrate`, ...
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import logging
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from xflowrl.cli.errors import USER_ERRORS, one_line
from xflowrl.cli.interrupts import EndNow, Interrupts
from xflowrl.cli.naming import read_name, run_name, write_name
from xflowrl.cli.resume import CommandLine, arranged, claimed, keep_options, refuse_claimed
from xflowrl.cli.sweeps import (
    SayJob,
    as_choices,
    jobs_of,
    kept_if_begun,
    use_combinations,
    write_plan,
)
from xflowrl.options import (
    build,
    check,
    check_value,
    conf_folder,
    make_problems,
    refuse_foreign,
)
from xflowrl.shortage import is_no_memory

if TYPE_CHECKING:
    from xflowrl._engine import RuleSet
    from xflowrl.measurement import Objective
    from xflowrl.onnx_io import Model
    from xflowrl.problem import Agent, Budget, Problem

logger = logging.getLogger(__name__)

# The options that belong to no target, with their types.
_PLAIN_OPTIONS = {"seed": int, "folder": str, "experiment": str | None, "resume": str | None}

# The claim to a sweep's folder: no part of the callback, which launchers pickle.
_sweep = ExitStack()


class JobFailed(Exception):
    """A job failed and has said why; in a sweep the others run, then the exit code is 1."""


@dataclass(frozen=True)
class Job:
    """One run: its configuration, checked and resolved, and its folder.

    Attributes:
        config: plain dicts, lists and scalars.
        choices: the option chosen in each group: `choices["agent"] == "greedy"`.
        overrides: what the command line changed.
        interrupts: what Ctrl-C and SIGTERM do.
        line: what the command line was about.
        name: what it is called beside others, like `taso-squeezenet-i100-s0`.
        sweep: the folder of its sweep; None if it runs alone.
        refusals: what could not be read or delivered and why; the others are.
    """

    config: Mapping[str, Any]
    choices: Mapping[str, str]
    overrides: Sequence[str]
    folder: Path
    interrupts: Interrupts
    line: CommandLine
    name: str = ""
    sweep: Path | None = None
    refusals: list[str] = field(default_factory=list)

    @property
    def seed(self) -> int:
        """The seed of everything random in the run."""
        return int(self.config["seed"])

    def refused(self, reason: str) -> None:
        """Says in one line that a graph is given up."""
        self.refusals.append(reason)
        logger.error("error: %s", reason)

    def build(self, group: str) -> Any:
        """The object that a part of the configuration describes."""
        return build(self.config[group])

    def models(self) -> list[Model]:
        """The graphs to optimise."""
        built = self.build("graph")
        for reason in getattr(built, "unread", ()):
            self.refused(reason)
        models = list(built) if isinstance(built, list | tuple) else [built]
        if not models:
            raise ValueError(f"graph={self.choices['graph']} gives no graph: name at least one")
        return models

    def rules(self) -> RuleSet:
        """The rules."""
        rules: RuleSet = self.build("rules")
        return rules

    def objective(self) -> Objective:
        """The objective."""
        objective: Objective = self.build("measurement")
        return objective

    def budget(self) -> Budget:
        """The budget of each problem."""
        budget: Budget = self.build("budget")
        return budget

    def agent(self, **changes: Any) -> Agent:
        """The agent, with some of its options changed."""
        agent: Agent = build({**self.config["agent"], **changes})
        return agent

    def problems(self) -> list[Problem]:
        """One problem a graph."""
        models, rules, objective = self.models(), self.rules(), self.objective()
        return make_problems(models, rules, objective, self.budget(), seed=self.seed)


# Returns what a sweeper that leads the sweep is to make small; None: nothing.
Task = Callable[[Job], float | None]


class RefuseBadConfig(Callback):
    """Checks a single run's configuration before its folder is made, and claims that of a sweep."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Ends the process with one line if it is bad, or another one works in the folder."""
        try:
            _check(_plain(config, resolve=False))
            refuse_claimed(Path(config.hydra.run.dir).absolute())
        except (ValueError, MemoryError, OSError) as error:
            # Hydra turns exceptions of callbacks into warnings, but lets an exit through.
            sys.exit(f"error: {one_line(error)}")

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Ends the process with one line if another one works at the sweep."""
        try:
            folder = Path(config.hydra.sweep.dir).absolute()
            _sweep.enter_context(kept_if_begun(folder))
            _sweep.enter_context(claimed(folder, (), file=".lock"))
            keep_options(_source(config.hydra), folder)
            OmegaConf.save(config, folder / "multirun.yaml")  # Hydra's own sweeper alone does it
            num_trials = config.hydra.sweeper.get("n_trials")  # Optuna's, which draws its jobs
            write_plan(folder, (), num_trials or 0)
        except (ValueError, OSError) as error:
            sys.exit(f"error: {one_line(error)}")

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Lets go of the folder."""
        _sweep.close()


def main(task: Task, read_fn: Callable[[Sequence[str]], CommandLine] = CommandLine) -> None:
    """Runs `task` for the command line's configuration; `-m` once for each of its combinations.

    What the user got wrong is one line on standard error and exit code 1. A failing job of a sweep
    does not stop the others. Ctrl-C and SIGTERM do: the exit code is then 130 or 143, whatever was
    delivered, and the files of what was finished are there. A second one ends at once. Where jobs
    run side by side those in progress are ended at once, and leave what they had written.

    Args:
        read_fn: what the arguments stand for.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them
    logging.raiseExceptions = False  # a full disk loses lines of the log, and says so elsewhere

    interrupts = Interrupts()
    try:
        line = read_fn(sys.argv[1:])
        sys.argv[1:] = arranged(line.arguments)

        @functools.wraps(task)
        def run_job(config: DictConfig) -> float | None:
            return _run_job(task, config, line)

        _refuse_code(sys.argv[1:])
        if {"--help", "-h"} & set(sys.argv[1:]):
            from xflowrl.cli.help import help_text

            print(help_text(_verb(task), sys.argv[1:]))
            return
        sys.argv += _lacking(sys.argv[1:])
        use_combinations()
        if {"-m", "--multirun"} & set(sys.argv):
            sys.argv[1:] = as_choices(sys.argv[1:])
        place = str(line.options) if line.options is not None else _config_path()
        hydra_main = hydra.main(config_path=place, config_name="config", version_base="1.3")
        with interrupts:  # between the jobs of a sweep, and where others run them
            hydra_main(run_job)()
    except (KeyboardInterrupt, EndNow):
        print("interrupted", file=sys.stderr)
        sys.exit(interrupts.exit_code or 130)
    except BrokenPipeError:  # the reader, `head` for one, has seen enough of --help
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except USER_ERRORS as error:
        sys.exit(f"error: {one_line(error)}")
    finally:
        _sweep.close()


def file_name(name: str) -> str:
    """`name` with everything that does not belong into a file name replaced."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._")[:100] or "graph"


def _refuse_code(arguments: Sequence[str]) -> None:
    """Raises ValueError for one that has Hydra call something, which it does before we check."""
    for argument in arguments:
        if re.match(r"[+~]*hydra\.", argument) and re.search(r"_target_|\bclass\b|\(\)", argument):
            raise ValueError(f"{argument} names other code, which is not run; leave it out")


def _run_job(task: Task, config: DictConfig, line: CommandLine) -> float | None:
    settings = HydraConfig.get()
    folder = Path(settings.runtime.output_dir)
    choices = _choices(settings)
    overrides: Any = OmegaConf.to_container(settings.overrides.task, resolve=False)
    about = {"choices": choices, "overrides": overrides, "folder": folder}
    known = _plain(config, resolve=False)
    if settings.mode == RunMode.RUN:
        name = read_name(folder) if line.is_resumed else ""  # one of a sweep has its name there
        name = name or run_name(known, choices, overrides)
        return _run_task(task, config, line, {**about, "name": name})
    sweep = Path(settings.sweep.dir).absolute()
    name = run_name(known, choices, overrides, jobs_of(sweep))
    with suppress(JobFailed), SayJob(sweep, folder, int(settings.job.num), name):
        return _run_task(task, config, line, {**about, "name": name, "sweep": sweep})
    return math.inf  # the worst there is: of an exception Hydra would print a second line


def _run_task(
    task: Task, config: DictConfig, line: CommandLine, about: Mapping[str, Any]
) -> float | None:
    try:
        with Interrupts() as interrupts:
            write_name(about["folder"], about["name"])
            if line.recorded is not None:
                config = _recorded_config(line.recorded, config)
            plain = _plain(config, resolve=True)
            _check(plain)
            if len(sys.argv) == 1:
                _announce(about["choices"])
            value = task(Job(config=plain, interrupts=interrupts, line=line, **about))
    except JobFailed:
        pass  # said where it happened
    except USER_ERRORS as error:
        logger.error("error: %s", one_line(error))
        logger.debug("raised here", exc_info=True)
    except (KeyboardInterrupt, EndNow):
        pass  # said below
    except Exception as error:
        if is_no_memory(error):
            logger.error("error: out of memory: %s", one_line(error))
        else:
            logger.exception("internal error")
    else:
        if not interrupts.exit_code:
            return value
    if interrupts.exit_code:
        logger.error("interrupted")
        sys.exit(interrupts.exit_code)  # a sweep ends with the job it falls into
    if "sweep" not in about:
        sys.exit(1)  # Hydra would print a second line about an exception
    raise JobFailed


def _recorded_config(folder: Path, composed: DictConfig) -> DictConfig:
    """The configuration of an earlier run, whatever defaults are now; how it is logged may differ.

    Raises:
        ValueError: it is not there, or incomplete.
    """
    path = folder / ".hydra" / "config.yaml"
    try:
        config: Any = OmegaConf.merge(OmegaConf.load(path), {"wandb": composed.wandb})
    except (OSError, YAMLError, OmegaConfBaseException):
        raise ValueError(f"{path} is no configuration of a run: start it again") from None
    if missing := composed.keys() - config.keys() - {"resume"}:
        raise ValueError(f"{path} lacks {min(map(str, missing))}: start the run again")
    return DictConfig(config)


def _plain(config: DictConfig, *, resolve: bool) -> dict[str, Any]:
    masked = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    plain: Any = OmegaConf.to_container(masked, resolve=resolve)
    return dict(plain)


def _check(config: Mapping[str, Any]) -> None:
    for name, value in config.items():
        if name in _PLAIN_OPTIONS:
            check_value(name, value, _PLAIN_OPTIONS[name])
        elif not isinstance(value, dict):
            raise ValueError(f"{name} is {value!r}: it is a group, give {name}=OPTION")
    if config.get("resume") is not None:
        raise ValueError(f"resume={config['resume']}: python -m xflowrl.run alone can resume")
    refuse_foreign(config, "")
    check(config)


def _announce(choices: Mapping[str, str]) -> None:
    """Says what a command without any option is about to do."""
    chosen = " ".join(f"{k}={v}" for k, v in sorted(choices.items()) if v and "/" not in k)
    print(f"no option is given: {chosen}; --help explains, Ctrl-C ends", flush=True)


def _lacking(arguments: Sequence[str]) -> list[str]:
    """What `-cp FOLDER/.hydra -cn config` needs beside: Hydra's own settings are not in there."""
    if not {"-cn", "--config-name"} & set(arguments):
        return []
    ours: Any = OmegaConf.to_container(OmegaConf.load(conf_folder() / "config.yaml"))
    places = [f"hydra.{mode}.dir={ours['hydra'][mode]['dir']}" for mode in ("run", "sweep")]
    quiet = "+hydra.job_logging.handlers.console.level=WARNING"
    return [quiet, *(p for p in places if not any(a.startswith(p[:12]) for a in arguments))]


def _choices(settings: Any) -> dict[str, str]:
    """The chosen options; those of an earlier run whose `config.yaml` is run again."""
    recorded = _source(settings) / "hydra.yaml"
    if recorded.is_file():
        return dict(OmegaConf.load(recorded).hydra.runtime.choices)
    return dict(settings.runtime.choices)


def _source(settings: Any) -> Path:
    """The folder that the options come from."""
    files = [
        Path(source.path)
        for source in settings.runtime.config_sources
        if (source.provider, source.schema) == ("main", "file")
    ]
    return files[0] if files else conf_folder()  # those of an installed package are no files to it


def _verb(task: Task) -> str:
    """The first line of the task's module: the command, and what it does."""
    return (inspect.getdoc(sys.modules[task.__module__]) or "").partition("\n")[0]


def _config_path() -> str:
    installed = importlib.util.find_spec("xflowrl.conf") is not None
    return "pkg://xflowrl.conf" if installed else str(conf_folder())
