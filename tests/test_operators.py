"""The Python side's table of operators against the engine's and ONNX's."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import onnx
import pytest

from xflowrl._engine import (
    GraphBuilder,
    TensorType,
    activation_names,
    canonical_attributes,
    inferable_operators,
    operator_names,
)
from xflowrl.operators import OPERATORS, Role, operator_of
from xflowrl.soundness.choosers import CHOOSERS
from xflowrl.soundness.reference import evaluate_graph

LEAVES = {"Input", "Weight", "Literal"}


def test_every_operator_of_the_engine_has_a_row() -> None:
    assert set(operator_names()) - LEAVES <= OPERATORS.keys()


@pytest.mark.parametrize("name", OPERATORS)
def test_every_row_names_an_operator(name: str) -> None:
    assert name in {*operator_names(), *activation_names()} - LEAVES or onnx.defs.has(name)


@pytest.mark.parametrize("name", inferable_operators())
def test_attributes_of_a_row_are_the_engines(name: str) -> None:
    row, attributes = OPERATORS[name], canonical_attributes(name)
    assert attributes.keys() >= {*row.attribute_operands, *(row.tried or {})}
    for attribute, values in (row.tried or {}).items():
        assert {type(value) for value in values} == {type(attributes[attribute])}
        assert len(set(values)) == len(values)


@pytest.mark.parametrize("name", [name for name, row in OPERATORS.items() if row.roles])
def test_roles_are_of_operands_that_exist(name: str) -> None:
    schema = onnx.defs.get_schema(name, OPERATORS[name].opset)
    most = math.inf if schema.max_input > 100 else schema.max_input
    assert all(position < most for position in OPERATORS[name].roles)
    assert {*OPERATORS[name].roles.values()} <= {*get_args(Role)}


def test_opsets_are_the_first_that_have_the_operator() -> None:
    for name in OPERATORS.keys() - {"GeluTanh"}:  # which is an activation alone
        opset = OPERATORS[name].opset
        assert onnx.defs.has(name, opset), name
        assert opset == 18 or not onnx.defs.has(name, opset - 1), name


@pytest.mark.parametrize(
    "name", [name for name, row in OPERATORS.items() if row.attribute_operands]
)
def test_attribute_operands_are_onnx_operands(name: str) -> None:
    operands = OPERATORS[name].attribute_operands
    inputs = [operand.name for operand in onnx.defs.get_schema(name, 18).inputs]
    renamed = {"value": "constant_value"}
    assert inputs[1 : 1 + len(operands)] == [renamed.get(name, name) for name in operands]


@pytest.mark.parametrize(
    "name",
    [name for name, row in OPERATORS.items() if row.tried is not None and not row.broadcasts],
)
def test_functions_that_round_are_called_inexact(name: str) -> None:
    row = OPERATORS[name]
    values = [0.25, 1.0, 4.0] if row.roles else [-1.0, 0.25, 1.0, 4.0]
    x = np.array(values, row.dtypes[0]).reshape(1, 1, -1)
    builder = GraphBuilder()
    builder.add_input("x", TensorType(row.dtypes[0], x.shape))
    builder.add_node(name, ["x"], ["y"], {key: tried[0] for key, tried in row.tried.items()})
    builder.set_outputs(["y"])
    (y,) = evaluate_graph(builder.build(), {"x": x}, {})
    scaled = y * 2.0**20
    rounds = not np.array_equal(scaled, np.round(scaled))
    assert rounds == row.is_inexact or row.always_rounds


def test_mistaken_operators_have_choosers() -> None:
    assert {row.mistaken_for for row in OPERATORS.values()} - {""} <= CHOOSERS.keys()


def test_an_operator_without_a_row_has_no_facts() -> None:
    assert operator_of("Nonsense") == operator_of("Cast")
