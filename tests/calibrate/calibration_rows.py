"""Rows of calibrations, made by hand."""

from __future__ import annotations

from typing import Any

from xflowrl.calibrate.table import Row


def row(ms_by_class: str = "Conv=1", **known: Any) -> Row:
    """A row whose two measurements are one, beside an original of 10 ms."""
    known = {"real_ms": 1.0, "original_ms": 10.0, **known}
    return Row(
        **{
            **{"network": "net", "graph": "0", "num_steps": 1, "num_nodes": 1, "estimated_ms": 1.0},
            **{"again_ms": known["real_ms"], "original_again_ms": known["original_ms"]},
            **{"prices": "onnxruntime_plain", "runtime": "onnxruntime", "kind": "cpu"},
            **{"device": "a CPU", "version": "1", "date": "2026-01-01"},
            **{"ms_by_class": ms_by_class, **known},
        }
    )
