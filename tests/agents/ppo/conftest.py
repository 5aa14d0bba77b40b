"""States that tests of the policy look at."""

from __future__ import annotations

import numpy as np
import pytest

from xflowrl.env import Observation, RewriteEnv
from xflowrl.problem import Problem


@pytest.fixture(scope="module")
def squeezenet() -> Problem:
    from xflowrl.graphs.squeezenet import squeezenet
    from xflowrl.measurement import roofline
    from xflowrl.rules import load_core

    return Problem(model=squeezenet(), rules=load_core(), objective=roofline())


@pytest.fixture(scope="module")
def walk(squeezenet: Problem) -> list[Observation]:
    """SqueezeNet after 0, 1, ..., 30 random rewrites."""
    env, rng = RewriteEnv(squeezenet), np.random.default_rng(0)
    seen = [env.reset()[0]]
    for _ in range(30):
        seen.append(env.step(int(rng.integers(env.num_matches)))[0])
    return seen
