"""Figures as files for papers, drawn by matplotlib: the same figure is the same file."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet

from xflowrl.report.figure import Bar, Figure, Line, Panel, Points, colour_of, shortened

FORMATS = ("png", "pdf", "svg")
_PANELS_A_FILE = 12
_COLUMNS = 2
_LENGTH = 42  # of a name
_WIDE, _NARROW = 60, 34  # of a title
_SHORT = 24  # what has room behind a bar where two panels stand side by side
_DASHES = ("-", "--", ":", "-.")
_MARKERS = "osD^vP"
_MANY_POINTS = 12  # more are not marked
_MANY_LINES = 6  # of more the legend stands below
_STYLE: Any = {
    "axes.formatter.useoffset": False,  # 1.0004, and not +1 and 0.0004
    "svg.hashsalt": "xflowrl",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "legend.fontsize": 7,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text
    "text.parse_math": False,  # a dollar in a name is one
}


def files(figure: Figure, formats: Sequence[str] = FORMATS) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files of a figure; twelve panels a file."""
    if not formats:
        return
    parts = [
        figure.panels[start : start + _PANELS_A_FILE]
        for start in range(0, len(figure.panels), _PANELS_A_FILE)
    ]
    for number, panels in enumerate(parts, start=1):
        stem = figure.name if number == 1 else f"{figure.name}-{number}"
        with rc_context(_STYLE):
            sheet = _sheet(panels)
            for extension in formats:
                content = io.BytesIO()
                metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(extension)
                sheet.savefig(content, format=extension, dpi=200, metadata=metadata)
                yield f"{stem}.{extension}", content.getvalue()


def _sheet(panels: Sequence[Panel]) -> Sheet:
    has_room = all(len(bar.text) <= _SHORT for panel in panels for bar in panel.bars)
    columns = min(_COLUMNS if has_room else 1, len(panels))
    rows = math.ceil(len(panels) / columns)
    parts = [panels[row * columns : (row + 1) * columns] for row in range(rows)]
    heights = [max(map(_height, part)) for part in parts]
    sheet = Sheet(figsize=(4.4 * columns if has_room else 6.6, sum(heights)), layout="constrained")
    grid = sheet.subplots(rows, columns, squeeze=False, height_ratios=heights)
    for index, axes in enumerate(grid.flat):
        if index < len(panels):
            _draw(axes, panels[index])
            # Behind the names of bars there is less room for it.
            length = _NARROW if panels[index].bars and columns > 1 else _WIDE
            axes.set_title(shortened(panels[index].title, length))
        else:
            axes.set_axis_off()
    return sheet


def _height(panel: Panel) -> float:
    """In inches: a bar needs a line."""
    if panel.bars:
        return max(1.4, 0.7 + 0.2 * len(panel.bars))
    rows = math.ceil((len(panel.lines) + len(panel.points)) / 3)
    return 2.8 + 0.17 * rows * _is_legend_below(panel)


def _is_legend_below(panel: Panel) -> bool:
    return bool(panel.points) or len(panel.lines) > _MANY_LINES


def _draw(axes: Axes, panel: Panel) -> None:
    axes.set(xlabel=panel.x, ylabel=panel.y)
    if panel.x_scale == "log":
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if panel.bars:
        _draw_bars(axes, panel.bars)
        return
    axes.grid(alpha=0.25, linewidth=0.5)
    for line in panel.lines:
        _draw_line(axes, line)
    for points in panel.points:
        _draw_points(axes, points)
    for name, (agent, y) in panel.baselines.items():
        axes.axhline(
            y, color=colour_of(agent), linestyle=(0, (1, 2)), label=shortened(name, _LENGTH)
        )
    if panel.is_diagonal:
        axes.axline((1, 1), slope=1, color="0.6", linewidth=0.8, zorder=0)
    if panel.y_limits:
        axes.set_ylim(panel.y_limits)
    if _is_legend_below(panel):  # points may be anywhere
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.18), ncols=3)
    else:
        axes.legend()


def _draw_bars(axes: Axes, bars: Sequence[Bar]) -> None:
    ends = []
    for y, bar in enumerate(bars):
        colour, end = colour_of(bar.agent), bar.value + bar.on_top
        axes.barh(y, bar.value, color=colour, height=0.65)
        if bar.on_top:
            style: dict[str, Any] = {"color": "none", "edgecolor": colour, "hatch": "////"}
            axes.barh(y, bar.on_top, left=bar.value, height=0.65, **style)
        if bar.low is not None and bar.high is not None and bar.high > bar.low:
            spread = [[max(0.0, bar.value - bar.low)], [max(0.0, bar.high - bar.value)]]
            axes.errorbar(bar.value, y, xerr=spread, color="0.2", capsize=2, linewidth=0.9)
            end = max(end, bar.high)
        axes.annotate(
            shortened(bar.text, 50),
            *((end, y), (4, 0)),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
        ends.append(end)
    axes.set_yticks(range(len(bars)), [shortened(bar.name, _LENGTH) for bar in bars])
    axes.set_ylim(len(bars) - 0.4, -0.6)
    if axes.get_xscale() == "log":
        axes.set_xlim(min(bar.value for bar in bars) / 3, max(ends) * 30)
    else:
        axes.set_xlim(0, max(ends) * 1.45)


def _draw_line(axes: Axes, line: Line) -> None:
    colour, step = colour_of(line.agent), "post" if line.is_step else None
    axes.plot(
        *(line.x, line.y),
        color=colour,
        linestyle=_DASHES[line.variant % len(_DASHES)],
        marker="" if line.is_step or len(line.x) > _MANY_POINTS else ".",
        linewidth=0.6 if line.is_thin else 1.3,
        drawstyle="steps-post" if line.is_step else "default",
        label=shortened(line.name, _LENGTH),
    )
    if line.low:
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, lw=0, step=step)  # type: ignore[arg-type]


def _draw_points(axes: Axes, points: Points) -> None:
    axes.scatter(
        *(points.x, points.y),
        color=colour_of(points.agent),
        marker=_MARKERS[points.variant % len(_MARKERS)],
        s=14,
        alpha=0.75,
        linewidth=0,
        label=shortened(points.name, _LENGTH),
    )
