from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from xflowrl.measurement import cost_file
from xflowrl.measurement.op_database import (
    Conditions,
    OpCost,
    OpDatabase,
    default_path,
    list_kept,
)


def database(path: Path | None, device: str = "cpu", version: str = "ort 1") -> OpDatabase:
    return OpDatabase(path, Conditions(device=device, runtime="ort", version=version))


def cost(ms: float) -> OpCost:
    return OpCost(ms, ms * 0.9, ms * 1.1, 10)


def test_what_is_put_is_found_by_another_reader(tmp_path) -> None:
    path = tmp_path / "new folder" / "costs.sqlite"
    writer = database(path)
    assert writer.put("Relu [1]", cost(0.5)) == cost(0.5)
    assert database(path).get(["Relu [1]", "Conv"]) == {"Relu [1]": cost(0.5)}
    assert len(writer) == 1


def test_device_and_runtime_are_part_of_the_key(tmp_path) -> None:
    path = tmp_path / "costs.sqlite"
    database(path).put("Relu", cost(0.5))
    assert database(path, device="other").get(["Relu"]) == {}
    assert database(path, version="ort 2").get(["Relu"]) == {}


def test_the_first_writer_wins(tmp_path) -> None:
    path = tmp_path / "costs.sqlite"
    first, second = database(path), database(path)
    first.put("Relu", cost(0.5))
    assert second.put("Relu", cost(0.7)) == cost(0.5)


def test_long_keys_are_told_apart(tmp_path) -> None:
    memory = database(None)
    memory.put("Loop " + "a" * 100_000, cost(1.0))
    memory.put("Loop " + "a" * 100_000 + "b", cost(2.0))
    assert memory.get(["Loop " + "a" * 100_000 + "b"])["Loop " + "a" * 100_000 + "b"] == cost(2.0)
    assert len(memory) == 2


