"""What a run is called, and what of its options is worth comparing: the same on every machine."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xflowrl.shortage import write_whole

# What a limit of the budget is called in a name: taso-squeezenet-i100-s0.
_LIMITS = {
    "max_iterations": "i{}",
    "max_candidates": "c{}",
    "max_seconds": "{}s",
    "max_wall_s": "w{}s",
    "max_measurements": "m{}",
    "max_real_measurements": "r{}",
    "max_memory_mb": "{}mb",
    "patience": "p{}",
}

# Parts of the configuration whose options change no result.
_SILENT = ("wandb", "hydra", "folder", "experiment", "calibrate")

_MAX_LENGTH = 120

_NAME_FILE = Path(".hydra") / "name.txt"


def run_name(
    config: Mapping[str, Any],
    choices: Mapping[str, str],
    overrides: Sequence[str],
    siblings: Sequence[Sequence[str]] = (),
) -> str:
    """Agent, graph, budget and seed, then what else differs: `taso-squeezenet-i100-s0-alpha1.2`.

    Args:
        overrides: of this run, like `agent.alpha=1.2`.
        siblings: those of every run of its sweep: only options are named that have several values
            among them. Without, each of `overrides` is.
    """
    limits = [
        _LIMITS[name].format(_short(limit))
        for name, limit in config.get("budget", {}).items()
        if name in _LIMITS and limit is not None
    ]
    agent = choices.get("agent", "run")
    parts = [agent, graph_label(config, choices), *limits, f"s{config.get('seed', 0)}"]
    num_values = Counter(o.partition("=")[0] for o in {o for each in siblings for o in each})
    for override in overrides:
        name, _, value = override.lstrip("+~").partition("=")
        first = name.partition(".")[0]
        said = name in ("agent", "graph", "seed") or first in ("budget", *_SILENT)
        said |= name.startswith(("graph.path", "graph.names"))
        said |= len(siblings) > 1 and num_values[override.partition("=")[0]] == 1
        if not said:
            option = name.rpartition(".")[2] if "." in name else ""
            parts.append(option + _short(value))
    return "-".join(part for part in parts if part)[:_MAX_LENGTH]


def write_name(folder: Path, name: str) -> None:
    """Keeps what the run of a folder is called, so that nobody makes it up again."""
    write_whole(folder / _NAME_FILE, name.encode())


def read_name(folder: Path) -> str:
    """What the run of a folder is called; empty if it was not begun."""
    try:
        return (folder / _NAME_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def graph_label(config: Mapping[str, Any], choices: Mapping[str, str]) -> str:
    """The graph as a name has it: the option, or what its files or networks are called."""
    options = config.get("graph", {})
    files = [options["path"]] if options.get("path") else options.get("paths") or []
    names = options.get("names") or [Path(str(file)).stem for file in files]
    if not names:
        return choices.get("graph", "graph")
    return "+".join(map(str, names)) if len(names) <= 3 else f"{names[0]}+{len(names) - 1}"


def group_name(folder: Path) -> str:
    """What the runs of a sweep have in common: its date and time, or the name of its folder."""
    parts = folder.parts
    if "multirun" in parts[:-1]:
        return "/".join(parts[len(parts) - parts[::-1].index("multirun") :])
    return folder.name


def comparable(config: Mapping[str, Any], choices: Mapping[str, str]) -> dict[str, Any]:
    """The choices and every option, without what differs only by machine or by place."""
    options = {name: value for name, value in config.items() if name not in _SILENT}
    chosen = {name: choice for name, choice in choices.items() if "/" not in name}
    return {"choices": chosen, **_portable(options)}


def _portable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _portable(item) for key, item in value.items() if key not in ("_target_", "folder")
        }
    if isinstance(value, list | tuple):
        return [_portable(item) for item in value]
    if isinstance(value, str) and Path(value).is_absolute():
        relative = os.path.relpath(value)
        return Path(value).name if relative.startswith("..") else relative
    return value


def _short(value: Any) -> str:
    """A value in few characters, all of which may stand in a name."""
    text = Path(str(value)).name if os.sep in str(value) else str(value)
    if re.fullmatch(r"-?\d+\.\d{5,}(e-?\d+)?", text):  # a number that was drawn
        text = f"{float(text):.4g}"
    kept = "".join(c if c.isalnum() or c in ".+_" else "_" for c in text).strip("_")
    return kept[:24]
