"""xflowrl: faster neural networks by graph substitutions, chosen by search or learning.

The public names are imported on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xflowrl.api import optimize as optimize
    from xflowrl.api import optimize_file as optimize_file
    from xflowrl.onnx_io import Model as Model
    from xflowrl.onnx_io import export_onnx as export_onnx
    from xflowrl.onnx_io import load_onnx as load_onnx
    from xflowrl.onnx_io import save_onnx as save_onnx
    from xflowrl.problem import Budget as Budget
    from xflowrl.problem import Problem as Problem
    from xflowrl.problem import Result as Result
    from xflowrl.problem import Trace as Trace
    from xflowrl.problem import replay as replay

_HOME = {
    "optimize": "xflowrl.api",
    "optimize_file": "xflowrl.api",
    "Model": "xflowrl.onnx_io",
    "export_onnx": "xflowrl.onnx_io",
    "load_onnx": "xflowrl.onnx_io",
    "save_onnx": "xflowrl.onnx_io",
    "Budget": "xflowrl.problem",
    "Problem": "xflowrl.problem",
    "Result": "xflowrl.problem",
    "Trace": "xflowrl.problem",
    "replay": "xflowrl.problem",
}

# Subpackages that are part of the interface: `xflowrl.graphs.bert.build_graph_bert()`.
_SUBPACKAGES = ("agents", "graphs", "measurement", "rules")

# ONNX Runtime reports its use to its makers otherwise, and keeps a file for that in the home.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [*_HOME, *_SUBPACKAGES]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in _SUBPACKAGES:
        return import_module(f"xflowrl.{name}")
    raise AttributeError(f"module 'xflowrl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
