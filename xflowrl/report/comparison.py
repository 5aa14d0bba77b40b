"""Figures that compare agents by what they found and how long it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, median

import numpy as np

from xflowrl.report.entries import Entry, group, largest_budget, with_costs
from xflowrl.report.figure import (
    MAX_SERIES,
    Bar,
    Figure,
    Line,
    Missing,
    Panel,
    Points,
    averaged,
    num_runs,
)
from xflowrl.report.statistics import (
    Interval,
    bootstrap,
    interquartile_mean,
    mean_interval,
    pareto_front,
    performance_profile,
)
from xflowrl.run_folder import Real


def variants(found: Sequence[Entry]) -> dict[str, int]:
    """The number of each setting among those of its agent."""
    by_agent = group(found, lambda e: e.agent).values()
    settings = (dict.fromkeys(entry.setting for entry in same) for same in by_agent)
    return {setting: index for each in settings for index, setting in enumerate(each)}


def costs(found: Sequence[Entry]) -> Figure | Missing:
    """Bars of the costs that a search goes by."""
    title = "Cost before and after"
    panels, counts, is_cut = [], list[int](), False
    for problem, same in group(with_costs(found), lambda e: e.problem).items():
        initial_ms = fmean(e.initial_ms for e in same)
        bars = []
        for label, repeated in group(same, lambda e: e.label).items():
            interval = mean_interval([e.best_ms for e in repeated])
            text = f"{interval.value / initial_ms - 1:+.1%}"
            bars.append(interval_bar(label, repeated[0].agent, interval, text))
            counts.append(len(repeated))
        original = Bar(name="original", agent="original", value=initial_ms)
        best, is_cut = _best(bars), is_cut or len(bars) > MAX_SERIES
        panels.append(
            Panel(title=problem, x="cost, ms (shorter is better)", bars=[original, *best])
        )
    if not panels:
        return Missing(title, "no run has a cost")
    return Figure(
        name="costs",
        title=title,
        caption="Cost of the original and of the best graph found, as the measurement of the run "
        f"prices it; {averaged(counts, 'interval')} a bar.{_cut(is_cut)}",
        panels=panels,
    )


def runtimes(found: Sequence[Entry]) -> Figure | Missing:
    """Bars of real execution times, the original beside what was found."""
    title = "Runtime, really measured"
    timed = [(entry, real) for entry in found for real in entry.record.real]
    panels, counts, is_cut = [], list[int](), False
    for place, same in group(timed, lambda t: (t[0].problem, t[1].runtime, t[1].device)).items():
        bars = []
        for label, repeated in group(same, lambda t: t[0].label).items():
            reals = [real for _, real in repeated]
            copies = sum(entry.record.kept_original for entry, _ in repeated)
            bars.append(_time_bar(label, repeated[0][0].agent, reals, copies))
            counts.append(len(repeated))
        initial = [real.initial_ms for _, real in same]
        original = Bar(
            name="original",
            agent="original",
            value=median(quartiles.median for quartiles in initial),
            low=min(quartiles.q1 for quartiles in initial),
            high=max(quartiles.q3 for quartiles in initial),
        )
        best, is_cut = _best(bars), is_cut or len(bars) > MAX_SERIES
        problem, runtime, device = place
        panels.append(
            Panel(
                title=f"{problem}: {runtime}, {device}",
                x="time, ms (shorter is better)",
                bars=[original, *best],
            )
        )
    if not panels:
        return Missing(title, "no run has a final measurement: set judge.measure=true")
    return Figure(
        name="runtimes",
        title=title,
        caption="Time of the original and of the fastest proven file, side by side in one runtime: "
        "median of the runs' medians, and from their lowest first to their highest third quartile; "
        f"{num_runs(counts)} a bar. Behind it the median speed-up and the noise, how far such a "
        "ratio of the original to itself is from 1; where nothing was faster beyond that, the "
        "original is kept."
        f"{_cut(is_cut)}",
        panels=panels,
    )


def _time_bar(label: str, agent: str, reals: Sequence[Real], copies: int) -> Bar:
    speedup, noise = median(r.speedup for r in reals), median(r.noise for r in reals)
    kept = f"; original kept in {copies} of {len(reals)}" if copies else ""
    return Bar(
        name=label,
        agent=agent,
        value=median(real.best_ms.median for real in reals),
        low=min(real.best_ms.q1 for real in reals),
        high=max(real.best_ms.q3 for real in reals),
        text=f"{speedup:.3f}x ±{noise:.1%}{kept}",
    )


def optimisation_times(found: Sequence[Entry]) -> Figure | Missing:
    """Bars of the time that optimising took, training on top."""
    title = "Optimisation time"
    panels, counts, is_cut = [], list[int](), False
    for problem, same in group(with_costs(found), lambda e: e.problem).items():
        bars = []
        for label, repeated in group(same, lambda e: e.label).items():
            interval = mean_interval([max(e.record.optimisation_s, 1e-6) for e in repeated])
            train_s = fmean(e.train_s for e in repeated)
            text = f"{interval.value:.3g} s" + (f" + {train_s:.3g} s" if train_s else "")
            bar = interval_bar(label, repeated[0].agent, interval, text)
            bars.append(replace(bar, on_top=train_s))
            counts.append(len(repeated))
        best, is_cut = _best(bars), is_cut or len(bars) > MAX_SERIES
        panels.append(Panel(title=problem, x="time, s", bars=best, x_scale="log"))
    if not panels:
        return Missing(title, "no run has a result")
    trained = " Hatched on top: training, all of a run's even if it has several graphs."
    trained *= any(entry.train_s for entry in found)
    return Figure(
        name="optimisation_times",
        title=title,
        caption="Seconds of matching, costs and search, without import, export and timing; "
        f"{averaged(counts, 'interval')} a bar.{trained} The axis is logarithmic."
        f"{_cut(is_cut)}",
        panels=panels,
    )


def pareto(found: Sequence[Entry]) -> Figure | Missing:
    """Cost against time, a point a run, and the front."""
    title = "Time against cost"
    numbers, panels, num_points = variants(found), [], 0
    for problem, same in group(with_costs(found), lambda e: e.problem).items():
        if len(same) < 2:
            continue
        points = [
            Points(
                name=setting,
                agent=of[0].agent,
                x=[entry.total_s for entry in of],
                y=[entry.best_ms for entry in of],
                texts=[f"{entry.label}, run {entry.run.name}" for entry in of],
                variant=numbers[setting],
            )
            for setting, of in group(same, lambda e: e.setting).items()
        ]
        front = pareto_front([(entry.total_s, entry.best_ms) for entry in same])
        line = Line(
            name="Pareto front",
            agent="original",
            x=[same[index].total_s for index in front],
            y=[same[index].best_ms for index in front],
            is_step=True,
            is_thin=True,
        )
        num_points += len(same)
        panels.append(
            Panel(
                title=problem,
                x="time, training included, s",
                y="best cost, ms",
                lines=[line],
                points=points[:MAX_SERIES],
                x_scale="log",
            )
        )
    if not panels:
        return Missing(title, "no problem has two runs: sweep over agents, seeds or budgets")
    return Figure(
        name="pareto",
        title=title,
        caption="What a run found against the time it took, training included; lower left is "
        f"better. A point a run, {num_points} in all; along the front no other run is both quicker "
        "and better.",
        panels=panels,
    )


def aggregates(found: Sequence[Entry]) -> Figure | Missing:
    """Interquartile means and performance profiles over all problems that every setting has."""
    title = "Over all problems"
    scores = _scores(largest_budget(with_costs(found)))
    shared = set.intersection(*({*tasks} for tasks in scores.values())) if scores else set()
    if len(scores) < 2 or not shared:
        return Missing(title, "no problem has runs of two agents: sweep over agents (agent=A,B)")
    tasks = {setting: [of[problem] for problem in sorted(shared)] for setting, of in scores.items()}
    if max(len(runs) for each in tasks.values() for runs in each) < 2:
        return Missing(title, "an interval needs several runs of each agent: sweep over seed=0,1,2")
    numbers = variants(found)
    agents = {entry.setting: entry.agent for entry in found}
    thresholds = np.linspace(0.0, 1.0, 101)
    bars, lines = [], []
    for setting, each in tasks.items():
        interval = bootstrap(each, interquartile_mean)
        text = f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"
        bars.append(interval_bar(setting, agents[setting], interval, text))
        share, low, high = performance_profile(each, thresholds)
        lines.append(
            Line(
                name=setting,
                agent=agents[setting],
                x=thresholds.tolist(),
                y=share.tolist(),
                low=low.tolist(),
                high=high.tolist(),
                variant=numbers[setting],
                is_step=True,
            )
        )
    counts = [len(runs) for each in tasks.values() for runs in each]
    return Figure(
        name="aggregates",
        title=title,
        caption="The score of a run is the share of the cost it saves, over the largest share "
        "that any run of the report saves on that problem (Agarwal et al. 2021). Left: "
        "interquartile mean, 95% stratified bootstrap interval. Right: share of runs above a "
        f"score, with pointwise intervals. {len(shared)} problem{'s' * (len(shared) > 1)} "
        f"({', '.join(sorted(shared)[:6])}{', ...' * (len(shared) > 6)}), "
        f"{num_runs(counts)} each; the largest budget of each agent.",
        panels=[
            Panel(title="Interquartile mean", x="score (longer is better)", bars=_best(bars, -1)),
            Panel(
                title="Performance profile",
                x="score τ",
                y="share of runs with score > τ",
                lines=lines[:MAX_SERIES],
            ),
        ],
    )


def _scores(found: Sequence[Entry]) -> dict[str, dict[str, list[float]]]:
    """Of each setting and problem the scores of its runs."""
    scores: dict[str, dict[str, list[float]]] = {}
    for problem, same in group(found, lambda e: e.problem).items():
        best = max(entry.saved for entry in same)
        for entry in same:
            # Where nobody saves anything all are equally good.
            score = entry.saved / best if best > 0 else 1.0
            scores.setdefault(entry.setting, {}).setdefault(problem, []).append(score)
    return scores


def interval_bar(name: str, agent: str, interval: Interval, text: str) -> Bar:
    """A bar with its interval."""
    return Bar(
        name=name,
        agent=agent,
        value=interval.value,
        low=interval.low,
        high=interval.high,
        text=text,
    )


def _best(bars: Sequence[Bar], sign: int = 1) -> list[Bar]:
    """All bars if they are few, else the best; in the order they came."""
    kept = sorted(bars, key=lambda bar: sign * bar.value)[:MAX_SERIES]
    return [bar for bar in bars if bar in kept]


def _cut(is_cut: bool) -> str:
    return f" The best {MAX_SERIES} of a panel are shown; the table has all." if is_cut else ""
