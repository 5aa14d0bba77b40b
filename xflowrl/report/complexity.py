"""The tables of `python -m xflowrl.taso.complexity`: in how many places rules apply."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WAYS = ("taso", "valid", "distinct")


@dataclass(frozen=True)
class ComplexityTable:
    """The places of the rules in one graph.

    Attributes:
        rows: name and counts of each rule, in the order of `WAYS`; the totals last.
    """

    title: str
    rows: Sequence[tuple[str, ...]]


def counted_graphs(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """What was counted in each graph, as the `complexity.json` of these folders have it.

    Raises:
        ValueError: a file is no table of that verb.
    """
    graphs = list[dict[str, Any]]()
    for folder in folders:
        path = folder / "complexity.json"
        if path.exists():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))["graphs"]
                complexity_tables(found), complexity_rows(found)
            except (ValueError, KeyError, TypeError):
                raise ValueError(
                    f"{path} is no complexity.json: run python -m xflowrl.taso.complexity again"
                ) from None
            graphs += found
    return graphs


def complexity_tables(graphs: Sequence[dict[str, Any]]) -> list[ComplexityTable]:
    """A table a graph."""
    return [_table(graph) for graph in graphs]


def complexity_rows(graphs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for every graph and every rule that applies in it: `complexity.csv`."""
    return [
        {
            **{name: graph[name] for name in ("graph", "rules", "faithful")},
            **{"id": place["id"], "rule": place["name"]},
            **{way: place[way] for way in WAYS},
        }
        for graph in graphs
        for place in graph["places"]
    ]


def _table(graph: dict[str, Any]) -> ComplexityTable:
    faithful = ", as TASO has them" if graph["faithful"] else ""
    rows = [
        (f"{place['id']} {place['name']}", *(f"{place[way]:,}" for way in WAYS))
        for place in graph["places"]
    ]
    totals = (("rules that apply", "num_substitutions"), ("places in all", "num_locations"))
    rows += [(name, *(f"{graph[key][way]:,}" for way in WAYS)) for name, key in totals]
    return ComplexityTable(f"{graph['graph']}, rules {graph['rules']}{faithful}", rows)
