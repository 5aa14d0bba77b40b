"""Advantages, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from xflowrl.agents.ppo.algorithm import explained_variance


def advantages(
    rewards: list[float],
    values: list[float],
    next_values: list[float],
    ended: list[bool],
    gamma: float = 1.0,
    lambda_: float = 0.5,
) -> list[float]:
    arrays = (np.array(x)[:, None] for x in (rewards, values, next_values, ended))
    return list(generalised_advantages(*arrays, gamma=gamma, lambda_=lambda_)[:, 0])


def test_two_steps_by_hand() -> None:
    # delta_1 = 2 + 0.5 * 4 - 3 = 1; delta_0 = 1 + 0.5 * 3 - 2 = 0.5; A_0 = 0.5 + 0.25 * 1.
    assert advantages([1, 2], [2, 3], [3, 4], [False, False], gamma=0.5) == [0.75, 1.0]


def test_nothing_flows_over_the_end_of_an_episode() -> None:
    until_the_end = advantages([1, 2], [0, 0], [0, 0], [False, True])
    assert advantages([1, 2, 100], [0, 0, 5], [0, 0, 7], [False, True, False])[:2] == until_the_end


def test_truncation_is_bootstrapped_and_termination_is_not() -> None:
    truncated = advantages([1], [0], [10], [True])
    terminated = advantages([1], [0], [0], [True])
    assert (truncated, terminated) == ([11], [1])


def test_lambda_one_is_the_return_minus_the_value() -> None:
    rewards, values = [1.0, 2.0, 3.0], [0.5, -1.0, 2.0]
    got = advantages(rewards, values, [-1.0, 2.0, 0.0], [False, False, True], lambda_=1.0)
    assert got == pytest.approx([6 - 0.5, 5 + 1, 3 - 2])


def test_explained_variance() -> None:
    returns = np.array([1.0, 2.0, 3.0])
    assert explained_variance(returns, returns) == 1.0
    assert explained_variance(np.full(3, 7.0), returns) == 0.0
    assert explained_variance(-returns, returns) < 0
    assert explained_variance(returns, np.ones(3)) == 0.0
