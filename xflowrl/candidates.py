"""A few states that differ in what they rewrite, made from what a search found.

Costs that are sums of single operators do not tell which merges pay in a runtime, so that a few
states are measured for real: what was found, without what regroups operators, with folds alone,
with some of the merges, or with more of them. What a left-out merge leaves is completed by steepest
descent without rules that regroup, which came out cheaper than the same descent from the original.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from xflowrl.agents.greedy import Greedy
from xflowrl.onnx_io import Model
from xflowrl.problem import Problem, Result, Step, StopReason
from xflowrl.replaying import Recording, record, replay_some

# What the rules of a file do, in words; those of other files "apply".
_KINDS = {
    "merging.rules": "merges",
    "exchange.rules": "moves",
    "algebra.rules": "rearranges",
    "folding.rules": "folds",
    "elimination.rules": "removes",
    "fusion.rules": "recognises",
}
_ENLARGES, _FUSES, _APPLIES = "enlarges", "fuses", "applies"

# Kinds of which it depends on the runtime whether they pay, and those that nearly always do.
_REGROUPING = frozenset({"merges", _ENLARGES, "moves", "rearranges", _APPLIES})
_FOLDING = frozenset({"folds", "removes", _FUSES})
_PLAIN = _FOLDING | {"recognises"}

_SHARES = (0.8, 0.7, 0.5)  # of the groups of merges, drawn
_LITTLE = 0.005  # of the original's cost: what a merge that the costs do not like may add


@dataclass(frozen=True)
class Candidate:
    """A state that may be delivered.

    Attributes:
        model: what the steps lead to.
        takes: in words, what the steps do, of all that any candidate does.
        cost_ms: of the problem's objective.
        is_found: it is what the search found, as it is.
    """

    steps: tuple[Step, ...]
    model: Model
    takes: str
    cost_ms: float
    is_found: bool = False


@dataclass(frozen=True)
class _Choice:
    """Some of the steps, by index, and the kinds of rules that may complete them."""

    taken: frozenset[int]
    kinds: frozenset[str]


def diverse(
    result: Result, problem: Problem, num: int, *, deadline_s: float = float("inf")
) -> Iterator[Candidate]:
    """At most `num` states; the first is what was found, if anything was.

    Then come it without what regroups operators, folds alone, and of the other choices always the
    one that is farthest from those before (Gonzalez 1985, farthest-first traversal). Of equal
    states one is taken. Deterministic for the problem's seed, but for `deadline_s` of
    `time.monotonic`: what takes longer is left out.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    found = result.trace.steps
    further = _further_merges(result, problem, deadline_s) if num > 1 else ()
    steps, kind_of_rule = (*found, *further), _kinds(problem)
    kinds = [kind_of_rule[step.rule] for step in steps]
    total = Counter(kinds)
    if found:
        takes = _in_words(Counter(kinds[: len(found)]), total)
        yield Candidate(found, result.model, takes, result.cost_best_ms, is_found=True)
    num_left = num - bool(found)
    if num == 1:  # the search's own, or none
        return
    try:
        recording = record(problem, steps, deadline_s=deadline_s)
        seen = {recording.origin.graph.merkle_hash, result.model.graph.merkle_hash}
        groups = _groups(recording, kinds)
        choices = _choices(groups, kinds, _saved_ms(result, steps), problem.seed)
        for choice in _farthest_first(choices, frozenset(range(len(found))), groups, kinds):
            made = _made(problem, recording, choice, kind_of_rule, total, deadline_s)
            if made.model.graph.merkle_hash not in seen:
                seen.add(made.model.graph.merkle_hash)
                yield made
                num_left -= 1
            if not num_left:
                return
    except TimeoutError:
        return


def _kinds(problem: Problem) -> dict[str, str]:
    """What each rule does, by its name."""
    kinds: dict[str, str] = {}
    for rule in problem.rules.rules:
        kind = _KINDS.get(rule.filename, _APPLIES)
        if kind == "merges" and rule.name.endswith("-enlarge"):
            kind = _ENLARGES
        if kind == "recognises" and rule.name.endswith("-fuse"):
            kind = _FUSES
        kinds[rule.name] = kind
    return kinds


def _further_merges(result: Result, problem: Problem, deadline_s: float) -> tuple[Step, ...]:
    """Merges of siblings that add a little to the cost, the cheapest first.

    They leave a Split, which is priced as an operator, and which a compiler makes a view.
    """
    kinds = _kinds(problem)
    names = [name for name, kind in kinds.items() if kind == "merges" and "siblings" in name]
    if not names:
        return ()
    objective, steps = problem.objective, list[Step]()
    until_s = time.monotonic() + 0.25 * (deadline_s - time.monotonic())  # the rest is for replays
    state = objective.state(result.model.graph, problem.rules.select(names))
    while time.monotonic() < until_s:
        matches = objective.matches(state)
        match = min(matches, key=lambda match: match.cost_difference_ms, default=None)
        if match is None or match.cost_difference_ms > _LITTLE * result.cost_initial_ms:
            break
        state = state.apply(match)
        steps.append(Step(match.rule, tuple(match.tensors), state.cost.ms))
    return tuple(steps)


