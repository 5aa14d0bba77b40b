"""Figures of what happens in the course of a run: searches, training, and larger budgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from xflowrl.report.comparison import variants
from xflowrl.report.entries import Entry, group, largest_budget, with_costs
from xflowrl.report.figure import MAX_SERIES, Figure, Line, Missing, Panel, averaged
from xflowrl.report.metric_rows import search_rows, training_rows
from xflowrl.report.statistics import mean_curve, mean_interval, steps_at

_FIRST = 200  # iterations that the study looks at more closely
_MAX_POINTS = 400

Curve = tuple[list[float], list[float]]  # x, ascending, and y


def best_over_iterations(found: Sequence[Entry]) -> Figure | Missing:
    """Mean best cost over iterations, a curve a setting."""

    def curve(entry: Entry) -> Curve:
        steps = [(step.iteration, step.cost_ms) for step in entry.improvements]
        steps.append((entry.record.iterations, steps[-1][1]))  # the search ended there
        return [max(1.0, iteration) for iteration, _ in steps], [cost_ms for _, cost_ms in steps]

    return _best_over(
        found,
        curve,
        name="best_over_iterations",
        title="Best cost over iterations",
        x="iterations (states whose matches were listed)",
        lead=1.0,
        said="",
    )


def best_over_seconds(found: Sequence[Entry]) -> Figure | Missing:
    """Mean best cost over seconds with training in them, a curve a setting."""

    return _best_over(
        found,
        cost_over_seconds,
        name="best_over_seconds",
        title="Best cost over seconds",
        x="time, training included, s",
        lead=0.5,
        said=" Agents that train show the best graph of training until it ends."
        * any(entry.train_s for entry in found),
    )


def cost_over_seconds(entry: Entry) -> Curve:
    """The best cost so far of a run that has improvements, over seconds with training in them."""
    in_training = []
    if entry.train_s:
        rows = training_rows(entry.run, entry.record.graph)
        in_training = [(row["seconds"], row["best_cost_ms"]) for row in rows]
    points = [(0.0, entry.improvements[0].cost_ms)]
    points += [(s, ms) for s, ms in in_training if s is not None and ms is not None]
    points += [(entry.train_s + i.seconds, i.cost_ms) for i in entry.improvements]
    points.append((entry.total_s, points[-1][1]))  # the search ended there
    points.sort(key=lambda point: point[0])
    seconds, costs = zip(*points, strict=True)
    return list(seconds), np.minimum.accumulate(costs).tolist()


def _best_over(
    found: Sequence[Entry],
    curve_fn: Callable[[Entry], Curve],
    *,
    name: str,
    title: str,
    x: str,
    lead: float,
    said: str,
) -> Figure | Missing:
    """Draws `curve_fn` of each entry; the axis begins at `lead` times the first improvement."""
    numbers, panels, counts = variants(found), [], list[int]()
    traced = [entry for entry in largest_budget(found) if entry.improvements]
    for problem, same in group(traced, lambda e: e.problem).items():
        curves = {s: [*map(curve_fn, of)] for s, of in group(same, lambda e: e.setting).items()}
        times = [t for each in curves.values() for ts, _ in each for t in ts if t > 0]
        first, last = lead * min(times, default=1.0), max(times, default=1.0)
        lines = []
        for setting, each in curves.items():
            grid = _grid([t for ts, _ in each for t in ts], first, last)
            values = np.stack([steps_at(ts, ys, grid) for ts, ys in each])
            agent = next(entry.agent for entry in same if entry.setting == setting)
            lines.append(_line(setting, agent, numbers[setting], grid, values, is_step=True))
            counts.append(len(each))
        lines = sorted(lines, key=lambda line: line.y[-1])[:MAX_SERIES]
        panels.append(Panel(title=problem, x=x, y="best cost, ms", lines=lines, x_scale="log"))
    if not panels:
        return Missing(title, "no run has a trace.json")
    return Figure(
        name=name,
        title=title,
        caption=f"Cost of the best graph so far: {averaged(counts, 'band')}, of the "
        f"largest budget of each agent. A search that has ended keeps its best.{said} The "
        "horizontal axis is logarithmic.",
        panels=panels,
    )


def best_over_budgets(found: Sequence[Entry]) -> Figure | Missing:
    """Mean best cost over the one limit of the budget that the runs differ in."""
    title = "Best cost over budgets"
    name = _swept_limit(found)
    if name is None:
        return Missing(
            title, "the runs do not differ in one limit: sweep it (budget.max_iterations=10,100)"
        )
    numbers, panels, counts = variants(found), [], list[int]()
    limited = [entry for entry in with_costs(found) if entry.run.options.get(name)]
    for problem, same in group(limited, lambda e: e.problem).items():
        if len({entry.budget for entry in same}) < 2:
            continue
        lines = []
        for setting, of in group(same, lambda e: e.setting).items():
            by_limit = group(of, lambda e: float(e.run.options[name]))
            limits_of = sorted(by_limit)
            values = [[e.best_ms for e in by_limit[at]] for at in limits_of]
            intervals = [mean_interval(costs) for costs in values]
            counts += map(len, values)
            lines.append(
                Line(
                    name=setting,
                    agent=of[0].agent,
                    x=limits_of,
                    y=[interval.value for interval in intervals],
                    low=[interval.low for interval in intervals],
                    high=[interval.high for interval in intervals],
                    variant=numbers[setting],
                )
            )
        x, y = f"{name.removeprefix('budget.').replace('_', ' ')}", "best cost, ms"
        panels.append(Panel(title=problem, x=x, y=y, lines=lines[:MAX_SERIES], x_scale="log"))
    if not panels:
        return Missing(title, f"no problem has runs of two limits {name}")
    return Figure(
        name="best_over_budgets",
        title=title,
        caption=f"Cost of the best graph under a budget of so many {name.removeprefix('budget.')}: "
        f"{averaged(counts, 'band')} a point.",
        panels=panels,
    )


def _swept_limit(found: Sequence[Entry]) -> str | None:
    options = [entry.run.options for entry in found]
    names = dict.fromkeys(name for each in options for name in each if name.startswith("budget."))
    swept = [name for name in names if len({repr(each.get(name)) for each in options}) > 1]
    return swept[0] if len(swept) == 1 else None


def searches(found: Sequence[Entry]) -> Figure | Missing:
    """What a search with a queue expanded, and its best so far: the first iterations, and all."""
    panels = []
    for entry, rows in logged_searches(found):
        first = [row for row in rows if row["iteration"] <= _FIRST]
        parts = [(f"first {_FIRST}", first), (f"all {rows[-1]['iteration']}", rows)]
        for said, shown in parts if len(first) < len(rows) else parts[1:]:
            x = [row["iteration"] for row in shown]
            lines = [
                Line(
                    name="expanded graph",
                    agent=entry.agent,
                    x=x,
                    y=[row["cost_ms"] for row in shown],
                    is_thin=True,
                ),
                Line(
                    name="best so far",
                    agent="original",
                    x=x,
                    y=[row["best_cost_ms"] for row in shown],
                    is_step=True,
                ),
            ]
            title = f"{entry.problem}: {entry.label}, {said}"
            panels.append(Panel(title=title, x="iteration", y="cost, ms", lines=lines))
    if not panels:
        return Missing("Search curve", "no run keeps a queue: add one with agent=taso")
    return Figure(
        name="searches",
        title="Search curve",
        caption="Cost of the graph that is expanded in each iteration, and of the best so far. "
        "Of each problem the best run that keeps a queue; rows are as they were logged, dense at "
        "first and 128 in every doubling later.",
        panels=panels,
    )


def logged_searches(found: Sequence[Entry]) -> list[tuple[Entry, list[dict[str, Any]]]]:
    """Of each problem the best run that keeps a queue, and its rows."""
    keeping = [
        entry
        for entry in with_costs(largest_budget(found))
        if entry.record.num_unexpanded is not None or entry.record.num_dropped
    ]
    groups = group(keeping, lambda e: e.problem).values()
    picked = [min(same, key=lambda e: (e.best_ms, e.record.seed)) for same in groups]
    read = [(entry, search_rows(entry.run, entry.record.graph)) for entry in picked]
    return [(entry, rows) for entry, rows in read if rows]


def trainings(found: Sequence[Entry]) -> Figure | Missing:
    """Mean return of episodes in training, and what other agents save as baselines."""
    title, numbers, panels, counts = "Training", variants(found), [], list[int]()
    logged = logged_trainings(found)
    for problem, same in group(logged, lambda t: t[0].problem).items():
        lines = []
        for label, repeated in group(same, lambda t: t[0].label).items():
            curves = [
                ([row["env_steps"] for row in rows], [row["episode_return"] for row in rows])
                for _, rows in repeated
            ]
            grid = _grid([x for xs, _ in curves for x in xs], 0.0, 0.0)
            values = np.stack([steps_at(xs, ys, grid) for xs, ys in curves])
            first = repeated[0][0]
            lines.append(_line(label, first.agent, numbers[first.setting], grid, values))
            counts.append(len(repeated))
        known = with_costs(largest_budget(found))
        others = [e for e in known if e.problem == problem and not e.train_s]
        baselines = {
            setting: (of[0].agent, fmean(e.saved for e in of))
            for setting, of in group(others, lambda e: e.setting).items()
        }
        panels.append(
            Panel(
                title=problem,
                x="environment steps",
                y="mean episode return (share saved)",
                lines=lines[:MAX_SERIES],
                baselines=dict([*baselines.items()][:8]),
            )
        )
    if not panels:
        return Missing(title, "no run trains: add one with agent=ppo")
    return Figure(
        name="training",
        title=title,
        caption="Mean return of the episodes of an iteration, the share of the cost that they "
        f"save; {averaged(counts, 'band')}. Dotted: what the other agents "
        "save of the same cost. A return is the mean of sampled episodes, a baseline the "
        "best found.",
        panels=panels,
    )


def logged_trainings(found: Sequence[Entry]) -> list[tuple[Entry, list[dict[str, Any]]]]:
    """The entries of runs that train, and the rows of their training."""
    trained = [entry for entry in found if entry.train_s]
    read = [(entry, training_rows(entry.run, entry.record.graph)) for entry in trained]
    return [(entry, rows) for entry, rows in read if rows]


def _grid(times: Sequence[float], first: float, last: float) -> np.ndarray:
    """Where something changes, and both ends; thinned if that is often."""
    grid = np.unique([*(time for time in times if time >= first), *([first, last] if last else [])])
    if len(grid) > _MAX_POINTS:
        grid = grid[np.unique(np.linspace(0, len(grid) - 1, _MAX_POINTS).astype(int))]
    return grid


def _line(
    name: str, agent: str, variant: int, x: np.ndarray, values: np.ndarray, *, is_step: bool = False
) -> Line:
    y, low, high = mean_curve(values)
    band = (low.tolist(), high.tolist()) if len(values) > 1 else ((), ())
    return Line(
        name=name,
        agent=agent,
        x=x.tolist(),
        y=y.tolist(),
        low=band[0],
        high=band[1],
        variant=variant,
        is_step=is_step,
    )
