"""Does the soundness check catch a rule's mutants?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from xflowrl._engine import RuleSet
from xflowrl.soundness.check import Trial, rule_set, trials_of
from xflowrl.soundness.mutants import Mutant, mutants_of
from xflowrl.soundness.sexpr import read_rule

EQUIVALENT = (
    (
        ".*siblings-merge|.*-enlarge",
        r"without guard \((> \?g 1|not \(= \(drop \(shape \?v\) 2\) .*)\)",
        "the guard only keeps off what a simpler rule does: one group, equal kernels",
    ),
    (
        ".*",
        r".*: (Reshape|Expand|Squeeze) left out",
        "where the types still agree it moves no element",
    ),
    (
        "MatMul-.*|Sub-MatMul-fuse",
        r"without guard \(float .*\)",
        "runtimes lack a Gemm of integers, which is no less true",
    ),
    (".*", r".*: Concat left out", "where the types still agree it has one operand"),
    ("Sum-of-Sum", r".* exchanged", "a sum has no order"),
    (
        "(MatMul|Gemm)-Transpose-.*",
        r".*: (1 is one more|\(- 1 \?t\) turned round)",
        "any number but 0 asks for the transpose",
    ),
    (
        "(Split|Concat)-of-(Concat|Split)",
        r".*: :axis need not be \?k",
        "types agree only if there is one part, which any axis will do for",
    ),
    (
        "Conv-groups-merge",
        r".*\(2, 1, 4\): 1 is one more",
        "in row-major order both axes join the same elements: between them lies a 1",
    ),
    (
        "Conv-grouped-.*siblings-merge",
        r".*\(1, 1, 3, 2, 2\): 2 is one more",
        "types agree only if the dimension left out is 1",
    ),
    (
        "ConvTranspose-.*",
        r".*\(2, 1, 1, 3, (1\): .* reversed|2, 2\): 1 is one more)",
        "types agree only for one group, which is all rows, or as many as rows in each",
    ),
    (
        "LayerNormalization-recognise-scaled",
        r"without guard \(= \(shape \?b\) .*",
        "runtimes want a bias as large as the scale, which is no less true",
    ),
    (
        "(Layer|RMS)Normalization-recognise-.*",
        r".*\(2, 3, 2, 2\): 0 is one more",
        "ones along fewer axes broadcast to the same",
    ),
)
"""Mutants no less true than the rule: pattern of the rule's name, of the change, the reason."""


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant.

    Attributes:
        status: "caught" by a counter-example; "refused" by the engine: it is no rule, or types
            keep it from ever applying (where the rule itself does not); "same": where it applies
            it makes the very graph that the rule makes; "equivalent": not tried, for it is in
            `EQUIVALENT`; "survived" otherwise.
        num_applied: how often it was applied and compared.
    """

    mutant: Mutant
    status: Status
    num_applied: int = 0


Status = Literal["caught", "refused", "same", "equivalent", "survived"]


def try_mutants(
    text: str,
    *,
    num_instances: int = 30,
    num_attempts: int = 3000,
    seed: int = 0,
    is_commutative: bool = True,
) -> list[Outcome]:
    """Tries every mutant of a rule, ten times as long where it applies and has not been caught.

    Args:
        text: the rule, its `:for` variables replaced.
        num_instances: places where the rule applies on which a wrong target is tried.
        num_attempts: instances drawn for a missing guard or condition.
        is_commutative: as in `check_rule`.

    Deterministic for a seed. Raises ValueError for a text that is no rule.
    """
    rule = read_rule(text)
    rules = rule_set(rule.text, is_commutative=is_commutative)
    seed_text = f"{seed} {rule.name}"
    applications = _Applications(trials_of(rule, num_instances * 600, seed_text), rules)

    def outcome_of(mutant: Mutant) -> Outcome:
        if _is_equivalent(mutant):
            return Outcome(mutant, "equivalent")
        try:
            mutated = rule_set(mutant.text, is_commutative=is_commutative)
        except ValueError:
            return Outcome(mutant, "refused")
        for effort in (1, 10):
            if mutant.kind == "target":
                outcome = _try_target(mutant, mutated, applications.first(effort * num_instances))
            else:
                most = effort * num_attempts
                outcome = _try_condition(mutant, mutated, rules, most, seed_text)
            if outcome.status != "survived":
                break
        return outcome

    return [outcome_of(mutant) for mutant in mutants_of(text)]


def _is_equivalent(mutant: Mutant) -> bool:
    return any(
        re.fullmatch(name, mutant.rule) and re.fullmatch(change, mutant.change)
        for name, change, _ in EQUIVALENT
    )


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
        return Outcome(mutant, "refused")
    return Outcome(mutant, "survived" if num_other else "same", num_applied)


def _try_condition(
    mutant: Mutant, mutated: RuleSet, rules: RuleSet, num_attempts: int, seed: str
) -> Outcome:
    """Looks where the mutant applies and the rule does not."""
    num_applied = 0
    for trial in trials_of(read_rule(mutant.text), num_attempts, f"{seed} {mutant.change}"):
        if trial.num_matches(mutated) <= trial.num_matches(rules):
            continue
        for result in trial.rewritten(mutated):
            num_applied += 1
            if trial.difference(result):
                return Outcome(mutant, "caught", num_applied)
    if num_applied == 0 and mutant.kind == "condition":
        return Outcome(mutant, "refused")
    return Outcome(mutant, "survived", num_applied)
