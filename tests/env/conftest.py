"""The graph of known optimum, under the built-in rules."""

from __future__ import annotations

import pytest

from xflowrl.problem import Problem


@pytest.fixture(scope="session")
def tiny_problem() -> Problem:
    """`tiny` under `rules=core` and roofline; episodes are not limited."""
    from xflowrl.graphs.tiny import tiny
    from xflowrl.measurement import roofline
    from xflowrl.problem import Budget
    from xflowrl.rules import load_core

    return Problem(
        model=tiny(),
        rules=load_core(),
        objective=roofline(),
        budget=Budget(max_iterations=None),
    )
