"""Does the soundness check catch a rule's mutants?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from xflowrl._engine import RuleSet
from xflowrl.soundness.check import Trial, rule_set, trials_of
from xflowrl.soundness.mutants import Mutant, mutants_of
from xflowrl.soundness.sexpr import read_rule


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant.

    Attributes:
        status: "caught" by a counter-example; "refused" by the engine: it is no rule, or types
            keep it from ever applying (where the rule itself does not); "same": where it applies
            it makes the very graph that the rule makes; "survived" otherwise.
        num_applied: how often it was applied and compared.
    """

    mutant: Mutant
    status: Literal["caught", "refused", "same", "survived"]
    num_applied: int


def try_mutants(
    text: str,
    *,
    num_instances: int = 30,
    num_attempts: int = 3000,
    seed: int = 0,
    is_known: Callable[[Mutant], bool] = lambda mutant: False,
) -> list[Outcome]:
    """Tries every mutant of a rule, ten times as long where it applies and has not been caught.

    Args:
        text: the rule, its `:for` variables replaced.
        num_instances: places where the rule applies on which a wrong target is tried.
        num_attempts: instances drawn for a missing guard or condition.
        is_known: mutants to leave out.
    """
    expr = read_rule(text)
    rules = rule_set(expr.text)
    seed_text = f"{seed} {expr.name}"
    applications = _Applications(trials_of(expr, num_instances * 600, seed_text), rules)
    outcomes = []
    for mutant in mutants_of(text):
        if is_known(mutant):
            continue
        try:
            mutated = rule_set(mutant.text)
        except ValueError:
            outcomes.append(Outcome(mutant, "refused", 0))
            continue
        if mutant.kind == "target":
            outcome = _try_target(mutant, mutated, applications.first(num_instances))
            if outcome.status == "survived":
                outcome = _try_target(mutant, mutated, applications.first(10 * num_instances))
        else:
            outcome = _try_condition(mutant, mutated, rules, num_attempts, seed_text)
            if outcome.status == "survived":
                outcome = _try_condition(mutant, mutated, rules, 10 * num_attempts, seed_text)
        outcomes.append(outcome)
    return outcomes


class _Applications:
    """Trials in which a rule applies, with the hashes of what it makes of them."""

    def __init__(self, source: Iterator[Trial], rules: RuleSet) -> None:
        self._source = source
        self._rules = rules
        self._found: list[tuple[Trial, frozenset[str]]] = []

    def first(self, count: int) -> list[tuple[Trial, frozenset[str]]]:
        while len(self._found) < count:
            trial = next(self._source, None)
            if trial is None:
                break
            right = frozenset(graph.merkle_hash for graph in trial.rewritten(self._rules))
            if right:
                self._found.append((trial, right))
        return self._found[:count]


def _try_target(
    mutant: Mutant, mutated: RuleSet, applications: Sequence[tuple[Trial, frozenset[str]]]
) -> Outcome:
    num_applied = num_other = 0
    for trial, right in applications:
        for result in trial.rewritten(mutated):
            num_applied += 1
            if result.merkle_hash in right:
                continue
            num_other += 1
            if trial.difference(result):
                return Outcome(mutant, "caught", num_applied)
    if num_applied == 0:
        return Outcome(mutant, "refused", 0)
    return Outcome(mutant, "survived" if num_other else "same", num_applied)


def _try_condition(
    mutant: Mutant, mutated: RuleSet, rules: RuleSet, num_attempts: int, seed: str
) -> Outcome:
    """Looks where the mutant applies and the rule does not."""
    num_applied = 0
    expr = read_rule(mutant.text)
    for trial in trials_of(expr, num_attempts, f"{seed} {mutant.change}"):
        if trial.num_matches(mutated) <= trial.num_matches(rules):
            continue
        for result in trial.rewritten(mutated):
            num_applied += 1
            if trial.difference(result):
                return Outcome(mutant, "caught", num_applied)
    if num_applied == 0 and mutant.kind == "condition":
        return Outcome(mutant, "refused", 0)
    return Outcome(mutant, "survived", num_applied)
