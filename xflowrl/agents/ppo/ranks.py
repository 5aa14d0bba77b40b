"""The processes that train one policy together, one a device: who they are, and their start.

The first, of rank 0, is the one that was called: it logs, writes the files and takes the signals.
It starts the others, which live no longer than it does. Lightning's own launchers would start the
command line again, a whole sweep of it, or leave what was found in a process that has ended.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from signal import Signals
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy

_LAST_WORDS_S = 2.0  # in which a process that fails says why


class Seat(LightningEnvironment):
    """Which of the processes this is, and where they meet: a port of this machine."""

    creates_processes_externally = True  # Lightning starts none
    main_address = "127.0.0.1"

    def __init__(self, rank: int, port: int, connection: Connection[Any, Any] | None) -> None:
        super().__init__()
        self._rank, self._main_port, self._connection = rank, port, connection

    def local_rank(self) -> int:
        """The number of this process; the first is 0."""
        return self._rank

    def node_rank(self) -> int:
        """There is one machine."""
        return 0

    @contextmanager
    def meeting(self, num_processes: int) -> Iterator[None]:
        """Says that this process is ready to meet the others."""
        assert self._connection is not None
        self._connection.send(None)
        yield


class FirstSeat(Seat):
    """That of the first process, which starts the others.

    Args:
        task: an agent, whose `train_beside` the others call, and the problems.
    """

    def __init__(self, *task: Any) -> None:
        super().__init__(0, -1, None)
        self._task = task

    @contextmanager
    def meeting(self, num_processes: int) -> Iterator[None]:
        """The other processes, ready, for as long as it lasts.

        Raises:
            ValueError: one of them ended, or what it raised.
            MemoryError: the same.
        """
        self._main_port = find_free_network_port()
        with ExitStack() as stack:
            ranks = range(1, num_processes)
            others = [_Other(rank, self._main_port, self._task) for rank in ranks]
            for other in others:
                stack.callback(other.end)
            for other in others:
                other.hear()
            stack.callback(_part)
            try:
                yield
            except RuntimeError:  # of an exchange in which one was missing
                for other in others:
                    if other.has_spoken():
                        other.hear()
                raise


class _Other:
    """Another process, as seen from the first."""

    def __init__(self, rank: int, port: int, task: tuple[Any, ...]) -> None:
        self._rank = rank
        self._connection, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.rank_process", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the first
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        theirs.close()
        with suppress(BrokenPipeError):  # which `hear` will tell
            self._connection.send((*task, rank, port))

    def has_spoken(self) -> bool:
        """Whether it has ended or soon does."""
        return self._connection.poll(_LAST_WORDS_S)

    def hear(self) -> None:
        """Waits until it is ready.

        Raises:
            ValueError: it has ended, or what it raised.
            MemoryError: the same.
        """
        try:
            error: Exception | None = self._connection.recv()
        except (EOFError, OSError):
            code = self._process.wait()
            how = f"was ended by {Signals(-code).name}" if code < 0 else f"ended with {code}"
            raise ValueError(
                f"agent.trainer.devices: training process {self._rank} {how}; begin again with "
                f"fewer devices"
            ) from None
        if error is not None:
            raise error

    def end(self) -> None:
        """Ends it, if it has not ended."""
        self._process.kill()
        self._process.wait()
        self._connection.close()


def _part() -> None:
    """Ends the group of processes, so that another can meet."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class Together(DDPStrategy):
    """Gradients are averaged over processes that are there already."""

    def _configure_launcher(self) -> None:
        self._launcher = None
