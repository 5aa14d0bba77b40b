"""Which matches are taken after one look at a graph: likely ones that do not touch one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from xflowrl.agents.ppo.distribution import gumbel
from xflowrl.env import Observation

_EQUAL = 0.999  # of likelihoods in float32


def noisy(log_probs: torch.Tensor, temperature: float, generator: torch.Generator) -> torch.Tensor:
    """Flattened, and with noise: the largest is a draw, as are those that follow it."""
    return log_probs / temperature + gumbel(log_probs.shape, generator)


def choose(
    observation: Observation,
    log_probs: np.ndarray,
    first: int,
    *,
    likely_share: float,
    most: int | None,
) -> tuple[int, ...]:
    """The first match, and the likely ones that touch neither it nor one another.

    Args:
        log_probs: of the matches, [M]; with noise, of a draw.
        likely_share: rules and matches at least so many times as likely as the likeliest are taken.
        most: taken at once; None: any number.
    """
    likely = [] if most == 1 else likely_matches(observation["match_rule"], log_probs, likely_share)
    return tuple(apart(observation, [first, *likely], most))


def likely_matches(rules: np.ndarray, log_probs: np.ndarray, share: float) -> list[int]:
    """Matches of likely rules that are likely among those of their rule, the likeliest first."""
    probs = np.exp(log_probs - log_probs.max())
    num_rules = int(rules.max()) + 1
    of_rule, best_of_rule = np.bincount(rules, probs, num_rules), np.zeros(num_rules)
    np.maximum.at(best_of_rule, rules, probs)
    share *= _EQUAL
    is_likely = (of_rule[rules] >= share * of_rule.max()) & (probs >= share * best_of_rule[rules])
    candidates = np.flatnonzero(is_likely)
    order = np.lexsort((candidates, -probs[candidates], -of_rule[rules[candidates]]))
    likely: list[int] = candidates[order].tolist()
    return likely


def apart(observation: Observation, matches: Sequence[int], most: int | None) -> Iterator[int]:
    """The first matches, in their order, that bind no node that one before them binds."""
    ptr, nodes = observation["match_node_ptr"], observation["match_node"]
    bound = np.zeros(len(observation["node_op"]), bool)
    left = len(matches) if most is None else most
    for match in matches:
        of_match = nodes[ptr[match] : ptr[match + 1]]
        if left > 0 and not bound[of_match].any():
            bound[of_match] = True
            left -= 1
            yield match
