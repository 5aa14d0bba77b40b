from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xflowrl.measurement.op_database import OpCost, OpDatabase, default_path


def database(path: Path | None, device: str = "cpu", runtime: str = "ort 1") -> OpDatabase:
    return OpDatabase(path, device=device, runtime=runtime)


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
    assert database(path, runtime="ort 2").get(["Relu"]) == {}


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
from xflowrl.measurement.op_database import OpCost, OpDatabase
opened = OpDatabase(Path(sys.argv[1]), device="cpu", runtime="ort 1")
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
    database = OpDatabase(tmp_path / "costs.sqlite", device="d", runtime="r")
    kept = database.put("key", OpCost(1.0, 1.0, 1.0, 1))
    assert pickle.loads(pickle.dumps(database)).get(["key"]) == {"key": kept}
