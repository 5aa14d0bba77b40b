"""What was rewritten, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from xflowrl.operators import OPERATORS
from xflowrl.problem import Step

# What the rules of a file do to the operator that a rule is about.
_VERBS = {
    "folding.rules": "folded",
    "merging.rules": "merged",
    "exchange.rules": "moved",
    "algebra.rules": "rewritten",
    "elimination.rules": "removed",
}
# They take the others in: "Mul-Conv-fold" is about the Mul.
_PRODUCTS = ("Conv", "MatMul", "Gemm")


def in_words(steps: Sequence[Step], files: Mapping[str, str]) -> str:
    """For example "53 BatchNormalization folded, 4 Conv merged": the most frequent first.

    Activations that are fused are left out: files have no operator for that.

    Args:
        files: the file of each rule, by its name.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for step in steps:
        operators = [part for part in step.rule.split("-") if part in OPERATORS]
        others = [part for part in operators if part not in _PRODUCTS]
        file = files.get(step.rule, "")
        if file == "fusion.rules":
            if step.rule.endswith("-fuse"):
                continue
            counts[step.rule.split("-")[0], "recognised"] += 1
        elif not operators:
            counts[f'"{step.rule}"', "applied"] += 1
        else:
            is_folding = file == "folding.rules" and others
            subject = others[0] if is_folding else operators[0]
            counts[subject, _VERBS.get(file, "rewritten")] += 1
    return ", ".join(f"{n} {subject} {verb}" for (subject, verb), n in counts.most_common())
