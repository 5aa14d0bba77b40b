"""What was saved by given seconds, of each set of networks: tables and figures.

A set is what one option of the group `graph` gives; where that has several networks of several
sizes, those of one size are a set, too. Runs are looked at whose budget is in seconds. Training
counts: what a run that trains has saved by a second is what it had seen in training by then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from xflowrl.report.comparison import interval_bar, variants
from xflowrl.report.curves import cost_over_seconds
from xflowrl.report.entries import Entry, comparable, group, largest_budget, with_costs
from xflowrl.report.figure import MAX_SERIES, Figure, Line, Missing, Panel, num_runs
from xflowrl.report.statistics import (
    Interval,
    bootstrap,
    interquartile_mean,
    mean,
    mean_difference,
    nested_bootstrap,
    probability_of_improvement,
    steps_at,
)

_FIRST_S = 0.1  # earlier, little but the clock differs
_BARS_S = 1.0
_POINTS = 24  # of a curve
_SAVED = "Share of the cost that the best graph so far saves, of each set of networks,"
_NO_RUNS = "no run is limited by seconds: set budget.max_seconds=10 budget.max_iterations=null"


@dataclass(frozen=True)
class Timed:
    """A run of one network under a budget in seconds.

    Attributes:
        networks: the option of the group `graph`.
        limit_s: of the budget.
        seconds: when a better graph was found, in ascending order.
        saved: the shares of the original's cost that were saved from then on.
    """

    entry: Entry
    networks: str
    limit_s: float
    seconds: Sequence[float]
    saved: Sequence[float]

    def saved_by(self, seconds: float) -> float:
        """The share saved by then; 0 before anything was found."""
        return float(steps_at(self.seconds, self.saved, np.array([seconds]))[0])


@dataclass(frozen=True)
class NetworkSet:
    """Networks that are looked at together, of which every setting has every one.

    Attributes:
        runs: of each setting and network.
    """

    name: str
    limit_s: float
    runs: Mapping[str, Sequence[Sequence[Timed]]]

    def saved_by(self, seconds: float) -> dict[str, list[list[float]]]:
        """Of each setting and network what its runs have saved by then."""
        return {
            setting: [[run.saved_by(seconds) for run in same] for same in of_networks]
            for setting, of_networks in self.runs.items()
        }


def timed(found: Sequence[Entry]) -> list[Timed]:
    """The entries under a budget in seconds, the largest budget of each setting."""
    runs = []
    limited = [entry for entry in with_costs(found) if _limits_s(entry) and entry.improvements]
    for entry in largest_budget(limited):
        seconds, costs_ms = cost_over_seconds(entry)
        saved = [1 - comparable(cost_ms) / entry.initial_ms for cost_ms in costs_ms]
        networks = entry.run.choices.get("graph", entry.record.graph)
        runs.append(Timed(entry, networks, min(_limits_s(entry)), seconds, saved))
    return runs


def _limits_s(entry: Entry) -> list[float]:
    options = entry.run.options
    limits = (options.get(f"budget.{name}") for name in ("max_seconds", "max_wall_s"))
    return [float(limit) for limit in limits if limit is not None]


def network_sets(runs: Sequence[Timed]) -> list[NetworkSet]:
    """The sets, each before its parts of one size; without networks that a setting has not."""
    sets = list[NetworkSet]()
    for name, same in group(runs, lambda run: run.networks).items():
        sets += _complete(name, same)
        by_size = group(same, lambda run: run.entry.record.num_nodes_initial)
        networks = [{run.entry.problem for run in of_size} for of_size in by_size.values()]
        if len(by_size) > 1 and min(map(len, networks)) > 1:
            for size, of_size in sorted(by_size.items()):
                sets += _complete(f"{name}, {size} nodes", of_size)
    return sets


def _complete(name: str, runs: Sequence[Timed]) -> Iterator[NetworkSet]:
    by_setting = {
        setting: group(same, lambda run: run.entry.problem)
        for setting, same in group(runs, lambda run: run.entry.setting).items()
    }
    shared = set.intersection(*({*of_problem} for of_problem in by_setting.values()))
    if shared:
        limit_s = max(run.limit_s for run in runs)
        kept = {s: [of[problem] for problem in sorted(shared)] for s, of in by_setting.items()}
        yield NetworkSet(name, limit_s, kept)


def looks_s(limit_s: float) -> list[float]:
    """When one looks: at each power of ten from 0.1 on below the limit, and at the limit."""
    powers = [10.0**power for power in range(-1, 7)]
    return [*(power for power in powers if power < limit_s * (1 - 1e-9)), limit_s]


def anytime_rows(runs: Sequence[Timed]) -> Iterator[dict[str, Any]]:
    """A row for every run: what it had saved when.

    `saved_bound` is the most that any graph saves which an e-graph of the network has in it.
    """
    looks = sorted({seconds for run in runs for seconds in looks_s(run.limit_s)})
    bounds: dict[str, float] = {}
    for entry in (run.entry for run in runs):
        if entry.record.bound_ms:
            bound = 1 - entry.record.bound_ms / entry.initial_ms
            bounds[entry.problem] = max(bound, bounds.get(entry.problem, bound))
    for run in runs:
        entry, record = run.entry, run.entry.record
        until_s = entry.train_s + run.limit_s
        saved = {s: run.saved_by(s) if s <= until_s else None for s in looks}
        yield {
            "set": run.networks,
            "graph": record.graph,
            "num_nodes": record.num_nodes_initial,
            "agent": entry.setting,
            "seed": entry.seed,
            "limit_s": run.limit_s,
            **{f"saved_{seconds:g}s": share for seconds, share in saved.items()},
            "saved": entry.saved,
            "saved_bound": bounds.get(entry.problem),
            "best_seconds": entry.train_s + record.best_seconds,
            "optimisation_s": record.optimisation_s,
            "train_s": entry.train_s,
            "stop_reason": record.stop_reason,
        }


def summary_of_sets(sets: Sequence[NetworkSet]) -> Iterator[dict[str, Any]]:
    """A row for every set, time and setting: interquartile mean and mean, with intervals."""
    for networks in sets:
        for seconds in looks_s(networks.limit_s):
            for setting, saved in networks.saved_by(seconds).items():
                yield {
                    "set": networks.name,
                    "seconds": seconds,
                    "agent": setting,
                    "networks": len(saved),
                    "runs": sum(map(len, saved)),
                    **_columns("iqm", nested_bootstrap(saved, interquartile_mean)),
                    **_columns("mean", nested_bootstrap(saved, mean)),
                }


def pairs_of_sets(sets: Sequence[NetworkSet]) -> Iterator[dict[str, Any]]:
    """A row for every set, time and two settings: how much more the first saves, how likely."""
    for networks in sets:
        for seconds in looks_s(networks.limit_s):
            by_setting = networks.saved_by(seconds)
            for (setting, saved), (other, theirs) in permutations(by_setting.items(), 2):
                yield {
                    "set": networks.name,
                    "seconds": seconds,
                    "agent": setting,
                    "other": other,
                    **_columns("more", mean_difference(saved, theirs)),
                    **_columns("probability", probability_of_improvement(saved, theirs)),
                }


def saved_over_seconds(found: Sequence[Entry]) -> Figure | Missing:
    """Curves of the interquartile mean of what is saved, a panel a set, a curve a setting."""
    title, numbers = "Saved over seconds", variants(found)
    panels, counts = [], list[int]()
    for networks in network_sets(timed(found)):
        grid = np.geomspace(_FIRST_S / 4, networks.limit_s, _POINTS)
        at = [networks.saved_by(seconds) for seconds in grid]
        lines = []
        for setting, of_networks in networks.runs.items():
            points = [bootstrap(saved[setting], interquartile_mean) for saved in at]
            lines.append(
                Line(
                    name=setting,
                    agent=of_networks[0][0].entry.agent,
                    x=grid.tolist(),
                    y=[point.value for point in points],
                    low=[point.low for point in points],
                    high=[point.high for point in points],
                    variant=numbers[setting],
                )
            )
            counts += map(len, of_networks)
        lines = sorted(lines, key=lambda line: -line.y[-1])[:MAX_SERIES]
        x, y = "time, training included, s", "share of the cost saved"
        panels.append(Panel(title=networks.name, x=x, y=y, lines=lines, x_scale="log"))
    if not panels:
        return Missing(title, _NO_RUNS)
    return Figure(
        name="saved_over_seconds",
        title=title,
        caption=f"{_SAVED} over time, training included: interquartile mean over networks and "
        "runs, with the 95% stratified bootstrap band, which is over the runs of each network "
        f"(Agarwal et al. 2021); {num_runs(counts)} a network. The horizontal axis is logarithmic.",
        panels=panels,
    )


def saved_by_seconds(found: Sequence[Entry]) -> Figure | Missing:
    """Bars of the interquartile mean of what is saved by one second, a panel a set."""
    title, panels, counts = "Saved by one second", [], list[int]()
    for networks in network_sets(timed(found)):
        seconds = min(_BARS_S, networks.limit_s)
        bars = []
        for setting, saved in networks.saved_by(seconds).items():
            interval = nested_bootstrap(saved, interquartile_mean)
            text = f"{interval.value:.1%} ({interval.low:.1%} to {interval.high:.1%})"
            agent = networks.runs[setting][0][0].entry.agent
            bars.append(interval_bar(setting, agent, interval, text))
            counts += map(len, saved)
        bars = sorted(bars, key=lambda bar: -bar.value)[:MAX_SERIES]
        x = f"share of the cost saved by {seconds:g} s (longer is better)"
        panels.append(Panel(title=networks.name, x=x, bars=bars))
    if not panels:
        return Missing(title, _NO_RUNS)
    return Figure(
        name="saved_by_seconds",
        title=title,
        caption=f"{_SAVED} by then, training included: interquartile mean over networks and "
        "runs, with the 95% bootstrap interval over networks and runs of each, which says what "
        f"other networks of the kind would give; {num_runs(counts)} a network. Other times and "
        "means are in anytime_summary.csv; two agents are compared on the same networks in "
        "anytime_pairs.csv.",
        panels=panels,
    )


def _columns(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
