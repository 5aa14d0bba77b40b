"""The device that is timed: its name, and the lock that keeps it to one timer at a time."""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_log = logging.getLogger(__name__)

_POLL_S = 0.01


@functools.cache
def cpu_name() -> str:
    """The CPU's model name with family, model and stepping, e.g. "AMD EPYC (25/17/1)".

    The numbers are there because hypervisors give different CPUs one model name.
    """
    fields: dict[str, str] = {}
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
            if not line.strip() and fields:
                break
    name = fields.get("model name") or platform.processor() or platform.machine()
    numbers = [fields[k] for k in ("cpu family", "model", "stepping") if k in fields]
    return f"{name} ({'/'.join(numbers)})" if numbers else name


class DeviceLock:
    """A lock between processes: shared while a run works, exclusive while it times.

    Two files: `path` is the lock itself, `path.turn` the turnstile at which whoever wants to time
    waits, so that runs that hold the lock shared can see it and `give_way`. Obtain it through
    `device_lock`, which gives one object per process: the kernel would treat two open files of
    one process as strangers. Locks end with the process, however it ends.

    Threads of one process share one hold: `exclusive` is serialised between them, nothing more.
    Pickled, it is the name of its files: the lock that another process has of them, held or not.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process = -1
        self._main = self._turn = -1
        self._num_shared = 0
        self._is_exclusive = False
        self._wait_in_vain = False
        self._mutex = threading.RLock()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Held by a run from beginning to end; nests."""
        self._open()
        with self._mutex:
            if self._num_shared == 0 and not self._is_exclusive:
                self._enter_shared()
            self._num_shared += 1
        try:
            yield
        finally:
            with self._mutex:
                self._num_shared -= 1
                if self._num_shared == 0 and not self._is_exclusive:
                    fcntl.flock(self._main, fcntl.LOCK_UN)

    @contextmanager
    def exclusive(self, *, max_wait_s: float = 5.0) -> Iterator[bool]:
        """Held while timing; yields whether the device really is ours alone; nests.

        Waits until every other run has given way. A run that does not within `max_wait_s`
        (stopped, or deep in training) is reported in the log, and timing goes on beside it; from
        then on this process waits a twentieth as long, until it once had the device.
        """
        self._open()
        with self._mutex:
            if self._is_exclusive:
                yield not self._wait_in_vain
                return
            fcntl.flock(self._main, fcntl.LOCK_UN)
            self._is_exclusive = True
            try:
                self._wait_in_vain = not self._acquire_exclusive(max_wait_s)
                yield not self._wait_in_vain
            finally:
                self._is_exclusive = False
                fcntl.flock(self._main, fcntl.LOCK_UN)
                fcntl.flock(self._turn, fcntl.LOCK_UN)
                if self._num_shared:
                    self._enter_shared()

    def _acquire_exclusive(self, max_wait_s: float) -> bool:
        deadline = time.monotonic() + (max_wait_s / 20 if self._wait_in_vain else max_wait_s)
        if _acquire(self._turn, fcntl.LOCK_EX, deadline) and _acquire(
            self._main, fcntl.LOCK_EX, deadline
        ):
            return True
        if not self._wait_in_vain:
            _log.warning(
                "the device is in use by another run that did not give way within %g s (lock %s); "
                "timings are taken beside it and may be noisy",
                max_wait_s,
                self._path,
            )
        return False

    def give_way(self) -> float:
        """Lets a waiting timer have the device; the seconds that took.

        Call it once an iteration: where nobody waits it is two system calls. Does nothing where
        the lock is not held shared.
        """
        with self._mutex:
            if self._num_shared == 0 or self._is_exclusive:
                return 0.0
            self._open()
            if _try(self._turn, fcntl.LOCK_SH):
                fcntl.flock(self._turn, fcntl.LOCK_UN)
                return 0.0
            started_s = time.perf_counter()
            fcntl.flock(self._main, fcntl.LOCK_UN)
            self._enter_shared()
            return time.perf_counter() - started_s

    def _enter_shared(self) -> None:
        fcntl.flock(self._turn, fcntl.LOCK_SH)
        try:
            fcntl.flock(self._main, fcntl.LOCK_SH)
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def __reduce__(self) -> tuple[Callable[[Path], DeviceLock], tuple[Path]]:
        """A copy is the lock of the process that it is read in."""
        return _lock_at, (self._path,)

    def _open(self) -> None:
        """Opens the files; anew in a forked child, which would share its parent's hold."""
        with self._mutex:
            if self._process == os.getpid():
                return
            for descriptor in (self._main, self._turn):
                if descriptor >= 0:
                    os.close(descriptor)
            self._main = _open_file(self._path)
            self._turn = _open_file(self._path.with_name(self._path.name + ".turn"))
            self._num_shared = 0
            self._is_exclusive = False
            self._process = os.getpid()


def device_lock(device: str = "cpu") -> DeviceLock:
    """The lock of a device of this machine, one object per process."""
    return _lock_at(Path(tempfile.gettempdir()) / f"xflowrl-{device}.lock")


@functools.cache
def _lock_at(path: Path) -> DeviceLock:
    return DeviceLock(path)


def _open_file(path: Path) -> int:
    """Opens, or creates for every user of the machine; flock needs no right to write."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _try(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _acquire(descriptor: int, how: int, deadline: float) -> bool:
    while not _try(descriptor, how):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
