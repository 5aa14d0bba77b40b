"""Which function chooses the operands and attributes of which operator.

Every one takes the operand shapes already known (None: to be chosen) and the attributes already
fixed, and returns all shapes and attributes. Sizes are small, and awkward ones are likely: even
kernels, unequal channels, groups, size-1 and broadcast dimensions, vectors, scalars. What it
returns need not be valid: the engine's type inference decides.
"""

from __future__ import annotations

from xflowrl._engine import inferable_operators
from xflowrl.operators import OPERATORS
from xflowrl.soundness.choosers import elementwise, movement, products
from xflowrl.soundness.choosers.dice import Chooser

CHOOSERS: dict[str, Chooser] = {
    **{
        op: elementwise.broadcast if row.broadcasts else elementwise.generic(op, **row.tried)
        for op, row in OPERATORS.items()
        if row.tried is not None
    },
    **{op: elementwise.reduction(op) for op in inferable_operators() if op.startswith("Reduce")},
    **{op: elementwise.with_axis(op) for op in ("Softmax", "LogSoftmax")},
    **{op: products.pool(op) for op in ("MaxPool", "AveragePool")},
    "Conv": products.conv,
    "ConvTranspose": products.conv_transpose,
    "MatMul": products.matmul,
    "Gemm": products.gemm,
    "BatchNormalization": products.batch_normalization,
    "InstanceNormalization": products.instance_normalization,
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), products.layer_normalization),
    "LRN": products.lrn,
    "Gather": movement.gather,
    "Concat": movement.concat,
    "Split": movement.split,
    "Transpose": movement.transpose,
    "Reshape": movement.reshape,
    "Flatten": movement.flatten,
    "Squeeze": movement.squeeze,
    "Unsqueeze": movement.unsqueeze,
    "Expand": movement.expand,
    "Tile": movement.tile,
    "Slice": movement.slice_,
    "Pad": movement.pad,
}
"""By operator; a source that speaks of any other cannot be tried."""
