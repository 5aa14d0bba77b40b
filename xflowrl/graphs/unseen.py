"""What one policy for every network is judged by: nothing that `training_set` has by default.

Random networks have even seeds here and odd ones there, and cells are held out. Each function gives
one part of the judging set, and the names of its graphs say which.
"""

from __future__ import annotations

from collections.abc import Sequence

from xflowrl.graphs.random_cells import FAMILIES
from xflowrl.graphs.training_set import (
    HELD_OUT_FAMILIES,
    HELD_OUT_TRAPS,
    MAX_DRAWN,
    cell_model,
    random_model,
    without,
)
from xflowrl.graphs.traps import TRAPS
from xflowrl.onnx_io import Model

_SIZES, _TRAP_SHARES = (200, 1000, 5000), (0.0, 0.2, 0.5, 0.5)


def unseen_random(
    *,
    sizes: Sequence[int] = _SIZES,
    trap_shares: Sequence[float] = _TRAP_SHARES,
    exclude_families: Sequence[str] = HELD_OUT_FAMILIES,
    exclude_traps: Sequence[str] = HELD_OUT_TRAPS,
    seed: int = 0,
) -> list[Model]:
    """New networks of the families and traps trained on: random-n200-t50-s2.

    Args:
        sizes: operators; one network for each size and share of traps.
        trap_shares: the shares of cells that are traps.
        exclude_families: families of cells that training left out, too.
        exclude_traps: kinds of traps that training left out, too.
        seed: of all networks; those of another seed are others.
    """
    families = without("family", FAMILIES, exclude_families)
    traps = without("trap", TRAPS, exclude_traps)
    return _each("random", families, traps, sizes, trap_shares, seed)


def unseen_families(
    *,
    families: Sequence[str] = HELD_OUT_FAMILIES,
    exclude_traps: Sequence[str] = HELD_OUT_TRAPS,
    sizes: Sequence[int] = _SIZES,
    trap_shares: Sequence[float] = _TRAP_SHARES,
    seed: int = 0,
) -> list[Model]:
    """Networks of families of cells that training left out: unseen_families-n200-t50-s2.

    Args:
        families: those left out; their traps are of the kinds trained on.
        exclude_traps: as in `unseen_random`, and so are the others.
    """
    traps = without("trap", TRAPS, exclude_traps)
    return _each("unseen_families", families, traps, sizes, trap_shares, seed)


def unseen_traps(
    *,
    traps: Sequence[str] = HELD_OUT_TRAPS,
    exclude_families: Sequence[str] = HELD_OUT_FAMILIES,
    sizes: Sequence[int] = _SIZES,
    trap_shares: Sequence[float] = (0.2, 0.2, 0.5, 0.5),
    seed: int = 0,
) -> list[Model]:
    """Networks with kinds of traps that training left out: unseen_traps-n200-t50-s2.

    Args:
        traps: those left out; all other cells are of the families trained on.
        exclude_families: as in `unseen_random`, and so are the others.
    """
    families = without("family", FAMILIES, exclude_families)
    return _each("unseen_traps", families, traps, sizes, trap_shares, seed)


def unseen_cells(*, num_cells: int = 4, seed: int = 0) -> list[Model]:
    """Networks of NAS-Bench-101 cells that no training set has, whatever its seed: unseen_cells-s0.

    Args:
        num_cells: how many.
        seed: of all cells; those of another seed are others.
    """
    seeds = range(MAX_DRAWN * seed, MAX_DRAWN * seed + num_cells)
    return [cell_model("unseen_cells", cell_seed, held_out=True) for cell_seed in seeds]


def _each(
    prefix: str,
    families: Sequence[str],
    traps: Sequence[str],
    sizes: Sequence[int],
    trap_shares: Sequence[float],
    seed: int,
) -> list[Model]:
    """One network for each size and share of traps, with equal shares of each family and kind."""
    kinds = [(num_nodes, trap) for num_nodes in sizes for trap in trap_shares]
    return [
        random_model(
            prefix,
            num_nodes=num_nodes,
            trap=trap,
            families=dict.fromkeys(families, 1.0),
            traps=dict.fromkeys(traps, 1.0),
            seed=2 * (MAX_DRAWN * seed + index),
        )
        for index, (num_nodes, trap) in enumerate(kinds)
    ]
