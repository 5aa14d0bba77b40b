"""Using a policy: greedy decoding, and sampled episodes, within a problem's budget."""

from __future__ import annotations

import torch

from xflowrl.agents.attempt import Attempt
from xflowrl.agents.ppo.features import make_batch
from xflowrl.agents.ppo.policy import Policy
from xflowrl.env import Observation, Position, observe
from xflowrl.problem import Step


def take_again(attempt: Attempt, actions: tuple[int, ...]) -> None:
    """Takes known matches, by index, from the original; spends no budget."""
    state, trace = attempt.initial, attempt.origin
    for action in actions:
        match = attempt.problem.objective.matches(state)[action]
        state = state.apply(match)
        trace = trace.extended(Step(match.rule, tuple(match.tensors), attempt.cost_ms(state)))
    attempt.reached(state, trace)


def decode(attempt: Attempt, policy: Policy, *, num_samples: int, seed: int) -> None:
    """One greedy episode, then `num_samples` sampled ones, until the budget is spent.

    An iteration is a state whose matches are listed. A greedy episode ends where it comes to a
    graph or an observation again: from there on it would go round for ever.
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
    seen: set[str | int] = {state.hash}
    while True:
        matches = attempt.matches(state)
        priced = attempt.problem.objective.complete(state)
        observation = observe(Position(priced, attempt.initial))
        sight = _digest(observation)
        stops = not matches or (generator is None and sight in seen)
        action = len(matches) if stops else _choose(policy, observation, generator)
        if action < len(matches):
            state, trace = attempt.step(state, trace, matches[action])
        if attempt.over():
            return True
        if action == len(matches) or (generator is None and state.hash in seen):
            return False
        seen |= {state.hash, sight}


def _digest(observation: Observation) -> int:
    """Equal for equal observations.

    Rewrites that undo each other may leave a graph of another hash, with longer expressions for its
    weights, that nevertheless looks the same.
    """
    return hash(b"".join(array.tobytes() for array in observation.values()))


@torch.inference_mode()
def _choose(policy: Policy, observation: Observation, generator: torch.Generator | None) -> int:
    """The index of a match, or their number for STOP."""
    device = next(policy.parameters()).device
    distribution, _ = policy(make_batch([observation]).to(device))
    actions = distribution.mode() if generator is None else distribution.sample(generator)
    return int(actions[0])
