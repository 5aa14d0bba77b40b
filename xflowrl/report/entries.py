"""What is compared with what: entries by problem, by agent with its options, and by budget.

Two entries are of one *problem* if they start from one graph under the same options of graph,
rules and measurement. An agent with its options is a *setting*. Runs of one problem, setting and
budget differ in their seeds alone: they are repetitions.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from xflowrl.problem import Improvement
from xflowrl.report.runs import Run
from xflowrl.run_folder import GraphRecord

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

# What makes another problem, beside the graph itself. The rest of the judge decides what is
# delivered, but not what is found.
_OF_PROBLEM = ("graph.", "rules.", "measurement.")
_OF_PROBLEM_KEYS = ("judge.runtime", "judge.device", "judge.threads", "judge.precision")
_AGENT_SEED = "agent.seed"  # of what it draws alone: no setting, but a repetition
_CHECKPOINT = "agent.checkpoint"  # says more than that nothing was trained
# What is said last: see `_told_apart`.
_SEED, _IDENTITY = "seed", "graph_hash"
# Options that say where things are, and not what is done.
_UNSAID = ("wandb.", "calibrate.", "hydra.", "folder", "experiment", "seed", "resume")


@dataclass(frozen=True)
class Entry:
    """What one run found for one graph.

    Attributes:
        problem: names graph, and of its options those that tell it from others in the report.
        setting: names the agent likewise.
        budget: likewise; empty if all have the same.
        budget_key: orders budgets, the smallest first.
        improvements: every new best; the first is the original.
    """

    run: Run
    record: GraphRecord
    problem: str
    setting: str
    budget: str
    budget_key: tuple[float, ...]
    improvements: tuple[Improvement, ...]

    @property
    def agent(self) -> str:
        """The option chosen in the group `agent`."""
        return self.record.agent

    @property
    def seed(self) -> int:
        """Of what the agent drew."""
        own = self.run.options.get(_AGENT_SEED)
        return self.record.seed if own is None else int(own)

    @property
    def label(self) -> str:
        """The setting, and the budget if there are several."""
        return f"{self.setting}, {self.budget}" if self.budget else self.setting

    @property
    def train_s(self) -> float:
        """Seconds of training, of all graphs of the run."""
        return self.run.record.train_s if self.run.record is not None else 0.0

    @property
    def total_s(self) -> float:
        """Seconds of optimising and of training, above 0."""
        return max(self.record.optimisation_s + self.train_s, 1e-6)

    @property
    def initial_ms(self) -> float:
        """Cost of the original; NaN if it is not known."""
        return comparable(self.record.cost_initial_ms)

    @property
    def best_ms(self) -> float:
        """Cost of the best graph found; NaN if it is not known."""
        return comparable(self.record.cost_best_ms)

    @property
    def saved(self) -> float:
        """The share of the original's cost that is saved; NaN if it is not known."""
        return 1 - self.best_ms / self.initial_ms if self.initial_ms else math.nan


def entries(runs: Sequence[Run]) -> list[Entry]:
    """Every graph of every run that has a result, with names that tell apart what differs."""
    pairs = [(run, record) for run in runs for record in run.graphs]
    problems = _distinguished(
        [record.graph for _, record in pairs],
        [_problem_options(run, record) for run, record in pairs],
    )
    settings = _distinguished(
        [record.agent for _, record in pairs],
        [_setting_options(run) for run, _ in pairs],
    )
    budgets = _distinguished(
        ["" for _ in pairs], [_part(run.options, "budget.") for run, _ in pairs]
    )
    found = []
    for index, (run, record) in enumerate(pairs):
        trace = run.traces.get(record.graph)
        found.append(
            Entry(
                run=run,
                record=record,
                problem=problems[index],
                setting=settings[index],
                budget=budgets[index],
                budget_key=_budget_key(run.options),
                improvements=trace.improvements if trace is not None else (),
            )
        )
    return found


def with_costs(found: Iterable[Entry]) -> list[Entry]:
    """Those whose costs are known: not of runs that were interrupted before."""
    return [entry for entry in found if math.isfinite(entry.saved)]


def group(items: Iterable[T], key_fn: Callable[[T], K]) -> dict[K, list[T]]:
    """The items by their key, both in the order they come."""
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key_fn(item), []).append(item)
    return groups


