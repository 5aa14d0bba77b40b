"""What a policy is judged by is in no training set, and its names say what is new about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from xflowrl.graphs import unseen
from xflowrl.graphs.random_cells import FAMILIES
from xflowrl.graphs.training_set import HELD_OUT_FAMILIES, HELD_OUT_TRAPS, training_set
from xflowrl.graphs.traps import TRAPS
from xflowrl.onnx_io import Model

CONF = Path(__file__).parents[2] / "conf" / "graph"
SMALL: dict[str, Any] = {"sizes": [60, 90], "trap_shares": [0.5, 1.0]}


def names(models: list[Model]) -> list[str]:
    return [model.graph.name for model in models]


def hashes(models: list[Model]) -> set[str]:
    return {model.graph.hash for model in models}


def test_the_names_say_what_is_new() -> None:
    assert names(unseen.unseen_random(**SMALL)) == [
        *("random-n60-t50-s0", "random-n60-t100-s2", "random-n90-t50-s4", "random-n90-t100-s6")
    ]
    assert names(unseen.unseen_families(**SMALL, seed=1))[0] == "unseen_families-n60-t50-s20000"
    assert names(unseen.unseen_traps(**SMALL))[3] == "unseen_traps-n90-t100-s6"
    assert names(unseen.unseen_cells(num_cells=2)) == ["unseen_cells-s0", "unseen_cells-s1"]


def test_nothing_is_trained_on() -> None:
    trained = training_set(num_random=30, num_cells=30, smallest=60, largest=90)
    parts = [*unseen.unseen_random(**SMALL), *unseen.unseen_cells(num_cells=8)]
    assert not hashes(trained) & hashes(parts)
    assert not set(names(trained)) & set(names(parts))
    trained_networks, judged_networks = (
        set(options["names"])
        for options in (
            yaml.safe_load((CONF / "training_set.yaml").read_text())["networks"],
            yaml.safe_load((CONF / "unseen_builtin.yaml").read_text()),
        )
    )
    assert len(trained_networks) == len(judged_networks) == 8
    assert not trained_networks & judged_networks
    unlike = {"squeezenet", "inception_v3", "nasrnn", "resnext50", "bert", "bert_base", "vit_base"}
    assert judged_networks - unlike == {"nasbench_3x3"}


def drawn_from(monkeypatch: pytest.MonkeyPatch, make: Callable[..., list[Model]]) -> dict[str, Any]:
    """The families and traps that the networks of a part have."""
    given: dict[str, Any] = {}

    def note(**options: Any) -> None:
        given.update(options)

    monkeypatch.setattr("xflowrl.graphs.training_set.random_network", note)
    make(sizes=[50], trap_shares=[0.5])
    return {key: {name for name, share in given[key].items() if share} for key in PARTS}


PARTS = ("families", "traps")


def test_only_what_is_named_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    old = {"families": {*FAMILIES} - {*HELD_OUT_FAMILIES}, "traps": {*TRAPS} - {*HELD_OUT_TRAPS}}
    assert drawn_from(monkeypatch, unseen.unseen_random) == old
    new_families = drawn_from(monkeypatch, unseen.unseen_families)
    assert new_families == old | {"families": {*HELD_OUT_FAMILIES}}
    new_traps = drawn_from(monkeypatch, unseen.unseen_traps)
    assert new_traps == old | {"traps": {*HELD_OUT_TRAPS}}


def test_other_seeds_are_other_networks() -> None:
    for make in (unseen.unseen_random, unseen.unseen_families, unseen.unseen_traps):
        assert not hashes(make(**SMALL)) & hashes(make(**SMALL, seed=1))
        assert hashes(make(**SMALL)) == hashes(make(**SMALL))
    assert not hashes(unseen.unseen_cells()) & hashes(unseen.unseen_cells(seed=1))


@pytest.mark.parametrize(
    "option", ["unseen_random", "unseen_families", "unseen_traps", "training_set"]
)
def test_the_options_hold_out_the_same(option: str) -> None:
    options = yaml.safe_load((CONF / f"{option}.yaml").read_text())
    for key, held_out in (("families", HELD_OUT_FAMILIES), ("traps", HELD_OUT_TRAPS)):
        assert tuple(options.get(key) or options[f"exclude_{key}"]) == held_out


def test_a_policy_is_judged_by_twelve_networks_of_each_kind() -> None:
    for option in ("unseen_random", "unseen_families", "unseen_traps"):
        options = yaml.safe_load((CONF / f"{option}.yaml").read_text())
        assert options["sizes"] == [200, 1000, 5000]
        assert len(options["trap_shares"]) == 4
