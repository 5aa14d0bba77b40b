"""Using a policy: greedy decoding, and sampled episodes, within a problem's budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from math import inf

import torch

from xflowrl._engine import Match, State
from xflowrl.agents.attempt import Attempt
from xflowrl.agents.greedy import descend, most_saving
from xflowrl.agents.ppo.choosing import choose, noisy
from xflowrl.agents.ppo.eyes import Eyes
from xflowrl.agents.ppo.policy import Policy
from xflowrl.agents.ppo.regions import Mosaic, Rewrite, regions
from xflowrl.env import Observation, Position, observe
from xflowrl.problem import Trace

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
    """

    num_samples: int = 4
    side_by_side: int = 8
    matches_at_once: int | None = None
    likely_share: float = 1e-5
    temperature: float = 5.0
    patience: int | None = 10
    descends: bool = True
    recombines: bool = True

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
    less, and sampled ones that take as much or less.
    Where costs are prices, the best regions of all of them are put together.

    An iteration is a look at a state whose matches are listed.
    """
    eyes = Eyes(policy)
    # In a large network rewrites take longer than looks, and the end of one episode is worth more.
    side_by_side = min(settings.side_by_side, max(1, _MAX_NODES // attempt.initial.num_nodes))
    waiting = _episodes(attempt, settings)
    running = [next(waiting)]
    mosaic = Mosaic()
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
            if settings.recombines and not attempt.problem.objective.is_real:
                _recombine(attempt, mosaic, episode)
        running = [episode for episode in running if not episode.is_over]
        running += islice(waiting, side_by_side - len(running))


def _recombine(attempt: Attempt, mosaic: Mosaic, episode: _Episode) -> None:
    """Puts the best regions together, if the episode has some and is not itself what comes out."""
    is_first = not mosaic.regions
    gained_ms = mosaic.add(regions(episode.rewrites, attempt.initial.num_created))
    if is_first or not gained_ms > attempt.noise_ms:
        return
    state, trace = attempt.initial, attempt.origin
    # The first of all regions at once, then the second, and so on.
    for rewrites in zip_longest(*(region.rewrites for region in mosaic.regions)):
        if attempt.is_over():
            return
        found = [state.find(rewrite.place) for rewrite in rewrites if rewrite is not None]
        matches = [match for match in found if match is not None]
        state, trace, _ = attempt.step_each(state, trace, matches)


def _episodes(attempt: Attempt, settings: DecodingSettings) -> Iterator[_Episode]:
    yield _Episode(attempt, settings.likely_share)
    if settings.matches_at_once != 1:
        yield _Episode(attempt, settings.likely_share**0.5)
    generator = torch.Generator().manual_seed(attempt.problem.seed)
    for _ in range(settings.num_samples):
        exponent = float(torch.rand((), generator=generator))
        yield _Episode(attempt, settings.likely_share**exponent, generator)


class _Episode:
    """A walk from the original graph; a greedy one without a generator."""

    def __init__(
        self, attempt: Attempt, likely_share: float, generator: torch.Generator | None = None
    ) -> None:
        self.is_over = False
        self.likely_share = likely_share
        self.generator = generator
        self.rewrites: list[Rewrite] = []
        self._state, self._trace = attempt.initial, attempt.origin
        self._best_cost_ms, self._num_idle = attempt.initial_cost_ms, 0

    def observe(self, attempt: Attempt) -> Observation:
        """What the policy sees here."""
        objective = attempt.problem.objective
        with attempt.meter.measuring(objective):
            priced = objective.complete(self._state)
        return observe(Position(priced, attempt.initial))

    def go_on(self, attempt: Attempt, actions: Sequence[int], patience: int | None) -> None:
        """Takes some matches of the state, by index, those that are still there; ends for none."""
        before = attempt.look(self._state)
        self._num_idle += 1
        self._take(attempt, [before.match(action) for action in actions])
        self.is_over = not actions or self._num_idle == patience

    def descend(self, attempt: Attempt) -> bool:
        """Takes the match that saves most until none does; True if a limit is reached."""
        return descend(attempt, self._state, self._trace, self._cheaper)

    def _cheaper(self, attempt: Attempt, state: State, trace: Trace) -> tuple[State, Trace] | None:
        match = most_saving(attempt, state)
        return None if match is None else self._take(attempt, [match])

    def _take(self, attempt: Attempt, matches: Sequence[Match]) -> tuple[State, Trace]:
        num_steps = len(self._trace.steps)
        self._state, self._trace, taken = attempt.step_each(self._state, self._trace, matches)
        self.rewrites += map(Rewrite.of, taken)
        least_ms = min((step.cost_ms for step in self._trace.steps[num_steps:]), default=inf)
        if least_ms < self._best_cost_ms - attempt.noise_ms:
            self._best_cost_ms, self._num_idle = least_ms, 0
        return self._state, self._trace


def _choose(
    eyes: Eyes,
    observations: Sequence[Observation],
    episodes: Sequence[_Episode],
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