def _groups(recording: Recording, kinds: Sequence[str]) -> list[frozenset[int]]:
    """The steps that regroup operators, with what needs their tensors; groups need no other."""
    group_of = list(range(len(kinds)))
    maker: dict[str, int] = {}  # of the tensors that a group makes
    members: dict[int, set[int]] = {}

    def first(index: int) -> int:
        while group_of[index] != index:
            group_of[index] = group_of[group_of[index]]
            index = group_of[index]
        return index

    for index, (step, made) in enumerate(zip(recording.steps, recording.made, strict=True)):
        needed = {first(maker[name]) for name in step.tensors if name in maker}
        if needed or kinds[index] in _REGROUPING:
            members[index] = {index}.union(*(members.pop(other) for other in needed))
            for other in needed:
                group_of[other] = index
            maker |= dict.fromkeys(made, index)
    return sorted(map(frozenset, members.values()), key=min)


def _saved_ms(result: Result, steps: Sequence[Step]) -> list[float]:
    """What each step took off the cost; 0 where it is not known."""
    costs_ms = [result.cost_initial_ms, *(step.cost_ms for step in steps)]
    saved = (before - after for before, after in pairwise(costs_ms))
    return [difference if math.isfinite(difference) else 0.0 for difference in saved]


def _choices(
    groups: Sequence[frozenset[int]], kinds: Sequence[str], saved_ms: Sequence[float], seed: int
) -> list[_Choice]:
    """Parts of the steps; the first two are always tried."""
    steps, generator = frozenset(range(len(kinds))), random.Random(seed)
    by_saving = sorted(groups, key=lambda group: sum(saved_ms[index] for index in group))

    def of_kinds(wanted: Collection[str]) -> _Choice:
        taken = (index for index, kind in enumerate(kinds) if kind in wanted)
        return _Choice(frozenset(taken), _PLAIN & frozenset(wanted))

    def without(dropped: Sequence[frozenset[int]]) -> _Choice:
        return _Choice(steps.difference(*dropped), _PLAIN)

    parts = [without(by_saving[: len(groups) // 2]), without(())]
    for share in _SHARES:
        parts.append(without(generator.sample(groups, round((1 - share) * len(groups)))))
    doubtful = sorted({*kinds} - _FOLDING)
    one_kind_less = [of_kinds({*kinds, *_PLAIN} - {kind}) for kind in doubtful]
    return [of_kinds(_PLAIN), of_kinds(_FOLDING), *parts, *one_kind_less]


def _farthest_first(
    choices: Sequence[_Choice],
    found: frozenset[int],
    groups: Sequence[frozenset[int]],
    kinds: Sequence[str],
) -> Iterator[_Choice]:
    """The first two choices, then always the one that is farthest from what was and all before.

    Far means: by the share of the groups, and of each kind by the share of its steps.
    """
    of_kind = [frozenset(i for i, k in enumerate(kinds) if k == kind) for kind in {*kinds}]

    def distance(taken: frozenset[int], other: frozenset[int]) -> float:
        differing = taken ^ other
        by_group = sum(len(differing & group) / len(group) for group in groups)
        by_kind = sum(len(differing & steps) / len(steps) for steps in of_kind)
        return by_group / max(len(groups), 1) + by_kind

    yield from choices[:2]
    before, left = [found, *(choice.taken for choice in choices[:2])], list(choices[2:])
    while left:
        nearest = [min(distance(choice.taken, other) for other in before) for choice in left]
        if max(nearest) == 0:
            return
        farthest = left.pop(nearest.index(max(nearest)))
        before.append(farthest.taken)
        yield farthest


def _made(
    problem: Problem,
    recording: Recording,
    choice: _Choice,
    kind_of_rule: Mapping[str, str],
    total: Counter[str],
    deadline_s: float,
) -> Candidate:
    """Replays a choice and completes it."""
    state, steps = replay_some(recording, choice.taken, deadline_s=deadline_s)
    names = [name for name, kind in kind_of_rule.items() if kind in choice.kinds]
    left_s = max(0.0, deadline_s - time.monotonic())
    rest = replace(
        problem,
        model=problem.model.with_graph(state.graph),
        rules=problem.rules.select(names),
        budget=replace(problem.budget, max_iterations=None, max_seconds=left_s),
        checkpoint=None,
    )
    (completed,) = Greedy().optimize([rest], lambda metrics, step: None)
    if completed.stop_reason == StopReason.INTERRUPTED:
        raise KeyboardInterrupt
    steps.extend(completed.trace.steps)
    counts = Counter(kind_of_rule[step.rule] for step in steps)
    takes = _in_words(counts, total)
    return Candidate(tuple(steps), completed.model, takes, completed.cost_best_ms)


def _in_words(counts: Counter[str], total: Counter[str]) -> str:
    """For example "merges 7 of 10, folds 53". Activations are fused in files by the runtime."""
    kinds = [*_KINDS.values(), _ENLARGES, _APPLIES]
    return ", ".join(
        f"{kind} {counts[kind]}" + (f" of {total[kind]}" if counts[kind] < total[kind] else "")
        for kind in kinds
        if total[kind] or counts[kind]
    )
