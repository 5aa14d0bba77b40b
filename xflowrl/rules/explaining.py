"""Why does a rule not apply to a graph, or where does it?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from xflowrl._engine import CostTable, Graph, RuleSet, State
from xflowrl.soundness.instances import operators_of
from xflowrl.soundness.pattern import source_roots
from xflowrl.soundness.sexpr import read_rule


def explain(rules: RuleSet, graph: Graph) -> Iterator[str]:
    """Sentences about the only rule of a set: the tensors it would bind, and what keeps it off.

    Counted are places where a match begins; one node may begin several.
    """
    (rule,) = rules.rules
    state = State(graph, rules, CostTable.roofline(1.0, 1.0, 0.0))
    matches, reasons = state.matches(), state.explain(rule.name)
    yield f"{rule.name} applies to {graph.name} at {_places(len(matches))}."
    for match in matches:
        yield f"  It binds {', '.join(filter(None, match.tensors))}."
    for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
        yield f"  It does not at {_places(count)}: {_sentence(reason)}."
    if matches or reasons:
        return
    wanted = operators_of(source_roots(read_rule(rule.text)))
    missing = wanted - {node.op_type for node in graph.nodes() if not node.is_opaque}
    if missing:
        yield f"  The graph has no {' and no '.join(sorted(missing))} that a rule can match."
    else:
        yield f"  Its {' and '.join(sorted(wanted))} are nowhere connected as in the rule."


def _places(count: int) -> str:
    return "1 place" if count == 1 else f"{count} places"


def _sentence(reason: str) -> str:
    """A reason of the engine in words."""
    reason = re.sub(r"^guard fails: (.*)", r"the guard \1 does not hold", reason)
    reason = re.sub(r"^target: (.*)", r"the target cannot be made, for \1", reason)
    return re.sub(r"^(\w+): (\w+) (is|differs) ", r"\2 of \1 \3 ", reason)
