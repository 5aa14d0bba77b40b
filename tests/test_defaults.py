"""The options in `conf` are the parameters of the code, with its defaults."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

from xflowrl.config_types import MISSING, check_config, parameters_of

CONF = Path(__file__).parents[1] / "conf"
SEED = OmegaConf.load(CONF / "config.yaml")["seed"]

_CELL = "one of the many cells that the function builds"
DIFFERENT = {  # options that exist to differ from the code's defaults, and why
    ("graph/nasbench_3x3", "matrix"): _CELL,
    ("graph/nasbench_3x3", "ops"): _CELL,
    ("graph/nasbench_3x3", "name"): _CELL,
    ("graph/nasbench_inception", "matrix"): _CELL,
    ("graph/nasbench_inception", "ops"): _CELL,
    ("graph/nasbench_inception", "name"): _CELL,
}


def calls_in(node: object, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part with a `_target_`, at any depth, by its name: `agent/ppo.policy`."""
    if not isinstance(node, dict):
        return
    if "_target_" in node:
        yield name, node
    for key, child in node.items():
        yield from calls_in(child, f"{name}.{key}")


CALLS = {
    name: call
    for file in sorted(CONF.rglob("*.yaml"))
    for name, call in calls_in(
        OmegaConf.to_container(OmegaConf.load(file), resolve=False),
        file.relative_to(CONF).with_suffix("").as_posix(),
    )
}


def options_of(call: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a call, in a run that gives neither a seed nor a folder."""
    root: Any = OmegaConf.to_container(OmegaConf.create({"seed": SEED, "call": call}), resolve=True)
    return {name: value for name, value in root["call"].items() if name != "_target_"}


def default_of(parameter: inspect.Parameter, option: object) -> object:
    """The code's default as the configuration would write it, beside what is written there."""
    if parameter.default is parameter.empty:
        return MISSING
    if isinstance(option, dict) and "_target_" in option:
        # None stands for the settings that the code makes itself: those of the nested defaults.
        assert parameter.default in (None, instantiate(option))
        return option
    if isinstance(parameter.default, tuple):
        return list(parameter.default)
    default: object = parameter.default
    return default


def differences(name: str) -> set[str]:
    """The parameters whose options have other defaults than the code."""
    call = CALLS[name]
    parameters = inspect.signature(get_object(call["_target_"])).parameters
    options = options_of(call)
    return {key for key in options if default_of(parameters[key], options[key]) != options[key]}


def test_the_walk_finds_every_kind_of_part() -> None:
    assert {"agent/ppo", "agent/ppo.learning", "config.judge", "graph/tiny"} <= set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_every_parameter_is_an_option(name: str) -> None:
    """What its file does not name could not be given on the command line."""
    call = CALLS[name]
    parameters = set(inspect.signature(get_object(call["_target_"])).parameters)
    assert set(options_of(call)) == parameters
    assert set(parameters_of(call["_target_"]).annotations) == parameters
    if MISSING not in call.values():
        check_config({name: call})


@pytest.mark.parametrize("name", CALLS)
def test_every_default_is_the_codes(name: str) -> None:
    """But those of `DIFFERENT`, all of which are needed."""
    assert differences(name) == {key for option, key in DIFFERENT if option == name}


@pytest.mark.parametrize("name", [name for name in CALLS if name.startswith("graph/")])
def test_the_seed_of_a_graph_is_the_runs(name: str) -> None:
    assert CALLS[name]["seed"] == "${seed}"


def test_what_differs_exists() -> None:
    assert {option for option, _ in DIFFERENT} <= set(CALLS)
