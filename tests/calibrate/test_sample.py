"""Samples of rewrites: different, spread over cost, the same for a seed."""

from __future__ import annotations

import numpy as np
import pytest

from xflowrl.calibrate.sample import Sampling, sample_rewrites
from xflowrl.graphs.squeezenet import squeezenet
from xflowrl.graphs.tiny import tiny
from xflowrl.measurement import roofline
from xflowrl.problem import Problem
from xflowrl.rules import load_core


def problem(seed: int = 0) -> Problem:
    return Problem(model=squeezenet(), rules=load_core(), objective=roofline(), seed=seed)


def test_a_sample_is_spread_over_cost() -> None:
    original, *others = sample_rewrites(problem(), 20)
    graph = problem().model.graph
    assert (original.graph.hash, original.num_steps) == (graph.hash, 0)
    assert original.estimated_ms == pytest.approx(problem().initial_state().cost.ms, rel=1e-9)
    costs_ms = [each.estimated_ms for each in others]
    assert len(others) == 20
    assert len({each.graph.hash for each in others} | {graph.hash}) == 21
    assert costs_ms == sorted(costs_ms)
    # Greedy search saves 56%; some walks go there, others nowhere.
    assert costs_ms[0] < 0.6 * original.estimated_ms
    assert costs_ms[-1] > 0.9 * original.estimated_ms
    assert np.diff(costs_ms).max() < 0.5 * (costs_ms[-1] - costs_ms[0])
    assert len({each.num_steps for each in others}) > 5


def test_a_seed_gives_a_sample() -> None:
    def hashes(seed: int) -> list[str]:
        return [each.graph.hash for each in sample_rewrites(problem(seed), 8)]

    assert hashes(0) == hashes(0) != hashes(1)


def test_a_network_with_few_rewrites_gives_those() -> None:
    few = Problem(model=tiny(), rules=load_core(), objective=roofline())
    sample = sample_rewrites(few, 10_000)
    assert 3 < len(sample) < 10_000
    none = Problem(model=tiny(), rules=load_core().select([]), objective=roofline())
    assert [each.num_steps for each in sample_rewrites(none, 5)] == [0]


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"calibrate\.num_graphs=1: give at least 2"):
        Sampling(num_graphs=1)
    with pytest.raises(ValueError, match=r"calibrate\.max_s=0\.0: give a number above 0"):
        Sampling(max_s=0.0)
