"""Ctrl-C and SIGTERM: the first gives up the work in progress, the second ends the process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class EndNow(BaseException):
    """A second interrupt came. It is no KeyboardInterrupt, so that no search lives on after it."""


class Interrupts:
    """While it is entered, in the main thread, both signals are one: KeyboardInterrupt, once.

    Attributes:
        exit_code: 128 + the signal that came first, as a shell says it; 0 if none came.
    """

    def __init__(self) -> None:
        self.exit_code = 0
        self._is_held = False
        self._is_pending = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within, the first interrupt waits for the next place where it is `allowed`."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """A place inside `held` where work can be given up.

        Raises:
            KeyboardInterrupt: an interrupt comes, or one was waiting.
        """
        self._is_held = False
        try:
            if self._is_pending:
                self._is_pending = False
                raise KeyboardInterrupt
            yield
        finally:
            self._is_held = True

    def _receive(self, number: int, frame: object) -> None:
        if self.exit_code:
            raise EndNow
        self.exit_code = 128 + number
        if not self._is_held:
            raise KeyboardInterrupt
        self._is_pending = True
