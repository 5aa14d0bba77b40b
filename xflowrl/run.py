"""`python -m xflowrl.run graph=... agent=...`: a model in, a cheaper verified model out.

The only reader of Hydra's configuration. `main(task)` composes and checks it, then calls the task
with a `Job` for every run folder; other verbs of the package are further tasks of it.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import logging
import os
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xflowrl.config_types import check_config, check_value

if TYPE_CHECKING:
    from xflowrl._engine import RuleSet
    from xflowrl.judge import Judge
    from xflowrl.measurement import Objective
    from xflowrl.onnx_io import Model
    from xflowrl.problem import Agent, Budget, Problem, Result

logger = logging.getLogger(__name__)

# The options that belong to no target, with their types.
_PLAIN_OPTIONS = {"seed": "int", "folder": "str", "experiment": "str | None"}

# What a user can cause; anything else is a mistake of ours and shows its traceback.
_USER_ERRORS = (HydraException, OmegaConfBaseException, ValueError, OSError)


class JobFailed(Exception):
    """A job of a sweep failed and has said why; the others run, then the exit code is 1."""


@dataclass(frozen=True)
class Job:
    """One run: its configuration, checked and resolved, and its folder.

    Attributes:
        config: plain dicts, lists and scalars.
        choices: the option chosen in each group: `choices["agent"] == "greedy"`.
        overrides: what the command line changed.
    """

    config: Mapping[str, Any]
    choices: Mapping[str, str]
    overrides: Sequence[str]
    folder: Path

    @property
    def seed(self) -> int:
        """The seed of everything random in the run."""
        return int(self.config["seed"])

    def build(self, group: str) -> Any:
        """The object that a part of the configuration describes."""
        return build(self.config[group])

    def models(self) -> list[Model]:
        """The graphs to optimise."""
        built = self.build("graph")
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

    def agent(self) -> Agent:
        """The agent."""
        agent: Agent = self.build("agent")
        return agent

    def problems(self) -> list[Problem]:
        """One problem a graph, with distinct names, sharing rules and objective."""
        from xflowrl.problem import Problem
        from xflowrl.taso.open_gemms import read_by

        models, rules, objective = self.models(), self.rules(), self.objective()
        models = [model.with_graph(read_by(rules, model.graph)) for model in models]
        problems: list[Problem] = []
        for model in models:
            label = _distinct(model.graph.name, {problem.name for problem in problems})
            problem = Problem(
                model=model,
                rules=rules,
                objective=objective,
                budget=self.budget(),
                seed=self.seed,
                label=label,
                log_as="search" if len(models) == 1 else f"search/{label}",
            )
            problems.append(problem)
        return problems


Task = Callable[[Job], None]


class RefuseBadConfig(Callback):
    """Checks a single run's configuration before its folder is made."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Ends the process with one line if the configuration is bad."""
        try:
            _check(_plain(config, resolve=False))
        except ValueError as error:
            # Hydra turns exceptions of callbacks into warnings, but lets an exit through.
            sys.exit(f"error: {one_line(error)}")


def main(task: Task) -> None:
    """Runs `task` for the command line's configuration; `-m` once for each of its combinations.

    What the user got wrong is one line on standard error and exit code 1. A failing job of a sweep
    does not stop the others.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them

    @functools.wraps(task)
    def run_job(config: DictConfig) -> None:
        _run_job(task, config)

    try:
        hydra.main(config_path=_config_path(), config_name="config", version_base="1.3")(run_job)()
    except JobFailed:
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except _USER_ERRORS as error:
        sys.exit(f"error: {one_line(error)}")


def optimise(job: Job) -> None:
    """The task of this verb: optimises the graphs, judges the results, writes the run folder.

    Raises:
        ValueError: a result is not proven equal to its original; `result.json` says which.
    """
    from xflowrl.console import ProgressBar, print_tables
    from xflowrl.measurement import device_lock
    from xflowrl.run_folder import trace_record, write_json
    from xflowrl.tracking import Tracker

    judge, agent, settings = job.build("judge"), job.agent(), job.build("wandb")
    problems = job.problems()
    logger.info("graphs: %s", ", ".join(problem.name for problem in problems))
    with Tracker(job.folder, settings, job.config) as tracker:
        with ProgressBar(problems) as progress, device_lock().shared():

            def log(metrics: Mapping[str, float], step: int) -> None:
                tracker.log(metrics, step)
                progress.log(metrics, step)

            results = agent.optimize(problems, log)
        write_json(job.folder / "trace.json", trace_record(results))
        record = _deliver(job, results, judge, problems, getattr(agent, "train_s", 0.0))
        tracker.finish(results, record, job.folder)
    print_tables(record["results"])
    print(f"run folder: {os.path.relpath(job.folder)}")
    if problems[0].rules.faithful:
        print("nothing is exported: with rules.faithful=true not all rules are sound")
        return
    failed = [entry["graph"] for entry in record["results"] if entry["best_onnx"] is None]
    if failed:
        raise ValueError(
            f"not proven to compute the original's function: {', '.join(failed)}; nothing was "
            f"written for it, result.json has the details"
        )


def _deliver(
    job: Job, results: Sequence[Result], judge: Judge, problems: Sequence[Problem], train_s: float
) -> dict[str, Any]:
    """Judges the results, writes the models and `result.json`, and returns its content."""
    from xflowrl.onnx_io import save_onnx
    from xflowrl.run_folder import result_entry, result_record, write_json

    labels = {name: job.choices[name] for name in ("agent", "rules", "measurement")}
    labels["seed"] = job.config["seed"]
    entries = []
    for result, problem in zip(results, problems, strict=True):
        if problem.rules.faithful:
            judgement = judge.refuse()
        else:
            judgement = judge.judge(result, problem.objective, seed=job.seed)
        name = None
        if judgement.model is not None:
            name = "best.onnx" if len(results) == 1 else f"best-{file_name(result.graph)}.onnx"
            save_onnx(judgement.model, job.folder / name)
        entries.append(result_entry(result, judgement, labels=labels, best_onnx=name))
        logger.info(
            "%s: cost %.6g -> %.6g ms in %d iterations (%s), equal: %s",
            *(result.graph, result.cost_initial_ms, result.cost_best_ms, result.iterations),
            *(result.stop_reason, judgement.verdict.equal),
        )
    record = result_record(entries, train_s=train_s, overrides=job.overrides)
    write_json(job.folder / "result.json", record)
    return record


def file_name(name: str) -> str:
    """`name` with everything that does not belong into a file name replaced."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._")[:100] or "graph"


