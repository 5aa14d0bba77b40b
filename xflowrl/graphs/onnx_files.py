"""Networks from ONNX files: one file, several, or all that match a pattern."""

from __future__ import annotations

import glob as globbing
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from xflowrl.onnx_io import Model, load_onnx


class ModelFiles(list[Model]):
    """The models of those files that could be read.

    Attributes:
        unread: one line for each of the others: which, why, and the remedy.
    """

    def __init__(self, models: Iterable[Model] = (), *, unread: Sequence[str] = ()) -> None:
        super().__init__(models)
        self.unread = tuple(unread)


def onnx_files(
    *,
    path: str | None = None,
    paths: list[str] | None = None,
    skip: list[str] | None = None,
    batch_size: int | None = None,
    input_shapes: dict[str, list[int]] | None = None,
    redraw_weights: bool = False,
    seed: int = 0,
) -> ModelFiles:
    """The models of the given files, in the order given, a pattern's files by name, each once.

    Args:
        path: a file, or a pattern (`*`, `?`, `[...]`, `**` for any depth of folders).
        paths: several of these; together with `path`, behind it.
        skip: files to leave out: patterns for the file's name with or without `.onnx`, or for its
            whole path as found.
        batch_size: binds the first dimension of every input where it is dynamic.
        input_shapes: binds inputs' dynamic dimensions, by name of the input.
        redraw_weights: draws all weights anew from `seed`, for files with placeholder weights.
        seed: of the redrawn weights.

    Raises:
        ValueError: nothing was asked for, a pattern matches no file, every file is skipped, or no
            file can be read; the message names the first.
        MemoryError: no file can be read, the first because it is too large.
    """
    patterns = [*([path] if path is not None else []), *(paths or [])]
    if not patterns:
        raise ValueError("graph=onnx: no file is given; set graph.path=FILE or graph.paths=[...]")
    found = list(dict.fromkeys(file for pattern in patterns for file in _matching(pattern)))
    kept = [file for file in found if not _is_skipped(file, skip or [])]
    if not kept:
        raise ValueError(
            f"graph=onnx: graph.skip={skip} leaves out all {len(found)} files; shorten it"
        )
    read, unread = list[Model](), list[Exception]()
    for file in kept:
        try:
            model = load_onnx(
                Path(file),
                batch_size=batch_size,
                input_shapes=input_shapes,
                redraw_weights=redraw_weights,
                seed=seed,
            )
        except (ValueError, MemoryError) as error:
            unread.append(error)
        else:
            read.append(model)
    if not read:
        raise unread[0]
    return ModelFiles(read, unread=[str(error) for error in unread])


def _matching(pattern: str) -> list[str]:
    """An existing file is meant literally, whatever its name; so is a name without wildcards."""
    if Path(pattern).exists() or not globbing.has_magic(pattern):
        return [pattern]
    # Path.glob refuses absolute patterns
    found = globbing.glob(pattern, recursive=True)  # noqa: PTH207
    files = sorted(file for file in found if Path(file).is_file())
    if not files:
        raise ValueError(f"graph=onnx: no file matches {pattern!r} in {Path.cwd()}")
    return files


def _is_skipped(file: str, skip: Sequence[str]) -> bool:
    names = (file, Path(file).name, Path(file).stem)
    return any(fnmatchcase(name, pattern) for pattern in skip for name in names)
