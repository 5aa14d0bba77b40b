"""Traces replayed without some of their steps."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xflowrl._engine import CostTable, State
from xflowrl.problem import Problem, Step

if TYPE_CHECKING:
    from xflowrl._engine import Match


# Replaying asks for none; a formula is the quickest to answer.
_NO_PRICES = CostTable.roofline(1.0, 1.0, 0.0)


@dataclass(frozen=True)
class Recording:
    """What a sequence of steps does from a problem's graph on.

    Attributes:
        origin: the state before the first step, under the rules of the steps alone.
        final: the state after the last one.
        steps: all of them, also those that do not match when it is their turn.
        made: the names that each gives to new tensors; none if it does not match.
    """

    origin: State
    final: State
    steps: tuple[Step, ...]
    made: tuple[tuple[str, ...], ...]


def record(
    problem: Problem, steps: Sequence[Step], *, deadline_s: float = float("inf")
) -> Recording:
    """Replays steps, those that match when it is their turn. Linear in their number.

    Raises:
        TimeoutError: `deadline_s` of `time.monotonic` has passed.
    """
    walk = states(problem, steps, deadline_s=deadline_s)
    state = origin = next(walk)
    made = list[tuple[str, ...]]()
    num_made = len(origin.graph.made_names())
    for state in walk:
        made.append(tuple(state.graph.made_names(num_made)))
        num_made += len(made[-1])
    return Recording(origin, state, tuple(steps), tuple(made))


def states(
    problem: Problem, steps: Sequence[Step], *, deadline_s: float = float("inf")
) -> Iterator[State]:
    """Yields the state before the first step, under the rules of the steps alone, and after each.

    A step that does not match when it is its turn leaves the state as it is.

    Raises:
        TimeoutError: `deadline_s` of `time.monotonic` has passed.
    """
    used = {step.rule for step in steps}
    rules = problem.rules.select([r.name for r in problem.rules.rules if r.name in used])
    state = State(problem.model.graph, rules, _NO_PRICES)
    yield state
    for step in steps:
        match = _match(state, step, deadline_s)
        state = state if match is None else state.apply(match)
        yield state


def replay_some(
    recording: Recording, taken: Collection[int], *, deadline_s: float = float("inf")
) -> tuple[State, list[Step]]:
    """The state that some of the steps lead to, and those that match, in order.

    Names of new tensors are numbered, so that without a step the later ones have others: the steps
    that are returned bind those names. A step that binds what a missing one makes falls away.

    Args:
        taken: indices of the steps.

    Raises:
        TimeoutError: `deadline_s` of `time.monotonic` has passed.
    """
    missing = {name for names in recording.made for name in names}
    state, kept, renamed = recording.origin, list[Step](), dict[str, str]()
    num_made = len(state.graph.made_names())
    for index in sorted(taken):
        step = recording.steps[index]
        if any(name in missing and name not in renamed for name in step.tensors):
            continue
        step = replace(step, tensors=tuple(renamed.get(name, name) for name in step.tensors))
        match = _match(state, step, deadline_s)
        if match is None:
            continue
        state = state.apply(match)
        kept.append(step)
        made = state.graph.made_names(num_made)
        renamed |= dict(zip(recording.made[index], made, strict=False))
        num_made += len(made)
    return state, kept


def _match(state: State, step: Step, deadline_s: float) -> Match | None:
    if time.monotonic() > deadline_s:
        raise TimeoutError
    return state.find(step.rule, step.tensors)
