"""What a figure shows, apart from how it is drawn: on the page, and for papers.

Numbers are in the unit that the axis names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

# Okabe & Ito 2008: told apart with any colour vision. An agent has one colour in all figures.
_COLOURS = {
    "taso": "#0072B2",
    "ppo": "#D55E00",
    "greedy": "#009E73",
    "random_search": "#CC79A7",
    "beam": "#E69F00",
    "exhaustive": "#F0E442",
    "egraph": "#56B4E9",
    "mcts": "#000000",
    "taso_native": "#7A5C00",
    "original": "#666666",
}
_OTHERS = ("#5B3A8C", "#8C1D40", "#3A6B35", "#2F4858")

# A figure with more series than this shows the best ones, and says so.
MAX_SERIES = 24


def shortened(name: str, length: int) -> str:
    """The name, without its middle if it is too long: long names differ at their ends."""
    kept = length - 3
    return name if len(name) <= length else f"{name[: kept - kept // 3]}...{name[-(kept // 3) :]}"


def averaged(counts: Sequence[int], spread: str) -> str:
    """For a caption: that means are drawn with a 95% interval or band, if there are repetitions."""
    if max(counts) == 1:
        return "n = 1 run"
    return f"mean and 95% bootstrap {spread}, {num_runs(counts)}"


def num_runs(counts: Sequence[int]) -> str:
    """For a caption: "n = 3 runs", or their range."""
    low, high = min(counts), max(counts)
    runs = "run" if high == 1 else "runs"
    return f"n = {low} {runs}" if low == high else f"n = {low} to {high} {runs}"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A curve, with a band around it if `low` and `high` are given.

    Attributes:
        variant: tells settings of one agent apart, by the dashes.
        is_step: holds its value until the next point.
    """

    name: str
    agent: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    variant: int = 0
    is_step: bool = False
    is_thin: bool = False


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A bar, its error bar from `low` to `high`, and a hatched one on top of it.

    Attributes:
        on_top: length of the hatched one.
        text: what stands behind it.
    """

    name: str
    agent: str
    value: float
    low: float | None = None
    high: float | None = None
    on_top: float = 0.0
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Points:
    """Single points; `texts` say what each is."""

    name: str
    agent: str
    x: Sequence[float]
    y: Sequence[float]
    texts: Sequence[str] = ()
    variant: int = 0


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Axes and what is drawn in them.

    Attributes:
        baselines: horizontal lines by their names, each with the agent it has its colour from.
        is_diagonal: a line where y is x.
    """

    title: str
    x: str
    y: str = ""
    lines: Sequence[Line] = ()
    bars: Sequence[Bar] = ()
    points: Sequence[Points] = ()
    baselines: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    x_scale: Literal["linear", "log"] = "linear"
    is_diagonal: bool = False

    @property
    def y_limits(self) -> tuple[float, float] | None:
        """A tenth around values that are all the same, which no axis fits; None for others."""
        values = [y for line in self.lines for y in (*line.y, *line.low, *line.high)]
        values += [y for points in self.points for y in points.y]
        values += [y for _, y in self.baselines.values()]
        known = [value for value in values if math.isfinite(value)]
        if not known or max(known) - min(known) > 1e-6 * max(map(abs, known)):
            return None
        margin = 0.1 * abs(known[0]) or 0.1
        return known[0] - margin, known[0] + margin


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Panels of one kind, one a problem or so.

    Attributes:
        name: of its files.
        caption: what is shown, and of how many runs.
    """

    name: str
    title: str
    caption: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Missing:
    """A figure that is left out for want of data, and what would give them."""

    title: str
    reason: str


def colour_of(agent: str) -> str:
    """Of an agent, always the same."""
    if agent in _COLOURS:
        return _COLOURS[agent]
    return _OTHERS[sum(agent.encode()) % len(_OTHERS)]
