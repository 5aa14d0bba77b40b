"""What the options are, from the comments of the YAML files: `--help`, and what was misspelt.

An option's comment stands behind it or in the lines above it; a file's own comment is its first
lines.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict

from xflowrl.cli.spelling import did_you_mean
from xflowrl.options import conf_folder

_WIDTH = 100
_MOST_KEYS = 8  # of one group in the short help

# What of config.yaml is no option of ours, or is set by another.
_UNTOLD = ("defaults", "hydra", "folder")

# Which package brings options of Hydra's own groups.
_BROUGHT_BY = {
    "joblib": "hydra-joblib-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
    "optuna": "hydra-optuna-sweeper",
    "ray": "hydra-ray-launcher",
}


def read_comments(file: Path) -> tuple[str, dict[str, str]]:
    """The comment of an option file, and its keys, dotted and in order, with theirs."""
    title: str | None = None
    above, comments = list[str](), dict[str, str]()
    parents: list[tuple[int, str]] = []  # indentation and name
    path = ""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#   ") and path:  # goes on with what stands behind the last key
            comments[path] += " " + line.strip("# ")
            continue
        if line.strip().startswith("# "):
            if not line.startswith("# @package"):
                above.append(line.strip("# "))
            continue
        if title is None and (line.strip() == "" or re.match("_target_|defaults", line)):
            title, above = " ".join(above), []
        if found := re.match(r"( *)(\w+):(?: |$)", line):
            behind = line.partition(" # ")[2].strip()
            parents = [parent for parent in parents if parent[0] < len(found[1])]
            parents.append((len(found[1]), found[2]))
            path = ".".join(name for _, name in parents)
            comments[path] = " ".join([*above, *([behind] if behind else [])])
        above = []
    comments.pop("_target_", None)
    return title or "", {path: text for path, text in comments.items() if "_target_" not in path}


def help_text(verb: str, arguments: Sequence[str]) -> str:
    """What `--help` prints: the composed choice in 60 lines, or all about some of its parts.

    Args:
        verb: what the command does, in one line.
        arguments: overrides, and the parts to explain: `agent=ppo`, `agent`.

    Raises:
        ValueError: there is no such part.
        HydraException: an override does not fit.
    """
    topics = [argument for argument in arguments if re.fullmatch(r"\w+", argument)]
    overrides = [argument for argument in arguments if re.match(r"[^-].*=", argument)]
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        composed = compose("config", overrides, return_hydra_config=True)
    choices = composed.hydra.runtime.choices
    with open_dict(composed):
        del composed["hydra"]
    config: Any = OmegaConf.to_container(composed, resolve=False)
    parts = [*(_Part.of_group(g, choices[g], config) for g in _groups()), *_other_parts(config)]
    named = {part.name: part for part in parts}
    for topic in topics:
        if topic not in named:
            there = ", ".join(named) + did_you_mean(topic, named)
            raise ValueError(f"--help {topic}: give one of {there}")
    if topics:
        return "\n\n".join("\n".join(named[topic].lines()) for topic in topics)
    lines = [
        verb,
        "",
        "Give GROUP=OPTION and GROUP.KEY=VALUE. -m runs all combinations of several values:",
        "-m agent=taso,greedy budget.max_iterations=10,100. experiment=NAME is a preset.",
        "--help GROUP explains a group and its options, --help agent=ppo agent those of a choice.",
        "",
        *(line for group in _groups() for line in _listed(group)),
        "",
        *(line for part in parts for line in part.short_lines()),
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class _Part:
    """A group with the chosen option, or a key that is in no group.

    Attributes:
        name: `agent`.
        head: `agent=ppo`.
        title: what that is.
        values: by dotted key.
        comments: by dotted key.
    """

    name: str
    head: str
    title: str
    values: Mapping[str, Any]
    comments: Mapping[str, str]

    @classmethod
    def of_group(cls, group: str, option: str | None, config: Mapping[str, Any]) -> _Part:
        """The part of a group; where no option is chosen, without values."""
        title, comments = "", dict[str, str]()
        if option is not None:
            title, comments = read_comments(conf_folder() / group / f"{option}.yaml")
        values = config.get(group) if group != "experiment" else None
        return cls(group, f"{group}={option or 'null'}", title, _leaves(values or {}), comments)

    def short_lines(self) -> Iterator[str]:
        """The first keys that are no group's, a line each."""
        first = {key: value for key, value in self.values.items() if "." not in key}
        more = len(self.values) - min(len(first), _MOST_KEYS)
        rest = f" (and {more} more: --help {self.name})" if more else ""
        yield _line(f"{self.head}{rest}", self.title)
        for key in [*first][:_MOST_KEYS] if self.name in _groups() else ():
            yield self._key(key)

    def lines(self) -> Iterator[str]:
        """Everything."""
        if self.name in _groups():
            for option in _options(self.name):
                title, _ = read_comments(conf_folder() / self.name / f"{option}.yaml")
                yield from _wrapped(f"{self.name}={option}", title)
            yield ""
        yield from _wrapped(self.head, self.title)
        for key in self.values:
            yield from _wrapped(
                f"  {self.name}.{key}={_written(self.values[key])}", self.comments.get(key, "")
            )

    def _key(self, key: str) -> str:
        return _line(
            f"  {self.name}.{key}={_written(self.values[key])}", self.comments.get(key, "")
        )


