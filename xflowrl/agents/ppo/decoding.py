"""Using a policy: greedy decoding, and sampled episodes, within a problem's budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from xflowrl._engine import Match, State
from xflowrl.agents.attempt import Attempt
from xflowrl.agents.ppo.gallery import make_batch
from xflowrl.agents.ppo.policy import Policy
from xflowrl.env import Observation, Position, observe
from xflowrl.problem import Step, Trace


@dataclass(frozen=True, kw_only=True)
class DecodingSettings:
    """How a trained policy is used.

    Attributes:
        num_samples: sampled episodes after the greedy one, within the budget.
        matches_at_once: taken after one look at a graph, if they do not touch one another; 1: the
            policy sees the graph again after every rewrite, as in training.
        likely_share: rules and matches at least so many times as likely as the likeliest are taken
            along with it.
        descends: whether an episode ends with the matches that lower the cost, the best first.
    """

    num_samples: int = 4
    matches_at_once: int = 1
    likely_share: float = 0.5
    descends: bool = False

    def __post_init__(self) -> None:
        if self.num_samples < 0 or self.matches_at_once < 1 or not 0 < self.likely_share <= 1:
            raise ValueError(
                f"agent: num_samples {self.num_samples}, matches_at_once {self.matches_at_once}, "
                f"likely_share {self.likely_share}: give at least 0, at least 1, and a number "
                f"above 0 up to 1"
            )


def take_again(attempt: Attempt, actions: tuple[int, ...]) -> None:
    """Takes known matches, by index, from the original; spends no budget."""
    state, trace = attempt.initial, attempt.origin
    for action in actions:
        match = attempt.problem.objective.matches(state)[action]
        state = state.apply(match)
        trace = trace.extended(Step(match.rule, tuple(match.tensors), attempt.cost_ms(state)))
    attempt.reached(state, trace)


def decode(attempt: Attempt, policy: Policy, settings: DecodingSettings) -> None:
    """One greedy episode, then sampled ones, until the budget is spent.

    An iteration is a state whose matches are listed. A greedy episode ends where it comes to a
    graph or an observation again: from there on it would go round for ever.
    """
    generator = torch.Generator().manual_seed(attempt.problem.seed)
    for episode in range(1 + settings.num_samples):
        if _episode(attempt, policy, settings, generator if episode else None):
            return


def _episode(
    attempt: Attempt, policy: Policy, settings: DecodingSettings, generator: torch.Generator | None
) -> bool:
    """One episode, greedy without a generator; True if a limit of the budget is reached."""
    state, trace = attempt.initial, attempt.origin
    seen: set[str | int] = {state.hash}
    while True:
        matches = attempt.matches(state)
        priced = attempt.problem.objective.complete(state)
        observation = observe(Position(priced, attempt.initial))
        sight = _digest(observation)
        again = generator is None and sight in seen
        chosen = [] if not matches or again else _choose(policy, observation, settings, generator)
        if chosen:
            state, trace = _take(attempt, state, trace, [matches[action] for action in chosen])
        if attempt.over():
            return True
        if not chosen or (generator is None and state.hash in seen):
            return settings.descends and _descend(attempt, state, trace)
        seen |= {state.hash, sight}


def _take(
    attempt: Attempt, state: State, trace: Trace, matches: Sequence[Match]
) -> tuple[State, Trace]:
    """Takes matches of one state one after the other, those that are still there."""
    state, trace = attempt.step(state, trace, matches[0])
    for match in matches[1:]:
        there = attempt.problem.objective.complete(state).find(match.rule, match.tensors)
        if there is not None:
            state, trace = attempt.step(state, trace, there)
    return state, trace


def _descend(attempt: Attempt, state: State, trace: Trace) -> bool:
    """Takes the match that saves most until none does; True if a limit is reached."""
    while True:
        match = attempt.cheapest(state)
        saves = match is not None and match.cost_difference_ms < -attempt.noise_ms
        if match is not None and saves:
            state, trace = attempt.step(state, trace, match)
        if attempt.over():
            return True
        if not saves:
            return False


def _digest(observation: Observation) -> int:
    """Equal for equal observations.

    Rewrites that undo each other may leave a graph of another hash, with longer expressions for its
    weights, that nevertheless looks the same.
    """
    return hash(b"".join(array.tobytes() for array in observation.values()))


@torch.inference_mode()
def _choose(
    policy: Policy,
    observation: Observation,
    settings: DecodingSettings,
    generator: torch.Generator | None,
) -> list[int]:
    """Indices of matches that do not touch one another; none for STOP.

    The first is what the policy would do next, the mode without a generator and else a draw. The
    others follow by their likelihood.
    """
    device = next(policy.parameters()).device
    batch = make_batch([observation], num_layers=policy.settings.num_layers)
    distribution, _ = policy(batch.to(device))
    actions = distribution.mode() if generator is None else distribution.sample(generator)
    first = int(actions[0])
    if first == len(observation["match_rule"]):
        return []
    if settings.matches_at_once == 1:
        return [first]
    log_probs = distribution.log_probs_A[:-1].cpu().numpy()
    likely = _likely(observation["match_rule"], log_probs, settings.likely_share)
    return list(_apart(observation, [first, *likely], settings.matches_at_once))


def _likely(rules: np.ndarray, log_probs: np.ndarray, share: float) -> list[int]:
    """Matches of likely rules that are likely among those of their rule, the likeliest first."""
    probs = np.exp(log_probs - log_probs.max())
    num_rules = int(rules.max()) + 1
    of_rule, best_of_rule = np.bincount(rules, probs, num_rules), np.zeros(num_rules)
    np.maximum.at(best_of_rule, rules, probs)
    is_likely = (of_rule[rules] >= share * of_rule.max()) & (probs >= share * best_of_rule[rules])
    candidates = np.flatnonzero(is_likely)
    order = np.lexsort((candidates, -probs[candidates], -of_rule[rules[candidates]]))
    likely: list[int] = candidates[order].tolist()
    return likely


def _apart(observation: Observation, matches: Sequence[int], most: int) -> Iterator[int]:
    """The matches, in their order, that bind no node that one before them binds."""
    ptr, nodes = observation["match_node_ptr"], observation["match_node"]
    bound = np.zeros(len(observation["node_op"]), bool)
    for match in matches:
        of_match = nodes[ptr[match] : ptr[match + 1]]
        if most > 0 and not bound[of_match].any():
            bound[of_match] = True
            most -= 1
            yield match
