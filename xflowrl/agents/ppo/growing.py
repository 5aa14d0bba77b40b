"""Tables and lists that grow, and runs of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Rows:
    """Columns that grow, at a cost of what is appended."""

    def __init__(self) -> None:
        self._columns: list[np.ndarray] = []
        self._num_rows = 0

    def extend(self, columns: Sequence[np.ndarray]) -> None:
        """Appends rows."""
        end = self._num_rows + len(columns[0])
        if not self._columns or end > len(self._columns[0]):
            room = [np.empty((2 * end, *c.shape[1:]), c.dtype) for c in columns]
            for new, old in zip(room, self._columns, strict=bool(self._columns)):
                new[: self._num_rows] = old[: self._num_rows]
            self._columns = room
        for ours, column in zip(self._columns, columns, strict=True):
            ours[self._num_rows : end] = column
        self._num_rows = end

    def at(self, index: np.ndarray | slice) -> list[np.ndarray]:
        """Some rows of each column."""
        return [column[: self._num_rows][index] for column in self._columns]


class Lists:
    """A list of rows for each kind, that grow."""

    def __init__(self) -> None:
        self._counts = Rows()
        self._rows = Rows()
        self._num_rows = 0

    def extend(self, counts: np.ndarray, columns: Sequence[np.ndarray]) -> None:
        """Appends lists of so many rows each."""
        self._counts.extend([self._num_rows + firsts(counts), counts])
        self._rows.extend(columns)
        self._num_rows += len(columns[0])

    def of(self, kinds: np.ndarray) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
        """Of the lists of some kinds: each row's place among the kinds, the rows, their numbers."""
        first, counts = self._counts.at(kinds)
        rows = self._rows.at(spans(first, counts))
        return np.repeat(np.arange(len(kinds)), counts), rows, counts


def firsts(counts: np.ndarray) -> np.ndarray:
    """Where each of several runs begins."""
    begins: np.ndarray = np.cumsum(counts) - counts
    return begins


def spans(first: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """first[0], first[0] + 1, ... counts[0] numbers, then those of the next."""
    numbers: np.ndarray = np.arange(counts.sum()) + np.repeat(first - firsts(counts), counts)
    return numbers
