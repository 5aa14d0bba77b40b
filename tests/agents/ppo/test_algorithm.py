"""PPO's mathematics, each piece beside a second implementation: NumPy, plain loops, differences.

Legend: as in `algorithm.py`; A actions of a state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xflowrl.agents.ppo import algorithm
from xflowrl.agents.ppo.algorithm import Rollout, explained_variance
from xflowrl.agents.ppo.distribution import ActionDistribution
from xflowrl.agents.ppo.settings import LearningSettings
from xflowrl.env import Position, VectorRewriteEnv
from xflowrl.env.rewrite import RewriteEnv
from xflowrl.problem import Problem

MakeProblem = Callable[..., Problem]


def make_rollout(num_steps: int, num_envs: int, **given_fields: Any) -> Rollout:
    """A rollout of made-up positions `("at", t, b)`; what is not given is zero."""
    shape = (num_steps, num_envs)
    fields: dict[str, Any] = {
        "positions": [tuple(("at", t, b) for b in range(num_envs)) for t in range(num_steps)],
        "infos": [],
        "ahead": tuple(("at", num_steps, b) for b in range(num_envs)),
        "cut_off": {},
        "actions_TB": np.zeros(shape, np.int64),
        "terminated_TB": np.zeros(shape, bool),
        "truncated_TB": np.zeros(shape, bool),
    }
    fields |= {name: np.zeros(shape) for name in ("log_probs_TB", "values_TB", "rewards_TB")}
    return Rollout(**(fields | given_fields))


# Advantages and next values ---------------------------------------------------------------------


def advantage_by_definition(
    rollout: Rollout, next_values_TB: np.ndarray, t: int, b: int, gamma: float, lambda_: float
) -> float:
    """Sum over k of (gamma lambda)^k delta_{t + k}, to the end of the episode or the rollout."""
    total = 0.0
    for k in range(len(rollout.rewards_TB) - t):
        at = (t + k, b)
        delta = rollout.rewards_TB[at] + gamma * next_values_TB[at] - rollout.values_TB[at]
        total += (gamma * lambda_) ** k * delta
        if rollout.terminated_TB[at] or rollout.truncated_TB[at]:
            break
    return total


RANDOM = st.integers(0, 2**32 - 1).map(np.random.default_rng)
SHAPES = st.tuples(st.integers(1, 7), st.integers(1, 3))


def random_rollout(rng: np.random.Generator, shape: tuple[int, int]) -> Rollout:
    """Rewards and values of both signs; a third of the steps terminate, a third are truncated."""
    ends_TB = rng.integers(3, size=shape)
    return make_rollout(
        *shape,
        rewards_TB=rng.normal(size=shape),
        values_TB=rng.normal(size=shape),
        terminated_TB=ends_TB == 1,
        truncated_TB=ends_TB == 2,
        cut_off={(int(t), int(b)): ("end of", t, b) for t, b in np.argwhere(ends_TB == 2)},
    )


@settings(max_examples=60, deadline=None)
@given(RANDOM, SHAPES, st.floats(0, 1), st.floats(0, 1))
def test_advantages_are_sums_of_discounted_errors(
    rng: np.random.Generator, shape: tuple[int, int], gamma: float, lambda_: float
) -> None:
    rollout, next_values_TB = random_rollout(rng, shape), rng.normal(size=shape)
    got_TB = algorithm.advantages(rollout, next_values_TB, gamma=gamma, lambda_=lambda_)
    for t, b in np.ndindex(shape):
        expected = advantage_by_definition(rollout, next_values_TB, t, b, gamma, lambda_)
        assert got_TB[t, b] == pytest.approx(expected, rel=1e-12, abs=1e-12)  # sums of f64


def test_advantages_by_hand() -> None:
    # delta_1 = 2 + 0.5 * 4 - 3 = 1; delta_0 = 1 + 0.5 * 3 - 2 = 0.5; A_0 = 0.5 + 0.25 * 1.
    rollout = make_rollout(
        2, 1, rewards_TB=np.array([[1.0], [2]]), values_TB=np.array([[2.0], [3]])
    )
    got_TB = algorithm.advantages(rollout, np.array([[3.0], [4]]), gamma=0.5, lambda_=0.5)
    assert got_TB.tolist() == [[0.75], [1.0]]


class ValueOf:
    """A value for each position, drawn when it is asked for first."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.known: dict[Any, float] = {}

    def __call__(self, position: Any) -> float:
        return self.known.setdefault(position, float(self.rng.normal()))

    def policy(self, positions: Sequence[Any]) -> tuple[Any, torch.Tensor]:
        return None, torch.tensor([self(position) for position in positions], dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(RANDOM, SHAPES, st.booleans())
def test_next_values_are_those_of_the_same_episode(
    rng: np.random.Generator, shape: tuple[int, int], bootstraps: bool
) -> None:
    value_of, rollout = ValueOf(rng), random_rollout(rng, shape)
    for t, b in np.ndindex(shape):
        rollout.values_TB[t, b] = value_of(rollout.positions[t][b])
    got_TB = algorithm.next_values(value_of.policy, rollout, bootstraps=bootstraps)
    following = [*rollout.positions[1:], rollout.ahead]
    for t, b in np.ndindex(shape):
        if rollout.terminated_TB[t, b]:
            expected = 0.0
        elif rollout.truncated_TB[t, b]:
            expected = value_of(("end of", t, b)) if bootstraps else 0.0
        else:
            expected = value_of(following[t][b])
        assert got_TB[t, b] == expected


# Loss -------------------------------------------------------------------------------------------

CLIP = 0.2
LEARNING = LearningSettings(clip=CLIP, value_coefficient=0.7)
ENTROPY_WEIGHT = 0.3


def numpy_loss(
    log_probs: np.ndarray,
    values: np.ndarray,
    entropies: np.ndarray,
    old_log_probs: np.ndarray,
    advantages: np.ndarray,
    returns: np.ndarray,
) -> dict[str, float]:
    """The objective of the paper, sample by sample."""
    count = len(advantages)
    mean = sum(advantages) / count
    deviation = math.sqrt(sum((a - mean) ** 2 for a in advantages) / count)
    surrogate, squares, divergence, outside = 0.0, 0.0, 0.0, 0
    for i in range(count):
        ratio = math.exp(log_probs[i] - old_log_probs[i])
        advantage = (advantages[i] - mean) / (deviation + 1e-8)
        bounded = min(max(ratio, 1 - CLIP), 1 + CLIP)
        surrogate += min(ratio * advantage, bounded * advantage) / count
        squares += (values[i] - returns[i]) ** 2 / count
        divergence += ((ratio - 1) - math.log(ratio)) / count
        outside += abs(ratio - 1) > CLIP
    entropy = sum(entropies) / count
    return {
        "policy": -surrogate,
        "value": squares,
        "entropy": entropy,
        "total": -surrogate + 0.7 * squares - ENTROPY_WEIGHT * entropy,
        "approx_kl": divergence,
        "clipfrac": outside / count,
    }


RATIOS = np.array([0.5, 0.5, 0.9, 0.9, 1.1, 1.1, 1.6, 1.6])
ADVANTAGES = np.array([2.0, -3.0] * 4)  # of both signs at each ratio, normalised too
# Where going further is not rewarded: below the range with A < 0, above it with A > 0.
FLAT = (RATIOS < 1 - CLIP) & (ADVANTAGES < 0) | (RATIOS > 1 + CLIP) & (ADVANTAGES > 0)


def inputs_of_loss() -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    old, values, entropies, returns = rng.normal(size=(4, len(RATIOS)))
    learned = [old + np.log(RATIOS), values, entropies]
    return learned, {"old_log_probs": old, "advantages": ADVANTAGES, "returns": returns}


def torch_loss(learned: list[torch.Tensor], given_S: dict[str, np.ndarray]) -> dict[str, Any]:
    tensors = {f"{name}_S": torch.from_numpy(array) for name, array in given_S.items()}
    tensors["entropies_S"] = learned[2]
    return algorithm.loss(*learned[:2], **tensors, settings=LEARNING, entropy_weight=ENTROPY_WEIGHT)


def test_loss_is_that_of_the_paper() -> None:
    learned, given_S = inputs_of_loss()
    got = torch_loss([torch.from_numpy(x) for x in learned], given_S)
    expected = numpy_loss(*learned, **given_S)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert float(got[name]) == pytest.approx(value, rel=1e-6), name  # clipfrac is f32


def test_loss_has_the_gradient_of_differences() -> None:
    learned, given_S = inputs_of_loss()
    tensors = [torch.from_numpy(x).requires_grad_() for x in learned]
    torch_loss(tensors, given_S)["total"].backward()
    for which, tensor in enumerate(tensors):
        for i in range(len(RATIOS)):
            ends = []
            for step in (1e-6, -1e-6):
                moved = [x.copy() for x in learned]
                moved[which][i] += step
                ends.append(numpy_loss(*moved, **given_S)["total"])
            assert tensor.grad is not None
            # Central differences of f64: errors of 1e-12 from the step, 1e-10 from rounding.
            assert float(tensor.grad[i]) == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-8)
    assert ((tensors[0].grad == 0).numpy() == FLAT).all()
    assert (tensors[2].grad < 0).all(), "more entropy, less loss"


