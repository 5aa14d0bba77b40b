"""Traps: places where every first step towards the best rewrite makes the network dearer.

They are traps for `rules=core` under `measurement=roofline`. Each kind is a cell as those of
`random_cells`; None where no sizes make it one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.graphs.random_cells import Draw, Style
from xflowrl.graphs.traps.activations import activation_trap
from xflowrl.graphs.traps.chain import chain_trap
from xflowrl.graphs.traps.groups import group_trap
from xflowrl.graphs.traps.kernels import kernel_trap
from xflowrl.graphs.traps.layouts import layout_trap
from xflowrl.graphs.traps.norms import norm_trap
from xflowrl.graphs.traps.products import product_trap
from xflowrl.graphs.traps.siblings import sibling_trap
from xflowrl.graphs.traps.weighted import weighted_trap

Trap = Callable[[LayerBuilder, str, str, Draw, Style], str | None]

TRAPS: dict[str, Trap] = {
    "chain": chain_trap,
    "siblings": sibling_trap,
    "activations": activation_trap,
    "groups": group_trap,
    "kernels": kernel_trap,
    "layouts": layout_trap,
    "norms": norm_trap,
    "products": product_trap,
    "weighted": weighted_trap,
}

FIRST_TRAPS = ("chain", "siblings")
"""The kinds in a network that names none, in this order: drawn networks stay the same."""


def trap_cell(
    net: LayerBuilder, x: str, name: str, draw: Draw, style: Style, shares: Mapping[str, float]
) -> str | None:
    """A trap of a drawn kind, or of the next one with a share that fits the image `x`, or None."""
    kinds = [kind for kind, share in shares.items() if share > 0]
    first = kinds.index(draw.weighted(shares))
    for kind in (*kinds[first:], *kinds[:first]):
        y = TRAPS[kind](net, x, name, draw, style)
        if y is not None:
            return y
    return None
