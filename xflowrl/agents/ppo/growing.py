"""Tables that grow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Rows:
    """Columns that grow, at a cost of what is appended."""

    def __init__(self) -> None:
        self._columns: list[np.ndarray] = []
        self.num_rows = 0

    def extend(self, columns: Sequence[np.ndarray]) -> None:
        """Appends rows."""
        end = self.num_rows + len(columns[0])
        if not self._columns or end > len(self._columns[0]):
            room = [np.empty((2 * end, *c.shape[1:]), c.dtype) for c in columns]
            for new, old in zip(room, self._columns, strict=bool(self._columns)):
                new[: self.num_rows] = old[: self.num_rows]
            self._columns = room
        for ours, column in zip(self._columns, columns, strict=True):
            ours[self.num_rows : end] = column
        self.num_rows = end

    def at(self, index: np.ndarray | slice) -> list[np.ndarray]:
        """Some rows of each column."""
        return [column[: self.num_rows][index] for column in self._columns]
