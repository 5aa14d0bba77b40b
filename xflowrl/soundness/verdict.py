"""What the soundness checker says about a rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Verdict:
    """What is known about a rule.

    Attributes:
        status: "sound" as far as tried; "unsound"; "unchecked" if it never applied, or speaks of
            something for which no instances can be drawn.
        num_applied: how often it was applied and compared.
        detail: a counter-example with shapes and attributes, or why nothing could be tried.
    """

    rule: str
    status: Literal["sound", "unsound", "unchecked"]
    num_applied: int
    detail: str = ""
