"""The table of metrics."""

from __future__ import annotations

import pytest

from xflowrl.metrics import METRICS, meaning_of


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("search/best_cost_ms", "search/best_cost_ms"),
        ("search/resnet18-2/best_cost_ms", "search/best_cost_ms"),
        ("rules/relu-of-relu", "rules/<rule>"),
        ("train/best_cost_ms", "train/best_cost_ms"),
        ("train/tiny/best_cost_ms", "train/<graph>/best_cost_ms"),
    ],
)
def test_a_name_means_what_its_row_says(name: str, known: str) -> None:
    assert meaning_of(name) == METRICS[known]


@pytest.mark.parametrize(
    "name", ["best_cost_ms", "search/cost", "search/best_cost_ms/x", "rules/", "train/tiny/seconds"]
)
def test_other_names_mean_nothing(name: str) -> None:
    assert meaning_of(name) is None