def unknown_key(key: str) -> str:
    """What is wrong with a dotted key that the composed configuration lacks, and what to do."""
    group, _, path = key.partition(".")
    if group == "hydra":
        return f"there is no {key}: +{key}=VALUE adds it where Hydra allows"
    general = _general_comments()
    top = [*_groups(), *(name for name in general if "." not in name)]
    if group not in top:
        return f"there is no {key} (--help shows what there is){did_you_mean(group, top)}"
    owners: dict[str, list[str]] = {}
    for option in _options(group):
        for name in read_comments(conf_folder() / group / f"{option}.yaml")[1]:
            owners.setdefault(name, []).append(f"{group}={option}")
    if path in owners:
        owner = " or ".join(owners[path][:4])
        return f"the chosen {group} has no {key}: choose {owner}, which has, or leave it out"
    known = [*(f"{group}.{name}" for name in owners), *general]
    return f"there is no {key} (--help {group} shows what there is){did_you_mean(key, known)}"


def unknown_option(group: str, option: str, known: Sequence[str]) -> str:
    """What is wrong with `group=option`, and what to do."""
    if option in _BROUGHT_BY and group.startswith("hydra/"):
        return f"{group}={option} is not installed: pip install {_BROUGHT_BY[option]}"
    there = ", ".join(known) + did_you_mean(option, known)
    return f"{group}={option} does not exist: give one of {there}"


def _groups() -> list[str]:
    return sorted(path.name for path in conf_folder().iterdir() if any(path.glob("*.yaml")))


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


def _listed(group: str) -> list[str]:
    options = _options(group)
    if len(options) == 1:
        return []  # nothing to choose
    return textwrap.wrap(f"{group}: {', '.join(options)}", _WIDTH, subsequent_indent="  ")


def _general_comments() -> dict[str, str]:
    """Of the keys that are in no group, dotted."""
    _, comments = read_comments(conf_folder() / "config.yaml")
    return {key: text for key, text in comments.items() if not key.startswith(_UNTOLD)}


def _other_parts(config: Mapping[str, Any]) -> Iterator[_Part]:
    comments = _general_comments()
    for name in comments:
        if "." not in name and isinstance(value := config[name], dict):
            below = {
                key.removeprefix(f"{name}."): text
                for key, text in comments.items()
                if key.startswith(f"{name}.")
            }
            yield _Part(name, name, comments[name], _leaves(value), below)
        elif "." not in name:
            yield _Part(name, f"{name}={_written(config[name])}", comments[name], {}, {})


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value that is no mapping, by its dotted key."""
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            leaves |= _leaves(value, f"{prefix}{key}.")
        elif key != "_target_":
            leaves[f"{prefix}{key}"] = value
    return leaves


def _written(value: object) -> str:
    """A value as the command line takes it."""
    text = "null" if value is None else str(value)
    return text.lower() if isinstance(value, bool) else text


def _line(head: str, comment: str = "") -> str:
    """One line, cut where it is too long."""
    line = f"{head:<34}  {comment}".rstrip()
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 3].rstrip()}..."


def _wrapped(head: str, comment: str) -> list[str]:
    """As many lines as the comment needs."""
    return textwrap.wrap(f"{head:<34}  {comment}", _WIDTH, subsequent_indent=" " * 36) or [head]