def build(config: Mapping[str, Any]) -> Any:
    """The object that `_target_` and its keywords describe; raises what the target raises."""
    try:
        return hydra.utils.instantiate(dict(config), _convert_="all")
    except HydraException as error:
        if error.__cause__ is None:
            raise
        raise error.__cause__ from None


def load_option(group: str, name: str, options: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    """The checked configuration of one option of a group, as `group=name` would give it.

    Raises:
        ValueError: no such option, or `options` do not fit it.
    """
    folder = _conf_folder() / group
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(option.stem for option in folder.glob("*.yaml")))
        raise ValueError(f"{group} {name!r} does not exist: give one of {known}")
    root = OmegaConf.create({"seed": seed, group: OmegaConf.load(path)})
    config: Any = OmegaConf.to_container(root, resolve=True)
    config[group].update(options)
    check_config(config[group], group)
    return dict(config[group])


def networks(*, names: list[str] | None = None, seed: int = 0) -> list[Model]:
    """Several built-in networks, each as `graph=NAME` gives it, in the order given.

    It stands here and not in `xflowrl.graphs` because it reads the other options of the group.

    Args:
        names: options of `conf/graph`; all but those that name files or networks themselves.
        seed: of the weights, and of a random network.

    Raises:
        ValueError: no name, a name twice, or one that is unknown; the message has it.
    """
    options = {option.stem for option in (_conf_folder() / "graph").glob("*.yaml")}
    known = sorted(options - {"networks", "onnx"})
    if not names:
        raise ValueError("graph=networks: no network is named; set graph.names=[NAME,...]")
    for index, name in enumerate(names):
        if name not in known:
            raise ValueError(
                f"graph=networks: graph.names has {name!r}, which is unknown; give any of "
                f"{', '.join(known)}"
            )
        if name in names[:index]:
            raise ValueError(f"graph=networks: graph.names has {name!r} twice; give it once")
    return [build(load_option("graph", name, {}, seed=seed)) for name in names]


def one_line(error: BaseException) -> str:
    """The message of an error, without line breaks and without Hydra's advice to developers."""
    text = str(error) or type(error).__name__
    for advice in ("Config search path:", "full_key:", "See https://", "To append to your config"):
        text = text.split(advice)[0]
    text = " ".join(text.split()).removeprefix("In 'config': ")
    if text.startswith("Could not override "):
        return f"{text} There is no such key; --cfg job shows those there are"
    return text


def _distinct(name: str, taken: Collection[str]) -> str:
    if name not in taken:
        return name
    return next(f"{name}-{i}" for i in itertools.count(2) if f"{name}-{i}" not in taken)


def _run_job(task: Task, config: DictConfig) -> None:
    settings = HydraConfig.get()
    folder = Path(settings.runtime.output_dir)
    try:
        plain = _plain(config, resolve=True)
        _check(plain)
        choices, overrides = dict(settings.runtime.choices), list(settings.overrides.task)
        task(Job(plain, choices, overrides, folder))
    except _USER_ERRORS as error:
        logger.error("error: %s", one_line(error))
        logger.debug("raised here", exc_info=True)
    except Exception:
        logger.exception("internal error")
    else:
        return
    if settings.mode == RunMode.RUN:
        sys.exit(1)  # Hydra would print a second line about an exception
    raise JobFailed


def _plain(config: DictConfig, *, resolve: bool) -> dict[str, Any]:
    masked = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    plain: Any = OmegaConf.to_container(masked, resolve=resolve)
    return dict(plain)


def _check(config: Mapping[str, Any]) -> None:
    check_config(config)
    for name, value in config.items():
        if name in _PLAIN_OPTIONS:
            check_value(name, value, _PLAIN_OPTIONS[name])
        elif not isinstance(value, dict):
            raise ValueError(f"{name} is {value!r}: it is a group, give {name}=OPTION")


def _conf_folder() -> Path:
    spec = importlib.util.find_spec("xflowrl.conf")
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(__file__).resolve().parent.parent / "conf"  # a source tree that is not installed


def _config_path() -> str:
    installed = importlib.util.find_spec("xflowrl.conf") is not None
    return "pkg://xflowrl.conf" if installed else str(_conf_folder())


if __name__ == "__main__":
    # By its full name, so that there is one copy of this module, and jobs can be pickled.
    from xflowrl import run

    run.main(run.optimise)
