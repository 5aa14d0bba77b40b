"""The op-cost database: what every operator and graph timed so far takes, kept on disk."""

from __future__ import annotations

import datetime
import hashlib
import logging
import math
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Literal

from xflowrl.measurement.cost_file import CONDITIONS, TABLES, Kept, kept, open_file
from xflowrl.measurement.runtimes import Runtime

Table = Literal["op_cost", "graph_latency"]

_log = logging.getLogger(__name__)

_MAX_KEY_LENGTH = 400


@dataclass(frozen=True)
class OpCost:
    """What an operator or a graph takes: median and quartiles of `num_repeats` executions.

    `source` is "timed", or "estimate" where the runtime cannot execute the operator alone; an
    estimate has `num_repeats` 0.
    """

    median_ms: float
    q1_ms: float
    q3_ms: float
    num_repeats: int
    source: str = "timed"


@dataclass(frozen=True)
class Conditions:
    """What a time depends on beside what is executed.

    Attributes:
        device: by its full name.
        driver: of the device; "" for a CPU.
        runtime: its name.
        version: of the runtime, with its settings and how it is timed.
        precision: what single precision is computed in.
        threads: of the runtime.
    """

    device: str
    runtime: str
    version: str
    driver: str = ""
    precision: str = "fp32"
    threads: int = 1


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


def conditions_of(runtime: Runtime, *, protocol: str, threads: int = 1) -> Conditions:
    """Those of what is timed in a runtime.

    Args:
        protocol: how it is timed; part of the version, so that times taken otherwise are not used.
    """
    return Conditions(
        device=runtime.device,
        runtime=runtime.name,
        version=f"{runtime.version}, {protocol}",
        driver=runtime.driver,
        precision=runtime.precision,
        threads=threads,
    )


def database_path(name: str) -> Path:
    """The file that `measurement.database` names."""
    return default_path() if name == "default" else Path(name).expanduser()


def open_database(
    name: str | None, conditions: Conditions, *, table: Table = "op_cost"
) -> OpDatabase:
    """The database that `measurement.database` names.

    That of the user's cache is a convenience: where it cannot be used, memory does.

    Raises:
        ValueError: as `OpDatabase`, of a file that the user names.
    """
    if name is None:
        return OpDatabase(None, conditions, table=table)
    try:
        return OpDatabase(database_path(name), conditions, table=table)
    except ValueError as error:
        if name != "default":
            raise
        _log.warning("op costs are not kept: %s", error)
        return OpDatabase(None, conditions, table=table)


class OpDatabase:
    """Costs by operator signature, or by the hash of a graph, under one set of conditions.

    Of several writers of one key the first wins and all read its value, so that runs
    started together agree on every cost. Each `put` is one transaction: a killed process leaves
    behind what it had put, and nothing half-written. `path=None` keeps everything in memory.

    SQLite's write-ahead log wants a local disk: on a network file system, give every machine
    a database of its own. Pickled, it is its path: another process opens the file when it first
    asks. One in memory arrives empty.

    Args:
        table: "op_cost", of operators timed alone, or "graph_latency", of whole graphs.

    Raises:
        ValueError: from every method, if the file is no usable op-cost database or its folder
            cannot be written; one line with the remedy.
    """

    def __init__(
        self,
        path: Path | None,
        conditions: Conditions,
        *,
        table: Table = "op_cost",
    ) -> None:
        self.path = path
        self.conditions = conditions
        self._table = table
        self._connection: sqlite3.Connection | None = None
        self._process = -1
        with self._open():
            pass

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_connection": None}

    def get(self, keys: Iterable[str]) -> dict[str, OpCost]:
        """The costs known of `keys`, by key."""
        found: dict[str, OpCost] = {}
        query = (
            f"SELECT median_ms, q1_ms, q3_ms, num_repeats, source FROM {self._table} "
            f"WHERE {self._matches} AND {TABLES[self._table]} = ?"
        )
        with self._open() as connection:
            for key in keys:
                row = connection.execute(query, (*self._values, _stored_key(key))).fetchone()
                if row is not None:
                    found[key] = OpCost(*row)
        return found

    def put(self, key: str, cost: OpCost) -> OpCost:
        """Keeps `cost` unless the key is known already; the cost that is kept.

        Raises:
            ValueError: a time that is not finite and above 0, which is never kept.
        """
        times = (cost.median_ms, cost.q1_ms, cost.q3_ms)
        if not all(math.isfinite(ms) and ms > 0 for ms in times):
            raise ValueError(
                f"{key} takes {cost.median_ms} ms (quartiles {cost.q1_ms}, {cost.q3_ms}): a time "
                f"is finite and above 0, and nothing else is kept in {self.path}"
            )
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        row = (*self._values, _stored_key(key), *astuple(cost), today)
        marks = ", ".join("?" * len(row))
        with self._open() as connection, connection:
            connection.execute(f"INSERT OR IGNORE INTO {self._table} VALUES ({marks})", row)
        return self.get([key])[key]

    def __len__(self) -> int:
        with self._open() as connection:
            row = connection.execute(
                f"SELECT count(*) FROM {self._table} WHERE {self._matches}", self._values
            ).fetchone()
        return int(row[0])

    def close(self) -> None:
        """Closes the file; the next use opens it again."""
        if self._connection is not None and self._process == os.getpid():
            self._connection.close()
        self._connection = None

    @property
    def _matches(self) -> str:
        return " AND ".join(f"{column} = ?" for column in CONDITIONS)

    @property
    def _values(self) -> tuple[str | int, ...]:
        return tuple(getattr(self.conditions, column) for column in CONDITIONS)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The connection of this process; SQLite's errors leave as ValueError."""
        with errors_of(self.path):
            if self._connection is None or self._process != os.getpid():
                self._connection = open_file(self.path)
                self._process = os.getpid()
            yield self._connection


def list_kept(path: Path) -> list[Kept]:
    """What a database holds, by conditions; nothing where there is no file.

    Raises:
        ValueError: as `OpDatabase`.
    """
    if not path.exists():
        return []
    with errors_of(path), closing(open_file(path)) as connection:
        return kept(connection)


@contextmanager
def errors_of(path: Path | None, *, option: str = "measurement.database") -> Iterator[None]:
    """Errors of a database file within leave as ValueError: one line, with the remedy.

    Args:
        option: that names the file.
    """
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"op-cost database {path}: {error.strerror}; set {option} to a file that can be written"
        ) from error
    except sqlite3.OperationalError as error:
        raise ValueError(
            f"op-cost database {path}: {error}; set {option} to another file on a local disk that "
            "can be written, or to null"
        ) from error
    except sqlite3.DatabaseError as error:
        raise ValueError(
            f"op-cost database {path}: not a usable op-cost database ({error}); "
            f"set {option} to another file"
        ) from error


def _stored_key(key: str) -> str:
    """The key as stored: long ones (whole loop bodies) by their beginning and their SHA-256."""
    if len(key) <= _MAX_KEY_LENGTH:
        return key
    return f"{key[:_MAX_KEY_LENGTH]}... sha256:{hashlib.sha256(key.encode()).hexdigest()}"