def largest_budget(found: Sequence[Entry]) -> list[Entry]:
    """Of each problem and setting the entries under the largest budget."""
    kept = []
    for same in group(found, lambda o: (o.problem, o.setting)).values():
        largest = max(entry.budget_key for entry in same)
        kept += [entry for entry in same if entry.budget_key == largest]
    return kept


def differing_options(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Of each option that is not the same in all runs its values, one a run.

    Paths are told from where they part on: the rest is of one machine.
    """
    names = dict.fromkeys(name for run in runs for name in run.options)
    columns = {
        name: [run.options.get(name) for run in runs]
        for name in names
        if not name.startswith(_UNSAID) and not name.endswith("._target_")
    }
    return {
        name: _without_common_folder(values)
        for name, values in columns.items()
        if len({repr(run.options[name]) for run in runs if name in run.options}) > 1
    }


def comparable(cost_ms: float | None) -> float:
    """A cost without its last bits: summed in another order it differs, and is no better."""
    return math.nan if cost_ms is None else float(f"{cost_ms:.9g}")


def _problem_options(run: Run, record: GraphRecord) -> dict[str, Any]:
    """What tells this problem from others of the same name, the most telling first."""
    options = {"rules": record.rules, "measurement": record.measurement}
    options |= {
        name: value
        for name, value in run.options.items()
        if name.startswith(_OF_PROBLEM) or name in _OF_PROBLEM_KEYS
    }
    trace = run.traces.get(record.graph)
    identity = trace.graph_hash[:8] if trace is not None else ""
    return options | {_SEED: record.seed, _IDENTITY: identity}


def _setting_options(run: Run) -> dict[str, Any]:
    """What tells this agent from others of the same name, the most telling first."""
    options = _part(run.options, "agent.")
    options.pop(_AGENT_SEED, None)
    return {key: options[key] for key in (_CHECKPOINT,) if key in options} | options


def _part(options: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name.startswith(prefix)}


def _budget_key(options: Mapping[str, Any]) -> tuple[float, ...]:
    limits = _part(options, "budget.").values()
    return tuple(
        math.inf if limit is None else limit
        for limit in limits
        if limit is None or isinstance(limit, int | float)
    )


def _distinguished(names: Sequence[str], options: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each name with the options that differ among those of the same name: "taso alpha=1.2"."""
    labels = list(names)
    for indices in group(range(len(names)), lambda i: names[i]).values():
        tables = [options[i] for i in indices]
        for i, told in zip(indices, _told_apart(tables), strict=True):
            labels[i] = " ".join([*([names[i]] if names[i] else []), *told])
    return labels


def _told_apart(tables: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    """Of each table the items that tell it from the others; of those that say the same, one.

    A table has what two of one label must share, "identity", and a "seed": it is said only where
    the rest leaves two identities under one label, and so is the identity itself.
    """
    said: dict[str, list[Any]] = {}
    for key in dict.fromkeys(key for table in tables for key in table):
        if key in (_SEED, _IDENTITY) or key.endswith("._target_"):
            continue
        values = _without_common_folder([table.get(key) for table in tables])
        if len(set(map(repr, values))) > 1 and not _follows(values, said.values()):
            said[key] = values
    identities = [table.get(_IDENTITY) for table in tables]
    for key in (_SEED, _IDENTITY):
        values = [table.get(key) for table in tables]
        helps = key == _IDENTITY or _follows(identities, [*said.values(), values])
        if helps and not _follows(identities, said.values()):
            said[key] = values
    for index, table in enumerate(tables):
        shown = {key: values[index] for key, values in said.items() if key in table}
        yield [f"{key.rpartition('.')[2]}={_plain(value)}" for key, value in shown.items()]


def _follows(values: Sequence[Any], others: Iterable[Sequence[Any]]) -> bool:
    """Whether equal values in all of `others` mean equal `values`."""
    known: dict[tuple[str, ...], str] = {}
    for value, *rest in zip(values, *others, strict=True):
        if known.setdefault(tuple(map(repr, rest)), repr(value)) != repr(value):
            return False
    return True


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)


def _without_common_folder(values: Collection[Any]) -> list[Any]:
    """The values, absolute paths among them without the folder that all are in."""
    paths = {value for value in values if isinstance(value, str) and Path(value).is_absolute()}
    if not paths:
        return list(values)
    common = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120
    return [os.path.relpath(value, common) if value in paths else value for value in values]
