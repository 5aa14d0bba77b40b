"""What one policy for every network is trained on. What it is judged by is in `unseen`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from xflowrl.graphs.nasbench_random import nasbench_random
from xflowrl.graphs.random_cells import FAMILIES, Draw
from xflowrl.graphs.random_networks import random_network
from xflowrl.graphs.traps import TRAPS
from xflowrl.onnx_io import Model

HELD_OUT_FAMILIES = ("inception",)
HELD_OUT_TRAPS = ("layouts", "products")
"""What a training set leaves out unless it is told otherwise."""

MAX_DRAWN = 10_000  # of either kind in one set: those of another seed begin after them


def training_set(
    *,
    num_random: int = 200,
    num_cells: int = 50,
    networks: Sequence[Model] | None = None,
    smallest: int = 50,
    largest: int = 500,
    exclude_families: Sequence[str] = HELD_OUT_FAMILIES,
    exclude_traps: Sequence[str] = HELD_OUT_TRAPS,
    max_trap: float = 1.0,
    max_nodes: int | None = None,
    seed: int = 0,
) -> list[Model]:
    """Random networks, networks of NAS-Bench cells, and given ones, in this order.

    Sizes of random networks are drawn log-uniformly, the share of traps uniformly; of the families
    of cells and the kinds of traps each network has some, in drawn shares. Their seeds are odd and
    cells are not held out: `unseen`, whose seeds are even and whose cells are, has none of them.
    The first n are the same whatever `num_random` is.

    Args:
        num_random: random networks, called random-n<nodes>-t<percent of traps>-s<seed>.
        num_cells: networks of NAS-Bench cells, called cell-s<seed>.
        networks: others, such as `options.networks` gives; None: none.
        smallest: operators of a random network, at least.
        largest: operators of a random network, at most.
        exclude_families: families of cells that no random network has.
        exclude_traps: kinds of traps that no random network has.
        max_trap: largest share of traps; 0: no random network has any.
        max_nodes: networks and cells of more operators are left out; None: none is.
        seed: of all that is drawn.
    """
    families = without("family", FAMILIES, exclude_families)
    traps = without("trap", TRAPS, exclude_traps)
    if not 50 <= smallest <= largest:
        raise ValueError(
            f"training_set: smallest is {smallest} and largest {largest}; give 50 <= smallest <= "
            "largest"
        )
    if not 0 <= max_trap <= 1:
        raise ValueError(f"training_set: max_trap is {max_trap}; give a share from 0 to 1")
    draw = Draw(seed)
    random_networks = [
        random_model(
            num_nodes=round(smallest * (largest / smallest) ** draw.fraction()),
            trap=max_trap * draw.integer(0, 20) / 20,
            families=_some(draw, families),
            traps=_some(draw, traps),
            seed=2 * (MAX_DRAWN * seed + index) + 1,
        )
        for index in range(num_random)
    ]
    cells = [
        cell_model("cell", MAX_DRAWN * seed + index, held_out=False) for index in range(num_cells)
    ]
    others = [*cells, *(networks or ())]
    return random_networks + [
        model for model in others if max_nodes is None or len(model.graph) <= max_nodes
    ]


def random_model(
    prefix: str = "random",
    *,
    num_nodes: int,
    trap: float,
    families: dict[str, float],
    traps: dict[str, float],
    seed: int,
) -> Model:
    """A random network whose name says what it is."""
    name = f"{prefix}-n{num_nodes}-t{round(100 * trap)}-s{seed}"
    return random_network(
        num_nodes=num_nodes, trap=trap, families=families, traps=traps, name=name, seed=seed
    )


def cell_model(prefix: str, seed: int, *, held_out: bool) -> Model:
    """The network of a NAS-Bench cell whose name says what it is."""
    return nasbench_random(held_out=held_out, name=f"{prefix}-s{seed}", seed=seed)


def without(what: str, known: Collection[str], excluded: Collection[str]) -> list[str]:
    """What is left of the names of families or traps.

    Raises:
        ValueError: nothing is, or a name is unknown.
    """
    for name in excluded:
        if name not in known:
            raise ValueError(f"{what} {name!r} is unknown; give some of {', '.join(known)}")
    left = [name for name in known if name not in excluded]
    if not left:
        raise ValueError(f"every {what} is excluded; leave at least one of {', '.join(known)}")
    return left


def _some(draw: Draw, names: list[str]) -> dict[str, float]:
    """Shares of 0 to 3 for each name, at least one of them not 0."""
    shares = {name: float(draw.integer(0, 3)) for name in names}
    return shares if any(shares.values()) else {draw.choice(names): 1.0}
