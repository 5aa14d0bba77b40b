"""The process that a worker is: answers what it is asked through a connection, until that ends."""

from __future__ import annotations

import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from xflowrl.measurement.runtimes.runtime import Run, Runtime


def _serve(connection: Connection[Any, Any]) -> None:
    """Answers until the other end is closed."""
    runtime: Runtime = connection.recv()
    runs: dict[int, Run] = {}
    while True:
        try:
            dropped, verb, *operands = connection.recv()
        except EOFError:
            return
        for key in dropped:
            del runs[key]
        try:
            answer = _answer(runtime, runs, verb, *operands)
        except (RuntimeError, ValueError, MemoryError) as error:
            kind = MemoryError if isinstance(error, MemoryError) else RuntimeError
            answer = kind(str(error))  # a library's own class may not be known over there
        connection.send(answer)


def _answer(runtime: Runtime, runs: dict[int, Run], verb: str, *operands: Any) -> object:
    if verb == "compile":
        key = max(runs, default=0) + 1
        runs[key] = runtime.compile(*operands)
        return key, runs[key].layout
    if verb == "run":
        return runs[operands[0]]()
    if verb == "output_shapes":
        return runs[operands[0]].output_shapes()
    runtime.release()
    return None


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks decides
    _serve(Connection(int(sys.argv[1])))