# Update -----------------------------------------------------------------------------------------


NUM_SAMPLES = 12


class Table(torch.nn.Module):
    """A policy that is a table: logits [S, 3] and values [S] of positions `("at", t, 0)`, f64."""

    def __init__(self) -> None:
        super().__init__()
        numbers_SA = np.random.default_rng(1).normal(size=(NUM_SAMPLES, 4))
        self.logits = torch.nn.Parameter(torch.from_numpy(numbers_SA[:, :3].copy()))
        self.values = torch.nn.Parameter(torch.from_numpy(numbers_SA[:, 3].copy()))
        self.asked: list[list[int]] = []

    def forward(self, positions: Sequence[Any]) -> tuple[ActionDistribution, torch.Tensor]:
        chosen = [t for _, t, _ in positions]
        self.asked.append(chosen)
        log_probs_SA = self.logits[chosen].log_softmax(1)
        count, num_actions = log_probs_SA.shape
        distribution = ActionDistribution(
            log_probs_A=log_probs_SA.flatten(),
            graph_A=torch.arange(count).repeat_interleave(num_actions),
            first_G=num_actions * torch.arange(count),
            num_actions=(num_actions,) * count,
            rank_M=torch.zeros(count * (num_actions - 1)),
        )
        return distribution, self.values[chosen]


