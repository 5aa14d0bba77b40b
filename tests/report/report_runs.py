"""What run folders of these tests are made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

MakeRun = Callable[..., Path]

REAL = {
    "device": "a CPU",
    "runtime": "onnxruntime",
    "decides": True,
    "initial_ms": {"median": 2.0, "q1": 1.9, "q3": 2.1},
    "best_ms": {"median": 1.6, "q1": 1.5, "q3": 1.7},
    "speedup": 1.25,
    "noise": 0.01,
}
RACED = {
    "takes": "merges 1",
    "is_found": True,
    "is_delivered": True,
    "num_steps": 1,
    "cost_ms": 0.02,
    "speedup": 1.3,
    "noise": 0.01,
    "num_rounds": 4,
}
