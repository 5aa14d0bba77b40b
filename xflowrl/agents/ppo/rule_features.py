"""Rules as numbers: what a rule's text says, so that a new rule is no unknown word to a policy."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from xflowrl._engine import RuleSet

NUM_FEATURES = 512
"""Buckets: more than there are built-in rules, so that these can all be told apart."""

_TOKEN = re.compile(r'"[^"]*"|[()\[\]]|[^\s()\[\]"]+')
_VARIABLE = re.compile(r"[?@][^\s.*]+")
_WORD = re.compile(r"[^()\[\]]")
_LONGEST = 3  # tokens of an n-gram: an operator, the parenthesis, and whose operand it is
_SECTIONS = {"=>": "target", ":if": "guard", ":drops": "drops", ":opset": "opset"}


def rule_features(rules: RuleSet) -> torch.Tensor:
    """One row a rule, f32[R, F], of length 1.

    The row holds the n-grams of the rule's text up to three tokens, in source, target and guards
    apart, each in a bucket and with a sign that its hash gives (Weinberger et al. 2009). So rules
    that relate the same operators are neighbours. The rule's name says nothing, and variables are
    numbered, so that neither renaming changes the row. Deterministic, the same on every machine.
    """
    rows = np.zeros((len(rules), NUM_FEATURES), np.float32)
    for row, rule in zip(rows, rules.rules, strict=True):
        for gram in set(_grams(rule.text)):
            digest = zlib.crc32(gram.encode())
            row[digest % NUM_FEATURES] += 1.0 if digest >> 31 else -1.0
    lengths: np.ndarray = np.linalg.norm(rows, axis=1, keepdims=True)
    return torch.from_numpy(rows / np.maximum(lengths, 1.0))


def _grams(text: str) -> Iterator[str]:
    tokens = _TOKEN.findall(text)[3:-1]  # between "(rule NAME" and ")"
    numbers: dict[str, str] = {}
    section, since = "source", 0
    for at, token in enumerate(tokens):
        if token in _SECTIONS:
            section, since = _SECTIONS[token], at + 1
            continue
        tokens[at] = _VARIABLE.sub(
            lambda match: numbers.setdefault(match[0], f"{match[0][0]}{len(numbers)}"), token
        )
        for length in range(1, min(_LONGEST, at - since + 1) + 1):
            gram = tokens[at - length + 1 : at + 1]
            if any(_WORD.search(each) for each in gram):
                yield " ".join([section, *gram])


class RuleEncoder(nn.Module):
    """A linear map of the rules' features, in place of an embedding of their names.

    The features belong to the rule set in use, not to the weights: they are not saved.
    """

    features: torch.Tensor

    def __init__(self, features: torch.Tensor, hidden_size: int) -> None:
        super().__init__()
        self.register_buffer("features", features, persistent=False)
        self.weight = nn.Parameter(torch.randn(features.shape[1], hidden_size))

    def forward(self, rules_M: torch.Tensor) -> torch.Tensor:
        """Rule ids [M] -> [M, H]."""
        rules_R, of_M = rules_M.unique(return_inverse=True)  # a graph offers few of all rules
        return (self.features[rules_R] @ self.weight)[of_M]
