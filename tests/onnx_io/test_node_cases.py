"""ONNX's own test cases of single operators, through the engine and back.

Each case is run as it is and with all operands but the first as constants, so that forms with
constant and with computed operands are both met. By default the second form where there is one.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.backend.test.case.node import collect_testcases

from xflowrl.onnx_io import export_onnx, load_onnx

# Random results.
NOT_COMPARED = re.compile(r"bernoulli|training_dropout")
REFUSED = re.compile(r"uses opset [1-6];|the batched form of opset 8")
LATEST_IR_VERSION = 12  # that ONNX Runtime reads


@pytest.fixture(scope="module")
def cases() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collected = collect_testcases(None)
    plain = [c for c in collected if c.model is not None and c.data_sets and _is_plain(c)]
    # Cases named so are bodies of functions, which importing newer operators writes anyway.
    return [c for c in plain if not c.name.endswith("_expanded")]


def _is_plain(case: Any) -> bool:
    inputs, outputs = case.data_sets[0]
    return all(isinstance(a, np.ndarray | np.generic) for a in [*inputs, *outputs])


def _with_constants(model: onnx.ModelProto, feeds: dict[str, Any]) -> onnx.ModelProto | None:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    if len(feeds) < 2 or model.ir_version < 4:
        return None
    for name, array in list(feeds.items())[1:]:
        changed.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    del changed.graph.input[1:]
    return changed


@pytest.mark.parametrize("form", ["either", pytest.param("computed", marks=pytest.mark.slow)])
def test_every_operator(form: str, cases: list[Any], tmp_path: Path) -> None:
    path, tally, wrong = tmp_path / "case.onnx", Counter[str](), []
    for case in cases:
        inputs, _ = case.data_sets[0]
        names = [i.name for i in case.model.graph.input]
        feeds = {n: np.asarray(a) for n, a in zip(names, inputs, strict=True)}
        model = None if form == "computed" else _with_constants(case.model, feeds)
        model = model or case.model
        model.ir_version = min(model.ir_version, LATEST_IR_VERSION)
        outcome = _outcome(model, path, feeds)
        tally[outcome.split(":")[0]] += 1
        if outcome.startswith("wrong") and not NOT_COMPARED.search(case.name):
            wrong.append(f"{case.name} {outcome}")
    assert not wrong, "\n".join(wrong)
    # Most cases run; a change that starts refusing whole families shows here.
    assert tally["equal"] > 950, tally


def _run(model: onnx.ModelProto, feeds: dict[str, Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.graph_optimization_level = level
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    results: list[Any] = session.run(None, {i.name: feeds[i.name] for i in session.get_inputs()})
    return results


def _outcome(model: onnx.ModelProto, path: Path, feeds: dict[str, Any]) -> str:
    """What ONNX Runtime computes is right, whether or not ONNX's own numbers agree."""
    try:
        expected = _run(model, feeds)
    except Exception:  # operators, types and opsets that it has no kernel for
        expected = []
    path.write_bytes(model.SerializeToString())
    try:
        exported = export_onnx(load_onnx(path))
    except ValueError as error:
        is_known = not expected or REFUSED.search(str(error))
        return f"refused: {error}" if is_known else f"wrong: {error}"
    if not expected:
        return "no kernel"
    try:
        actual = _run(exported, feeds)
    except Exception as error:  # ONNX Runtime has a dozen exception types of its own
        return f"wrong: {error}"
    for ours, theirs in zip(actual, expected, strict=True):
        if not _is_close(np.asarray(ours), np.asarray(theirs)):
            return f"wrong: computes {np.asarray(ours).ravel()[:5]}, not {theirs.ravel()[:5]}"
    return "equal"


def _is_close(ours: Any, theirs: Any) -> bool:
    if ours.shape != theirs.shape:
        return False
    if theirs.dtype.kind in "OSU":
        return bool((ours.astype(str) == theirs.astype(str)).all())
    # Half precision rounds at 1e-3 of about ten.
    absolute = 1e-2 if theirs.dtype in (np.float16, "bfloat16") else 1e-4
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    return bool(np.allclose(a, b, rtol=2e-3, atol=absolute, equal_nan=True))
