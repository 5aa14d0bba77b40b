"""What a machine runs out of, memory and disk space: one line that names the file."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What MemoryError is called in C++, PyTorch, protobuf, and by the system. Protobuf fails to
# serialise for two reasons, and the other one, 2 GiB, is kept clear of (`MAX_INLINE_BYTES`).
_NO_MEMORY = (
    *("bad allocation", "bad_alloc", "bad array new length", "can't allocate memory"),
    *("cannot allocate memory", "failed to allocate memory", "arena alloc failed"),
    *("failed to serialize proto", "out of memory", "can't start new thread"),
)
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_no_memory(error: BaseException) -> bool:
    """Whether an error of any library says that memory ran out."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(saying in text for saying in _NO_MEMORY)


def is_no_space(error: BaseException) -> bool:
    """Whether an error says that a disk is full, or a file may not become so large."""
    return isinstance(error, OSError) and error.errno in _NO_SPACE


@contextmanager
def memory_for(file: Path) -> Iterator[None]:
    """Within, memory that runs out is a MemoryError that names the file, its size and a remedy."""
    try:
        yield
    except Exception as error:
        if not is_no_memory(error):
            raise
        size = f" ({file.stat().st_size / 1e6:.3g} MB)" if file.exists() else ""
        raise MemoryError(
            f'"{file}"{size} needs more memory than this process may have; give it more '
            "(ulimit -v unlimited, or a larger machine)"
        ) from None


def write_whole(file: Path, content: bytes) -> None:
    """Writes a file whole or not at all, whenever the process is killed; makes its folder.

    Raises:
        ValueError: the disk is full; what was there before still is.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.part")  # a killed process leaves it for the next
    try:
        with space_for(file):
            partial.write_bytes(content)
            partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def space_for(file: Path) -> Iterator[None]:
    """Within, a disk that is full is a ValueError that names the file to be written."""
    try:
        yield
    except OSError as error:
        if not is_no_space(error):
            raise
        raise ValueError(
            f'"{file}" cannot be written: {error.strerror}; free some space there, or write '
            "elsewhere"
        ) from None
