"""What the Python side knows of each operator, beside what the engine knows of it.

One row an operator; one that is only a function of its operands has an empty row. What the engine
can be asked (attributes and their defaults, types of results, who takes a fused activation) is not
repeated here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal[
    "kernel", "bias", "scale", "variance", "slope", "table", "divisor", "square", "exponent",
    "condition", "indices", "class", "shape", "extent", "scales",
]  # fmt: skip


@dataclass(frozen=True)
class Operator:
    """Facts about one operator.

    Attributes:
        roles: what an operand is, by position, where it is more than data: a learned "kernel",
            "bias", "scale", "variance", "slope" or "table"; a "divisor" or "square" (it must not be
            zero, or negative), an "exponent" or a "condition"; "indices" into operand 0 or the
            "class" that is encoded; or what fixes the result: its "shape", its "extent" along the
            axis, "scales" of it.
        attribute_operands: attributes of the engine that ONNX has as operands, in order, behind the
            first operand.
        passes_through: the result is the operand itself, at most in another shape.
        is_symmetric: the order of the operands does not matter.
        mistaken_for: an operator of the same form that a wrong rule may have in its place.
        bounded: mean and deviation of the result for an operand of about unit size, where the range
            is bounded.
        rectifies: keeps positive values, about, and makes others small.
        averages: the result is a mean over many elements.
        is_inexact: is a function that rounds, or is exported with one inside; any other function
            may stand in its place.
        always_rounds: rounds even with exact functions in the place of inexact ones.
        dtypes: in which the soundness check tries the operator; on small whole numbers, halves and
            quarters it must be exact.
        tried: values of its attributes that the check tries, where they do not depend on shapes.
            None: the check needs a function of its own to choose operands, or has none.
        broadcasts: the check chooses operands whose shapes broadcast.
        opset: of ONNX, the first that has it where that is later than 18.
    """

    roles: Mapping[int, Role] = field(default_factory=dict)
    attribute_operands: tuple[str, ...] = ()
    passes_through: bool = False
    is_symmetric: bool = False
    mistaken_for: str = ""
    bounded: tuple[float, float] | None = None
    rectifies: bool = False
    averages: bool = False
    is_inexact: bool = False
    always_rounds: bool = False
    dtypes: tuple[str, ...] = ("float64",)
    tried: Mapping[str, Sequence[Any]] | None = None
    broadcasts: bool = False
    opset: int = 18


_PLAIN = Operator()
_INF = float("inf")
_WHOLE = ("float64", "int64")
_BOOL = ("bool",)
_AFFINE: Mapping[int, Role] = {1: "scale", 2: "bias"}
_KERNELS: Mapping[int, Role] = {0: "kernel", 1: "kernel"}
_RECURRENT = Operator(roles={1: "kernel", 2: "kernel", 3: "bias"})


def _of_one(**facts: Any) -> Operator:
    """A function of each element of its one operand, without attributes unless they are given."""
    return Operator(**{"tried": {}, **facts})


def _of_many(**facts: Any) -> Operator:
    return Operator(tried={}, broadcasts=True, **facts)


def _reduction(**facts: Any) -> Operator:
    return Operator(attribute_operands=("axes",), **facts)


OPERATORS: Mapping[str, Operator] = {
    # Products, normalisations, pools.
    "Conv": Operator({1: "kernel", 2: "bias"}),
    "ConvTranspose": Operator({1: "kernel", 2: "bias"}),
    "MatMul": Operator(_KERNELS, dtypes=_WHOLE),
    "Gemm": Operator({**_KERNELS, 2: "bias"}, dtypes=_WHOLE),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _RECURRENT),
    "BatchNormalization": Operator({**_AFFINE, 3: "bias", 4: "variance"}),
    **dict.fromkeys(
        ("LayerNormalization", "InstanceNormalization"),
        Operator(_AFFINE, bounded=(0.0, 1.0), always_rounds=True),
    ),
    "RMSNormalization": Operator({1: "scale"}, bounded=(0.0, 1.0), always_rounds=True, opset=23),
    "GroupNormalization": Operator(_AFFINE),
    "AveragePool": Operator(averages=True),
    "GlobalAveragePool": _of_one(averages=True, always_rounds=True),
    "GlobalMaxPool": _of_one(),
    **dict.fromkeys(("Softmax", "LogSoftmax"), Operator(always_rounds=True)),
    # Activations.
    "Relu": _of_one(rectifies=True, dtypes=_WHOLE, mistaken_for="Neg"),
    "LeakyRelu": _of_one(rectifies=True, tried={"alpha": [0.25, 0.5, -0.5, 2.0]}),
    "PRelu": _of_many(roles={1: "slope"}, rectifies=True),
    "ThresholdedRelu": _of_one(tried={"alpha": [0.5, 1.0, -1.0]}),
    "Clip": _of_one(
        attribute_operands=("min", "max"),
        rectifies=True,
        dtypes=_WHOLE,
        tried={"min": [-_INF, -3.0, -1.0, 0.0, 1.0], "max": [_INF, -2.0, 0.0, 1.0, 3.0]},
    ),
    **dict.fromkeys(
        ("Elu", "Celu"), _of_one(rectifies=True, is_inexact=True, tried={"alpha": [0.5, 1.0]})
    ),
    "Selu": _of_one(
        rectifies=True, is_inexact=True, tried={"alpha": [0.5, 1.0], "gamma": [0.5, 2.0]}
    ),
    "Gelu": _of_one(
        rectifies=True,
        is_inexact=True,
        always_rounds=True,
        tried={"approximate": ["none", "tanh"]},
        opset=20,
    ),
    "GeluTanh": Operator(rectifies=True, is_inexact=True, always_rounds=True),  # as an activation
    "Swish": _of_one(rectifies=True, is_inexact=True, tried={"alpha": [0.5, 1.0]}, opset=24),
    **dict.fromkeys(("Mish", "Softplus"), _of_one(rectifies=True, is_inexact=True)),
    "HardSwish": _of_one(rectifies=True, always_rounds=True),  # has a sixth
    "Sigmoid": _of_one(bounded=(0.5, 0.2), is_inexact=True),
    "HardSigmoid": _of_one(bounded=(0.5, 0.2), tried={"alpha": [0.25, 0.5], "beta": [0.25, 0.5]}),
    "Tanh": _of_one(bounded=(0.0, 0.63), is_inexact=True),
    "Softsign": _of_one(bounded=(0.0, 0.5), is_inexact=True),
    # Other functions of one operand.
    "Erf": _of_one(bounded=(0.0, 0.68), is_inexact=True),
    **dict.fromkeys(("Exp", "Log", "Sin", "Cos"), _of_one(is_inexact=True)),
    "Sqrt": _of_one(roles={0: "square"}),
    "Reciprocal": _of_one(roles={0: "divisor"}),
    **dict.fromkeys(("Floor", "Ceil", "Round"), _of_one()),
    **dict.fromkeys(("Abs", "Sign"), _of_one(dtypes=_WHOLE)),
    "Neg": _of_one(dtypes=_WHOLE, mistaken_for="Abs"),
    "Not": _of_one(dtypes=_BOOL),
    # Functions of several.
    "Add": _of_many(
        roles={0: "bias", 1: "bias"}, is_symmetric=True, dtypes=_WHOLE, mistaken_for="Mul"
    ),
    "Mul": _of_many(
        roles={0: "scale", 1: "scale"}, is_symmetric=True, dtypes=_WHOLE, mistaken_for="Add"
    ),
    "Sub": _of_many(roles={1: "bias"}, dtypes=_WHOLE, mistaken_for="Add"),
    "Div": _of_many(roles={1: "divisor"}, dtypes=_WHOLE, mistaken_for="Mul"),
    "Pow": _of_many(roles={1: "exponent"}, always_rounds=True),
    "Where": _of_many(roles={0: "condition"}, dtypes=_WHOLE),
    **dict.fromkeys(("Min", "Max"), _of_many(is_symmetric=True, dtypes=_WHOLE)),
    **dict.fromkeys(("Sum", "Mean"), _of_many(is_symmetric=True)),
    **dict.fromkeys(("And", "Or", "Xor"), _of_many(is_symmetric=True, dtypes=_BOOL)),
    # What moves elements, or gives them another shape.
    **dict.fromkeys(("Concat", "Transpose"), Operator(dtypes=_WHOLE)),
    "Split": Operator(attribute_operands=("split",), dtypes=_WHOLE),
    "Slice": Operator(attribute_operands=("starts", "ends", "axes", "steps"), dtypes=_WHOLE),
    "Pad": Operator(attribute_operands=("pads", "value"), dtypes=_WHOLE),
    "Tile": Operator(attribute_operands=("repeats",), dtypes=_WHOLE),
    "Expand": Operator({1: "shape"}, attribute_operands=("shape",), dtypes=_WHOLE),
    "Reshape": Operator({1: "shape"}, ("shape",), passes_through=True, dtypes=_WHOLE),
    **dict.fromkeys(
        ("Squeeze", "Unsqueeze"), Operator({}, ("axes",), passes_through=True, dtypes=_WHOLE)
    ),
    "Flatten": Operator(passes_through=True, dtypes=_WHOLE),
    **dict.fromkeys(("Identity", "Dropout"), _of_one(passes_through=True, dtypes=_WHOLE)),
    # Reductions.
    "ReduceMean": _reduction(averages=True),
    **dict.fromkeys(
        ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"), _reduction(dtypes=_WHOLE)
    ),
    **dict.fromkeys(("ReduceL1", "ReduceSumSquare"), _reduction()),
    **dict.fromkeys(
        ("ReduceL2", "ReduceLogSum", "ReduceLogSumExp"), _reduction(always_rounds=True)
    ),
    # What reads by index, and what has operands that fix its result.
    "Gather": Operator({0: "table", 1: "indices"}),
    **dict.fromkeys(
        ("GatherElements", "GatherND", "ScatterElements", "ScatterND"), Operator({1: "indices"})
    ),
    "RoiAlign": Operator({2: "indices"}),
    "OneHot": Operator({0: "class", 1: "extent"}),
    "TopK": Operator({1: "extent"}),
    "ConstantOfShape": Operator({0: "shape"}),
    "Resize": Operator({2: "scales", 3: "shape"}),
    # Of these nothing more is known than the engine knows.
    **dict.fromkeys(("MaxPool", "Cast", "CumSum", "ArgMax", "ArgMin"), _PLAIN),
    "Equal": _of_many(is_symmetric=True, dtypes=_WHOLE),
    **dict.fromkeys(("Greater", "GreaterOrEqual", "Less", "LessOrEqual"), _of_many(dtypes=_WHOLE)),
    "LRN": Operator(always_rounds=True),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth", "GlobalLpPool", "LpPool"), _PLAIN),
    **dict.fromkeys(("LpNormalization", "MeanVarianceNormalization"), _PLAIN),
}


def operator_of(op_type: str) -> Operator:
    """The facts about an operator of ONNX's domain; an empty row for one that has none."""
    return OPERATORS.get(op_type, _PLAIN)
