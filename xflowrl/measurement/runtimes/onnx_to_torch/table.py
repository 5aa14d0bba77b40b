"""The table: operators of ONNX, each as a function of PyTorch's tensors.

Source of what they mean: https://onnx.ai/onnx/operators/. An operator that changed has a row for
each form; the newest that the model's opset knows is taken.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from xflowrl.measurement.runtimes.onnx_to_torch import elementwise as e
from xflowrl.measurement.runtimes.onnx_to_torch import layers, movement, recurrent
from xflowrl.measurement.runtimes.onnx_to_torch import reductions as r
from xflowrl.measurement.runtimes.onnx_to_torch.operator import Operator

_AXES = {"axes": 1}


def _reduction(function: r.Reduce) -> tuple[Operator, ...]:
    return (Operator(r.reduction(function), numbers=(1,), moved=_AXES),)


def _of_one_form(functions: dict[str, object]) -> dict[str, tuple[Operator, ...]]:
    return {name: (Operator(function),) for name, function in functions.items()}  # type: ignore[arg-type]


TABLE: dict[str, tuple[Operator, ...]] = {
    # Functions of one
    **_of_one_form(
        {
            **{"Abs": torch.abs, "Neg": torch.neg, "Sign": torch.sign, "Not": torch.logical_not},
            **{"Floor": torch.floor, "Ceil": torch.ceil, "Round": torch.round},
            **{"Sqrt": torch.sqrt, "Reciprocal": torch.reciprocal, "Erf": torch.erf},
            **{"Exp": torch.exp, "Log": torch.log, "IsNaN": torch.isnan, "IsInf": e.is_inf},
            **{"Sin": torch.sin, "Cos": torch.cos, "Tan": torch.tan},
            **{"Asin": torch.asin, "Acos": torch.acos, "Atan": torch.atan},
            **{"Sinh": torch.sinh, "Cosh": torch.cosh, "Tanh": torch.tanh},
            **{"Asinh": torch.asinh, "Acosh": torch.acosh, "Atanh": torch.atanh},
            **{"BitwiseNot": torch.bitwise_not, "Det": torch.linalg.det},
            **{"Identity": e.identity, "Cast": e.cast, "CastLike": e.cast_like},
            **{"Relu": torch.relu, "Sigmoid": torch.sigmoid, "LeakyRelu": e.leaky_relu},
            **{"Elu": e.elu, "Celu": e.celu, "Selu": e.selu, "Gelu": e.gelu, "Swish": e.swish},
            **{"HardSigmoid": e.hard_sigmoid, "HardSwish": F.hardswish, "Mish": F.mish},
            **{"Softplus": F.softplus, "Softsign": F.softsign, "Shrink": e.shrink},
            **{"ThresholdedRelu": e.thresholded_relu, "com.microsoft.Gelu": e.gelu},
        }
    ),
    "Clip": (Operator(e.clip, numbers=(1, 2), moved={"min": 1, "max": 2}),),
    "Dropout": (Operator(e.dropout, numbers=(1, 2), moved={"ratio": 1}, is_many=True),),
    # Functions of several
    **_of_one_form(
        {
            **{"Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": e.divide},
            **{"Mod": e.modulo, "PRelu": e.prelu, "Where": torch.where},
            **{"Sum": e.of_all(torch.add), "Mean": e.mean},
            **{"Max": e.of_all(torch.maximum), "Min": e.of_all(torch.minimum)},
            **{"Equal": torch.eq, "Greater": torch.gt, "GreaterOrEqual": torch.ge},
            **{"Less": torch.lt, "LessOrEqual": torch.le},
            **{"And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor},
            **{"BitwiseAnd": torch.bitwise_and, "BitwiseOr": torch.bitwise_or},
            **{"BitwiseXor": torch.bitwise_xor},
        }
    ),
    "Pow": (Operator(e.power, constants=(1,)),),
    # Products, normalisations, windows
    **_of_one_form(
        {
            **{"MatMul": torch.matmul, "Gemm": layers.gemm, "Einsum": movement.einsum},
            **{"Conv": layers.conv, "com.microsoft.FusedConv": layers.conv},
            **{"ConvTranspose": layers.conv_transpose},
            **{"BatchNormalization": layers.batch_normalization},
            **{"LayerNormalization": layers.layer_normalization},
            **{"InstanceNormalization": layers.instance_normalization},
            **{"RMSNormalization": layers.rms_normalization},
            **{"LRN": layers.local_response_normalization},
            **{"MaxPool": layers.max_pool, "AveragePool": layers.average_pool},
            **{"LpPool": layers.lp_pool, "GlobalMaxPool": layers.global_max_pool},
            **{"GlobalAveragePool": layers.global_average_pool},
        }
    ),
    "GroupNormalization": (Operator(layers.group_normalization, since=21),),
    "Resize": (Operator(layers.resize, numbers=(2, 3), since=11),),
    "Upsample": (Operator(layers.upsample, numbers=(1,), moved={"scales": 1}),),
    "LSTM": (Operator(recurrent.lstm, is_many=True),),
    "GRU": (Operator(recurrent.gru, is_many=True),),
    # Along axes
    "ReduceSum": _reduction(r.total),
    "ReduceMean": _reduction(r.mean_of),
    "ReduceMax": _reduction(r.extreme(torch.amax)),
    "ReduceMin": _reduction(r.extreme(torch.amin)),
    "ReduceProd": _reduction(r.product),
    "ReduceL1": _reduction(lambda x, axes, keep: r.total(x.abs(), axes, keep)),
    "ReduceL2": _reduction(r.euclidean),
    "ReduceSumSquare": _reduction(lambda x, axes, keep: r.total(x * x, axes, keep)),
    "ReduceLogSum": _reduction(lambda x, axes, keep: r.total(x, axes, keep).log()),
    "ReduceLogSumExp": _reduction(r.log_sum_exp),
    "ArgMax": (Operator(r.index_of(torch.argmax)),),
    "ArgMin": (Operator(r.index_of(torch.argmin)),),
    "Softmax": (Operator(r.of_matrix(torch.softmax)), Operator(r.softmax, since=13)),
    "LogSoftmax": (Operator(r.of_matrix(torch.log_softmax)), Operator(r.log_softmax, since=13)),
    "CumSum": (Operator(r.cumulative_sum, numbers=(1,)),),
    "TopK": (Operator(r.top_k, numbers=(1,), moved={"k": 1}, is_many=True),),
    # Movement
    **_of_one_form(
        {
            **{"Flatten": movement.flatten, "Transpose": movement.transpose},
            **{"Concat": movement.concat, "Gather": movement.gather},
            **{"GatherElements": movement.gather_elements, "GatherND": movement.gather_nd},
            **{"ScatterElements": movement.scatter_elements, "ScatterND": movement.scatter_nd},
            **{"Shape": movement.shape, "Size": movement.size, "Range": movement.range_},
            **{"EyeLike": movement.eye_like, "NonZero": movement.non_zero},
            **{"DepthToSpace": movement.depth_to_space, "SpaceToDepth": movement.space_to_depth},
        }
    ),
    "Reshape": (Operator(movement.reshape, numbers=(1,), moved={"shape": 1}),),
    "Squeeze": (Operator(movement.squeeze, numbers=(1,), moved=_AXES),),
    "Unsqueeze": (Operator(movement.unsqueeze, numbers=(1,), moved=_AXES),),
    "Split": (Operator(movement.split, numbers=(1,), moved={"split": 1}, is_many=True),),
    "Slice": (
        Operator(movement.slice_, numbers=(1, 2, 3, 4), moved={"starts": 1, "ends": 2, "axes": 3}),
    ),
    "Expand": (Operator(movement.expand, numbers=(1,)),),
    "Tile": (Operator(movement.tile, numbers=(1,)),),
    "Pad": (Operator(movement.pad, numbers=(1, 2, 3), moved={"pads": 1, "value": 2}),),
    "ConstantOfShape": (Operator(movement.constant_of_shape, numbers=(0,)),),
    "OneHot": (Operator(movement.one_hot, numbers=(1,)),),
    "Trilu": (Operator(movement.triangle, numbers=(1,)),),
}
