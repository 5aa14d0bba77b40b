"""Run folders, found and read: what came out, under which options, and what failed."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from xflowrl.cli.naming import read_name
from xflowrl.run_folder import GraphRecord, GraphTrace, RunRecord, read_result, read_trace_record

# The files of which one makes a folder that of a job. The second are those of other verbs.
_MARKS = (".hydra", "result.json", "complexity.json", "calibration.csv")
_OTHER_VERBS = ("complexity.json", "calibration.csv")
# They are written by libraries, and have no run folders in them.
_SKIPPED = ("wandb", "checkpoints", "lightning_logs")


@dataclass(frozen=True)
class Run:
    """One job of `python -m xflowrl.run`.

    Attributes:
        name: what the console and Weights & Biases call it, with its place if others have it too.
        place: its folder, from where the folders of the report part on.
        options: the configuration, flat: "budget.max_iterations". Interpolations as they stand.
        choices: the option chosen in each group.
        record: None if it failed.
        traces: by graph.
        failure: why there is no record, one line.
    """

    name: str
    place: str
    folder: Path
    options: Mapping[str, Any]
    choices: Mapping[str, str]
    record: RunRecord | None
    traces: Mapping[str, GraphTrace]
    failure: str = ""

    @property
    def graphs(self) -> tuple[GraphRecord, ...]:
        """What came out; nothing if it failed."""
        return self.record.results if self.record is not None else ()


def job_folders(paths: Sequence[Path]) -> list[Path]:
    """The folders of jobs that are or lie below these, each once, in the order of their numbers.

    Raises:
        ValueError: below one of them there is none.
    """
    found: dict[Path, None] = {}
    for path in paths:
        below = sorted(_jobs_below(path), key=_natural)
        if not below:
            what = "has no run folder in it" if path.exists() else "does not exist"
            raise ValueError(
                f'"{path}" {what}: give a folder that python -m xflowrl.run wrote, '
                "multirun/DATE/TIME for a sweep"
            )
        found |= dict.fromkeys(folder.resolve() for folder in below)
    return list(found)


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs among these folders of jobs, those that failed too."""
    # Complexities and calibrations are read by `xflowrl.report.other_verbs`.
    runs = [folder for folder in folders if not any((folder / v).exists() for v in _OTHER_VERBS)]
    places = _places(runs)
    named = [read_name(folder) or place for folder, place in zip(runs, places, strict=True)]
    times = Counter(named)
    names = [f"{n} ({p})" if times[n] > 1 else n for n, p in zip(named, places, strict=True)]
    return [_read_run(*of) for of in zip(names, places, runs, strict=True)]


def _jobs_below(path: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(path):
        if any(mark in files or mark in below for mark in _MARKS):
            below.clear()
            yield Path(folder)
        below[:] = [name for name in below if not name.startswith(_SKIPPED)]


def _natural(path: Path) -> list[Any]:
    """A key that has 10 behind 9."""
    parts = re.split(r"(\d+)", str(path))
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def _places(folders: Sequence[Path]) -> list[str]:
    """The folders' paths from where they part on; one alone keeps its last two parts."""
    if len(folders) < 2:
        return ["/".join(folder.parts[-2:]) for folder in folders]
    common = Path(os.path.commonpath(folders))
    return [str(folder.relative_to(common)) for folder in folders]


def _read_run(name: str, place: str, folder: Path) -> Run:
    config = _read_yaml(folder / ".hydra" / "config.yaml")
    record, traces, failure = None, dict[str, GraphTrace](), ""
    try:
        record = read_result(folder)
        if (folder / "trace.json").exists():
            traces = {trace.graph: trace for trace in read_trace_record(folder).traces}
    except FileNotFoundError:
        failure = _last_error(folder / "run.log")
    except (ValueError, OSError) as error:
        failure = str(error)
    settings = _read_yaml(folder / ".hydra" / "hydra.yaml")
    choices = settings.get("hydra", {}).get("runtime", {}).get("choices", {})
    if record is not None and record.results:
        first = record.results[0]
        choices |= {group: getattr(first, group) for group in ("agent", "rules", "measurement")}
    return Run(name, place, folder, dict(_flat(config)), choices, record, traces, failure)


def _read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a file; nothing if it does not exist, or a kill cut it off."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it was built
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name}.")
        else:
            yield name, tuple(map(str, value)) if isinstance(value, list) else value


def _last_error(log: Path) -> str:
    """What the log of a job that failed says last."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    said = re.findall(r"^\[[^]]*\]\[[^]]*\]\[ERROR\] (?:error: )?(.*)$", text, re.MULTILINE)
    return said[-1] if said else "no result.json: it was killed, or is still running"
