"""Every operator of the engine that has an axis takes ONNX's: left out, or counted from the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from xflowrl._engine import canonical_attributes, inferable_operators
from xflowrl.onnx_io import load_onnx
from xflowrl.operators import OPERATORS

WITH_AXIS = [op for op in sorted(inferable_operators()) if "axis" in canonical_attributes(op)]
# What their other operands must be; all else takes a second [2, 4].
OPERANDS = {
    "Gather": np.array([0, 1]),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), np.ones(4, np.float32)),
}


@pytest.mark.parametrize("op_type", WITH_AXIS)
@pytest.mark.parametrize("axis", [None, -1, 1])
def test_axis_is_counted_from_the_front(
    make_model: Callable[..., Path], op_type: str, axis: int | None
) -> None:
    opset = OPERATORS[op_type].opset
    schema = onnx.defs.get_schema(op_type, opset)
    attribute = schema.attributes["axis"]
    given = {} if axis is None else {"axis": axis}
    if axis is None and attribute.required:
        given = {"axis": 0}
    weights = {"w": OPERANDS.get(op_type, np.ones((2, 4), np.float32))}
    inputs = ["x", "w"][: max(schema.min_input, 1 + (op_type == "Concat"))]
    outputs = ["y", "z"] if op_type == "Split" else ["y"]
    more: dict[str, Any] = {"num_outputs": 2} if op_type == "Split" else {}
    node = make_node(op_type, inputs, outputs, **given, **more)
    used = {name: weights[name] for name in inputs[1:]}
    model = load_onnx(make_model([node], {"x": [2, 4]}, dict.fromkeys(outputs), used, opset=opset))
    (read,) = model.graph.nodes()
    wanted = given.get("axis", attribute.default_value.i)
    assert not read.is_opaque
    assert read.attributes["axis"] == wanted % 2
