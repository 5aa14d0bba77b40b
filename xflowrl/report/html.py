"""The page: one file that needs nothing else, from disk and without a network."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as resources
from typing import Any

from jinja2 import Environment
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from xflowrl.report.complexity import ComplexityTable
from xflowrl.report.figure import Figure, Missing, shortened
from xflowrl.report.interactive import plotly_panel

_ASSETS = resources("xflowrl.report") / "page"
# The columns of the table on the page, between those of options; summary.csv has all.
_FIRST = ("status", "failure", "run", "folder", "problem", "agent", "seed")
_LAST = (
    *("cost_initial_ms", "cost_best_ms", "saved", "speedup", "speedup_noise"),
    *("optimisation_s", "train_s", "iterations", "stop_reason", "num_steps"),
    *("num_nodes_initial", "num_nodes_best", "verified", "kept_original"),
)
_LENGTH = 40  # of a text in it; the column of failures is mostly empty, and wraps


@dataclass(frozen=True)
class _Cell:
    """Of the table: what is shown, all of it, and the number to sort by."""

    text: str
    full: str
    sort: float | None


def page(
    title: str,
    facts: str,
    *,
    figures: Sequence[Figure],
    files: Mapping[str, Sequence[str]],
    complexities: Sequence[ComplexityTable],
    views: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    options: Sequence[str],
    missing: Sequence[Missing],
) -> str:
    """The page's text.

    Args:
        facts: one line under the title.
        files: of each figure by its name, beside the page.
        views: of graphs, as `graph_view` makes them.
        rows: of `summary.csv`.
        options: those columns of the rows that are options.
    """
    panels = {
        f"{figure.name}/{index}": plotly_panel(panel)
        for figure in figures
        for index, panel in enumerate(figure.panels)
    }
    columns = [name for name in (*_FIRST, *options, *_LAST) if _says_something(rows, name)]
    return (
        Environment(autoescape=True)
        .from_string(_asset("page.html"))
        .render(
            title=title,
            facts=facts,
            figures=[{**vars(figure), "files": files.get(figure.name, ())} for figure in figures],
            complexities=complexities,
            views=views,
            columns=[name.replace("_", " ") if "." not in name else name for name in columns],
            rows=[
                {"failed": row["status"] == "failed", "cells": [_cell(row.get(c)) for c in columns]}
                for row in rows
            ],
            missing=missing,
            css=Markup(_asset("page.css")),
            plotly=Markup(get_plotlyjs()) if figures else "",
            panels=_json(panels),
            views_json=_json(views),
            script=Markup(_asset("page.js") + _asset("graph.js")),
        )
    )


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _json(value: Any) -> Markup:
    """Numbers that JSON does not know are null, and nothing ends the element that it stands in."""
    text = json.dumps(_finite(value), separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _says_something(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(row.get(name) not in (None, "") for row in rows)


def _cell(value: Any) -> _Cell:
    if value is None:
        return _Cell("", "", None)
    if isinstance(value, bool):
        return _Cell("yes" if value else "no", "", None)
    if isinstance(value, int | float):
        return _Cell(f"{value:.4g}" if isinstance(value, float) else str(value), str(value), value)
    text = str(value)
    return _Cell(shortened(text, _LENGTH), text, None)
