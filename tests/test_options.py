"""Options are checked against the annotations of their targets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Optional

import pytest
from omegaconf import OmegaConf

from xflowrl.options import build_option, check, check_value, parameters_of


class Settings: ...


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (1, int),
        (1, float),
        (None, int | None),
        (None, Optional[int]),  # noqa: UP045
        ("a", Literal["a", "b"]),
        ([1, 2], list[int]),
        ([[0, 1]], Sequence[Sequence[int]]),
        ([1, 2], tuple[int, int]),
        ([1, 2, 3], tuple[int, ...]),
        ({"x": [1]}, Mapping[str, list[int]]),
        ("model.onnx", str | PathLike[str]),
        (True, bool),
        ({"_target_": "x"}, Settings),
        ("${seed}", int),
        (["${seed}"], list[int]),
        (object, Any),
    ],
)
def test_accepts(value: object, annotation: Any) -> None:
    check_value("option", value, annotation)


@pytest.mark.parametrize(
    ("value", "annotation", "advice"),
    [
        ("1", int, "is '1' (str): give int"),
        (1.5, int, "is 1.5 (float): give int"),
        (True, int, "is True (bool): give int"),
        (True, float, "is True (bool): give float"),
        (1, bool, "is 1 (int): give bool"),
        (None, int, "is None (null): give int"),
        ("c", Literal["a", "b"], "give one of a, b"),
        ([1, "x"], list[int], "give list[int]"),
        ([1], tuple[int, int], "give tuple[int, int]"),
        ("x", Sequence[str] | None, "give Sequence[str] or null"),
        ({"x": "y"}, dict[str, int], "give dict[str, int]"),
        (3, Settings | None, "is 3 (int): give Settings or null"),
        (Path("x"), str, "(PosixPath): give str"),
    ],
)
def test_refuses(value: object, annotation: Any, advice: str) -> None:
    with pytest.raises(ValueError, match=r"^option is ") as raised:
        check_value("option", value, annotation)
    assert advice in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `parts` of targets of all kinds."""
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .inner import make as build\n")
    (folder / "inner.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n"
        "    from parts import Unseen\n"
        "def make(a: int, *, b: str = 'x', **more: float) -> None: ...\n"
        "@dataclass\n"
        "class Data:\n"
        "    size: int\n"
        "    name: str | None = None\n"
        "class Base:\n"
        "    def __init__(self, depth: int = 1) -> None: ...\n"
        "class Derived(Base): ...\n"
        "def unseen(seen: int, *, other: Unseen) -> Unseen: ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    parameters_of.cache_clear()
    return folder


@pytest.mark.usefixtures("package")
def test_reads_functions_classes_and_imports() -> None:
    made = parameters_of("parts.build")
    assert {name: parameter.annotation for name, parameter in made.items()} == {
        "a": int,
        "b": str,
        "more": float,
    }
    assert parameters_of("parts.inner.Data")["name"].annotation == str | None
    assert list(parameters_of("parts.inner.Derived")) == ["depth"]


@pytest.mark.usefixtures("package")
def test_a_type_for_type_checkers_alone_takes_anything() -> None:
    check({"x": {"_target_": "parts.inner.unseen", "seen": 1, "other": 2}})
    with pytest.raises(ValueError, match=r"x\.seen is 'a' \(str\): give int"):
        check({"x": {"_target_": "parts.inner.unseen", "seen": "a", "other": 2}})


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"_target_": "parts.inner.Data"}, "agent.size is not given: add agent.size=..."),
        (
            {"_target_": "parts.inner.Data", "size": 1, "colour": 2},
            "agent.colour is no option of parts.inner.Data: its options are name, size",
        ),
        ({"_target_": "parts.inner.Data", "size": "x"}, "agent.size is 'x' (str): give int"),
        (
            {"_target_": "parts.inner.Data", "size": "???"},
            "agent.size is not given: add agent.size=...",
        ),
        (
            {"_target_": "parts.inner.Base", "depth": 1, "_partial_": True, "inner": {}},
            "agent.inner is no option of parts.inner.Base: its options are depth",
        ),
    ],
)
def test_names_the_bad_key(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        check({"agent": config})
    assert str(raised.value) == message


@pytest.mark.usefixtures("package")
def test_looks_into_nested_targets() -> None:
    inner = {"_target_": "parts.inner.Base", "depth": "deep"}
    outer = {"_target_": "parts.build", "a": 1, "c": [inner]}
    with pytest.raises(ValueError, match=r"agent\.c\[0\]\.depth is 'deep'"):
        check({"agent": outer})


def test_unknown_target_is_named() -> None:
    with pytest.raises(ValueError, match=r"_target_ 'xflowrl\.nowhere\.f' does not exist"):
        check({"agent": {"_target_": "xflowrl.nowhere.f"}})


def test_heavy_targets_are_imported_only_where_chosen() -> None:
    code = (
        "import sys; from xflowrl.options import load_option;"
        "load_option('agent', 'taso', {'alpha': 1.0}, seed=0);"
        "print('torch' in sys.modules, 'wandb' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


CONF = Path(__file__).parents[1] / "conf"

# Values that differ from the code's defaults: a cell is what tells these two options apart.
NOT_THE_DEFAULT = {
    f"graph-{cell}.{key}"
    for cell in ("nasbench_3x3", "nasbench_inception")
    for key in ("matrix", "ops", "name")
} | {"graph-training_set.networks.names", "graph-unseen_builtin.names"}


def targets(name: str, node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of a file that has a `_target_`, at any depth, with its place."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield name, node
        for key, value in node.items():
            if key != "hydra":
                yield from targets(f"{name}.{key}", value)


CALLS = [
    call
    for file in sorted(CONF.rglob("*.yaml"))
    for call in targets(
        "-".join(file.relative_to(CONF).with_suffix("").parts),
        OmegaConf.to_container(OmegaConf.load(file)),
    )
]


@pytest.mark.parametrize(("name", "config"), CALLS, ids=[name for name, _ in CALLS])
def test_options_are_the_parameters_with_their_defaults(name: str, config: dict[str, Any]) -> None:
    """A parameter that its file does not name could not be given on the command line."""
    parameters = parameters_of(config["_target_"])
    assert config.keys() - {"_target_"} == parameters.keys()
    for key, parameter in parameters.items():
        value = config[key]
        if value == "???":
            assert parameter.default is parameter.empty
        elif isinstance(value, str) and "${" in value:
            assert parameter.default == {"seed": 0, "folder": None}[key]
        elif isinstance(value, dict) and "_target_" in value:
            assert parameter.default is None  # which means the target with its own defaults
        elif f"{name}.{key}" not in NOT_THE_DEFAULT:
            default = parameter.default
            assert value == (list(default) if isinstance(default, tuple) else default), key


def test_networks_are_given_by_their_options_or_are_none() -> None:
    assert len(build_option("graph", "training_set", {"num_random": 1, "networks": None})) == 51
    with pytest.raises(ValueError, match=r"graph\.networks is \[3\]: give a mapping with _target_"):
        build_option("graph", "training_set", {"networks": [3]})


def test_calls_are_found_in_every_group() -> None:
    groups = {name.split("-")[0].split(".")[0] for name, _ in CALLS}
    assert groups == {"agent", "budget", "config", "graph", "measurement", "rules"}
    assert {"config.judge", "config.wandb", "agent-ppo.policy"} <= {name for name, _ in CALLS}


def test_exceptions_are_needed() -> None:
    found = dict(CALLS)
    for place in NOT_THE_DEFAULT:
        name, _, key = place.rpartition(".")
        assert found[name][key] != parameters_of(found[name]["_target_"])[key].default
