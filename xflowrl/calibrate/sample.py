"""Rewrites of a network, spread over what they are estimated to cost."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xflowrl._engine import CostTable, RuleSet, State
from xflowrl.measurement.roofline import price_list

if TYPE_CHECKING:
    from xflowrl._engine import Graph
    from xflowrl.problem import Problem

_NUM_WALKS = 12
_MAX_STEPS = 60
_MAX_GROWTH = 2.0  # in nodes
_POOL = 3  # graphs priced for each that is chosen
_GREED = (0.0, 0.5, 0.9, 1.0)  # the share of a walk's steps that go to the cheapest graph


@dataclass(frozen=True)
class Sampling:
    """What is executed.

    Args:
        num_graphs: rewrites of each network, beside the original.
        max_s: limit of each of a graph's two measurements, seconds.
    """

    num_graphs: int = 50
    max_s: float = 1.5

    def __post_init__(self) -> None:
        if self.num_graphs < 2:
            raise ValueError(f"calibrate.num_graphs={self.num_graphs}: give at least 2")
        if not self.max_s > 0:
            raise ValueError(f"calibrate.max_s={self.max_s}: give a number above 0")


@dataclass(frozen=True)
class Rewritten:
    """A graph, the number of rewrites that lead to it, and its estimate by class of operators.

    Attributes:
        ms_by_class: what `CostTable.ms_by_class` says of it.
    """

    graph: Graph
    num_steps: int
    ms_by_class: dict[str, float]

    @property
    def estimated_ms(self) -> float:
        """The sum over its operators, without any correction."""
        return sum(self.ms_by_class.values())


def sample_rewrites(problem: Problem, num_graphs: int) -> list[Rewritten]:
    """The original, then at most `num_graphs` of its rewrites, by rising estimate.

    Random walks and steepest descents, and everything in between, lead to many graphs; of a part
    of these, which the problem's objective prices, some are taken at equal distances in the order
    of their estimates. Deterministic for the problem's seed, where the objective is.
    """
    rng = random.Random(problem.seed)
    visited = _visited(problem.model.graph, problem.rules, rng)
    original, *others = visited
    pool = rng.sample(others, min(len(others), _POOL * num_graphs))
    nothing = RuleSet.parse("(rules nothing)")
    priced = []
    for graph, num_steps in [original, *pool]:
        problem.objective.state(graph, nothing)
        ms_by_class = problem.objective.ms_by_class(graph)
        priced.append(Rewritten(graph, num_steps, ms_by_class))
    ordered = sorted(priced[1:], key=lambda rewritten: rewritten.estimated_ms)
    last = len(ordered) - 1
    chosen = {round(position) for position in np.linspace(0, last, num_graphs)} if ordered else ()
    return [priced[0], *(ordered[index] for index in sorted(chosen))]


def _visited(graph: Graph, rules: RuleSet, rng: random.Random) -> list[tuple[Graph, int]]:
    """Different graphs and their number of rewrites, the original first.

    Walks are led by a price list, for whose prices nothing need be timed.
    """
    prices = price_list("a100_fp32")
    table = CostTable.roofline(prices.flops_per_s, prices.bytes_per_s, prices.overhead_ms)
    start = State(graph, rules, table)
    visited = {start.hash: (start.graph, 0)}
    for walk in range(_NUM_WALKS):
        state, greed = start, _GREED[walk % len(_GREED)]
        for num_steps in range(1, _MAX_STEPS + 1):
            if not len(state) or state.num_nodes > _MAX_GROWTH * start.num_nodes + 10:
                break
            state = state.apply(_choose(state, greed, rng))
            visited.setdefault(state.hash, (state.graph, num_steps))
    return list(visited.values())


def _choose(state: State, greed: float, rng: random.Random) -> int:
    """The index of a match: the cheapest with probability `greed`, else any of any rule."""
    arrays = state.observe()
    if rng.random() < greed:
        return int(np.argmin(arrays["match_cost_ms"]))
    by_rule: dict[int, list[int]] = {}
    for index, rule in enumerate(arrays["match_rule"]):
        by_rule.setdefault(int(rule), []).append(index)
    return rng.choice(by_rule[rng.choice(sorted(by_rule))])
