"""What the table of operators holds for each of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


class NotSupported(RuntimeError):
    """A form of an operator that is not written in PyTorch; the message names the form."""


@dataclass(frozen=True)
class Operator:
    """An operator of ONNX as a function of tensors that leaves them as they are.

    The function takes the operands in order, None for one that is left out, and the attributes by
    their names; those that its signature lacks are not supported. `num_results`, where it asks
    for that, is how many results are wanted.

    Attributes:
        numbers: operands that it takes as Python numbers or lists: shapes, axes, limits.
        constants: operands that it takes as a Python number where they are a constant number.
        moved: attributes that later opsets have as operands, and the place of those.
        is_many: it returns a tuple of results.
        since: the first opset whose form it computes.
    """

    function: Callable[..., Any]
    numbers: tuple[int, ...] = ()
    constants: tuple[int, ...] = ()
    moved: Mapping[str, int] = field(default_factory=dict)
    is_many: bool = False
    since: int = 1

    @functools.cached_property
    def keywords(self) -> frozenset[str]:
        """The attributes that it knows; PyTorch's own functions are of operators without any."""
        if not inspect.isfunction(self.function):
            return frozenset()
        parameters = inspect.signature(self.function).parameters.values()
        return frozenset(p.name for p in parameters if p.kind == inspect.Parameter.KEYWORD_ONLY)
