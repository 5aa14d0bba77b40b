"""The fixture `read_graph`: small graphs in one line of text.

    x[1,2,4,4] w[3,2,3,3]; c=Conv(x,w) pads=1,1,1,1; y=Relu(c); out c,y

Names that start with x, y or z are inputs, other operands are weights; all are float64 unless
written x:int64[2]. Attributes of Conv that are left out are stride 1, pad 0, dilation 1. Outputs
are what `out` names, or else every tensor that no node reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xflowrl._engine import GraphBuilder, TensorType
from xflowrl.soundness.instances import Instance

_OPERAND = re.compile(r"(\w+)(?::(\w+))?\[([\d,]*)\](?:=(\S+))?")
_NODE = re.compile(r"([\w,]+)=(\w+)\(([\w,]*)\)(.*)")
_LISTS = {"strides", "pads", "dilations", "split", "starts", "ends", "axes", "steps", "perm"}
_LISTS |= {"shape", "repeats", "kernel_shape", "output_padding"}


@pytest.fixture
def read_graph() -> Callable[[str], Instance]:
    """Reads a text into a graph with random positive values for its inputs and weights."""
    return _read_graph


def _read_graph(text: str) -> Instance:
    rng = np.random.default_rng(0)
    declarations, *statements = [part.strip() for part in text.split(";")]
    builder = GraphBuilder("case")
    ranks: dict[str, int] = {}
    feeds, weights = {}, {}
    for name, dtype, dims, literal in _OPERAND.findall(declarations):
        shape = tuple(int(dim) for dim in dims.split(",") if dim)
        tensor_type = TensorType(dtype or "float64", shape)
        ranks[name] = len(shape)
        value = rng.uniform(0.5, 4.0, shape).astype(tensor_type.dtype)
        if literal:
            builder.add_literal(name, tensor_type, [float(literal)] * value.size)
        elif name[0] in "xyz":
            builder.add_input(name, tensor_type)
            feeds[name] = value
        else:
            builder.add_weight(name, tensor_type)
            weights[name] = value
    made: list[str] = []
    read: set[str] = set()
    outputs: list[str] = []
    for statement in statements:
        if statement.startswith("out "):
            outputs = statement[4:].split(",")
            continue
        match = _NODE.fullmatch(statement)
        assert match, statement
        names, inputs = match[1].split(","), [i for i in match[3].split(",") if i]
        attributes = dict(_attribute(item) for item in match[4].split())
        if match[2] in ("Conv", "ConvTranspose"):
            spatial = next(ranks[name] for name in inputs if name in ranks) - 2
            defaults = {"strides": [1], "dilations": [1], "pads": [0, 0]}
            if match[2] == "ConvTranspose":
                defaults["output_padding"] = [0]
            attributes = {**{k: v * spatial for k, v in defaults.items()}, **attributes}
        builder.add_node(match[2], inputs, names, attributes)
        made += names
        read.update(inputs)
    builder.set_outputs(outputs or [name for name in made if name not in read])
    return Instance(builder.build(), feeds, weights)


def _attribute(item: str) -> tuple[str, Any]:
    name, _, value = item.partition("=")
    if name in ("activation", "mode", "approximate"):
        return name, value
    if name == "activation_params":
        return name, [float(number) for number in value.split(",")]
    if name in _LISTS:
        return name, [int(number) for number in value.split(",") if number]
    return name, float(value) if "." in value or "inf" in value else int(value)