def acted(table: Table) -> tuple[Rollout, np.ndarray]:
    """A rollout under a policy a little different from the table's, and its advantages."""
    rng = np.random.default_rng(2)
    actions_S = rng.integers(3, size=NUM_SAMPLES)
    log_probs_SA = table.logits.log_softmax(1).detach().numpy()
    old_S = log_probs_SA[np.arange(NUM_SAMPLES), actions_S] + rng.normal(0, 0.2, NUM_SAMPLES)
    rollout = make_rollout(
        NUM_SAMPLES,
        1,
        actions_TB=actions_S[:, None],
        log_probs_TB=old_S[:, None],
        values_TB=rng.normal(size=(NUM_SAMPLES, 1)),
    )
    return rollout, rng.normal(5.0, 2.0, size=(NUM_SAMPLES, 1))


def run_update(table: Table, seed: int = 0, **changes: Any) -> list[dict[str, float]]:
    options = {"clip": CLIP, "value_coefficient": 0.7, "num_epochs": 2, "minibatch_size": 5}
    rollout, advantages_TB = acted(table)
    return algorithm.update(
        table,
        torch.optim.SGD(table.parameters(), lr=0.5),
        rollout=rollout,
        advantages_TB=advantages_TB,
        settings=LearningSettings(**({"max_kl": None} | options | changes)),
        generator=torch.Generator().manual_seed(seed),
        entropy_weight=ENTROPY_WEIGHT,
    )


def numpy_update(
    table: Table, minibatches: list[list[int]], max_norm: float
) -> tuple[np.ndarray, list[float]]:
    """Gradient descent by differences of `numpy_loss`: the weights after it, norms of gradients."""
    rollout, advantages_TB = acted(table)
    returns_S = (rollout.values_TB + advantages_TB)[:, 0]
    weights = np.concatenate([w.detach().numpy().ravel() for w in table.parameters()])
    norms = []

    def total(at: np.ndarray, chosen: list[int]) -> float:
        logits_SA, values_S = at[: 3 * NUM_SAMPLES].reshape(-1, 3), at[3 * NUM_SAMPLES :]
        p_SA = np.exp(logits_SA) / np.exp(logits_SA).sum(1, keepdims=True)
        taken_S = p_SA[np.arange(NUM_SAMPLES), rollout.actions_TB[:, 0]]
        learned = (np.log(taken_S), values_S, -(p_SA * np.log(p_SA)).sum(1))
        given_S = (rollout.log_probs_TB[:, 0], advantages_TB[:, 0], returns_S)
        return numpy_loss(*(x[chosen] for x in (*learned, *given_S)))["total"]

    for chosen in minibatches:
        gradient = np.zeros_like(weights)
        for i in range(len(weights)):
            step = 1e-6 * (np.arange(len(weights)) == i)
            gradient[i] = (total(weights + step, chosen) - total(weights - step, chosen)) / 2e-6
        norms.append(float(np.linalg.norm(gradient)))
        weights = weights - 0.5 * gradient * min(1.0, max_norm / norms[-1])
    return weights, norms


