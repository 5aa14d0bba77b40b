"""Values of a graph by ONNX's reference evaluator, in the graph's own (double) precision."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from xflowrl._engine import Graph
from xflowrl.onnx_io import Model, StoredWeights, export_onnx
from xflowrl.operators import OPERATORS

Array = NDArray[Any]

_PRIME = 11


def evaluate_graph(
    graph: Graph,
    feeds: Mapping[str, Array],
    weights: Mapping[str, Array],
    *,
    replace_functions: bool = False,
) -> list[Array]:
    """The outputs of a graph, in order, for values of its inputs and weights.

    Args:
        replace_functions: put an arbitrary function of whole numbers in place of each inexact one,
            so that equality of the results does not rest on what the function happens to be.

    Raises:
        ValueError: if ONNX's checker refuses the exported graph.
    """
    model = export_onnx(Model(graph, StoredWeights(weights)), fold=False)
    new_ops = [Pad, Mean, ConvTranspose, *(_arbitrary_functions() if replace_functions else ())]
    evaluator = ReferenceEvaluator(model, new_ops=new_ops)
    with warnings.catch_warnings():
        # A wrong rule may well divide by zero; its result then differs.
        warnings.simplefilter("ignore", RuntimeWarning)
        return [np.asarray(value) for value in evaluator.run(None, dict(feeds))]


def check_valid(graph: Graph, weights: Mapping[str, Array]) -> str | None:
    """What ONNX's checker, shapes inferred strictly, has against the exported graph; or None."""
    model = export_onnx(Model(graph, StoredWeights(weights)), fold=False)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return " ".join(str(error).split())
    return None


class Pad(OpRun):
    """ONNX's Pad with negative pads, which cut; the evaluator's own has none."""

    op_domain = ""

    def _run(
        self, x: Array, pads: Array, value: Array | None = None, mode: str = ""
    ) -> tuple[Array]:
        if x.ndim == 0:
            return (x,)
        begins, ends = np.split(pads, 2)
        window = tuple(
            slice(max(0, -begin), size - max(0, -end))
            for begin, end, size in zip(begins, ends, x.shape, strict=True)
        )
        widths = [(max(0, b), max(0, e)) for b, e in zip(begins, ends, strict=True)]
        if mode == "constant":
            fill = 0 if value is None else value.item()
            return (np.pad(x[window], widths, constant_values=fill),)
        return (np.pad(x[window], widths, mode=mode),)  # type: ignore[call-overload]


class ConvTranspose(OpRun):
    """ONNX's ConvTranspose with groups and explicit pads; the evaluator's own mixes groups up."""

    op_domain = ""

    def _run(
        self, x: Array, w: Array, bias: Array | None = None, **attributes: Any
    ) -> tuple[Array]:
        group, strides, pads = (attributes[name] for name in ("group", "strides", "pads"))
        steps = list(zip(x.shape[2:], strides, strict=True))
        reach = [s * (n - 1) + 1 for n, s in steps]
        sizes = [
            length + d * (k - 1) + more
            for length, d, k, more in zip(
                *(reach, attributes["dilations"], w.shape[2:], attributes["output_padding"]),
                strict=True,
            )
        ]
        parts = x.reshape(x.shape[0], group, -1, *x.shape[2:])
        kernels = w.reshape(group, -1, *w.shape[1:])
        full = np.zeros((x.shape[0], w.shape[1] * group, *sizes))
        for tap in np.ndindex(*w.shape[2:]):
            part = np.einsum("ngi...,gio->ngo...", parts, kernels[..., *tap])
            window = [
                slice(t * d, t * d + length, stride)
                for t, d, length, stride in zip(
                    tap, attributes["dilations"], reach, strides, strict=True
                )
            ]
            full[:, :, *window] += part.reshape(x.shape[0], -1, *x.shape[2:])
        crop = [
            slice(b, n - e) for b, e, n in zip(*np.split(np.array(pads), 2), sizes, strict=True)
        ]
        result = full[:, :, *crop]
        if bias is not None:
            result = result + bias.reshape(-1, *[1] * len(sizes))
        return (np.asarray(result, x.dtype),)


class Mean(OpRun):
    """ONNX's Mean of operands that broadcast; the evaluator's own adds in place."""

    op_domain = ""

    def _run(self, *operands: Array) -> tuple[Array]:
        total = operands[0]
        for operand in operands[1:]:
            total = total + operand
        return (np.asarray(total / len(operands)),)


@cache
def _arbitrary_functions() -> tuple[type[OpRun], ...]:
    names = sorted(name for name, row in OPERATORS.items() if row.is_inexact)
    return tuple(_arbitrary(name, number) for number, name in enumerate(names))


def _arbitrary(name: str, number: int) -> type[OpRun]:
    """x -> (a*x*x + b*x + c) modulo a prime, shifted; attributes add to c."""
    a, b, c = 1 + number % 5, 2 + number % 7, 3 + number

    def run(self: OpRun, x: Array, **attributes: float) -> tuple[Array]:
        shift = c + sum(4 * value for value in attributes.values())
        return (np.asarray(np.mod(a * x * x + b * x + shift, _PRIME) - _PRIME // 2, x.dtype),)

    members: dict[str, str | Callable[..., Any]] = {"op_domain": "", "_run": run}
    return type(name, (OpRun,), members)
