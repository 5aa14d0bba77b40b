"""One search: episodes through a tree, each of whose moves some simulations decide.

A simulation follows PUCT to an edge that was not taken yet, takes its matches, and asks the policy
once what the new state is worth and what it would do there: no rollouts. Then the move with the
highest Q is made, and so on to the end of the episode. What was learned stays in the tree. The
first episode has one simulation a move: it is the policy's own greedy one, to be there soon.

STOP is no edge. The best state seen is the answer, so to stop is free at every state and a visit to
it would tell nothing; but where the policy rather stops than goes on, an episode ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from xflowrl._engine import State
from xflowrl.agents.attempt import Attempt
from xflowrl.agents.greedy import descend, most_saving
from xflowrl.agents.mcts.tree import Edge, Node, Path, Tree
from xflowrl.agents.ppo.choosing import choose, noisy
from xflowrl.agents.ppo.eyes import Eyes
from xflowrl.agents.ppo.policy import Policy
from xflowrl.env import Observation, Position, observe
from xflowrl.problem import Trace

_MAX_PROPOSALS = 32  # of sets, at one state
_IDLE_MOVES = 4  # without a lower cost end an episode
_LOG_HALF = -0.6931471805599453
_LEAST = -1.0  # what a graph saves that cannot be executed, or is more than twice as slow
_KEPT = ("node_op", "match_rule", "match_node_ptr", "match_node")


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How a policy's answers are used in a search.

    What the value head was trained to predict is the return of an episode: shares of the original's
    cost saved, less `step_cost` mean nodes a match, discounted by `gamma` a match. In the tree too
    a match is charged and discounted so, or deeper states would look better for being deeper alone.

    Attributes:
        c: weight of the prior against Q, which is 0 to 1 within the tree; higher explores more.
        simulations: before each move.
        side_by_side: simulations that share a pass of the network.
        widening: a state visited n times has up to n ** widening edges, at least one.
        matches_at_once: of an edge, which do not touch one another; None: any number. 1: an edge is
            one match, the likeliest first, with its own likelihood as prior.
        likely_share: rules and matches at least so many times as likely as the likeliest are taken
            along with it.
        temperature: where edges are drawn, the logarithms of likelihoods are divided by so much.
        value: what a new state is worth. "head": what the policy expects; "saved": what is saved so
            far; "descent": what is saved once the matches that lower the cost are taken.
        gamma, step_cost: as the policy was trained with; without the head nothing is charged.
        descends: an episode ends with the matches that lower the cost, the best first.
    """

    c: float = 1.0
    simulations: int = 2
    side_by_side: int = 4
    widening: float = 0.5
    matches_at_once: int | None = None
    likely_share: float = 1e-5
    temperature: float = 2.0
    value: Literal["head", "saved", "descent"] = "head"
    gamma: float = 0.995
    step_cost: float = 0.02
    descends: bool = True

    def __post_init__(self) -> None:
        for name in ("simulations", "side_by_side", "matches_at_once"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"agent.{name} is {value}: give at least 1")
        for name in ("c", "step_cost"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"agent.{name} is {getattr(self, name)}: give at least 0")
        for name in ("widening", "likely_share", "gamma"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(
                    f"agent.{name} is {getattr(self, name)}: give a number above 0, up to 1"
                )
        if not self.temperature > 0:
            raise ValueError(f"agent.temperature is {self.temperature}: give a number above 0")


@dataclass(frozen=True)
class Place:
    """A state, how it was reached, and whether the policy would rather stop there."""

    state: State
    trace: Trace
    stops: bool


Leaf: TypeAlias = tuple[State, Trace, int]
"""A new state, how it was reached, and how deep it lies."""


class Over(Exception):
    """A limit of the budget is reached."""


class Search:
    """A search of one attempt. Deterministic in the problem's seed."""

    def __init__(self, attempt: Attempt, policy: Policy, settings: SearchSettings) -> None:
        has_head = settings.value == "head"
        self._attempt = attempt
        self._settings = settings
        self._discount = settings.gamma if has_head else 1.0
        nodes = max(1, attempt.initial.num_nodes)
        self._charge = settings.step_cost / nodes if has_head else 0.0
        self._tree: Tree[Place] = Tree(
            c=settings.c, widening=settings.widening, discount=self._discount
        )
        self._nodes: dict[str, Node[Place]] = {}
        self._eyes = Eyes(policy)
        self._generator = torch.Generator().manual_seed(attempt.problem.seed)

    def run(self) -> None:
        """Episodes until the budget is spent, or all is closed."""
        attempt = self._attempt
        try:
            (root,) = self._look([(attempt.initial, attempt.origin, 0)])
            simulations = 1
            while not root.is_closed:
                self._play(root, simulations)
                simulations = self._settings.simulations
        except Over:
            return

    def _play(self, root: Node[Place], simulations: int) -> None:
        """One episode; what it ends with is closed."""
        path: Path[Place] = []
        node = root
        while not self._is_end(path, node):
            self._simulate(path, node, simulations)
            edge = self._tree.move(node)
            if edge is None or edge.child is None:
                break
            path = [*path, (node, edge)]
            node = edge.child
        if self._settings.descends:
            ends = [max([here for here, _ in path], key=lambda n: n.saved, default=node), node]
            for end in dict.fromkeys(ends):
                self._descend(end.place.state, end.place.trace)
        node.is_closed = node is not root or node.is_closed
        if self._attempt.is_over():
            raise Over

    def _is_end(self, path: Path[Place], node: Node[Place]) -> bool:
        saved = [*(here.saved for here, _ in path), node.saved]
        before, lately = saved[:-_IDLE_MOVES], saved[-_IDLE_MOVES:]
        is_idle = bool(before) and max(lately) <= max(before)
        return node.is_closed or (bool(path) and (is_idle or node.place.stops))

    def _simulate(self, path: Path[Place], node: Node[Place], simulations: int) -> None:
        """Simulations from a node, to which `path` led."""
        tree, num_begun = self._tree, 0
        while num_begun < simulations and not node.is_closed:
            waiting: list[tuple[Path[Place], float]] = []
            leaves: list[Leaf] = []
            while num_begun < simulations and len(leaves) < self._settings.side_by_side:
                way = tree.select(path, node)
                if way is None:
                    break
                num_begun += 1
                state, trace, gain = self._take(*way[-1])
                known = self._nodes.get(state.hash)
                if known is None:
                    waiting.append((way, gain))
                    leaves.append((state, trace, way[-1][0].depth + 1))
                    continue
                tree.link(*way[-1], known, gain=gain)
                tree.back_up(way, known.worth)
                if self._attempt.is_over():
                    raise Over
            for (way, gain), child in zip(waiting, self._look(leaves), strict=True):
                tree.link(*way[-1], child, gain=gain)
                tree.back_up(way, child.worth)

    def _take(self, node: Node[Place], edge: Edge[Place]) -> tuple[State, Trace, float]:
        """Takes the matches of an edge, those that are still there, and what that gains."""
        before, saved, gain = node.place, node.saved, 0.0
        priced = self._attempt.problem.objective.complete(before.state)
        matches = [priced.match(action) for action in edge.matches]
        state, trace, _ = self._attempt.step_each(before.state, before.trace, matches)
        for count, step in enumerate(trace.steps[len(before.trace.steps) :]):
            saved_before, saved = saved, self._saved(step.cost_ms)
            gain += self._discount**count * (saved - saved_before - self._charge)
        return state, trace, gain

    @torch.inference_mode()
    def _look(self, leaves: Sequence[Leaf]) -> list[Node[Place]]:
        """The nodes of new states: one pass of the network for all, an iteration for each.

        Raises:
            Over: a limit is reached.
        """
        if not leaves:
            return []
        attempt, objective = self._attempt, self._attempt.problem.objective
        with attempt.meter.measuring(objective):
            priced = [objective.complete(state) for state, _, _ in leaves]
        observations = [observe(Position(state, attempt.initial)) for state in priced]
        distribution, values = self._eyes.look(observations)
        log_probs = distribution.log_probs_A.cpu().split(distribution.num_actions)
        ranks = distribution.rank_M.cpu().split([n - 1 for n in distribution.num_actions])
        nodes = []
        for index, (state, trace, depth) in enumerate(leaves):
            attempt.look(state)
            propose_fn = self._proposer(observations[index], log_probs[index][:-1], ranks[index])
            place = Place(state, trace, stops=float(log_probs[index][-1]) > _LOG_HALF)
            if attempt.over(num_states=len(self._nodes) + 1):
                raise Over
            saved, worth = self._saved(self._attempt.cost_ms(state)), max(0.0, float(values[index]))
            if self._settings.value != "head":
                worth = 0.0
            if self._settings.value == "descent":
                worth = self._descend(state, trace) - saved
            node = Node(place, depth, saved, worth, propose_fn)
            nodes.append(self._nodes.setdefault(state.hash, node))
        return nodes

    def _saved(self, cost_ms: float) -> float:
        """Share of the original's cost."""
        return max(_LEAST, 1.0 - cost_ms / self._attempt.initial_cost_ms)

    def _descend(self, state: State, trace: Trace) -> float:
        """What is saved where no match saves any more.

        Raises:
            Over: a limit is reached.
        """
        ends = [state]

        def cheaper(attempt: Attempt, state: State, trace: Trace) -> tuple[State, Trace] | None:
            match = most_saving(attempt, state)
            if match is None:
                return None
            after = attempt.step(state, trace, match)
            ends.append(after[0])
            return after

        if descend(self._attempt, state, trace, cheaper):
            raise Over
        return self._saved(min(map(self._attempt.cost_ms, ends)))

    def _proposer(
        self, observation: Observation, log_probs: torch.Tensor, rank: torch.Tensor
    ) -> Callable[[], Edge[Place] | None]:
        """Proposes edges at one state: first what greedy decoding would take, then draws."""
        settings, generator = self._settings, self._generator
        seen = {name: observation[name] for name in _KEPT}
        count = 0

        def draw() -> Edge[Place] | None:
            nonlocal count
            count += 1
            if count > _MAX_PROPOSALS or not len(log_probs):
                return None
            first, drawn, share = int(rank.argmax()), log_probs, settings.likely_share
            if count > 1:
                drawn = noisy(log_probs, settings.temperature, generator)
                first = int(drawn.argmax())
                share **= float(torch.rand((), generator=generator))
            most = settings.matches_at_once
            return Edge(choose(seen, drawn.numpy(), first, likely_share=share, most=most), 1.0)

        if settings.matches_at_once != 1:
            return draw
        order = log_probs.argsort(descending=True, stable=True).tolist()
        singles = iter([Edge[Place]((match,), float(log_probs[match].exp())) for match in order])
        return lambda: next(singles, None)