def test_default_path_follows_the_cache_folder(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "xflowrl" / "op_costs.sqlite"


def put_many(path: Path, writer: int, num_keys: int) -> None:
    opened = database(path)
    for i in range(num_keys):
        opened.put(f"shared {i}", cost(float(writer + 1)))
        opened.put(f"own {writer} {i}", cost(float(i + 1)))


def test_concurrent_writers_lose_nothing_and_agree(tmp_path) -> None:
    path = tmp_path / "costs.sqlite"
    spawn = multiprocessing.get_context("fork")
    writers = [spawn.Process(target=put_many, args=(path, w, 50)) for w in range(4)]
    for process in writers:
        process.start()
    for process in writers:
        process.join(60)
        assert process.exitcode == 0
    opened = database(path)
    assert len(opened) == 50 + 4 * 50
    for w in range(4):
        assert opened.get([f"own {w} 7"])[f"own {w} 7"] == cost(8.0)


def test_a_connection_is_not_shared_with_a_forked_child(tmp_path) -> None:
    opened = database(tmp_path / "costs.sqlite")
    opened.put("parent", cost(1.0))
    child = multiprocessing.get_context("fork").Process(
        target=lambda: opened.put("child", cost(2.0))
    )
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert set(opened.get(["parent", "child"])) == {"parent", "child"}


KILLED_WRITER = """
import sys
from pathlib import Path
from xflowrl.measurement.op_database import Conditions, OpCost, OpDatabase
opened = OpDatabase(Path(sys.argv[1]), Conditions(device="cpu", runtime="ort", version="ort 1"))
for i in range(10**9):
    opened.put(f"{sys.argv[2]} {i}", OpCost(1.0, 1.0, 1.0, 1))
    print(i, flush=True)
"""


def test_a_killed_writer_leaves_all_it_had_put(tmp_path) -> None:
    path = tmp_path / "costs.sqlite"
    for attempt in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", KILLED_WRITER, str(path), str(attempt)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        for _ in range(20 + attempt):
            writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
        num_put = 20 + attempt + len(writer.stdout.read().split("\n")) - 1
        assert writer.wait(30) == -signal.SIGKILL
        opened = database(path)
        keys = [f"{attempt} {i}" for i in range(num_put)]
        assert len(opened.get(keys)) == num_put
        opened.put("afterwards", cost(1.0))
    checked = sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone()
    assert checked == ("ok",)


def test_a_writer_waits_for_a_locked_database(tmp_path) -> None:
    path = tmp_path / "costs.sqlite"
    opened = database(path)
    holder = multiprocessing.get_context("fork").Process(target=hold_write_lock, args=(path,))
    holder.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    opened.put("Relu", cost(0.5))
    assert opened.get(["Relu"]) == {"Relu": cost(0.5)}
    holder.join(30)
    assert holder.exitcode == 0


def hold_write_lock(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    path.with_name("held").touch()
    time.sleep(0.3)
    connection.execute("COMMIT")


def one_line(error: pytest.ExceptionInfo[ValueError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_file_that_is_no_database_is_one_clear_line(tmp_path) -> None:
    path = tmp_path / "costs.sqlite"
    path.write_text("this was never a database " * 100)
    with pytest.raises(ValueError) as error:
        database(path)
    assert str(path) in one_line(error)
    assert "set measurement.database to another file" in str(error.value)
    assert "delete" not in str(error.value)
    assert path.read_text().startswith("this was never")  # left as it was


def test_a_damaged_database_is_one_clear_line(tmp_path) -> None:
    path = tmp_path / "costs.sqlite"
    opened = database(path)
    for i in range(300):
        opened.put(f"key {i} " + "x" * 200, cost(1.0))
    opened.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xab" * (len(content) - 4096)
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"set measurement\.database to another file"):
        database(path).get(["key 1 " + "x" * 200])


def test_a_newer_schema_is_refused(tmp_path) -> None:
    path = tmp_path / "costs.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ValueError, match="schema 99"):
        database(path)


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"measurement\.database"):
        database(tmp_path / "file" / "costs.sqlite")
    with pytest.raises(ValueError, match=r"measurement\.database"):
        database(tmp_path)


def test_a_copy_opens_the_same_file(tmp_path) -> None:
    opened = database(tmp_path / "costs.sqlite")
    kept = opened.put("key", cost(1.0))
    assert pickle.loads(pickle.dumps(opened)).get(["key"]) == {"key": kept}


def test_graphs_and_operators_are_kept_apart(tmp_path) -> None:
    path = tmp_path / "costs.sqlite"
    graphs = OpDatabase(path, Conditions("cpu", "ort", "ort 1"), table="graph_latency")
    graphs.put("6f00", cost(7.0))
    assert database(path).get(["6f00"]) == {}
    assert graphs.get(["6f00"]) == {"6f00": cost(7.0)}
    (kept,) = list_kept(path)
    assert (kept.num_operators, kept.num_graphs) == (0, 1)


@pytest.mark.parametrize(
    "other",
    [
        *({"device": "gpu"}, {"driver": "570"}, {"runtime": "torch"}),
        *({"version": "2"}, {"precision": "fp16"}, {"threads": 2}),
    ],
    ids=str,
)
def test_every_condition_is_part_of_the_key(tmp_path, other) -> None:
    path, here = tmp_path / "costs.sqlite", Conditions("cpu", "ort", "1")
    OpDatabase(path, here).put("Relu", cost(0.5))
    elsewhere = OpDatabase(path, replace(here, **other))
    assert elsewhere.get(["Relu"]) == {}
    assert elsewhere.put("Relu", cost(0.7)) == cost(0.7)
    assert len(elsewhere) == 1


@pytest.mark.parametrize("ms", [math.nan, math.inf, -1.0, 0.0])
@pytest.mark.parametrize("place", range(3))
def test_no_time_that_is_none_enters(tmp_path, ms: float, place: int) -> None:
    times = [1.0, 1.0, 1.0]
    times[place] = ms
    opened = database(tmp_path / "costs.sqlite")
    with pytest.raises(ValueError, match=r"Relu takes .* a time is finite and above 0"):
        opened.put("Relu", OpCost(*times, 3))
    assert len(opened) == 0


SCHEMA_1 = """
CREATE TABLE op_cost (
    device TEXT NOT NULL, runtime TEXT NOT NULL, signature TEXT NOT NULL,
    median_ms REAL NOT NULL, q1_ms REAL NOT NULL, q3_ms REAL NOT NULL,
    num_repeats INTEGER NOT NULL, source TEXT NOT NULL,
    PRIMARY KEY (device, runtime, signature)
) WITHOUT ROWID
"""


@pytest.fixture
def schema_1(tmp_path) -> Path:
    """A database as the first version wrote it: two runtimes, and a time of nothing."""
    path = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(SCHEMA_1)
        rows = [
            ("cpu", "onnxruntime 1.30, cpu, 1 thread, unoptimised, protocol 3", "Conv", 0.5),
            ("cpu", "onnxruntime 1.30, cpu, 1 thread, optimised, protocol 3", "Conv", 0.25),
            ("cpu", "onnxruntime 1.30, cpu, 1 thread, unoptimised, protocol 3", "Relu", 0.0),
            ("cpu", "torch 2.11, cpu, 1 thread, protocol 3", "Conv", 1.5),
        ]
        connection.executemany("INSERT INTO op_cost VALUES (?, ?, ?, ?4, ?4, ?4, 9, 'timed')", rows)
        connection.execute("PRAGMA user_version = 1")
    return path


def test_a_database_of_schema_1_is_taken_over_whole(schema_1) -> None:
    version = "onnxruntime 1.30, cpu, 1 thread, unoptimised, protocol 3"
    plain = OpDatabase(schema_1, Conditions("cpu", "onnxruntime_plain", version))
    assert plain.get(["Conv", "Relu"]) == {
        "Conv": OpCost(0.5, 0.5, 0.5, 9),
        "Relu": OpCost(1e-6, 1e-6, 1e-6, 9),
    }
    assert plain.put("Tanh", cost(1.0)) == cost(1.0)
    kept = {entry.conditions["runtime"]: entry.num_operators for entry in list_kept(schema_1)}
    assert kept == {"onnxruntime": 1, "onnxruntime_plain": 3, "torch": 1}


def test_several_that_open_a_database_of_schema_1_lose_nothing(schema_1) -> None:
    context = multiprocessing.get_context("fork")
    readers = [context.Process(target=put_many, args=(schema_1, w, 5)) for w in range(4)]
    for process in readers:
        process.start()
    for process in readers:
        process.join(60)
        assert process.exitcode == 0
    assert sum(entry.num_operators for entry in list_kept(schema_1)) == 4 + 5 + 4 * 5


@pytest.mark.parametrize("before", ["no tables", "schema 1"])
def test_tables_that_another_makes_meanwhile_are_ours(
    monkeypatch, tmp_path, schema_1, before: str
) -> None:
    path = schema_1
    if before == "no tables":
        path = tmp_path / "costs.sqlite"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        assert path.stat().st_size
    look, versions = cost_file._version, []

    def look_while_another_opens(connection: sqlite3.Connection) -> int:
        versions.append(look(connection))
        monkeypatch.setattr(cost_file, "_version", look)
        put_many(path, 0, 3)
        return versions[-1]

    monkeypatch.setattr(cost_file, "_version", look_while_another_opens)
    put_many(path, 1, 3)
    assert versions == [1 if before == "schema 1" else 0]
    assert len(database(path)) == 3 + 2 * 3


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-4096:] = b"\xab" * 4096
    path.write_bytes(bytes(content))


def give_more_columns(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ALTER TABLE op_cost ADD COLUMN theirs TEXT")


def give_another_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE theirs (a)")


def make_newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 3")


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


@pytest.mark.parametrize(
    "spoil", [damage, cut_off, give_more_columns, give_another_table, make_newer]
)
def test_what_is_not_ours_or_not_whole_is_left_byte_for_byte(tmp_path, spoil) -> None:
    path = tmp_path / "costs.sqlite"
    opened = database(path)
    for i in range(300):
        opened.put(f"key {i} " + "x" * 200, cost(1.0))
    opened.close()
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"set measurement\.database to another file") as error:
        database(path)
    assert "delete" not in one_line(error)
    assert path.read_bytes() == before
