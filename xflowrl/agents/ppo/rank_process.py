"""A process that trains beside the first, and ends with it."""

from __future__ import annotations

import os
import sys
import threading
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from xflowrl.agents.ppo.ranks import Seat
from xflowrl.measurement import device_lock

if TYPE_CHECKING:
    from xflowrl.agents.ppo.agent import PPO


def _end_with(connection: Connection[Any, Any]) -> None:
    """Ends this process when the other end of the connection is closed."""
    try:
        connection.recv()
    finally:
        os._exit(1)


def _train(connection: Connection[Any, Any]) -> None:
    agent: PPO
    agent, problems, rank, port = connection.recv()
    threading.Thread(target=_end_with, args=[connection], daemon=True).start()
    try:
        with device_lock().shared():
            agent.train_beside(problems, Seat(rank, port, connection))
    except (ValueError, MemoryError, OSError) as error:
        kind = MemoryError if isinstance(error, MemoryError) else ValueError
        connection.send(kind(str(error)))


if __name__ == "__main__":
    _train(Connection(int(sys.argv[1])))
