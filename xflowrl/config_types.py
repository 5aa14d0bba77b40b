"""Checks a configuration against the annotations of what it configures, importing none of it.

Every part of the configuration with a `_target_` is a call: its keys must be parameters of the
target and its values must fit their annotations. Both are read from the target's source text, for
importing a target may take seconds (torch) and a typing error should be answered at once.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

MISSING = "???"


@dataclass(frozen=True)
class Parameters:
    """The parameters of a target: annotation by name (None: not annotated)."""

    annotations: dict[str, ast.expr | None]
    required: frozenset[str]
    takes_any: bool  # it has **keywords


def check_config(config: Mapping[str, Any], path: str = "") -> None:
    """Checks every `_target_` in `config`, at any depth.

    Raises:
        ValueError: a missing or unknown key, or a value of the wrong type; names key and value.
    """
    prefix = f"{path}." if path else ""
    for key, value in config.items():
        if value == MISSING:
            raise ValueError(f"{prefix}{key} is not given: add {prefix}{key}=...")
    if "_target_" in config:
        _check_call(config, path)
    for key, value in config.items():
        for index, item in _children(value):
            check_config(item, f"{prefix}{key}{index}")


def check_value(name: str, value: object, annotation: str) -> None:
    """Raises ValueError unless `value` fits `annotation`, the text of a type expression."""
    _check_type(name, value, ast.parse(annotation, mode="eval").body)


def _children(value: object) -> list[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        return [("", value)]
    if isinstance(value, list):
        return [(f"[{i}]", item) for i, item in enumerate(value) if isinstance(item, Mapping)]
    return []


def _check_call(config: Mapping[str, Any], path: str) -> None:
    target = config["_target_"]
    parameters = parameters_of(target)
    given = {key: value for key, value in config.items() if not key.startswith("_")}
    for key, value in given.items():
        if key in parameters.annotations:
            annotation = parameters.annotations[key]
            if annotation is not None:
                _check_type(f"{path}.{key}", value, annotation)
        elif not parameters.takes_any:
            known = ", ".join(sorted(parameters.annotations)) or "none"
            raise ValueError(f"{path}.{key} is no option of {target}: its options are {known}")
    missing = sorted(parameters.required - given.keys())
    if missing and not config.get("_partial_") and "_args_" not in config:
        raise ValueError(f"{path}.{missing[0]} is not given: add {path}.{missing[0]}=...")


def _check_type(name: str, value: object, annotation: ast.expr) -> None:
    if isinstance(value, str) and "${" in value:
        return  # an interpolation: its value is checked once it is known
    if not _fits(value, annotation):
        kind = "null" if value is None else type(value).__name__
        raise ValueError(f"{name} is {value!r} ({kind}): give {_describe(annotation)}")


# What may stand for an annotated type in a configuration; names not listed take any value.
_ACCEPTED: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "None": (type(None),),
    "Path": (str,),
    "PathLike": (str,),
    "list": (list,),
    "tuple": (list,),
    "Sequence": (list,),
    "Iterable": (list,),
    "dict": (dict,),
    "Mapping": (dict,),
}


def _fits(value: object, annotation: ast.expr) -> bool:
    match annotation:
        case ast.Constant(value=None):
            return value is None
        case ast.Constant(value=str(text)):
            return _fits(value, ast.parse(text, mode="eval").body)
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return _fits(value, left) or _fits(value, right)
        case ast.Subscript(value=outer, slice=inner):
            return _fits_subscript(value, _last_name(outer), inner)
    accepted = _ACCEPTED.get(_last_name(annotation))
    if accepted is None:
        return True
    if isinstance(value, bool):
        return bool in accepted
    return isinstance(value, accepted)


def _fits_subscript(value: object, outer: str, inner: ast.expr) -> bool:
    items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if outer == "Literal":
        return any(
            isinstance(item, ast.Constant)
            and type(item.value) is type(value)
            and item.value == value
            for item in items
        )
    if outer in ("Optional", "Union"):
        return (outer == "Optional" and value is None) or any(_fits(value, item) for item in items)
    accepted = _ACCEPTED.get(outer)
    if accepted is None:
        return True
    if not isinstance(value, accepted):
        return False
    if isinstance(value, list):
        if outer == "tuple" and not (len(items) == 2 and _last_name(items[1]) == "..."):
            return len(value) == len(items) and all(map(_fits, value, items))
        return all(_fits(item, items[0]) for item in value)
    if isinstance(value, dict) and len(items) == 2:
        return all(_fits(k, items[0]) and _fits(v, items[1]) for k, v in value.items())
    return True


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Constant(value=value):
            return "..." if value is Ellipsis else str(value)
    return ""


def _describe(annotation: ast.expr) -> str:
    match annotation:
        case ast.Subscript(value=outer, slice=inner) if _last_name(outer) == "Literal":
            items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return "one of " + ", ".join(_last_name(item) for item in items)
        case ast.BinOp(left=left, right=right):
            return f"{_describe(left)} or {_describe(right)}"
        case ast.Constant(value=None):
            return "null"
    return ast.unparse(annotation)


@cache
def parameters_of(target: str) -> Parameters:
    """The parameters of the function or class with the dotted name `target`.

    Raises:
        ValueError: there is no such function or class.
    """
    module, _, name = target.rpartition(".")
    found = _definition(module, name)
    if found is None:
        return _imported_parameters(target, module, name)
    return found


def _definition(module: str, name: str) -> Parameters | None:
    """Reads the definition of `name` in the module's source, following imports; None if unseen."""
    source = _source_file(module)
    if source is None:
        return None
    tree = ast.parse(source.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=found) if found == name and node in tree.body:
                return _function_parameters(node, is_method=False)
            case ast.ClassDef(name=found) if found == name and node in tree.body:
                return _class_parameters(node, module)
            case ast.ImportFrom(names=names):
                for alias in names:
                    if (alias.asname or alias.name) == name:
                        return _definition(_absolute(node, module, source), alias.name)
    return None


