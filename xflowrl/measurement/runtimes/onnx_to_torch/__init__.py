"""ONNX models as PyTorch modules: one table of operators, and a module that runs a node list.

`table` says which function of tensors an operator is; the functions lie in `elementwise`,
`movement`, `reductions`, `layers` and `recurrent`; `module` runs a model's nodes with them, in
order.
"""

from __future__ import annotations

from xflowrl.measurement.runtimes.onnx_to_torch.module import OnnxModule

__all__ = ["OnnxModule"]
