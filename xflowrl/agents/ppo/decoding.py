"""Using a policy: greedy decoding, and sampled episodes, within a problem's budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest

import torch

from xflowrl.agents.attempt import Attempt
from xflowrl.agents.ppo.choosing import choose, noisy
from xflowrl.agents.ppo.episode import Episode, Waypoint, to_cheapest
from xflowrl.agents.ppo.eyes import Eyes
from xflowrl.agents.ppo.policy import Policy
from xflowrl.agents.ppo.regions import Mosaic, regions
from xflowrl.env import Observation

_MAX_NODES = 2000  # of episodes side by side


@dataclass(frozen=True, kw_only=True)
class DecodingSettings:
    """How a trained policy is used.

    Attributes:
        num_samples: sampled episodes after the greedy ones, within the budget.
        side_by_side: episodes that share a pass of the network, in all of at most 2000 operators.
        matches_at_once: taken after one look at a graph, if they do not touch one another; None:
            any number, 1: the policy looks again after every rewrite, as in training.
        likely_share: rules and matches at least so many times as likely as the likeliest are taken
            along with it.
        temperature: sampled episodes divide the logarithms of likelihoods by so much.
        patience: an episode is over when so many looks in a row led to nothing cheaper than before;
            None: when the policy says so.
        descends: an episode ends with the matches that lower the cost, the best first.
        recombines: of the episodes the best regions are put together, not the best one taken.
        branch_share: of the sampled episodes that begin on the way to the cheapest graph so far,
            which is as likely to be left early as late; the others begin at the original.
    """

    num_samples: int = 4
    side_by_side: int = 8
    matches_at_once: int | None = None
    likely_share: float = 1e-5
    temperature: float = 5.0
    patience: int | None = 10
    descends: bool = True
    recombines: bool = True
    branch_share: float = 0.75

    def __post_init__(self) -> None:
        for name, least in (
            ("num_samples", 0),
            ("side_by_side", 1),
            ("matches_at_once", 1),
            ("patience", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"agent.{name} is {value}: give at least {least}")
        if not 0 < self.likely_share <= 1:
            raise ValueError(
                f"agent.likely_share is {self.likely_share}: give a number above 0, up to 1"
            )
        if not 0 <= self.branch_share <= 1:
            raise ValueError(f"agent.branch_share is {self.branch_share}: give 0 to 1")
        if not self.temperature > 0:
            raise ValueError(f"agent.temperature is {self.temperature}: give a number above 0")


def take_again(attempt: Attempt, actions: tuple[int, ...]) -> None:
    """Takes known matches, by index, from the original; spends no budget."""
    state, trace = attempt.initial, attempt.origin
    for action in actions:
        match = attempt.problem.objective.matches(state)[action]
        state, trace = attempt.step(state, trace, match)


def decode(attempt: Attempt, policy: Policy, settings: DecodingSettings) -> None:
    """Greedy episodes, then sampled ones, until the budget is spent.

    The first greedy episode takes all that is likely at every look. It is alone, to be there soon;
    the others go side by side, the fewer the larger the network: another greedy one that takes
    less, and sampled ones that take as much or less, most of which begin on the way to the best
    (Ecoffet et al. 2021: first return, then explore).
    Where costs are prices, the best regions of all of them are put together.

    An iteration is a look at a state whose matches are listed.
    """
    eyes = Eyes(policy)
    # In a large network rewrites take longer than looks, and the end of one episode is worth more.
    side_by_side = min(settings.side_by_side, max(1, _MAX_NODES // attempt.initial.num_nodes))
    best_way, mosaic = [Waypoint.start(attempt)], Mosaic()
    waiting = _episodes(attempt, settings, lambda: best_way)
    running = [next(waiting)]
    while running:
        observations = [episode.observe(attempt) for episode in running]
        chosen = _choose(eyes, observations, running, settings)
        for episode, actions in zip(running, chosen, strict=True):
            episode.go_on(attempt, actions, settings.patience)
            if attempt.over():
                return
            if not episode.is_over:
                continue
            if settings.descends and episode.descend(attempt):
                return
            ways = [best_way, episode.way]
            if settings.recombines and not attempt.problem.objective.is_real:
                ways.append(_recombine(attempt, mosaic, episode))
            best_way = min(map(to_cheapest, ways), key=lambda way: way[-1].cost_ms)
        running = [episode for episode in running if not episode.is_over]
        running += islice(waiting, side_by_side - len(running))


def _recombine(attempt: Attempt, mosaic: Mosaic, episode: Episode) -> list[Waypoint]:
    """Puts the best regions together, if the episode has some and is not itself what comes out.

    Returns the way there.
    """
    is_first = not mosaic.regions
    gained_ms = mosaic.add(regions(episode.here.rewrites, attempt.initial.num_created))
    way = [Waypoint.start(attempt)]
    if is_first or not gained_ms > attempt.noise_ms:
        return way
    # The first of all regions at once, then the second, and so on.
    for rewrites in zip_longest(*(region.rewrites for region in mosaic.regions)):
        if attempt.is_over():
            break
        state = way[-1].state
        found = [state.find(rewrite.place) for rewrite in rewrites if rewrite is not None]
        way.append(way[-1].then(attempt, [match for match in found if match is not None]))
    return way


def _episodes(
    attempt: Attempt, settings: DecodingSettings, best_way_fn: Callable[[], Sequence[Waypoint]]
) -> Iterator[Episode]:
    start, share = Waypoint.start(attempt), settings.likely_share
    yield Episode(start, share)
    if settings.matches_at_once != 1:
        yield Episode(start, share**0.5)
    generator = torch.Generator().manual_seed(attempt.problem.seed)
    for _ in range(settings.num_samples):
        exponent, branch, where = torch.rand(3, generator=generator).tolist()
        way = best_way_fn() if branch < settings.branch_share else [start]
        yield Episode(way[int(where * len(way))], share**exponent, generator)


def _choose(
    eyes: Eyes,
    observations: Sequence[Observation],
    episodes: Sequence[Episode],
    settings: DecodingSettings,
) -> list[tuple[int, ...]]:
    """For each episode indices of matches that do not touch one another; none for STOP.

    The first is what the policy would do next, the mode without a generator and else a draw. The
    others follow by their likelihood, in which there is as much chance as in a draw.
    """
    distribution, _ = eyes.look(observations)
    modes = distribution.mode().tolist()
    chosen: list[tuple[int, ...]] = []
    for graph, log_probs in enumerate(
        distribution.log_probs_A.cpu().split(distribution.num_actions)
    ):
        generator, first = episodes[graph].generator, modes[graph]
        if generator is not None:
            log_probs = noisy(log_probs, settings.temperature, generator)
            first = int(log_probs.argmax())
        if first == len(log_probs) - 1:
            chosen.append(())
            continue
        share, most = episodes[graph].likely_share, settings.matches_at_once
        seen, probs = observations[graph], log_probs[:-1].numpy()
        chosen.append(choose(seen, probs, first, likely_share=share, most=most))
    return chosen
