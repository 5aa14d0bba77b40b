"""Which function draws the operands and attributes of which operator."""

from __future__ import annotations

import math

from xflowrl.soundness import layouts, operands, windows
from xflowrl.soundness.operands import Drawing

_UNARY = ["Relu", "Neg", "Abs", "Sign", "Not", "Identity", "Dropout", "Floor", "Ceil", "Round"]
_UNARY_FLOAT = ["Sigmoid", "Tanh", "HardSwish", "Softplus", "Softsign", "Mish", "Erf", "Exp"]
_UNARY_FLOAT += ["Sin", "Cos", "Sqrt", "Log", "Reciprocal", "GlobalMaxPool"]
_BINARY = ["Add", "Sub", "Mul", "Div", "Sum", "Min", "Max", "Mean", "And", "Or", "Xor"]
_REDUCE = ["Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"]

# How to choose the operands and attributes of each operator that a source may speak of.
DRAWINGS: dict[str, Drawing] = {
    **{op: operands.generic(op) for op in _UNARY + _UNARY_FLOAT},
    **dict.fromkeys(_BINARY, operands.elementwise),
    **{f"Reduce{op}": operands.reduction(f"Reduce{op}") for op in _REDUCE},
    **{op: operands.with_axis(op) for op in ("Softmax", "LogSoftmax")},
    **{op: windows.pool(op) for op in ("MaxPool", "AveragePool")},
    "LeakyRelu": operands.generic("LeakyRelu", alpha=[0.25, 0.5, -0.5, 2.0]),
    "Elu": operands.generic("Elu", alpha=[0.5, 1.0]),
    "Celu": operands.generic("Celu", alpha=[0.5, 1.0]),
    "ThresholdedRelu": operands.generic("ThresholdedRelu", alpha=[0.5, 1.0]),
    "Selu": operands.generic("Selu", alpha=[0.5, 1.0], gamma=[0.5, 2.0]),
    "HardSigmoid": operands.generic("HardSigmoid", alpha=[0.25, 0.5], beta=[0.25, 0.5]),
    "Swish": operands.generic("Swish", alpha=[0.5, 1.0]),
    "Gelu": operands.generic("Gelu", approximate=["none", "tanh"]),
    "Clip": operands.generic(
        "Clip", min=[-math.inf, -3.0, -1.0, 0.0, 1.0], max=[math.inf, -2.0, 0.0, 1.0, 3.0]
    ),
    "Concat": operands.concat,
    "Split": operands.split,
    "Transpose": operands.transpose,
    "Conv": windows.conv,
    "MatMul": windows.matmul,
    "Gemm": windows.gemm,
    "BatchNormalization": windows.batch_normalization,
    "Reshape": layouts.reshape,
    "Flatten": layouts.flatten,
    "Squeeze": layouts.squeeze,
    "Unsqueeze": layouts.unsqueeze,
    "Expand": layouts.expand,
    "Tile": layouts.tile,
    "Slice": layouts.slice_,
    "Pad": layouts.pad,
}
BOOLEAN = {"Not", "And", "Or", "Xor"}
WHOLE = {"Relu", "Neg", "Abs", "Sign", "Identity", "Dropout", "Add", "Sub", "Mul", "Div", "Min"}
WHOLE |= {"Max", "MatMul", "Gemm", "Clip", "Concat", "Split", "Transpose", "Reshape", "Flatten"}
WHOLE |= {"Squeeze", "Unsqueeze", "Expand", "Tile", "Slice", "Pad", "ReduceSum", "ReduceMax"}
WHOLE |= {"ReduceMin", "ReduceProd"}

# What the values of an operand must be for its reader to be exact: by operator and position.
ROLES = {
    ("BatchNormalization", 4): "variance",
    ("Div", 1): "divisor",
    ("Reciprocal", 0): "divisor",
    ("Sqrt", 0): "square",
}