@pytest.mark.parametrize(("max_norm", "is_clipped"), [(0.3, True), (100.0, False)])
def test_update_descends_the_clipped_gradient(max_norm: float, is_clipped: bool) -> None:
    table = Table()
    updates = run_update(table, max_gradient_norm=max_norm)
    expected, norms = numpy_update(Table(), table.asked, max_norm)
    got = np.concatenate([weight.detach().numpy().ravel() for weight in table.parameters()])
    # Differences are exact to 1e-8; dividing by the norm adds 1e-6 of it (torch's own epsilon).
    np.testing.assert_allclose(got, expected, atol=5e-6)
    assert [u["gradient_norm"] for u in updates] == pytest.approx(norms, rel=1e-5)
    assert [norm > max_norm for norm in norms] == [is_clipped] * 6


def test_every_epoch_uses_every_sample_once_in_an_order_of_its_own() -> None:
    table = Table()
    run_update(table, num_epochs=3)
    assert [len(chosen) for chosen in table.asked] == [5, 5, 2] * 3
    epochs = [[t for chosen in table.asked[i : i + 3] for t in chosen] for i in (0, 3, 6)]
    assert all(sorted(order) == list(range(NUM_SAMPLES)) for order in epochs)
    # Twelve samples have 5e8 orders.
    assert len({tuple(order) for order in [*epochs, list(range(NUM_SAMPLES))]}) == 4
    again, other = Table(), Table()
    run_update(again, num_epochs=3)
    run_update(other, seed=1, num_epochs=3)
    assert again.asked == table.asked != other.asked


@given(
    num_steps=st.integers(1, 6),
    num_envs=st.integers(1, 9),
    envs_at_once=st.integers(1, 10),
    minibatch_size=st.integers(1, 20),
    seed=st.integers(0, 100),
)
def test_minibatches_of_few_environments_have_every_sample_once(
    num_steps: int, num_envs: int, envs_at_once: int, minibatch_size: int, seed: int
) -> None:
    settings = LearningSettings(envs_at_once=envs_at_once, minibatch_size=minibatch_size)
    generator = torch.Generator().manual_seed(seed)
    shape = num_steps, num_envs
    minibatches = [m.tolist() for m in algorithm._minibatches(shape, settings, generator)]
    assert sorted(s for m in minibatches for s in m) == list(range(num_steps * num_envs))
    assert all(0 < len(m) <= minibatch_size for m in minibatches)
    assert all(len({sample % num_envs for sample in m}) <= envs_at_once for m in minibatches)


def test_each_epoch_puts_other_environments_together() -> None:
    settings = LearningSettings(envs_at_once=2, minibatch_size=16)
    generator = torch.Generator().manual_seed(0)
    epochs = [list(algorithm._minibatches((8, 8), settings, generator)) for _ in range(2)]
    pairs = [{frozenset(s % 8 for s in m.tolist()) for m in epoch} for epoch in epochs]
    assert [len(pair) for pair in pairs] == [4, 4]
    assert pairs[0] != pairs[1]


def test_an_update_ends_once_the_policy_has_gone_too_far() -> None:
    divergences = [u["approx_kl"] for u in run_update(Table(), num_epochs=4)]
    limit = sorted(divergences)[6]
    ends = next(i for i, divergence in enumerate(divergences) if divergence > limit)
    assert 0 < ends < len(divergences) - 1, "neither at once nor with the last"
    stopped = run_update(Table(), num_epochs=4, max_kl=limit)
    assert [u["approx_kl"] for u in stopped] == divergences[: ends + 1]


# Collect ----------------------------------------------------------------------------------------