def _absolute(node: ast.ImportFrom, module: str, source: Path) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    keep = len(parts) - node.level + (source.name == "__init__.py")
    return ".".join(parts[:keep] + ([node.module] if node.module else []))


def _source_file(module: str) -> Path | None:
    """The module's source, found without running any package's `__init__`."""
    path: Any = None
    origin: str | None = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        loaded = sys.modules.get(name)
        spec = getattr(loaded, "__spec__", None) or PathFinder.find_spec(name, path)
        if spec is None:
            return None
        path, origin = spec.submodule_search_locations, spec.origin
    return Path(origin) if origin and origin.endswith(".py") else None


def _class_parameters(node: ast.ClassDef, module: str) -> Parameters | None:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _function_parameters(item, is_method=True)
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = [
            item
            for item in node.body
            if isinstance(item, ast.AnnAssign)
            and isinstance(item.target, ast.Name)
            and "ClassVar" not in ast.unparse(item.annotation)
        ]
        return Parameters(
            {_last_name(item.target): item.annotation for item in fields},
            frozenset(_last_name(item.target) for item in fields if item.value is None),
            takes_any=False,
        )
    bases = [base for base in node.bases if isinstance(base, ast.Name)]
    if not node.bases:
        return Parameters({}, frozenset(), takes_any=False)
    return _definition(module, bases[0].id) if bases else None


def _function_parameters(node: ast.FunctionDef, *, is_method: bool) -> Parameters:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    required = {item.arg for item in positional[: len(positional) - len(arguments.defaults)]}
    required |= {
        item.arg
        for item, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is None
    }
    first = positional[0].arg if is_method else None
    annotations = {
        item.arg: item.annotation
        for item in [*positional, *arguments.kwonlyargs]
        if item.arg != first
    }
    return Parameters(annotations, frozenset(required - {first}), arguments.kwarg is not None)


def _imported_parameters(target: str, module: str, name: str) -> Parameters:
    """The parameters of a target whose source tells nothing: it is imported and asked."""
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"_target_ {target!r} does not exist: {error}") from error
    signature = inspect.signature(found)
    annotations: dict[str, ast.expr | None] = {}
    required = set()
    takes_any = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_any = True
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            annotations[parameter.name] = _parsed(parameter.annotation)
            if parameter.default is parameter.empty:
                required.add(parameter.name)
    return Parameters(annotations, frozenset(required), takes_any)


def _parsed(annotation: object) -> ast.expr | None:
    if annotation is inspect.Parameter.empty:
        return None
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return ast.parse(text, mode="eval").body
