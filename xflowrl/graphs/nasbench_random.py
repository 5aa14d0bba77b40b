"""Drawn cells of NAS-Bench-101, in two parts that never meet: to train on, to judge by."""

from __future__ import annotations

from xflowrl.graphs.nasbench import DATASET_OPS, ModelSpec, nasbench
from xflowrl.graphs.random_cells import Draw
from xflowrl.onnx_io import Model

_MAX_VERTICES, _MAX_EDGES = 7, 9


def nasbench_random(
    *,
    num_stacks: int | None = None,
    num_modules_per_stack: int | None = None,
    stem_channels: int = 128,
    held_out: bool | None = None,
    name: str = "nasbench_random",
    seed: int = 0,
) -> Model:
    """The network of a drawn cell, [1, 3, 32, 32] to [1, 10]; the same seed gives the same one.

    Args:
        num_stacks: None: drawn from 1 to 3.
        num_modules_per_stack: None: drawn from 1 to 3.
        held_out: True: a cell that no training set has; False: one that it may have; None: any.
        name: the graph's name.
        seed: of the structure and of the weights.
    """
    draw = Draw(seed)
    spec = drawn_cell(draw, held_out=held_out)
    stacks, modules = draw.integer(1, 3), draw.integer(1, 3)
    return nasbench(
        [list(row) for row in spec.matrix],
        list(spec.ops),
        num_stacks=stacks if num_stacks is None else num_stacks,
        num_modules_per_stack=modules if num_modules_per_stack is None else num_modules_per_stack,
        stem_channels=stem_channels,
        name=name,
        seed=seed,
    )


def drawn_cell(draw: Draw, *, held_out: bool | None = None) -> ModelSpec:
    """A cell within the limits of the dataset: 4 to 7 vertices, at most 9 edges, three operations.

    Every vertex is on a path from the input to the output, so that nothing is pruned.
    """
    num_vertices = draw.integer(4, _MAX_VERTICES)
    most = min(_MAX_EDGES, num_vertices * (num_vertices - 1) // 2)
    while True:
        edges = _drawn_edges(draw, num_vertices, draw.integer(num_vertices - 1, most))
        vertices = range(num_vertices)
        matrix = [[int((i, j) in edges) for j in vertices] for i in vertices]
        ops = ["input", *(draw.choice(DATASET_OPS) for _ in vertices[2:]), "output"]
        if len(edges) <= _MAX_EDGES:
            spec = ModelSpec(matrix, ops)
            if held_out is None or is_held_out(spec) == held_out:
                return spec


def _drawn_edges(draw: Draw, num_vertices: int, num_edges: int) -> set[tuple[int, int]]:
    """One into each vertex but the first, one out of each but the last, more up to `num_edges`."""
    last = num_vertices - 1
    edges = {(draw.integer(0, vertex - 1), vertex) for vertex in range(1, num_vertices)}
    for vertex in range(last):
        if all(source != vertex for source, _ in edges):
            edges.add((vertex, draw.integer(vertex + 1, last)))
    while len(edges) < num_edges:
        source = draw.integer(0, last - 1)
        edges.add((source, draw.integer(source + 1, last)))
    return edges


def is_held_out(spec: ModelSpec) -> bool:
    """Whether a cell is among the eighth that is never trained on; equal for isomorphic cells."""
    return int(spec.hash_spec()[0], 16) < 2
