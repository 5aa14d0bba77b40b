"""Ctrl-C and SIGTERM, as real signals to real processes, lose nothing that is finished."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xflowrl.cli.interrupts import EndNow, Interrupts
from xflowrl.run_folder import GraphRecord, read_result, read_traces

# The command line, which halts where a function is called under a condition and says so by a file.
HALTING = """
import sys, time
from pathlib import Path
from {module} import {name} as owner
from xflowrl import run
from xflowrl.cli import jobs

original, calls = owner.{function}, 0

def halting(*args, **keywords):
    global calls
    calls += 1
    if {condition}:
        Path(f"halted-{{calls}}").touch()
        time.sleep(100)
    return original(*args, **keywords)

owner.{function} = halting
jobs.main(run.optimize)
"""
READING = ("xflowrl.graphs", "onnx_files", "load_onnx")
PRICING = ("xflowrl.problem", "Problem", "initial_state")
SEARCHING = ("xflowrl.agents.attempt", "Attempt", "ranked")
JUDGING = ("xflowrl", "verify", "verify_file")

NETWORKS = ("graph=networks", "graph.names=[tiny,squeezenet,nasrnn]")
QUICK = ("measurement=roofline", "agent=greedy", "judge.measure=false", "judge.draws=1")


class Process:
    """A command line that halts at a place; a signal is sent when it is there."""

    def __init__(
        self, folder: Path, place: tuple[str, str, str], condition: str, *arguments: str
    ) -> None:
        module, name, function = place
        code = HALTING.format(module=module, name=name, function=function, condition=condition)
        command = [sys.executable, "-c", code, *arguments, "wandb.mode=disabled"]
        self._folder = folder
        self._process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def send(self, number: signal.Signals) -> None:
        """Sends a signal at the next halt."""
        deadline_s = time.monotonic() + 120.0
        while not (halts := list(self._folder.glob("halted-*"))):
            assert self._process.poll() is None, self._process.communicate()
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        halts[0].unlink()
        os.kill(self._process.pid, number)

    def ended(self) -> tuple[int, str]:
        """Exit code and standard error."""
        _, error = self._process.communicate(timeout=120)
        assert "Traceback" not in error
        return self._process.returncode, error


def entries(folder: Path, *kept: str) -> dict[str, GraphRecord]:
    """What the only run recorded; its files are whole, and those that the record names.

    Args:
        kept: further files.
    """
    (run,) = folder.glob("multirun/*/*/0")
    record = read_result(run)
    assert {entry.graph for entry in record.results} == read_traces(run).keys()
    models = {entry.best_onnx for entry in record.results if entry.best_onnx}
    others = {".hydra", "run.log", "metrics.jsonl", "result.json", "trace.json"}
    assert {path.name for path in run.iterdir()} == models | others | {*kept}
    return {entry.graph: entry for entry in record.results}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_reading_nothing_is_finished(tmp_path: Path, number: signal.Signals) -> None:
    from xflowrl.onnx_io import save_onnx
    from xflowrl.options import build_option

    for name in ("a", "b"):
        save_onnx(build_option("graph", "tiny"), tmp_path / f"{name}.onnx")
    files = ("graph=onnx", "graph.paths=[a.onnx,b.onnx]")
    process = Process(tmp_path, READING, "calls == 2", *files, *QUICK)
    process.send(number)
    assert process.ended() == (128 + number, "interrupted\n")
    (run,) = tmp_path.glob("multirun/*/*/0")
    assert {path.name for path in run.iterdir()} == {".hydra", "run.log"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_pricing_a_later_graph(tmp_path: Path, number: signal.Signals) -> None:
    options = (*NETWORKS, "agent=greedy", "judge.measure=false", "judge.draws=1")
    estimated = ("measurement=estimated", "measurement.database=null")
    process = Process(tmp_path, PRICING, "calls == 2", *options, *estimated)
    process.send(number)
    assert process.ended()[0] == 128 + number
    found = entries(tmp_path)
    assert found["tiny"].stop_reason == "exhausted"
    assert found["tiny"].verified.status == "equal"
    assert found["tiny"].best_onnx == "best-tiny.onnx"
    for name in ("squeezenet", "nasrnn"):
        assert found[name].stop_reason == "interrupted"
        assert (found[name].iterations, found[name].cost_initial_ms) == (0, None)
        assert found[name].best_onnx is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_searching(tmp_path: Path, number: signal.Signals) -> None:
    condition = "args[0].problem.name == 'squeezenet' and args[0].meter.iterations == 2"
    process = Process(tmp_path, SEARCHING, condition, *NETWORKS, *QUICK)
    process.send(number)
    code, error = process.ended()
    assert code == 128 + number
    assert error.splitlines() == ["interrupted: 1 of 3 graphs are finished", "interrupted"]
    found = entries(tmp_path, "checkpoints")
    reasons = [entry.stop_reason for entry in found.values()]
    assert reasons == ["exhausted", "interrupted", "interrupted"]
    assert found["squeezenet"].iterations == 2
    assert found["squeezenet"].cost_best_ms < found["squeezenet"].cost_initial_ms  # type: ignore
    statuses = [entry.verified.status for entry in found.values()]
    assert statuses == ["equal", "equal", "undecided"]
    assert [entry.best_onnx is not None for entry in found.values()] == [True, True, False]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_judging(tmp_path: Path, number: signal.Signals) -> None:
    process = Process(tmp_path, JUDGING, "calls == 2", *NETWORKS, *QUICK)
    process.send(number)
    assert process.ended() == (128 + number, "interrupted\n")
    found = entries(tmp_path)
    statuses = [entry.verified.status for entry in found.values()]
    assert statuses == ["equal", "undecided", "equal"]
    assert [entry.best_onnx is not None for entry in found.values()] == [True, False, True]
    assert found["squeezenet"].verified.detail == "interrupted before it was judged"


def test_a_second_one_ends_at_once(tmp_path: Path) -> None:
    process = Process(tmp_path, JUDGING, "calls > 1", *NETWORKS, *QUICK)
    for _ in range(2):
        process.send(signal.SIGINT)
    assert process.ended() == (130, "interrupted\n")
    statuses = [entry.verified.status for entry in entries(tmp_path).values()]
    assert statuses == ["equal", "undecided", "undecided"]


def test_a_sweep_ends_with_the_job_it_falls_into(tmp_path: Path) -> None:
    process = Process(tmp_path, JUDGING, "calls == 2", "-m", "seed=0,1", *NETWORKS, *QUICK)
    process.send(signal.SIGTERM)
    assert process.ended()[0] == 143
    assert entries(tmp_path)["tiny"].verified.status == "equal"
    assert not list(tmp_path.glob("multirun/*/*/1"))


def test_an_interrupt_waits_while_it_is_held() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts() as interrupts, interrupts.held():
        signal.raise_signal(signal.SIGTERM)
        assert interrupts.exit_code == 143
        with pytest.raises(KeyboardInterrupt), interrupts.allowed():
            pytest.fail("entered")
        with interrupts.allowed():
            pass  # it comes once
        with pytest.raises(EndNow):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before
