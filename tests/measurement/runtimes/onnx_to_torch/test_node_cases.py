"""ONNX's own test cases of single operators, by the table of PyTorch's functions.

Each case runs as it is, and with all operands but the first as constants, which the table reads
as numbers where they are axes or shapes.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx.backend.test.case.node import collect_testcases

from xflowrl.measurement.runtimes.onnx_to_torch.module import OnnxModule, as_tensor
from xflowrl.measurement.runtimes.onnx_to_torch.operator import NotSupported
from xflowrl.measurement.runtimes.onnx_to_torch.table import TABLE

# PyTorch orders equal values as it likes; the last's numbers are given to four digits.
NOT_COMPARED = {
    "test_top_k_same_values",
    "test_top_k_same_values_2d",
    "test_top_k_same_values_largest",
    "test_averagepool_2d_ceil_last_window_starts_on_pad",
}


@pytest.fixture(scope="module")
def cases() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collected = collect_testcases(None)
    return [c for c in collected if c.model is not None and c.data_sets]


def as_it_is(model: onnx.ModelProto, inputs: list[Any]) -> onnx.ModelProto:
    return model


def with_constants(model: onnx.ModelProto, inputs: list[Any]) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.input[1:]
    for info, array in list(zip(model.graph.input, inputs, strict=True))[1:]:
        tensor = onnx.numpy_helper.from_array(np.asarray(array), info.name)
        changed.graph.initializer.append(tensor)
    return changed


@pytest.mark.parametrize("form", [as_it_is, with_constants])
def test_every_case_of_the_table(form: Callable[..., onnx.ModelProto], cases: list[Any]) -> None:
    tally, wrong = Counter[str](), []
    for case in cases:
        if not all(_name(node) in TABLE or node.op_type == "Constant" for node in _nodes(case)):
            continue
        inputs, expected = ([_array(v) for v in values] for values in case.data_sets[0])
        outcome = _outcome(form, case.model, inputs, expected)
        tally[outcome.split(":")[0]] += 1
        if outcome.startswith("wrong") and case.name not in NOT_COMPARED:
            wrong.append(f"{case.name} {outcome}")
    assert not wrong, "\n".join(wrong)
    # Most cases run; a change that starts refusing whole families shows here.
    assert tally["equal"] > 1000, tally


def _array(value: Any) -> Any:
    is_proto = isinstance(value, onnx.TensorProto)
    return onnx.numpy_helper.to_array(value) if is_proto else np.asarray(value)


def _nodes(case: Any) -> Any:
    return case.model.graph.node


def _name(node: onnx.NodeProto) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


def _outcome(
    form: Callable[..., onnx.ModelProto], model: onnx.ModelProto, inputs: Any, expected: Any
) -> str:
    try:
        module = OnnxModule(form(model, inputs))
        given = dict(zip((i.name for i in model.graph.input), inputs, strict=True))
        tensors = [as_tensor(np.asarray(given[i.name]), i.given) for i in module.inputs]
        actual = module(*tensors)
    except NotSupported as error:
        return f"not supported: {error}"
    except RuntimeError as error:  # PyTorch has no kernels of some types
        is_known = isinstance(error.__cause__, NotSupported) or "not implemented" in str(error)
        return f"{'not supported' if is_known else 'wrong'}: {error}"
    for ours, theirs in zip(actual, expected, strict=True):
        if not _is_close(ours, np.asarray(theirs)):
            return f"wrong: computes {ours.flatten()[:5]}, not {theirs.ravel()[:5]}"
    return "equal"


def _is_close(ours: torch.Tensor, theirs: np.ndarray) -> bool:
    """Single precision rounds at 1e-7 of each of some hundred summands; half at 1e-3."""
    if tuple(ours.shape) != theirs.shape:
        return False
    is_half = ours.dtype in (torch.float16, torch.bfloat16)
    if str(ours.dtype) != f"torch.{theirs.dtype.name}":
        return False
    if not ours.is_complex():
        ours, theirs = ours.double(), theirs.astype(np.float64)
    tolerance = 1e-2 if is_half else 1e-5
    return bool(np.allclose(ours.numpy(), theirs, rtol=tolerance, atol=tolerance, equal_nan=True))
