"""Figures on the page, as plotly.js takes them: `{"data": [...], "layout": {...}}`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xflowrl.report.figure import Bar, Line, Panel, Points, colour_of, shortened

_DASHES = ("solid", "dash", "dot", "dashdot")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross")
_FONT = {"family": "Source Sans 3, Helvetica, Arial, sans-serif", "size": 13, "color": "#222"}
_LENGTH, _TEXT = 34, 44  # of names, and of what stands behind a bar
_MANY_POINTS = 12  # more are not marked


def plotly_panel(panel: Panel) -> dict[str, Any]:
    """The panel as plotly draws it."""
    data: list[dict[str, Any]] = []
    for line in panel.lines:
        data += _line(line)
    data += [_points(points) for points in panel.points]
    shapes: list[dict[str, Any]] = []
    for name, (agent, y) in panel.baselines.items():
        style = {"color": colour_of(agent), "dash": "1px,3px", "width": 2}
        shapes.append({"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y})
        shapes[-1]["line"] = style
        # A line without points, for the legend.
        data.append(_trace(name, x=[None], y=[None], mode="lines", line=style))
    if panel.is_diagonal:
        values = [v for points in panel.points for v in (*points.x, *points.y)] or [1.0]
        low, high = min(values), max(values)
        shapes.append({"type": "line", "x0": low, "y0": low, "x1": high, "y1": high})
        shapes[-1] |= {"line": {"color": "#999", "width": 1}, "layer": "below"}
    layout = _layout(panel) | {"shapes": shapes}
    if panel.bars:
        data = _bars(panel.bars)
        layout |= _bar_layout(panel)
    return {"data": data, "layout": layout}


def _trace(name: str, **style: Any) -> dict[str, Any]:
    return {"type": "scatter", "name": _text(name, _LENGTH), **style}


def _line(line: Line) -> list[dict[str, Any]]:
    colour, shape = colour_of(line.agent), "hv" if line.is_step else "linear"
    drawn = _trace(
        line.name,
        x=list(line.x),
        y=list(line.y),
        mode="lines" if line.is_step or len(line.x) > _MANY_POINTS else "lines+markers",
        legendgroup=line.name,
        line={
            "color": colour,
            "width": 1 if line.is_thin else 2,
            "dash": _DASHES[line.variant % len(_DASHES)],
            "shape": shape,
        },
    )
    if not line.low:
        return [drawn]
    hidden = {"mode": "lines", "showlegend": False, "hoverinfo": "skip", "legendgroup": line.name}
    edge = {"width": 0, "shape": shape}
    low = _trace(line.name, x=list(line.x), y=list(line.low), line=edge, **hidden)
    high = _trace(line.name, x=list(line.x), y=list(line.high), line=edge, **hidden)
    return [low, high | {"fill": "tonexty", "fillcolor": f"{colour}2E"}, drawn]


def _points(points: Points) -> dict[str, Any]:
    return _trace(
        points.name,
        x=list(points.x),
        y=list(points.y),
        mode="markers",
        text=list(points.texts),
        marker={
            "color": colour_of(points.agent),
            "symbol": _SYMBOLS[points.variant % len(_SYMBOLS)],
            "size": 8,
            "opacity": 0.75,
        },
    )


def _bars(bars: Sequence[Bar]) -> list[dict[str, Any]]:
    names, common = [bar.name for bar in bars], {"type": "bar", "orientation": "h"}
    colours = [colour_of(bar.agent) for bar in bars]
    spread = {
        "type": "data",
        "array": [max(0.0, bar.high - bar.value) if bar.high is not None else 0 for bar in bars],
        "arrayminus": [max(0.0, bar.value - bar.low) if bar.low is not None else 0 for bar in bars],
        "color": "#333",
        "thickness": 1.3,
        "width": 3,
    }
    has_top = any(bar.on_top for bar in bars)
    texts = [bar.text for bar in bars]
    first = {
        **common,
        "name": "search" if has_top else "",
        "x": [bar.value for bar in bars],
        "y": names,
        "error_x": spread,
        "marker": {"color": colours},
        "hovertext": texts,
    }
    if not has_top:
        return [first]
    top = {
        **common,
        "name": "training",
        "x": [bar.on_top for bar in bars],
        "y": names,
        "marker": {
            "color": "#fff",
            "line": {"color": colours, "width": 1},
            "pattern": {"shape": "/", "fgcolor": colours, "bgcolor": "#fff", "size": 6},
        },
    }
    return [first, top]


def _layout(panel: Panel) -> dict[str, Any]:
    axis = {"gridcolor": "#e6e6e6", "zeroline": False, "linecolor": "#999", "automargin": True}
    return {
        "font": _FONT,
        "paper_bgcolor": "#fff",
        "plot_bgcolor": "#fff",
        "height": 400,
        "margin": {"l": 60, "r": 20, "t": 32, "b": 50},
        "hovermode": "closest",
        "xaxis": {**axis, "title": {"text": panel.x}, "type": panel.x_scale, **_ticks(panel)},
        "yaxis": {**axis, "title": {"text": panel.y}}
        | ({"range": list(panel.y_limits)} if panel.y_limits else {}),
        "legend": {"orientation": "h", "y": -0.25, "yanchor": "top", "font": {"size": 12}},
        "showlegend": True,
    }


def _ticks(panel: Panel) -> dict[str, Any]:
    """On a logarithmic axis 1, 2 and 5, where there is room for them."""
    if panel.x_scale == "linear":
        return {}
    values = [bar.value + bar.on_top for bar in panel.bars]
    values += [x for line in panel.lines for x in line.x]
    values += [x for points in panel.points for x in points.x]
    positive = [value for value in values if value > 0] or [1.0]
    is_wide = max(positive) > 1e3 * min(positive)
    return {"dtick": 1 if is_wide else "D2", "tickformat": "~g"}


def _bar_layout(panel: Panel) -> dict[str, Any]:
    """Names in full width, one a line; the texts stand at the right edge."""
    names = [bar.name for bar in panel.bars]
    base, has_top = _layout(panel), any(bar.on_top for bar in panel.bars)
    above = 64 if has_top else 32  # plotly's buttons, and the legend below them
    return {
        "barmode": "stack",
        "bargap": 0.35,
        "height": 98 + above + 27 * len(names),
        "margin": {"l": 60, "r": 20 + 7 * max(min(len(b.text), _TEXT) for b in panel.bars)}
        | {"t": above, "b": 50},
        "showlegend": has_top,
        "legend": {"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom"},
        "yaxis": base["yaxis"]
        | {
            "autorange": "reversed",
            "tickvals": names,
            "ticktext": [_text(name, _LENGTH) for name in names],
            "type": "category",
            "gridcolor": "#fff",
        },
        "annotations": [
            {"xref": "paper", "x": 1, "xanchor": "left", "y": bar.name, "yref": "y", "xshift": 6}
            | {"text": _text(bar.text, _TEXT), "showarrow": False, "font": {"size": 12}}
            for bar in panel.bars
            if bar.text
        ],
    }


def _text(name: str, length: int) -> str:
    """As plotly takes it, which reads some HTML."""
    return shortened(name, length).replace("&", "&amp;").replace("<", "&lt;")
