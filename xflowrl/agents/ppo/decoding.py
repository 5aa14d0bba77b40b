"""Using a policy: greedy decoding, and sampled episodes, within a problem's budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from xflowrl.agents.ppo.policy import Policy
from xflowrl.attempt import Attempt
from xflowrl.env import Position, observe
from xflowrl.features import make_batch
from xflowrl.problem import Step

if TYPE_CHECKING:
    from xflowrl._engine import Match


def take_again(attempt: Attempt, actions: tuple[int, ...]) -> None:
    """Takes known matches, by index, from the original; spends no budget."""
    state, trace = attempt.initial, attempt.origin
    for action in actions:
        match = attempt.problem.matches(state)[action]
        state = state.apply(match)
        trace = trace.extended(Step(match.rule, tuple(match.tensors), state.cost.ms))
    attempt.reached(state, trace)


def decode(attempt: Attempt, policy: Policy, *, num_samples: int, seed: int) -> None:
    """One greedy episode, then `num_samples` sampled ones, until the budget is spent.

    An iteration is a state whose matches are listed. A greedy episode ends where it comes to a
    graph again: from there on it would go round for ever.
    """
    generator = torch.Generator().manual_seed(seed)
    if _episode(attempt, policy, None):
        return
    for _ in range(num_samples):
        if _episode(attempt, policy, generator):
            return


def _episode(attempt: Attempt, policy: Policy, generator: torch.Generator | None) -> bool:
    """One episode, greedy without a generator; True if a limit of the budget is reached."""
    state, trace = attempt.initial, attempt.origin
    seen = {state.hash}
    while True:
        matches = attempt.matches(state)
        action = _choose(policy, Position(state, attempt.initial), matches, generator)
        if action < len(matches):
            state, trace = attempt.step(state, trace, matches[action])
        if attempt.over():
            return True
        if action == len(matches) or (generator is None and state.hash in seen):
            return False
        seen.add(state.hash)


@torch.no_grad()
def _choose(
    policy: Policy, position: Position, matches: list[Match], generator: torch.Generator | None
) -> int:
    """The index of a match, or their number for STOP."""
    if not matches:
        return 0
    device = next(policy.parameters()).device
    distribution, _ = policy(make_batch([observe(position)]).to(device))
    actions = distribution.mode() if generator is None else distribution.sample(generator)
    return int(actions[0])
