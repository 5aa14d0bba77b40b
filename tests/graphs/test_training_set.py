"""A training set is what it says, and leaves out what it is told to."""

from __future__ import annotations

import re
from typing import Any

import pytest

from xflowrl.graphs.random_cells import FAMILIES
from xflowrl.graphs.resnet import resnet18
from xflowrl.graphs.training_set import training_set
from xflowrl.graphs.traps import TRAPS


def test_the_names_say_what_each_graph_is() -> None:
    models = training_set(num_random=12, num_cells=3, networks=[resnet18()], seed=1)
    names = [model.graph.name for model in models]
    assert len(set(names)) == len(names)
    assert names[-4:] == ["cell-s10000", "cell-s10001", "cell-s10002", "resnet18"]
    for model in models[:12]:
        said = re.fullmatch(r"random-n(\d+)-t(\d+)-s(\d+)", model.graph.name)
        assert said is not None
        assert len(model.graph) == int(said[1])
        assert 50 <= int(said[1]) <= 500
        assert 0 <= int(said[2]) <= 100
        assert int(said[3]) % 2 == 1
    shares = {name.split("-")[2] for name in names[:12]}
    assert len(shares) > 4


def test_sizes_are_log_uniform() -> None:
    sizes = [len(model.graph) for model in training_set(num_random=40, num_cells=0)]
    below = sum(size < 158 for size in sizes)  # the geometric mean of 50 and 500
    assert 12 <= below <= 28


def test_a_smaller_set_is_the_beginning_of_a_larger_one() -> None:
    def hashes(num: int, seed: int = 0) -> list[str]:
        models = training_set(num_random=num, num_cells=num, largest=80, seed=seed)
        return [model.graph.hash for model in models]

    assert hashes(4)[:2] + hashes(4)[4:6] == hashes(2)
    assert not set(hashes(2)) & set(hashes(2, seed=1))


def operators(**options: Any) -> set[str]:
    models = training_set(num_random=6, num_cells=0, smallest=200, **options)
    return {node.op_type for model in models for node in model.graph.nodes()}


def test_families_and_traps_are_left_out() -> None:
    no_recurrent = [family for family in FAMILIES if family != "recurrent"]
    assert "Tanh" in operators(exclude_families=no_recurrent)
    assert "Tanh" not in operators(exclude_families=["recurrent"])
    assert "Softmax" not in operators(exclude_families=["attention"])


def test_networks_without_traps_are_the_same_but_for_these() -> None:
    with_traps, without = (
        training_set(num_random=6, num_cells=0, max_trap=max_trap) for max_trap in (1.0, 0.0)
    )
    for one, other in zip(with_traps, without, strict=True):
        _, size, share, seed = one.graph.name.split("-")
        assert other.graph.name == f"random-{size}-t0-{seed}"
        assert (share == "t0") == (one.graph.hash == other.graph.hash)


def test_large_cells_and_networks_are_left_out() -> None:
    sizes = {"num_random": 0, "num_cells": 10, "networks": [resnet18()]}
    assert len(training_set(**sizes)) == 11
    few = training_set(**sizes, max_nodes=69)  # ResNet-18 has 70
    assert 0 < len(few) < 10
    assert all(len(model.graph) <= 69 for model in few)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exclude_families": ["resnet"]}, "family 'resnet' is unknown"),
        ({"exclude_traps": ["bog"]}, "trap 'bog' is unknown"),
        ({"exclude_traps": list(TRAPS)}, "every trap is excluded"),
        ({"smallest": 49}, "smallest is 49"),
        ({"smallest": 100, "largest": 99}, "smallest is 100 and largest 99"),
    ],
)
def test_refuses_options_without_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        training_set(num_random=1, num_cells=0, **options)
