"""Going on with a run or a sweep, or repeating it: its command line, and the claim to its folder.

The options come from what Hydra left there: `.hydra/` of a run, `multirun.yaml` of a sweep.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import yaml  # type: ignore[import-untyped]

from xflowrl.shortage import space_for, write_whole

_OPTION = "resume="

# The option files of a sweep, in its folder.
KEPT_OPTIONS = ".conf"

logger = logging.getLogger(__name__)

# What says how a sweep works, or is shown, and not what it computes.
_HARMLESS = re.compile(r"-|hydra[/.]launcher\b|hydra\.verbose=|wandb\.")

# What says where it works; both are given anew.
_PLACES = ("hydra.run.dir=", "hydra.sweep.dir=", "hydra.mode=")


@dataclass(frozen=True)
class CommandLine:
    """What Hydra is told.

    Attributes:
        is_resumed: go on with what is in the folder, or in those of a sweep.
        recorded: a run folder whose configuration is taken, whatever the defaults are now.
        options: a folder like conf/ that is taken in its place: the one that a sweep began with.
    """

    arguments: Sequence[str]
    is_resumed: bool = False
    recorded: Path | None = None
    options: Path | None = None


@dataclass(frozen=True)
class _Begun:
    """What a command line changed of our options and of Hydra's, and where it was given."""

    task: list[str]
    hydra: list[str]
    cwd: Path

    def go_there(self) -> None:
        """Makes relative paths mean what they did, if the place still exists."""
        if self.cwd.is_dir():
            os.chdir(self.cwd)


def resumed(arguments: Sequence[str]) -> CommandLine:
    """With `resume=FOLDER` the command line that began what is there, with the folder as its place.

    Goes to the folder that it was given in, so that relative paths mean the same.

    Raises:
        ValueError: it is the folder of neither a run nor a sweep; or there are other options.
    """
    named = [argument for argument in arguments if argument.startswith(_OPTION)]
    if not named:
        return CommandLine(arguments)
    others = [a for a in arguments if a != named[0] and a not in ("-m", "--multirun")]
    for other in others:
        if not _HARMLESS.match(other):
            raise ValueError(f"{other}: {named[0]} has its own options, so leave this one out")
    folder = Path(named[0].removeprefix(_OPTION)).resolve()
    if (folder / "multirun.yaml").is_file():
        begun = _begun(folder / "multirun.yaml")
        begun.go_there()
        given = [*begun.task, *(a for a in begun.hydra if not a.startswith(_PLACES))]
        place = [f"hydra.sweep.dir={quoted(folder)}", "hydra.mode=MULTIRUN"]
        kept = folder / KEPT_OPTIONS
        options = kept if kept.is_dir() else None  # the kill came before
        return CommandLine([*given, *place, *others], is_resumed=True, options=options)
    given = _begun_run(folder)
    # What Hydra recorded of the run stays as it is.
    place = [f"hydra.run.dir={quoted(folder)}", "hydra.output_subdir=null", "hydra.mode=RUN"]
    return CommandLine([*given, *place, *others], is_resumed=True, recorded=folder)


def repeated(arguments: Sequence[str]) -> CommandLine:
    """The command line of the run whose folder is the first argument; it gets another folder.

    Raises:
        ValueError: it is no run folder; or there are other options.
    """
    if not arguments or arguments[0].startswith("-"):
        raise ValueError("give the folder of a run: python -m xflowrl.rerun FOLDER")
    for other in arguments[1:]:
        if not other.startswith("hydra.run.dir=") and not _HARMLESS.match(other):
            raise ValueError(f"{other}: the run has its own options, so leave this one out")
    folder = Path(arguments[0]).resolve()
    given = _begun_run(folder)
    return CommandLine([*given, "hydra.mode=RUN", *arguments[1:]], recorded=folder)


def arranged(arguments: Sequence[str]) -> list[str]:
    """What Hydra reads as it is meant, `-m` and the folder behind `-cp` wherever they are.

    Of options before and behind `-m` its parser takes the first alone; it looks for the folder
    beside its own.
    """
    given = list(arguments)
    for before, (index, argument) in zip(given, enumerate(given[1:], 1), strict=False):
        if before in ("-cp", "--config-path") and Path(argument).is_dir():
            given[index] = str(Path(argument).absolute())
    return sorted(given, key=lambda argument: argument not in ("-m", "--multirun"))


def _begun_run(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder; give that of a run")
    if not (folder / ".hydra").is_dir():
        raise ValueError(
            f"{folder} has no .hydra/, so it is not the folder of a run; give that of one, or to "
            f"resume= that of a sweep, which has a multirun.yaml"
        )
    begun = _begun(folder / ".hydra" / "hydra.yaml")
    begun.go_there()
    return begun.task


def _begun(path: Path) -> _Begun:
    try:
        hydra = yaml.safe_load(path.read_text(encoding="utf-8"))["hydra"]
        given, cwd = hydra["overrides"], hydra["runtime"]["cwd"]
        return _Begun([*map(str, given["task"])], [*map(str, given["hydra"])], Path(cwd))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        raise ValueError(
            f"{path} is not what Hydra writes: the process was ended before anything was begun; "
            f"start it again"
        ) from None


def quoted(value: object) -> str:
    """A value as Hydra's grammar takes it, whatever characters it has."""
    text = str(value)
    escaped = re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + ("\\" if m[2] else "") + m[2], text)
    return f'"{escaped}"'


def keep_options(source: Path, folder: Path) -> None:
    """Copies the option files that a sweep begins with into its folder, for when it is resumed.

    Jobs that have not begun by then are composed from them, whatever the defaults are then.

    Raises:
        ValueError: the disk is full.
    """
    kept = folder / KEPT_OPTIONS
    if source.resolve() == kept.resolve():
        return
    shutil.rmtree(kept, ignore_errors=True)  # of a sweep that was there before
    for file in source.rglob("*.yaml"):
        write_whole(kept / file.relative_to(source), file.read_bytes())


@contextmanager
def claimed(folder: Path, overrides: Sequence[str], *, file: str = ".hydra/lock") -> Iterator[bool]:
    """Keeps other processes out of a folder; ends with the process, however it ends.

    Yields whether the process before, if any, had the same options.

    Args:
        file: of the folder, that is locked.

    Raises:
        ValueError: another process works there.
    """
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as lock:
        before = _lock(lock, folder)
        with space_for(path):
            lock.truncate(0)
            lock.write(json.dumps({"pid": os.getpid(), "overrides": [*overrides]}))
            lock.flush()
        yield before.get("overrides", [*overrides]) == [*overrides]


def refuse_claimed(folder: Path) -> None:
    """Raises ValueError if another process works in the folder of a run; changes nothing there."""
    path = folder / ".hydra" / "lock"
    if path.exists():
        with path.open("r+", encoding="utf-8") as lock:
            _lock(lock, folder)


def _lock(lock: TextIO, folder: Path) -> dict[str, Any]:
    """Locks a file until it is closed, and returns what it says of the process before."""
    lock.seek(0)
    try:
        before: dict[str, Any] = json.loads(lock.read() or "{}")
    except ValueError:
        before = {}
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(
            f"{folder}: process {before.get('pid', 'unknown')} works there; wait until it has "
            f"ended, or end it"
        ) from None
    except OSError as error:  # there are network file systems that cannot
        where = lock.name
        logger.warning("%s cannot be locked: %s; let no other process in", where, error.strerror)
    return before