def uniform(positions: Sequence[Position]) -> tuple[ActionDistribution, torch.Tensor]:
    """Every match as likely as STOP; the value is the number of nodes."""
    counts = torch.tensor([len(position.state) + 1 for position in positions])
    distribution = ActionDistribution(
        log_probs_A=-counts.log().repeat_interleave(counts),
        graph_A=torch.arange(len(counts)).repeat_interleave(counts),
        first_G=counts.cumsum(0) - counts,
        num_actions=tuple(counts.tolist()),
        rank_M=torch.zeros(int((counts - 1).sum())),
    )
    return distribution, torch.tensor([float(p.state.num_nodes) for p in positions])


def test_collect_records_what_happened(relu_problem: MakeProblem) -> None:
    problem = relu_problem(6, max_iterations=3)
    learning = LearningSettings(num_steps=20, step_cost=0.3)
    envs = VectorRewriteEnv(problem, 4)
    envs.reset(seed=0)
    noted: list[dict[str, Any]] = []
    generator = torch.Generator().manual_seed(0)
    rollout = algorithm.collect(
        uniform, envs, settings=learning, generator=generator, note_fn=noted.append
    )
    assert rollout.infos == noted
    kinds = set()
    for b in range(4):
        env = RewriteEnv(problem)
        env.reset()
        for t in range(20):
            at = (t, b)
            here = rollout.positions[t][b]
            assert (here.state.hash, here.initial.num_nodes) == (env.state.hash, 6)
            assert rollout.values_TB[at] == env.state.num_nodes
            assert rollout.log_probs_TB[at] == pytest.approx(-math.log(env.num_matches + 1))
            stops = rollout.actions_TB[at] == env.num_matches
            _, reward, terminated, truncated, _ = env.step(int(rollout.actions_TB[at]))
            charged = reward if stops else reward - 0.3 / 6  # a share of the mean of six nodes
            assert rollout.rewards_TB[at] == pytest.approx(charged)
            assert (rollout.terminated_TB[at], rollout.truncated_TB[at]) == (terminated, truncated)
            assert (at in rollout.cut_off) == truncated
            kinds.add((bool(stops), terminated, truncated))
            if truncated:
                assert rollout.cut_off[at].state.hash == env.state.hash
            if terminated or truncated:
                env.reset()
        assert rollout.ahead[b].state.hash == env.state.hash
    assert kinds == {(False, False, False), (False, False, True), (True, True, False)}


def test_collect_acts_as_likely_as_it_says(relu_problem: MakeProblem) -> None:
    envs = VectorRewriteEnv(relu_problem(4, max_iterations=1), 8)
    envs.reset(seed=0)
    generator = torch.Generator().manual_seed(0)
    rollout = algorithm.collect(
        uniform, envs, settings=LearningSettings(num_steps=100), generator=generator
    )
    # 800 draws of 4 actions: a standard deviation of 12.
    counts = np.bincount(rollout.actions_TB.ravel(), minlength=4)
    assert (abs(counts - 200) < 60).all()


# Schedules --------------------------------------------------------------------------------------


@pytest.mark.parametrize("progress", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_schedules_have_closed_forms(progress: float) -> None:
    expected = {
        "constant": 3e-3,
        "linear": 3e-3 * (1 - progress) + 1e-3 * progress,
        "cosine": 1e-3 + 2e-3 * math.cos(math.pi * progress / 2) ** 2,  # half-angle
    }
    for schedule, rate in expected.items():
        options: Any = {"schedule": schedule, "final_learning_rate": 1e-3}
        learning = LearningSettings(learning_rate=3e-3, **options)
        assert algorithm.learning_rate(learning, progress) == pytest.approx(rate)
    learning = LearningSettings(entropy_coefficient=0.5, final_entropy_coefficient=0.1)
    weight = algorithm.entropy_weight(learning, progress)
    assert weight == pytest.approx(0.5 * (1 - progress) + 0.1 * progress)


def test_explained_variance() -> None:
    returns = np.array([1.0, 2.0, 3.0])
    assert explained_variance(returns, returns) == 1.0
    assert explained_variance(np.full(3, 7.0), returns) == 0.0
    assert explained_variance(-returns, returns) == -3.0  # 1 - Var[2 returns] / Var[returns]
    assert explained_variance(returns, np.ones(3)) == 0.0
