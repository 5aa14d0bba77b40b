"""What a step is worth."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xflowrl._engine import State


@dataclass(frozen=True)
class Transition:
    """One step of an episode, as rewards see it.

    Attributes:
        initial: the state the episode began with.
        before: the state in which the action was taken.
        after: the state it led to; `before` where it was STOP.
        terminated: STOP, or no match is left.
        truncated: the budget ended the episode.
        before_ms: cost of `before`, or its real latency where the environment measures.
        after_ms: the same of `after`.
        initial_ms: the same of `initial`.
    """

    initial: State
    before: State
    after: State
    terminated: bool
    truncated: bool
    initial_ms: float
    before_ms: float
    after_ms: float


RewardFn = Callable[[Transition], float]


@dataclass(frozen=True)
class RewardWeights:
    """How much each component counts; each is a share of the initial graph's."""

    runtime: float = 1.0
    flops: float = 0.0
    bytes: float = 0.0
    kernels: float = 0.0

    def price(self, state: State, state_ms: float, transition: Transition) -> float:
        """The weighted cost of a state; that of the initial state is the sum of the weights."""
        cost, initial = state.cost, transition.initial.cost
        return (
            self.runtime * _share(state_ms, transition.initial_ms)
            + self.flops * _share(cost.flops, initial.flops)
            + self.bytes * _share(cost.bytes, initial.bytes)
            + self.kernels * _share(cost.num_kernels, initial.num_kernels)
        )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


@dataclass(frozen=True)
class Incremental:
    """(cost before - cost after) / initial cost: the return is the fraction saved.

    Potential-based (Ng, Harada, Russell 1999) with the cost as potential: the sum over an episode
    depends on its first and last graph alone.
    """

    weights: RewardWeights = field(default_factory=RewardWeights)

    def __call__(self, transition: Transition) -> float:
        price = self.weights.price
        return price(transition.before, transition.before_ms, transition) - price(
            transition.after, transition.after_ms, transition
        )


@dataclass(frozen=True)
class Final:
    """The fraction saved, paid when the episode ends, and 0 before.

    It is paid at a truncation too, so a value must not be bootstrapped there: `pays_at_end`.
    """

    weights: RewardWeights = field(default_factory=RewardWeights)
    pays_at_end = True

    def __call__(self, transition: Transition) -> float:
        if not (transition.terminated or transition.truncated):
            return 0.0
        price = self.weights.price
        return price(transition.initial, transition.initial_ms, transition) - price(
            transition.after, transition.after_ms, transition
        )


def reward_from_name(name: str, weights: Mapping[str, float] | None = None) -> RewardFn:
    """The reward called `incremental` or `final`, or a user's function `FILE.py:FUNCTION`.

    A file is code that the user names as such; a dotted name would reach any function there is.

    Args:
        weights: of `RewardWeights`; a user's function takes none.

    Raises:
        ValueError: there is no such reward, function or weight.
    """
    weights = dict(weights or {})
    known = RewardWeights.__dataclass_fields__
    for component in weights:
        if component not in known:
            raise ValueError(f"reward weight {component!r}: give weights of {', '.join(known)}")
    if name in ("incremental", "final"):
        made = RewardWeights(**weights)
        return Incremental(made) if name == "incremental" else Final(made)
    file, _, function = name.rpartition(":")
    if not file.endswith(".py"):
        raise ValueError(
            f"reward {name!r}: give incremental, final, or a function of a Python file of yours "
            f"as agent.reward=FILE.py:FUNCTION"
        )
    try:
        found: Any = runpy.run_path(file)[function]
    except (OSError, SyntaxError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"reward {name!r}: no such function ({reason})") from None
    if not callable(found):
        raise ValueError(f"reward {name!r} is no function: name one of {file}")
    return _UsersReward(f"{Path(file).resolve()}:{function}", found)


class _UsersReward:
    """A function of a user's file; a copy in another process reads the file again."""

    def __init__(self, name: str, function: RewardFn) -> None:
        self._name = name
        self._function = function

    def __call__(self, transition: Transition) -> float:
        return self._function(transition)

    def __reduce__(self) -> tuple[Callable[[str], RewardFn], tuple[str]]:
        return reward_from_name, (self._name,)
