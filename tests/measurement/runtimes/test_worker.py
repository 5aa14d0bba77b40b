"""Runtimes in processes of their own."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper, parser

from xflowrl.measurement.runtimes import open_runtime, worker
from xflowrl.measurement.runtimes.worker import InWorkers, fresh

ORT = open_runtime("onnxruntime", group="judge")
FEEDS = {"x": np.ones((64, 64), np.float32)}


def model_of(body: str) -> bytes:
    header = '<ir_version: 9, opset_import: ["" : 18]>'
    text = f"{header} one (float[64, 64] x) => (float[64, 64] y) {{ {body} }}"
    return parser.parse_model(text).SerializeToString()


MODEL = model_of("y = MatMul(x, x)")


@pytest.fixture
def workers():
    runtime = InWorkers(ORT, num_workers=2)
    yield runtime
    runtime.close()


def pids(runtime: InWorkers) -> list[int]:
    return [w._process.pid for w in runtime._workers]


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_it_is_the_runtime_that_it_runs(workers: InWorkers) -> None:
    for name in ("name", "device", "driver", "version", "precision", "fused"):
        assert getattr(workers, name) == getattr(ORT, name)
    assert workers.lock is ORT.lock
    assert workers == InWorkers(ORT, num_workers=2)
    assert hash(workers) == hash(InWorkers(ORT, num_workers=2))


def test_a_run_is_timed_where_it_runs(workers: InWorkers) -> None:
    run = workers.compile(MODEL, FEEDS)
    assert pids(workers) != [os.getpid()]
    assert run.output_shapes() == [(64, 64)]
    started_s = time.perf_counter()
    times_ms = [run() for _ in range(50)]
    assert 0 < sum(times_ms) < 1000.0 * (time.perf_counter() - started_s)


def test_several_compile_side_by_side_and_each_has_its_answer(workers: InWorkers) -> None:
    refused = model_of("y = NoSuchOperator(x)")
    first, error, second = workers.compile_all([MODEL, refused, MODEL], FEEDS)
    assert isinstance(error, RuntimeError)
    assert "NoSuchOperator" in str(error)
    assert "\n" not in str(error)
    assert not isinstance(first, Exception) and first() > 0
    assert not isinstance(second, Exception) and second() > 0
    assert len(pids(workers)) == 2


def test_a_process_takes_so_many_compilations(
    workers: InWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_MAX_COMPILATIONS", 2)
    kept = [workers.compile(MODEL, FEEDS) for _ in range(3)]
    old, new = pids(workers)
    assert is_alive(old)  # its runs are still wanted
    assert all(run() > 0 for run in kept)
    del kept
    workers.compile(MODEL, FEEDS)
    assert pids(workers) == [new]
    assert not is_alive(old)


def test_one_that_dies_is_one_line_and_is_replaced(workers: InWorkers) -> None:
    run = workers.compile(MODEL, FEEDS)
    os.kill(pids(workers)[0], signal.SIGKILL)
    with pytest.raises(RuntimeError, match="the process that ran it ended by signal SIGKILL"):
        run()
    del run
    assert workers.compile(MODEL, FEEDS)() > 0


def test_dropped_runs_are_dropped_over_there(workers: InWorkers) -> None:
    """Each holds 16 MB; ten of them would show."""
    model_proto = parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 18]> one (float[64, 64] x) => (float[64, 64] y) '
        "{ s = ReduceMax(x) t = Mul(w, s) m = ReduceMax(t) y = Mul(x, m) }"
    )
    weight = numpy_helper.from_array(np.ones((2048, 2048), np.float32), "w")
    model_proto.graph.initializer.append(weight)
    model = model_proto.SerializeToString()

    def held_mb() -> float:
        pages = int(Path(f"/proc/{pids(workers)[0]}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    for _ in range(2):
        workers.compile(model, FEEDS)()
    before_mb = held_mb()
    for _ in range(10):
        workers.compile(model, FEEDS)()
    workers.release()
    assert held_mb() - before_mb < 40.0


def test_a_fresh_process_is_new_and_ends() -> None:
    with fresh(ORT) as first, fresh(first) as second:
        assert first.compile(MODEL, FEEDS)() > 0
        assert second.compile(MODEL, FEEDS)() > 0
        assert isinstance(first, InWorkers) and isinstance(second, InWorkers)
        (one,), (two,) = pids(first), pids(second)
        assert len({one, two, os.getpid()}) == 3
    assert not is_alive(one) and not is_alive(two)


def test_an_interrupted_compilation_ends_its_processes(workers: InWorkers) -> None:
    class Interrupted(bytes):
        def __reduce__(self) -> tuple[object, ...]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workers.compile_all([MODEL, Interrupted()], FEEDS)
    assert not pids(workers)


def test_a_process_ends_with_the_one_that_asked() -> None:
    runtime = InWorkers(ORT)
    runtime.compile(MODEL, FEEDS)
    (pid,) = pids(runtime)
    del runtime
    deadline_s = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert not is_alive(pid)


def test_threads_may_ask_at_once(workers: InWorkers) -> None:
    run = workers.compile(MODEL, FEEDS)
    answers: list[float] = []
    threads = [
        threading.Thread(target=lambda: answers.extend(run() for _ in range(50))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 200 and all(a > 0 for a in answers)
