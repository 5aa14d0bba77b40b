"""ONNX models in and out: `load_onnx`, `export_onnx`, `save_onnx`, and the `Model` between them."""

from __future__ import annotations

from xflowrl.onnx_io.importing import load_onnx
from xflowrl.onnx_io.model import Model, StoredWeights, Weights
from xflowrl.onnx_io.saving import export_onnx, initializers, save_onnx
from xflowrl.onnx_io.sizes import NeedsFixedSize

__all__ = [
    "Model",
    "NeedsFixedSize",
    "StoredWeights",
    "Weights",
    "export_onnx",
    "initializers",
    "load_onnx",
    "save_onnx",
]
