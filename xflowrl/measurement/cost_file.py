"""The file that costs are kept in: an SQLite database, looked at before anything is written."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

SCHEMA_VERSION = 2
BUSY_TIMEOUT_S = 60.0

LEAST_MS = 1e-6
"""What anything executed takes at least: a tick of the clock, one nanosecond."""

TABLES = {"op_cost": "signature", "graph_latency": "graph"}
"""Operators timed alone and whole graphs; the column that says what was timed."""

CONDITIONS = ("device", "driver", "runtime", "version", "precision", "threads")
"""The columns of what a time depends on beside what was timed."""

_CREATE = """
CREATE TABLE IF NOT EXISTS {table} (
    device TEXT NOT NULL, driver TEXT NOT NULL, runtime TEXT NOT NULL, version TEXT NOT NULL,
    precision TEXT NOT NULL, threads INTEGER NOT NULL, {timed} TEXT NOT NULL,
    median_ms REAL NOT NULL CHECK (median_ms > 0 AND median_ms < 9e999),
    q1_ms REAL NOT NULL CHECK (q1_ms > 0 AND q1_ms < 9e999),
    q3_ms REAL NOT NULL CHECK (q3_ms > 0 AND q3_ms < 9e999),
    num_repeats INTEGER NOT NULL, source TEXT NOT NULL, recorded TEXT NOT NULL,
    PRIMARY KEY (device, driver, runtime, version, precision, threads, {timed})
) WITHOUT ROWID
"""

_TIMES = ("median_ms", "q1_ms", "q3_ms", "num_repeats", "source", "recorded")
_MARKS = ", ".join("?" * (len(CONDITIONS) + 1 + len(_TIMES)))

_COLUMNS = {
    1: {
        *(("op_cost", name) for name in ("device", "runtime", "signature", "median_ms", "q1_ms")),
        *(("op_cost", name) for name in ("q3_ms", "num_repeats", "source")),
    },
    2: {
        (table, column)
        for table, timed in TABLES.items()
        for column in (timed, *CONDITIONS, *_TIMES)
    },
}

# Schema 1 had the version's text for a runtime, knew only CPUs with one thread, and kept zeros.
_FROM_1 = f"""
INSERT INTO op_cost
SELECT device, '',
    CASE WHEN runtime LIKE 'torch %' THEN 'torch'
         WHEN runtime LIKE '%, unoptimised%' THEN 'onnxruntime_plain' ELSE 'onnxruntime' END,
    runtime, 'fp32', 1, signature,
    max(median_ms, {LEAST_MS}), max(q1_ms, {LEAST_MS}), max(q3_ms, {LEAST_MS}),
    num_repeats, source, ''
FROM op_cost_1 WHERE max(median_ms, q1_ms, q3_ms) < 9e999
"""


@dataclass(frozen=True)
class Kept:
    """What is kept of one device, runtime and so on; dates are ISO, "" where not known."""

    conditions: Mapping[str, str | int]
    num_operators: int
    num_graphs: int
    first: str
    last: str


def open_file(path: Path | None) -> sqlite3.Connection:
    """The database, made or brought to this schema where needed; None is one in memory.

    Raises:
        sqlite3.Error: the file is damaged, another program's or of a newer schema; it is left
            as it is.
        OSError: its folder cannot be made.
    """
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        inspect_file(path)
    connection = sqlite3.connect(
        path or ":memory:", timeout=BUSY_TIMEOUT_S, check_same_thread=False
    )
    try:
        _turn_on_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        if _version(connection) != SCHEMA_VERSION:
            _bring_up_to_date(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def read_file(path: Path) -> sqlite3.Connection:
    """A copy in memory, in this schema; the file is only read.

    Raises:
        sqlite3.Error: as `open_file`.
        OSError: there is none.
    """
    if not path.stat().st_size:
        raise sqlite3.DatabaseError("the file is empty")
    inspect_file(path)
    copy = sqlite3.connect(":memory:")
    with closing(_open_read_only(path)) as source:
        source.backup(copy)
    if _version(copy) != SCHEMA_VERSION:
        _bring_up_to_date(copy)
    return copy


def write_file(connection: sqlite3.Connection, path: Path) -> None:
    """Writes a database in memory to a new file, alone, without a log beside it."""
    with closing(sqlite3.connect(path)) as target:
        connection.backup(target)


def inspect_file(path: Path) -> None:
    """Reads whether a file is a database of ours, or is yet to become one; writes nothing.

    Raises:
        sqlite3.DatabaseError: it is another program's, of a newer schema, or damaged.
    """
    if not path.exists() or (path.is_file() and not path.stat().st_size):
        return
    with closing(_open_read_only(path)) as connection:
        # One transaction: another process may be making the tables just now.
        connection.execute("BEGIN")
        version = _version(connection)
        if version not in (0, *_COLUMNS):
            raise sqlite3.DatabaseError(
                f"schema {version}, this version reads 1 to {SCHEMA_VERSION}"
            )
        columns = connection.execute(
            "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c"
        ).fetchall()
        if set(columns) != _COLUMNS.get(version, set()):
            raise sqlite3.DatabaseError("it holds other tables")
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(" ".join(f"damaged: {verdict}".split()))


def kept(connection: sqlite3.Connection) -> list[Kept]:
    """What is kept, by conditions, in their order."""
    names = ", ".join(CONDITIONS)
    both = " UNION ALL ".join(
        f"SELECT {names}, '{table}' AS kind, recorded FROM {table}" for table in TABLES
    )
    rows = connection.execute(
        f"SELECT {names}, sum(kind = 'op_cost'), sum(kind = 'graph_latency'), min(recorded), "
        f"max(recorded) FROM ({both}) GROUP BY {names} ORDER BY {names}"
    )
    return [
        Kept(dict(zip(CONDITIONS, row[: len(CONDITIONS)], strict=True)), *row[len(CONDITIONS) :])
        for row in rows
    ]


def copy_rows(
    source: sqlite3.Connection, target: sqlite3.Connection, only: Mapping[str, str]
) -> dict[str, int]:
    """Adds rows of one database to another, in one transaction; what is there already stays.

    Args:
        only: values that the columns of `CONDITIONS` must have.

    Returns the number of new rows by table. A row whose time is no time is left out.
    """
    condition, values = where(only)
    added = {}
    with target:
        for table in TABLES:
            rows = source.execute(f"SELECT * FROM {table} {condition}", values).fetchall()
            before = target.total_changes
            target.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({_MARKS})", rows)
            added[table] = target.total_changes - before
    return added


def where(only: Mapping[str, str]) -> tuple[str, list[str]]:
    """The clause that keeps the rows whose columns have these values, and its arguments."""
    assert only.keys() <= set(CONDITIONS), only
    clause = " AND ".join(f"{column} = ?" for column in only)
    return (f"WHERE {clause}" if only else ""), list(only.values())


def _open_read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", timeout=BUSY_TIMEOUT_S, uri=True)


def _version(connection: sqlite3.Connection) -> int:
    """The schema; 0 in a new file."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _bring_up_to_date(connection: sqlite3.Connection) -> None:
    """From nothing or schema 1, in one transaction; another process may have been faster."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        version = _version(connection)
        if version == 1:
            connection.execute("ALTER TABLE op_cost RENAME TO op_cost_1")
        for table, timed in TABLES.items():
            connection.execute(_CREATE.format(table=table, timed=timed))
        if version == 1:
            connection.execute(_FROM_1)
            connection.execute("DROP TABLE op_cost_1")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _turn_on_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Retries while another process does the same: SQLite does not wait for that by itself."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
