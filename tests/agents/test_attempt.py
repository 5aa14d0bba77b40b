"""What all agents go through."""

from __future__ import annotations

from xflowrl.agents.attempt import Attempt
from xflowrl.graphs.squeezenet import squeezenet
from xflowrl.measurement import roofline
from xflowrl.problem import Problem
from xflowrl.rules import load_core


def test_ranked_matches_are_all_of_them_once_and_counted_before_they_are_looked_at() -> None:
    problem = Problem(model=squeezenet(), rules=load_core(), objective=roofline())
    attempt = Attempt(problem, lambda metrics, step: None)
    ranked = attempt.ranked(attempt.initial)
    num_matches = len(attempt.initial)
    assert num_matches > 30
    assert (attempt.meter.iterations, attempt.meter.candidates) == (1, num_matches)
    indices = [match.index for match in ranked]
    assert indices == [match.index for match in attempt.initial.best(num_matches)]
    assert sorted(indices) == list(range(num_matches)) != indices
