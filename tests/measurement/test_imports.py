"""A machine with a GPU may have torch, onnx, onnxruntime and numpy, and nothing else of ours."""

from __future__ import annotations

import subprocess
import sys

BLOCK = """
import sys
for name in ("hydra", "omegaconf", "wandb", "gymnasium", "pytorch_lightning", "torch_geometric"):
    sys.modules[name] = None
"""
LIGHT = """
import sys
import xflowrl.measurement
heavy = {"torch", "onnx", "onnxruntime", "onnxscript", "wandb", "hydra"} & set(sys.modules)
assert not heavy, heavy
"""
MEASURE = """
from xflowrl._engine import GraphBuilder, RuleSet, TensorType
from xflowrl.measurement import estimated
builder = GraphBuilder()
builder.add_input("x", TensorType("float32", [1024, 1024]))  # above all noise
builder.add_node("Relu", ["x"], ["y"])
builder.set_outputs(["y"])
objective = estimated(database=None, max_ms_per_op=1.0)
assert objective.state(builder.build(), RuleSet.parse("(rules none)")).cost.ms > 0
"""


def run(program: str) -> None:
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


def test_importing_it_loads_nothing_heavy() -> None:
    run(LIGHT)


def test_it_measures_without_what_only_searching_needs() -> None:
    run(BLOCK + MEASURE)
