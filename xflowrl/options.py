"""From configuration to objects: an option is loaded, checked against its target, and built.

An option is a file of `conf/<group>/`: a `_target_`, which is a class or function, and its keyword
arguments. The checks read the target's signature, so that what is checked is what is called.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import itertools
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import NoneType, SimpleNamespace, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

import hydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from xflowrl.cli.spelling import did_you_mean

if TYPE_CHECKING:
    from xflowrl._engine import RuleSet
    from xflowrl.measurement import Objective
    from xflowrl.onnx_io import Model
    from xflowrl.problem import Budget, Problem

_MISSING = "???"


def conf_folder() -> Path:
    """The folder of the groups, installed or in a source tree."""
    spec = importlib.util.find_spec("xflowrl.conf")
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(__file__).resolve().parent.parent / "conf"


def load_option(group: str, name: str, options: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    """The checked configuration of one option of a group, as `group=name` would give it.

    Raises:
        ValueError: no such option, or `options` do not fit it.
    """
    folder = conf_folder() / group
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(option.stem for option in folder.glob("*.yaml")))
        known += did_you_mean(name, known.split(", "))
        raise ValueError(f"{group} {name!r} does not exist: give one of {known}")
    root = OmegaConf.create({"seed": seed, group: OmegaConf.load(path)})
    config: Any = OmegaConf.to_container(root, resolve=True)
    config[group].update(options)
    refuse_foreign(config[group], group)
    check(config[group], group)
    return dict(config[group])


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration that a run folder was made by, checked and resolved, without the folder.

    Raises:
        ValueError: there is none, or it does not fit this version.
    """
    path = folder / ".hydra" / "config.yaml"
    try:
        root: Any = OmegaConf.load(path)
        # The folder is what only Hydra knows.
        known = OmegaConf.masked_copy(root, [key for key in root if key != "folder"])
        config: Any = OmegaConf.to_container(known, resolve=True)
    except (OSError, YAMLError, OmegaConfBaseException, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is no configuration of a run: {error}") from None
    refuse_foreign(config, "")
    check(config)
    return dict(config)


def build(config: Mapping[str, Any]) -> Any:
    """The object that `_target_` and its keywords describe; raises what the target raises."""
    refuse_foreign(config, "")
    try:
        return hydra.utils.instantiate(dict(config), _convert_="all")
    except HydraException as error:
        if error.__cause__ is None:
            raise
        raise error.__cause__ from None


def build_option(
    group: str, name: str, options: Mapping[str, Any] | None = None, *, seed: int = 0
) -> Any:
    """The object of an option of a group, with some of its keywords changed.

    Raises:
        ValueError: no such option, or `options` do not fit it.
    """
    return build(load_option(group, name, options or {}, seed=seed))


def build_choices(
    groups: Sequence[str], settings: Mapping[str, Any], *, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The objects of several groups, and the keywords of `judge`, which is no group.

    Args:
        settings: `{"rules": "file", "rules.path": "my.rules", "judge.draws": 1}`: an option for
            each group, and its keywords.

    Raises:
        ValueError: a name that does not exist, or a value that does not fit.
    """
    keywords: dict[str, dict[str, Any]] = {group: {} for group in (*groups, "judge")}
    for name, value in settings.items():
        group, _, key = name.partition(".")
        if group not in keywords or (not key and group == "judge"):
            raise ValueError(
                f"{name} is no setting: give {', '.join(groups)}, or GROUP.OPTION of these or judge"
            )
        if key:
            keywords[group][key] = value
    built = {
        group: build_option(group, settings[group], keywords[group], seed=seed) for group in groups
    }
    return built, keywords["judge"]


def build_keywords(name: str, target: Callable[..., Any], keywords: Mapping[str, Any]) -> Any:
    """Calls a function or class with checked keywords; `name` is for the messages."""
    config = {"_target_": f"{target.__module__}.{target.__qualname__}", **keywords}
    check(config, name)
    return target(**keywords)


def read_settings(arguments: Sequence[str]) -> dict[str, Any]:
    """What `NAME=VALUE` says, each value read as YAML: `agent.alpha=1.1`.

    Raises:
        ValueError: one that is not of this form.
    """
    settings: dict[str, Any] = {}
    for argument in arguments:
        name, is_set, value = argument.partition("=")
        if not is_set or not name:
            raise ValueError(f"--set {argument!r}: give NAME=VALUE, like agent.alpha=1.1")
        try:
            settings[name] = OmegaConf.to_container(OmegaConf.create(f"value: {value}"))["value"]  # type: ignore[index,call-overload]
        except (YAMLError, OmegaConfBaseException):
            raise ValueError(f"--set {argument!r}: {value!r} is no YAML; quote it") from None
    return settings


def distinct(name: str, taken: Collection[str], fold: Callable[[str], str] = str) -> str:
    """The first of `name`, `name-2`, `name-3`, ... that is not, once folded, among `taken`."""
    choices = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(choice for choice in choices if fold(choice) not in taken)


def make_problems(
    models: Sequence[Model], rules: RuleSet, objective: Objective, budget: Budget, *, seed: int
) -> list[Problem]:
    """One problem a model, with distinct names, sharing all else.

    A model's graph is taken as the rules read it: TASO's want open Gemms. Rules that need a later
    opset than the model's file has match nowhere; a built-in network has no opset to keep to.
    """
    from xflowrl.problem import Problem
    from xflowrl.taso.open_gemms import read_by

    problems: list[Problem] = []
    taken: set[str] = set()
    for model in models:
        graph = read_by(rules, model.graph)
        label = distinct(graph.name, taken)
        taken.add(label)
        problem = Problem(
            model=model.with_graph(graph),
            rules=rules if model.source is None else rules.for_opset(model.opset),
            objective=objective,
            budget=budget,
            seed=seed,
            label=label,
            log_as="search" if len(models) == 1 else f"search/{label}",
        )
        problems.append(problem)
    return problems


def networks(*, names: list[str] | None = None, seed: int = 0) -> list[Model]:
    """Several built-in networks, each as `graph=NAME` gives it, in the order given.

    It stands here and not in `xflowrl.graphs` because it reads the other options of the group.

    Args:
        names: options of `conf/graph`; all but those that name files or networks themselves.
        seed: of the weights, and of a random network.

    Raises:
        ValueError: no name, a name twice, or one that is unknown; the message has it.
    """
    options = {option.stem for option in (conf_folder() / "graph").glob("*.yaml")}
    several = {option for option in options if option.startswith("unseen_")}
    known = sorted(options - several - {"networks", "onnx", "training_set"})
    if not names:
        raise ValueError("graph=networks: no network is named; set graph.names=[NAME,...]")
    for index, name in enumerate(names):
        if name not in known:
            raise ValueError(
                f"graph=networks: graph.names has {name!r}, which is unknown; give any of "
                f"{', '.join(known)}"
            )
        if name in names[:index]:
            raise ValueError(f"graph=networks: graph.names has {name!r} twice; give it once")
    return [build_option("graph", name, seed=seed) for name in names]


def check(config: Mapping[str, Any], path: str = "") -> None:
    """Checks every `_target_` in `config`, at any depth, importing the targets.

    Raises:
        ValueError: a missing or unknown key, or a value of the wrong type; names key and value.
    """
    prefix = f"{path}." if path else ""
    for key, value in config.items():
        if value == _MISSING:
            raise ValueError(f"{prefix}{key} is not given: add {prefix}{key}=...")
    if "_target_" in config:
        _check_call(config, path)
    for key, value in config.items():
        for index, item in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(item, Mapping):
                check(item, f"{prefix}{key}" if index is None else f"{prefix}{key}[{index}]")


def refuse_foreign(value: object, path: str) -> None:
    """Raises ValueError if a `_target_` in `value`, at any depth, is not defined in this package.

    Nothing is imported but modules of the package: a configuration says what of it is called, and
    is no way to run other code.
    """
    prefix = f"{path}." if path else ""
    if isinstance(value, Mapping):
        if "_target_" in value and not _is_ours(value["_target_"]):
            raise ValueError(
                f"{prefix}_target_ is {value['_target_']!r}: give a function or class of xflowrl, "
                f"or choose an option of the group"
            )
        for key, item in value.items():
            refuse_foreign(item, f"{prefix}{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            refuse_foreign(item, f"{path}[{index}]")


def _is_ours(target: object) -> bool:
    """Whether `target` names something that a module of this package defines.

    What a module merely imports is not its own: `xflowrl.run.suppress`.
    """
    if not isinstance(target, str) or not target.startswith("xflowrl."):
        return False
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return False  # Hydra would find `xflowrl.run.os.system` still
    return str(getattr(found, "__module__", "")).partition(".")[0] == "xflowrl"


def check_value(name: str, value: object, annotation: Any) -> None:
    """Raises ValueError unless `value`, as JSON, strictly fits the type `annotation`."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError
    from pydantic.errors import PydanticUserError

    if annotation is Any or (value is None and type(None) in get_args(annotation)):
        return
    try:
        text = json.dumps(value, ensure_ascii=False)
        text.encode()
        if "${" in text or '"_target_"' in text:
            return  # checked once the interpolation is resolved, and as a call of its own
        try:
            adapter = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
        except PydanticUserError:  # a dataclass has a configuration of its own
            adapter = TypeAdapter(annotation)
        adapter.validate_json(text, strict=True)
    except PydanticUserError:  # a class of which no value is written down
        raise ValueError(f"{name} is {value!r}: give a mapping with _target_") from None
    except UnicodeEncodeError:
        raise ValueError(f"{name} is {value!r}, which is not UTF-8; rename it") from None
    except (TypeError, ValidationError):
        kind = "null" if value is None else type(value).__name__
        wanted = _describe(annotation) + did_you_mean(str(value), map(str, get_args(annotation)))
        raise ValueError(f"{name} is {value!r} ({kind}): give {wanted}") from None


@cache
def parameters_of(target: str) -> dict[str, inspect.Parameter]:
    """The parameters of the function or class with the dotted name `target`, types resolved.

    Raises:
        ValueError: there is no such function or class.
    """
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"_target_ {target!r} does not exist: {error}") from error
    function: Any = getattr(found, "__init__", None) if isinstance(found, type) else found
    namespace = getattr(inspect.unwrap(function), "__globals__", {})
    return {
        parameter.name: parameter.replace(annotation=_resolved(parameter.annotation, namespace))
        for parameter in inspect.signature(found).parameters.values()
    }


def _resolved(annotation: Any, namespace: dict[str, Any]) -> Any:
    """The type that an annotation means where it stands."""
    if annotation is inspect.Parameter.empty:
        return Any
    holder: Any = SimpleNamespace(__annotations__={"parameter": annotation})
    try:
        return get_type_hints(holder, namespace)["parameter"]
    except NameError:  # a type that is imported for type checkers alone
        return Any


def _check_call(config: Mapping[str, Any], path: str) -> None:
    target, parameters = config["_target_"], parameters_of(config["_target_"])
    variadic = {parameter.kind: name for name, parameter in parameters.items()}
    takes_any = inspect.Parameter.VAR_KEYWORD in variadic
    named = parameters.keys() - {
        variadic.get(inspect.Parameter.VAR_KEYWORD),
        variadic.get(inspect.Parameter.VAR_POSITIONAL),
    }
    given = {key: value for key, value in config.items() if not key.startswith("_")}
    for key, value in given.items():
        if key in named:
            check_value(f"{path}.{key}", value, parameters[key].annotation)
        elif not takes_any:
            known = (", ".join(sorted(named)) or "none") + did_you_mean(key, named)
            raise ValueError(f"{path}.{key} is no option of {target}: its options are {known}")
    required = {name for name in named if parameters[name].default is inspect.Parameter.empty}
    missing = sorted(required - given.keys())
    if missing and not config.get("_partial_") and "_args_" not in config:
        raise ValueError(f"{path}.{missing[0]} is not given: add {path}.{missing[0]}=...")


def _describe(annotation: Any) -> str:
    """The type as a message names it."""
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(map(str, get_args(annotation)))
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(map(_describe, get_args(annotation)))
    if annotation is NoneType:
        return "null"
    return re.sub(r"(\w+\.)+", "", inspect.formatannotation(annotation))
