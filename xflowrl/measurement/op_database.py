"""The op-cost database: what every operator timed so far takes, kept on disk."""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)

_SCHEMA_VERSION = 1
_MAX_KEY_LENGTH = 400
_BUSY_TIMEOUT_S = 60.0

_CREATE = """
CREATE TABLE IF NOT EXISTS op_cost (
    device TEXT NOT NULL, runtime TEXT NOT NULL, signature TEXT NOT NULL,
    median_ms REAL NOT NULL, q1_ms REAL NOT NULL, q3_ms REAL NOT NULL,
    num_repeats INTEGER NOT NULL, source TEXT NOT NULL,
    PRIMARY KEY (device, runtime, signature)
) WITHOUT ROWID
"""


@dataclass(frozen=True)
class OpCost:
    """What one operator takes: median and quartiles of `num_repeats` executions.

    `source` is "timed", or "estimate" where the runtime cannot execute the operator alone; an
    estimate has `num_repeats` 0.
    """

    median_ms: float
    q1_ms: float
    q3_ms: float
    num_repeats: int
    source: str = "timed"


def default_path() -> Path:
    """`$XDG_CACHE_HOME/xflowrl/op_costs.sqlite`, in `~/.cache` where that is not set.

    A user without a home gets a folder of their own among the temporary ones, and a warning.
    """
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(cache) if cache else Path.home() / ".cache"
    except RuntimeError:  # no HOME, and the user is not known to the system
        folder = Path(tempfile.gettempdir()) / f"xflowrl-{os.getuid()}"
        _log.warning("no home folder: op costs are kept in %s; XDG_CACHE_HOME sets another", folder)
    return folder / "xflowrl" / "op_costs.sqlite"


class OpDatabase:
    """Costs by operator signature, for one device and one runtime with its versions.

    Of several writers of one signature the first wins and all read its value, so that runs
    started together agree on every cost. Each `put` is one transaction: a killed process leaves
    behind what it had put, and nothing half-written. `path=None` keeps everything in memory.

    SQLite's write-ahead log wants a local disk: on a network file system, give every machine
    a database of its own. Pickled, it is its path: another process opens the file when it first
    asks. One in memory arrives empty.

    Raises:
        ValueError: from every method, if the file is no usable op-cost database or its folder
            cannot be written; one line with the remedy.
    """

    def __init__(self, path: Path | None, *, device: str, runtime: str) -> None:
        self.path = path
        self.device = device
        self.runtime = runtime
        self._connection: sqlite3.Connection | None = None
        self._process = -1
        with self._open() as connection:
            connection.execute("SELECT count(*) FROM op_cost WHERE device = ''").fetchone()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_connection": None}

    def get(self, keys: Iterable[str]) -> dict[str, OpCost]:
        """The costs known of `keys`, by key."""
        found: dict[str, OpCost] = {}
        with self._open() as connection:
            for key in keys:
                row = connection.execute(
                    "SELECT median_ms, q1_ms, q3_ms, num_repeats, source FROM op_cost "
                    "WHERE device = ? AND runtime = ? AND signature = ?",
                    (self.device, self.runtime, _stored_key(key)),
                ).fetchone()
                if row is not None:
                    found[key] = OpCost(*row)
        return found

    def put(self, key: str, cost: OpCost) -> OpCost:
        """Keeps `cost` unless the key is known already; the cost that is kept."""
        with self._open() as connection, connection:
            connection.execute(
                "INSERT OR IGNORE INTO op_cost VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    self.device,
                    self.runtime,
                    _stored_key(key),
                    cost.median_ms,
                    cost.q1_ms,
                    cost.q3_ms,
                    cost.num_repeats,
                    cost.source,
                ),
            )
        return self.get([key])[key]

    def __len__(self) -> int:
        with self._open() as connection:
            row = connection.execute(
                "SELECT count(*) FROM op_cost WHERE device = ? AND runtime = ?",
                (self.device, self.runtime),
            ).fetchone()
        return int(row[0])

    def close(self) -> None:
        """Closes the file; the next use opens it again."""
        if self._connection is not None and self._process == os.getpid():
            self._connection.close()
        self._connection = None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The connection of this process; SQLite's errors leave as ValueError."""
        try:
            if self._connection is None or self._process != os.getpid():
                self._connection = self._connect()
                self._process = os.getpid()
            yield self._connection
        except OSError as error:
            raise ValueError(
                f"op-cost database {self.path}: {error.strerror}; "
                "set measurement.database to a file that can be written"
            ) from error
        except sqlite3.OperationalError as error:
            raise ValueError(
                f"op-cost database {self.path}: {error}; set measurement.database to another "
                "file on a local disk that can be written, or to null"
            ) from error
        except sqlite3.DatabaseError as error:
            raise ValueError(
                f"op-cost database {self.path}: not a usable op-cost database ({error}); "
                "set measurement.database to another file"
            ) from error

    def _connect(self) -> sqlite3.Connection:
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self.path or ":memory:", timeout=_BUSY_TIMEOUT_S, check_same_thread=False
        )
        try:
            version = _version(connection)
            _turn_on_write_ahead_log(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            if version == 0:
                with connection:
                    connection.execute(_CREATE)
                    connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        except BaseException:
            connection.close()
            raise
        return connection


def _version(connection: sqlite3.Connection) -> int:
    """The schema, 0 in a new file; raises DatabaseError if the file is another program's.

    Asked before anything is written.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, _SCHEMA_VERSION):
        raise sqlite3.DatabaseError(f"schema {version}, this version reads {_SCHEMA_VERSION}")
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if tables - {"op_cost"}:
        raise sqlite3.DatabaseError("it holds other tables")
    return version


def _turn_on_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Retries while another process does the same: SQLite does not wait for that by itself."""
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _stored_key(key: str) -> str:
    """The key as stored: long ones (whole loop bodies) by their beginning and their SHA-256."""
    if len(key) <= _MAX_KEY_LENGTH:
        return key
    return f"{key[:_MAX_KEY_LENGTH]}... sha256:{hashlib.sha256(key.encode()).hexdigest()}"
