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


def complexity_tables(folders: Sequence[Path]) -> list[ComplexityTable]:
    """Those in these folders.

    Raises:
        ValueError: a file is no table of that verb.
    """
    tables = []
    for folder in folders:
        path = folder / "complexity.json"
        if path.exists():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                tables += [_table(graph) for graph in content["graphs"]]
            except (ValueError, KeyError, TypeError):
                raise ValueError(
                    f"{path} is no complexity.json: run python -m xflowrl.taso.complexity again"
                ) from None
    return tables


def _table(graph: dict[str, Any]) -> ComplexityTable:
    faithful = ", as TASO has them" if graph["faithful"] else ""
    rows = [
        (f"{place['id']} {place['name']}", *(f"{place[way]:,}" for way in WAYS))
        for place in graph["places"]
    ]
    totals = (("rules that apply", "num_substitutions"), ("places in all", "num_locations"))
    rows += [(name, *(f"{graph[key][way]:,}" for way in WAYS)) for name, key in totals]
    return ComplexityTable(f"{graph['graph']}, rules {graph['rules']}{faithful}", rows)
