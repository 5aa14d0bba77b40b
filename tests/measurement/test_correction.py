"""The factors that prices are corrected by."""

from __future__ import annotations

import pytest

from xflowrl._engine import CostTable
from xflowrl.agents.taso import Taso
from xflowrl.graphs.inception import inception_v3
from xflowrl.measurement import correction, estimated, roofline
from xflowrl.measurement.correction import factors_of, known_factors
from xflowrl.problem import Budget, Problem
from xflowrl.rules import load_core


def test_every_class_of_the_package_exists_and_is_cheaper_or_dearer_than_nothing() -> None:
    for factors in correction._read().values():
        CostTable.measured(factors)
        assert all(factor >= 0 for factor in factors.values())


def test_defaults_are_known() -> None:
    for (prices, device), runtime in correction._DEFAULTS.items():
        assert known_factors(prices, runtime, device)
        assert factors_of("default", prices=prices, device=device) == known_factors(
            prices, runtime, device
        )
    assert factors_of("default", prices="unheard_of", device="cpu") == {}
    assert factors_of(None, prices="onnxruntime_plain", device="cpu") == {}


@pytest.mark.parametrize("make", [roofline, lambda **how: estimated(database=None, **how)])
def test_an_unknown_correction_names_those_there_are(make) -> None:
    with pytest.raises(ValueError, match=r"measurement.correction='fast'.*use one of.*null"):
        make(correction="fast")


def num_merges(correction: str | None) -> int:
    """Splits that backtracking search leaves in Inception-v3: each is a merge of siblings."""
    problem = Problem(
        model=inception_v3(),
        rules=load_core(),
        objective=roofline(correction=correction),
        budget=Budget(max_iterations=1000),
    )
    (result,) = Taso().optimize([problem], lambda metrics, step: None)
    return sum(node.op_type == "Split" for node in result.model.graph.nodes())


def test_siblings_are_merged_where_a_split_is_a_view() -> None:
    """Priced as a kernel, the Split that a merge leaves costs more than the merge saves."""
    assert (num_merges(None), num_merges("torch_compile")) == (0, 10)
