"""Is a rule sound? Tried on many random instances of its source, where every step is exact.

An instance is a graph built from the rule's own source pattern; the engine's matcher, guards and
`apply` rewrite it, and ONNX's reference evaluator computes both sides in double precision on
dyadic numbers. No rounding occurs, so the results must be *equal*. Functions that do
round (sigmoid, erf, ...) are compared twice: as they are, with a tight tolerance, and with an
arbitrary exact function in their place, so that equality cannot rest on saturation.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xflowrl._engine import CostTable, Graph, Rule, RuleSet, State
from xflowrl.operators import Operator, operator_of
from xflowrl.soundness.findings import Finding
from xflowrl.soundness.instances import Instance, Rejected, sample_instance
from xflowrl.soundness.pattern import favoured_literals, source_roots
from xflowrl.soundness.reference import check_valid, evaluate_graph
from xflowrl.soundness.sexpr import RuleParts, read_rule
from xflowrl.soundness.values import pool_of

Array = NDArray[Any]

# Of the last places of a double: a handful of roundings of values below 1e4.
_TOLERANCE = 1e-11
_MAX_MATCHES = 4  # tried per instance
_ATTEMPTS_PER_INSTANCE = 150


def check_rule(
    text: str, *, num_instances: int = 60, seed: int = 0, is_commutative: bool = True
) -> Finding:
    """Tries a rule on random instances of its source until it has applied `num_instances` times.

    Args:
        text: one rule, its `:for` variables replaced.
        is_commutative: the matcher tries both operand orders of Add and Mul.

    Deterministic for a seed. Raises ValueError for a text that is no rule.
    """
    rules = rule_set(read_rule(text).text, is_commutative=is_commutative)
    (rule,) = rules.rules
    num_applied = 0
    validated: set[str] = set()
    try:
        for trial in trials(rule, num_instances * _ATTEMPTS_PER_INSTANCE, seed):
            for result in trial.rewritten(rules):
                num_applied += 1
                difference = trial.difference(result) or _invalid(trial, result, validated)
                if difference:
                    return Finding(
                        rule.name, "unsound", num_applied, trial.report(result, difference)
                    )
            if num_applied >= num_instances:
                break
    except ValueError as error:
        return Finding(rule.name, "unchecked", num_applied, str(error))
    if num_applied == 0:
        return Finding(rule.name, "unchecked", 0, "no instance of its source let it apply")
    return Finding(rule.name, "sound", num_applied)


def rule_set(text: str, *, is_commutative: bool = True) -> RuleSet:
    """A set of the rules of a text without header."""
    return RuleSet.parse(f"(rules checked{' :commutative' if is_commutative else ''})\n{text}")


def trials(rule: Rule, max_attempts: int, seed: int = 0) -> Iterator[Trial]:
    """Instances of a rule's source, in an order fixed by the rule's name and the seed."""
    yield from trials_of(read_rule(rule.text), max_attempts, f"{seed} {rule.name}")


def trials_of(rule: RuleParts, max_attempts: int, seed: str) -> Iterator[Trial]:
    """Instances of the source of a rule taken apart."""
    roots, literals, pool = source_roots(rule), favoured_literals(rule), pool_of(rule)
    rng = random.Random(seed)
    for _ in range(max_attempts):
        try:
            yield Trial(sample_instance(roots, rng, literals, pool))
        except Rejected:
            continue


@dataclass
class Trial:
    """An instance, and the values of its outputs once they have been asked for."""

    instance: Instance
    _expected: dict[bool, list[Array]] = field(default_factory=dict)

    def rewritten(self, rules: RuleSet) -> list[Graph]:
        """What the rules make of the instance, one graph per match, at most a few."""
        state = self._state(rules)
        return [state.apply(match).graph for match in state.matches()[:_MAX_MATCHES]]

    def num_matches(self, rules: RuleSet) -> int:
        """How many places the rules apply at."""
        return len(self._state(rules).matches())

    def _state(self, rules: RuleSet) -> State:
        return State(self.instance.graph, rules, CostTable.roofline(1e12, 1e12, 0.0))

    def difference(self, result: Graph) -> str:
        """How the rewritten graph differs from the instance, or "" if it does not."""
        graph = self.instance.graph
        if list(result.outputs) != list(graph.outputs) or list(result.inputs) != list(graph.inputs):
            return "inputs or outputs were renamed"
        rows = [*_rows(graph), *_rows(result)]
        always_rounds = any(row.always_rounds for row in rows)
        is_inexact = any(row.is_inexact for row in _rows(graph))
        for replaced in (False, True) if is_inexact else (False,):
            tolerance = _TOLERANCE if always_rounds or (is_inexact and not replaced) else 0.0
            try:
                values = self._values(result, replaced)
            except (ValueError, TypeError, IndexError, RuntimeError) as error:
                return f"the result cannot be computed: {error}"
            for name, a, b in zip(
                graph.outputs, self._expected_values(replaced), values, strict=True
            ):
                if not _agree(a, b, tolerance):
                    return _describe_difference(name, a, b)
        return ""

    def _expected_values(self, replaced: bool) -> list[Array]:
        if replaced not in self._expected:
            self._expected[replaced] = self._values(self.instance.graph, replaced)
        return self._expected[replaced]

    def _values(self, graph: Graph, replaced: bool) -> list[Array]:
        instance = self.instance
        return evaluate_graph(graph, instance.feeds, instance.weights, replace_functions=replaced)

    def report(self, result: Graph, difference: str) -> str:
        """A counter-example to read: the instance, what became of it, where they differ."""
        before = self.instance.describe()
        after = Instance(result, self.instance.feeds, self.instance.weights).describe()
        return f"{difference}\nbefore:\n{_indented(before)}\nafter:\n{_indented(after)}"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _rows(graph: Graph) -> Iterator[Operator]:
    """What is known of a graph's operators and fused activations."""
    for node in graph.nodes():
        yield operator_of(node.op_type)
        yield operator_of(str(node.attributes.get("activation", "")))


def _agree(a: Array, b: Array, tolerance: float) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if tolerance == 0.0:
        return np.array_equal(a, b, equal_nan=True)
    return np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)


def _describe_difference(name: str, a: Array, b: Array) -> str:
    if a.dtype != b.dtype or a.shape != b.shape:
        return f"{name} is {a.dtype}{list(a.shape)} before and {b.dtype}{list(b.shape)} after"
    index = np.unravel_index(np.argmax(a != b), a.shape)
    place = [int(i) for i in index]
    return f"{name}{place} is {a[index]} before and {b[index]} after"


def _invalid(trial: Trial, result: Graph, validated: set[str]) -> str:
    """What ONNX's checker says of the result; asked once per element type."""
    instance = trial.instance
    dtype = instance.graph.tensor_type(instance.graph.inputs[0]).dtype
    if dtype in validated:
        return ""
    validated.add(dtype)
    reason = check_valid(result, instance.weights)
    return f"the result is no valid model: {reason}" if reason else ""
