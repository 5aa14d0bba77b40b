"""TASO's 151 rules under TASO's ids, and what some of them lack to be sound.

Every rule becomes text of the rule language. `load_taso` adds to an unsound one the condition under
which it is true; the rules of TASO's own search, for counting and comparison, are those of
`load_taso(path, faithful=True)`, and must not be exported.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

from xflowrl._engine import RuleSet
from xflowrl.taso.builtin_rules import builtin_rules
from xflowrl.taso.rule_file import FIRST_ID, TasoRule, place_of, read_taso_file
from xflowrl.taso.rule_text import rule_text

_log = logging.getLogger(__name__)

# Of the file in TASO's master f11782c: what `_digest` says of all its rules.
_SHIPPED_DIGEST = "819240d2"


@dataclass(frozen=True)
class Remedy:
    """What makes an unsound rule sound.

    Attributes:
        guards: conditions that the rule gets; none if its target is corrected.
        reason: when the rule is wrong as TASO has it.
        digest: of the rule that it is meant for, by `_digest`; empty for a built-in one.
    """

    guards: tuple[str, ...]
    reason: str
    digest: str = ""


def load_taso(path: str, faithful: bool = False) -> RuleSet:
    """Reads TASO's rule file and puts TASO's built-in rules before it: a rule's index is its id.

    Args:
        path: of the user's copy of TASO's `graph_subst.pb`.
        faithful: take the rules as TASO has them, unsound ones included, and match them on
            constants too. The set says so (`RuleSet.faithful`); what it rewrites must not be used.

    A comment inside each rule that is wrong as TASO has it says why.

    Raises:
        ValueError: the file cannot be read or is wrong; one line naming file, rule and operator.
    """
    file_rules = read_taso_file(path)
    remedies = dict(BUILTIN)
    guards = {} if faithful else {number: remedy.guards for number, remedy in BUILTIN.items()}
    texts = builtin_rules(epsilon=not faithful, guards=guards)
    for index, rule in enumerate(file_rules):
        remedy = _BY_DIGEST.get(_digest(rule))
        if remedy:
            remedies[FIRST_ID + index] = remedy
        extra = remedy.guards if remedy and not faithful else ()
        try:
            texts.append(rule_text(rule, _name(index, rule), extra))
        except ValueError as error:
            raise ValueError(f"{place_of(path, index)}, {error}") from None
    for number, remedy in remedies.items():
        comment = f"{'unsound' if faithful else 'remedied'}: {remedy.reason}"
        texts[number] = f"{texts[number][:-1]} ; {comment}\n)"
    header = "(rules taso :faithful)" if faithful else "(rules taso)"
    rules = RuleSet.parse("\n".join([header, *texts]), path)
    if not faithful and _digest(*file_rules) != _SHIPPED_DIGEST:
        _log.warning(
            "%s is not the rule file of TASO's master f11782c: a rule that is not in that one gets "
            "no guard, and has not been checked to be sound",
            path,
        )
    return rules


def _name(index: int, rule: TasoRule) -> str:
    """The id, what is matched, what it becomes: taso-112-relu-relu-concat-to-concat-relu."""
    old, new = ("-".join(operator.kind for operator in side) for side in (rule.source, rule.target))
    return f"taso-{FIRST_ID + index:03d}-{old}-to-{new}"


def _digest(*rules: TasoRule) -> str:
    """Eight hexadecimal digits that tell rules apart."""
    content = [
        [
            *((op.kind, op.inputs, sorted(op.parameters.items())) for op in rule.source),
            *((op.kind, op.inputs, sorted(op.parameters.items())) for op in rule.target),
            *rule.outputs,
        ]
        for rule in rules
    ]
    return hashlib.sha256(repr(content).encode()).hexdigest()[:8]


_GROUPS = "grouped convolutions are merged as if each output read all channels"
_PADS = "TASO takes any padding for SAME, so that two convolutions may pad differently"

_EPSILON = Remedy((), "the epsilon of the batch normalisation is left out")
_FACTOR = Remedy(("(= (value ?y) 1)",), "the factor is dropped: true for a factor of one only")
_ENLARGE = Remedy(
    (
        "(= ?g1 1)",
        "(= ?d0 ?d1)",
        "(= (- (take ?p1 2) (take ?p0 2)) "
        "(* ?d0 (/ (- (drop (shape ?w1) 2) (drop (shape ?w0) 2)) 2)))",
    ),
    f"{_GROUPS}; {_PADS}, and dilations are not looked at",
)

BUILTIN: dict[int, Remedy] = {
    **dict.fromkeys((1, 4, 7, 10), _EPSILON),
    **dict.fromkeys((2, 5, 8, 11), _FACTOR),
    **dict.fromkeys((12, 13), _ENLARGE),
}
"""Remedies of the built-in rules, by id."""


# In those that follow the types see to it that the second convolution's groups, and where the
# results must be of one size its dilations, are the first's.


def _siblings(digest: str, second: int = 1) -> Remedy:
    return Remedy(("(= ?g0 1)", f"(= ?p0 ?p{second})"), f"{_GROUPS}; {_PADS}", digest)


def _summands(digest: str) -> Remedy:
    guards = ("(= ?g0 1)", "(= ?p0 ?p1)", "(= ?d0 ?d1)")
    return Remedy(guards, f"{_GROUPS}; {_PADS}, and dilations are not looked at", digest)


def _side_by_side(digest: str) -> Remedy:
    guards = ("(= (* (dim ?v10 0) ?g1) (* (dim ?v11 0) ?g0))", "(= ?p0 ?p1)")
    reason = f"groups with unequal numbers of outputs do not make one convolution; {_PADS}"
    return Remedy(guards, reason, digest)


def _one_weight(digest: str, second: int = 1) -> Remedy:
    return Remedy((f"(= ?p0 ?p{second})",), _PADS, digest)


def _distribute(a: str, b: str, digest: str) -> Remedy:
    reason = "the convolution of a broadcast operand is not the broadcast convolution"
    return Remedy((f"(same-shape {a} {b})",), reason, digest)


FROM_FILE: dict[int, Remedy] = {
    77: _distribute("?v10", "?v11", "1e394438"),
    78: _distribute("?v7", "?v8", "1e5d4be7"),
    79: _distribute("?v10", "?v11", "eecd5ae3"),
    80: _distribute("?v7", "?v8", "de8668a0"),
    116: _summands("ef3f7259"),
    117: _side_by_side("f67b3b61"),
    118: _side_by_side("029f9b4f"),
    123: _summands("065fb285"),
    132: _one_weight("ec381f5b"),
    133: _one_weight("1325dc38"),
    134: _one_weight("40a8c570"),
    135: _one_weight("41197b93"),
    136: _one_weight("dfcae7e5", second=2),
    143: _siblings("f3c9acab"),
    144: _siblings("7cb5b1ba"),
    145: _siblings("33847828"),
    146: _siblings("87f7b37f"),
    147: _siblings("89823918", second=2),
    148: _side_by_side("b31192b2"),
    149: _side_by_side("65dd4ad6"),
}
"""Remedies of the shipped file's rules, by id."""

_BY_DIGEST = {remedy.digest: remedy for remedy in FROM_FILE.values()}
