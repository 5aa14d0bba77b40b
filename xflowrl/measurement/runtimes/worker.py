"""Runtimes in processes of their own: what a compiler leaves behind goes with its process.

A process compiles models and times them, one after the other; several compile side by side. After
so many compilations it takes no more, and ends when its last run is dropped. One that has died is
replaced.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from xflowrl.measurement.device import DeviceLock
from xflowrl.measurement.runtimes.runtime import Run, Runtime, trim_memory

_MAX_COMPILATIONS = 50  # PyTorch keeps 0.7 MB of each for good


@dataclass(frozen=True)
class InWorkers:
    """A runtime whose models are compiled and executed in other processes; see `Runtime`.

    Processes start when they are first needed and end with this one, or with `close`.

    Attributes:
        inner: what they run.
        num_workers: that compile side by side.
        environment: variables of theirs, where this process has none of that name.
    """

    inner: Runtime
    num_workers: int = 1
    environment: tuple[tuple[str, str], ...] = ()
    _workers: list[_Worker] = field(default_factory=list, compare=False, repr=False)
    _mutex: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)

    @property
    def name(self) -> str:
        """Its own."""
        return self.inner.name

    @property
    def device(self) -> str:
        """Its own."""
        return self.inner.device

    @property
    def driver(self) -> str:
        """Its own."""
        return self.inner.driver

    @property
    def version(self) -> str:
        """Its own: another process changes no time."""
        return self.inner.version

    @property
    def precision(self) -> str:
        """Its own."""
        return self.inner.precision

    @property
    def lock(self) -> DeviceLock:
        """Its own; held by the process that asks, not by those that run."""
        return self.inner.lock

    @property
    def fused(self) -> Collection[tuple[str, str, str]]:
        """Its own."""
        return self.inner.fused

    @property
    def views(self) -> bool:
        """Its own."""
        return self.inner.views

    def compile(self, model: bytes | Path, feeds: Mapping[str, np.ndarray]) -> Run:
        """As `inner`; RuntimeError also where the process dies of it."""
        worker = self._take()
        try:
            return worker.compile(model, feeds)
        finally:
            worker.is_busy = False

    def compile_all(
        self, models: Sequence[bytes | Path], feeds: Mapping[str, np.ndarray]
    ) -> list[Run | RuntimeError | MemoryError]:
        """Compiles side by side; in place of a run the error, where one is refused."""

        def compiled(model: bytes | Path) -> Run | RuntimeError | MemoryError:
            try:
                return self.compile(model, feeds)
            except (RuntimeError, MemoryError) as error:
                return error

        with ThreadPoolExecutor(self.num_workers) as threads:
            try:
                return list(threads.map(compiled, models))
            except BaseException:
                self.close()  # so that the threads end
                raise

    def release(self) -> None:
        """Gives the memory of dropped runs back, in all processes; that of their models here."""
        with self._mutex:
            for worker in self._workers:
                if not worker.is_busy:
                    with suppress(RuntimeError):
                        worker.ask("release")
        trim_memory()

    def close(self) -> None:
        """Ends the processes; their runs cannot be called any more."""
        with self._mutex:
            while self._workers:
                self._workers.pop().close()

    def _take(self) -> _Worker:
        """A worker that is not busy; a new one where there is none."""
        with self._mutex:
            for worker in list(self._workers):
                if worker.is_worn and not worker.num_runs:
                    worker.close()
                    self._workers.remove(worker)
            free = [w for w in self._workers if not (w.is_busy or w.is_worn)]
            worker = free[0] if free else _Worker(self.inner, dict(self.environment))
            if not free:
                self._workers.append(worker)
            worker.is_busy = True
            return worker


def side_by_side(runtime: Runtime) -> int:
    """How many models it compiles at a time."""
    return runtime.num_workers if isinstance(runtime, InWorkers) else 1


def compile_each(
    runtime: Runtime, models: Iterable[bytes | Path], feeds: Mapping[str, np.ndarray]
) -> Iterator[Run | RuntimeError | MemoryError]:
    """Runs of models, in order; in place of a run the error, where one is refused.

    Compiled when it is asked for, or all at once where that is side by side.
    """
    if isinstance(runtime, InWorkers):
        yield from runtime.compile_all(list(models), feeds)
        return
    for model in models:
        try:
            yield runtime.compile(model, feeds)
        except (RuntimeError, MemoryError) as error:
            yield error


def checked(run: Run | RuntimeError | MemoryError) -> Run:
    """The run; raises the error that is in its place."""
    if isinstance(run, Exception):
        raise run
    return run


@contextmanager
def fresh(runtime: Runtime) -> Iterator[Runtime]:
    """The runtime in processes that have run nothing before, and end here."""
    if isinstance(runtime, InWorkers):
        workers = InWorkers(runtime.inner, runtime.num_workers, runtime.environment)
    else:
        workers = InWorkers(runtime)
    try:
        yield workers
    finally:
        workers.close()


class _Worker:
    """One process, as seen from here."""

    def __init__(self, runtime: Runtime, environment: Mapping[str, str]) -> None:
        self.is_busy = False
        self.num_runs = 0
        self._num_compilations = 0
        self._mutex = threading.Lock()  # of one question and its answer
        self._dropped: list[int] = []
        self._connection, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.worker_process", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={
                **environment,
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
        )
        theirs.close()
        weakref.finalize(self, _end, self._connection, self._process)
        self._connection.send(runtime)

    @property
    def is_worn(self) -> bool:
        """Whether it should compile nothing more."""
        return self._num_compilations >= _MAX_COMPILATIONS or self._process.poll() is not None

    def compile(self, model: bytes | Path, feeds: Mapping[str, np.ndarray]) -> Run:
        self._num_compilations += 1
        key, layout = self.ask("compile", model, dict(feeds))
        self.num_runs += 1
        return _WorkerRun(self, key, layout)

    def ask(self, verb: str, *operands: object) -> Any:
        """The answer; raises what the process raised, or RuntimeError where it has died."""
        with self._mutex:
            dropped = [self._dropped.pop() for _ in range(len(self._dropped))]
            try:
                self._connection.send((dropped, verb, *operands))
                answer = self._connection.recv()
            except (EOFError, OSError):
                code = self._process.wait()
                how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with {code}"
                raise RuntimeError(f"the process that ran it ended {how}") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def drop(self, key: int) -> None:
        """Lets go of a run, with the next question: this may be called in the midst of one."""
        self.num_runs -= 1
        self._dropped.append(key)

    def close(self) -> None:
        """Ends the process."""
        _end(self._connection, self._process)


def _end(connection: Connection[Any, Any], process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    connection.close()


class _WorkerRun:
    """A model that waits in another process."""

    def __init__(self, worker: _Worker, key: int, layout: str) -> None:
        self.layout = layout
        self._ask: Callable[..., Any] = worker.ask
        self._key = key
        weakref.finalize(self, worker.drop, key)

    def __call__(self) -> float:
        return float(self._ask("run", self._key))

    def output_shapes(self) -> list[tuple[int, ...]]:
        """The shapes that the last execution produced."""
        shapes: list[tuple[int, ...]] = self._ask("output_shapes", self._key)
        return shapes
