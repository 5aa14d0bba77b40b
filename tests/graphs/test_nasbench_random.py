"""Drawn cells are cells of the dataset, and those to judge by are never trained on."""

from __future__ import annotations

from xflowrl.graphs.nasbench import DATASET_OPS
from xflowrl.graphs.nasbench_random import drawn_cell, is_held_out, nasbench_random
from xflowrl.graphs.random_cells import Draw


def test_cells_are_within_the_limits_of_the_dataset() -> None:
    sizes = set()
    for seed in range(200):
        spec = drawn_cell(Draw(seed))
        sizes.add(spec.num_vertices)
        assert 4 <= spec.num_vertices <= 7
        assert sum(map(sum, spec.matrix)) <= 9
        assert set(spec.ops[1:-1]) <= set(DATASET_OPS)
        assert spec.matrix == spec.original_matrix  # nothing was pruned
    assert sizes == {4, 5, 6, 7}


def test_no_cell_is_both_trained_on_and_held_out() -> None:
    trained = {drawn_cell(Draw(seed), held_out=False).hash_spec() for seed in range(300)}
    judged = {drawn_cell(Draw(seed), held_out=True).hash_spec() for seed in range(300)}
    assert not trained & judged
    assert min(len(trained), len(judged)) > 200
    drawn = [is_held_out(drawn_cell(Draw(seed))) for seed in range(400)]
    assert 20 < sum(drawn) < 100  # an eighth


def test_stacks_and_modules_are_drawn_unless_given() -> None:
    lengths = {len(nasbench_random(seed=seed).graph) for seed in range(8)}
    assert len(lengths) > 4
    tall = nasbench_random(num_stacks=3, num_modules_per_stack=2, seed=1).graph
    names = {name.split("/")[1] for node in tall.nodes() for name in node.outputs if "/m" in name}
    assert {n for n in names if n.startswith("module")} == {"module0", "module1"}
    stacks = {node.outputs[0].split("/")[0] for node in tall.nodes()}
    assert {"stack0", "stack1", "stack2"} <= stacks
    assert not any(stack == "stack3" for stack in stacks)
