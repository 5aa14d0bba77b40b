from __future__ import annotations

import logging
import multiprocessing
import pickle
import threading
import time
from pathlib import Path

import pytest

from xflowrl.measurement import device
from xflowrl.measurement.device import DeviceLock, cpu_name, device_lock

fork = multiprocessing.get_context("fork")


def test_the_cpu_has_a_name() -> None:
    assert cpu_name().strip()
    assert cpu_name() == cpu_name()


def test_one_lock_object_for_each_device() -> None:
    assert device_lock("cpu") is device_lock("cpu") is device_lock() is device_lock(device="cpu")
    assert device_lock("cpu") is not device_lock("another")


def time_alone(path: Path, log: Path, who: str) -> None:
    for _ in range(10):
        with DeviceLock(path).exclusive() as is_alone:
            with log.open("a") as file:
                file.write(f"{who} in {is_alone}\n")
            time.sleep(0.003)
            with log.open("a") as file:
                file.write(f"{who} out\n")


def test_only_one_process_times(tmp_path) -> None:
    log = tmp_path / "log"
    timers = [fork.Process(target=time_alone, args=(tmp_path / "l", log, str(i))) for i in range(3)]
    for process in timers:
        process.start()
    for process in timers:
        process.join(60)
        assert process.exitcode == 0
    lines = log.read_text().splitlines()
    assert len(lines) == 60
    for entered, left in zip(lines[::2], lines[1::2], strict=True):
        assert entered == f"{entered.split()[0]} in True"
        assert left == f"{entered.split()[0]} out"


def work_and_give_way(path: Path, ready: Path, done: Path) -> None:
    lock = DeviceLock(path)
    with lock.shared():
        ready.touch()
        while not done.exists():
            time.sleep(0.002)
            lock.give_way()


def test_a_working_run_gives_way_to_a_timer(tmp_path) -> None:
    ready, done = tmp_path / "ready", tmp_path / "done"
    worker = fork.Process(target=work_and_give_way, args=(tmp_path / "l", ready, done))
    worker.start()
    while not ready.exists():
        time.sleep(0.002)
    lock = DeviceLock(tmp_path / "l")
    with lock.shared():  # a timer is itself a working run
        for _ in range(5):
            with lock.exclusive(max_wait_s=20.0) as is_alone:
                assert is_alone
    done.touch()
    worker.join(30)
    assert worker.exitcode == 0


def test_working_runs_share(tmp_path) -> None:
    one, two = DeviceLock(tmp_path / "l"), DeviceLock(tmp_path / "l")
    with one.shared(), two.shared(), one.shared():
        one.give_way()
        two.give_way()


def test_threads_that_come_together_share_one_hold(tmp_path, monkeypatch) -> None:
    lock, opened, open_file = DeviceLock(tmp_path / "l"), [], device._open_file

    def open_slowly(path: Path) -> int:
        opened.append(path)
        time.sleep(0.05)
        return open_file(path)

    def work() -> None:
        with lock.shared():
            both.wait(60)

    monkeypatch.setattr(device, "_open_file", open_slowly)
    both = threading.Barrier(2)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(opened) == 2, "the lock and its turnstile, once"
    with DeviceLock(tmp_path / "l").exclusive(max_wait_s=0.0) as is_alone:
        assert is_alone


def test_a_run_that_does_not_give_way_is_reported_once(tmp_path, caplog) -> None:
    stubborn, timer = DeviceLock(tmp_path / "l"), DeviceLock(tmp_path / "l")
    waited_s = []
    with stubborn.shared(), caplog.at_level(logging.WARNING):
        for _ in range(2):
            started_s = time.monotonic()
            with timer.exclusive(max_wait_s=2.0) as is_alone:
                waited_s.append(time.monotonic() - started_s)
                assert not is_alone
    assert waited_s[0] >= 2.0 > 1.5 > waited_s[1] >= 0.1  # the second time it knows
    assert caplog.text.count("did not give way") == 1
    with timer.exclusive(max_wait_s=0.2) as is_alone:
        assert is_alone


def test_exclusive_nests_and_ends_with_an_exception(tmp_path) -> None:
    lock, other = DeviceLock(tmp_path / "l"), DeviceLock(tmp_path / "l")
    with pytest.raises(KeyError), lock.shared(), lock.exclusive(), lock.exclusive() as is_alone:
        assert is_alone
        raise KeyError
    with other.exclusive(max_wait_s=0.05) as is_alone:
        assert is_alone


def hold_until_killed(path: Path, ready: Path) -> None:
    with DeviceLock(path).exclusive():
        ready.touch()
        time.sleep(60)


def test_a_killed_holder_leaves_no_lock(tmp_path) -> None:
    holder = fork.Process(target=hold_until_killed, args=(tmp_path / "l", tmp_path / "ready"))
    holder.start()
    while not (tmp_path / "ready").exists():
        time.sleep(0.002)
    holder.kill()
    holder.join(30)
    with DeviceLock(tmp_path / "l").exclusive(max_wait_s=5.0) as is_alone:
        assert is_alone


def test_a_forked_child_does_not_hold_its_parents_lock(tmp_path) -> None:
    lock = DeviceLock(tmp_path / "l")
    with lock.exclusive():
        child = fork.Process(target=expect_busy, args=(lock,))
        child.start()
        child.join(30)
        assert child.exitcode == 0


def expect_busy(lock: DeviceLock) -> None:
    with lock.exclusive(max_wait_s=0.05) as is_alone:
        assert not is_alone


def test_an_interrupt_while_waiting_or_timing_leaves_no_lock(tmp_path, monkeypatch) -> None:
    lock = DeviceLock(tmp_path / "lock")

    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    with lock.shared():
        with pytest.raises(KeyboardInterrupt), lock.exclusive():
            raise KeyboardInterrupt
        with monkeypatch.context() as patch:
            patch.setattr(lock, "_acquire_exclusive", interrupted)
            with pytest.raises(KeyboardInterrupt), lock.exclusive():
                pass
    other = DeviceLock(tmp_path / "lock")  # to the kernel a stranger
    with other.exclusive(max_wait_s=0.0) as alone:
        assert alone
    with lock.exclusive(max_wait_s=0.0) as alone, other.exclusive(max_wait_s=0.0) as both:
        assert alone
        assert not both


def test_a_copy_is_the_lock_of_the_process_that_reads_it(tmp_path) -> None:
    lock = device_lock()
    assert pickle.loads(pickle.dumps(lock)) is lock
    other = pickle.loads(pickle.dumps(DeviceLock(tmp_path / "lock")))
    with other.exclusive(max_wait_s=0.0) as alone:
        assert alone
    assert (tmp_path / "lock").exists()
