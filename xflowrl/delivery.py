"""Puts a model file where the user wants it: whole or not at all, its external data beside it."""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xflowrl.onnx_io.model_file import inspect_file
from xflowrl.shortage import is_no_space, space_for


def check_target(original: Path, target: Path) -> None:
    """Checks that `target` can be written, and leaves the user's file and its data as they are.

    Raises:
        ValueError: it cannot or does not.
    """
    if target.is_dir():
        raise ValueError(f'"{target}" is a folder; give the path of a file')
    folder = next(place for place in target.absolute().parents if place.exists())
    if not os.access(folder, os.W_OK | os.X_OK):  # now, and not when all work is done
        raise ValueError(_unwritable(target, "Permission denied"))
    if target.exists() and not target.is_file():  # a device would be replaced by the file
        raise ValueError(f'"{target}" is no file but a device; give the path of a file')
    inputs = [original, *(original.parent / name for name in inspect_file(original).data_files)]
    for written in (target, target.parent / data_name(target)):
        for read in inputs:
            if written.exists() and read.exists() and written.samefile(read):
                raise ValueError(f'"{written}" belongs to the model that is read; give another -o')


@contextmanager
def workshop(target: Path) -> Iterator[Path]:
    """A folder for files that become `target`, on its file system; gone at the end.

    Raises:
        ValueError: the target's folder cannot be written, or its disk is full.
    """
    with space_for(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            folder = tempfile.TemporaryDirectory(dir=target.parent, prefix=".xflowrl-")
        except OSError as error:
            if is_no_space(error):
                raise
            raise ValueError(_unwritable(target, str(error.strerror))) from None
        with folder as path:
            yield Path(path)


def _unwritable(target: Path, reason: str) -> str:
    return f'"{target}" cannot be written: {reason}; give a file in a folder that can'


def work_name(target: Path) -> str:
    """The file's name in the workshop, so that its external data are found once it is moved.

    It is the target's, in UTF-8: ONNX knows no other names.
    """
    return os.fsencode(target.name).decode("utf-8", "replace")


def data_name(target: Path) -> str:
    """Where the target has its external data, relative to it."""
    return f"{work_name(target)}.data"


def move_file(made: Path, target: Path) -> None:
    """Moves a file out of the workshop, its external data first."""
    for name in inspect_file(made).data_files:
        (made.parent / name).replace(target.parent / name)
    made.replace(target)


def copy_file(original: Path, target: Path) -> None:
    """Copies a file byte for byte, its external data to the same places beside it.

    Raises:
        ValueError: another file is where its data belong.
    """
    with workshop(target) as folder:
        for name in inspect_file(original).data_files:
            source, place = original.parent / name, target.parent / name
            if place.exists():
                if not filecmp.cmp(source, place, shallow=False):
                    raise ValueError(f'"{place}" is in the way of the model\'s data; move it')
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / "data")
            (folder / "data").replace(place)
        shutil.copyfile(original, folder / "model")
        (folder / "model").replace(target)
