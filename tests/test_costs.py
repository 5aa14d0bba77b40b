"""`python -m xflowrl.costs`, and searching with costs of a device that is not here."""

from __future__ import annotations

import importlib.util
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from xflowrl import costs
from xflowrl.graphs.tiny import tiny
from xflowrl.measurement import estimated
from xflowrl.measurement.op_database import Conditions, OpCost, OpDatabase
from xflowrl.rules import load_core

GPU = Conditions(
    "NVIDIA H100 80GB HBM3", "torch_compile", "torch 2.11, cuda, frozen, protocol 3", "570.1"
)
CPU = Conditions("EPYC", "onnxruntime_plain", "onnxruntime 1.30, cpu, 1 thread, protocol 3")

Run = Callable[..., str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with costs of two devices."""
    path = tmp_path / "costs.sqlite"
    for conditions, ms in ((GPU, 0.1), (CPU, 1.0)):
        OpDatabase(path, conditions).put("Relu", cost(ms))
    OpDatabase(path, GPU).put("Conv", cost(0.2))
    OpDatabase(path, GPU, table="graph_latency").put("6f00", cost(2.0))
    return path


def cost(ms: float) -> OpCost:
    return OpCost(ms, ms, ms, 9)


def run(path: Path, *arguments: str) -> str:
    done = CliRunner().invoke(costs.command, ["--database", str(path), *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_list_says_of_what_and_how_many(path: Path) -> None:
    lines = run(path, "list").splitlines()
    assert lines[0] == f"{path}: 4 costs"
    assert lines[1].startswith("EPYC: onnxruntime_plain, fp32, 1 thread: 1 operator, 0 graphs, 20")
    assert lines[2].startswith(
        "NVIDIA H100 80GB HBM3, driver 570.1: torch_compile, fp32, 1 thread: 2 operators, 1 graph"
    )


def test_list_makes_no_file(tmp_path: Path) -> None:
    assert "no costs are kept yet" in run(tmp_path / "none.sqlite", "list")
    assert list(tmp_path.iterdir()) == []


def test_what_is_exported_is_imported_elsewhere(path: Path, tmp_path: Path) -> None:
    taken, there = tmp_path / "taken.sqlite", tmp_path / "there" / "costs.sqlite"
    assert "2 operators and 1 graph" in run(path, "export", str(taken), "--device", GPU.device)
    before = taken.read_bytes()
    assert "2 operators and 1 graph new of 2 operators and 1 graph" in run(
        there, "import", str(taken)
    )
    assert "0 operators and 0 graphs new of" in run(there, "import", str(taken))
    assert taken.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir() if "taken" in file.name) == [
        "taken.sqlite"
    ]
    assert OpDatabase(there, GPU).get(["Relu", "Conv"]) == {"Relu": cost(0.1), "Conv": cost(0.2)}
    assert len(OpDatabase(there, CPU)) == 0


def test_the_first_one_wins_at_import_too(path: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.sqlite"
    OpDatabase(there, GPU).put("Relu", cost(0.7))
    printed = run(there, "import", str(path))
    assert "2 operators and 1 graph new of 3 operators and 1 graph" in printed
    assert OpDatabase(there, GPU).get(["Relu"]) == {"Relu": cost(0.7)}


def test_times_that_are_none_are_not_imported(path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE op_cost SET median_ms = 9e999 WHERE signature = 'Conv'")
        connection.execute("UPDATE op_cost SET q1_ms = 0 WHERE device = 'EPYC'")
    there = tmp_path / "there.sqlite"
    run(there, "import", str(path))
    assert OpDatabase(there, GPU).get(["Conv", "Relu"]) == {"Relu": cost(0.1)}
    assert len(OpDatabase(there, CPU)) == 0


def test_clear_forgets_what_it_is_told(path: Path) -> None:
    assert "1 operator and 0 graphs removed" in run(path, "clear", "--runtime", CPU.runtime)
    assert len(OpDatabase(path, CPU)) == 0
    assert len(OpDatabase(path, GPU)) == 2
    assert "2 operators and 1 graph removed" in run(path, "clear", "--all")
    assert run(path, "list") == f"{path}: 0 costs\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["clear"], "say which: --device, --runtime or --precision, or else --all"),
        (["clear", "--all", "--device", "EPYC"], "say which"),
        (["export", "{path}"], "exists; give the name of a new file"),
        (["export", "{path}.new", "--device", "none"], "has no such costs; `list` shows"),
        (["import", "{path}.none"], "is no file; give that of a database of costs"),
        (["import", "{path}.text"], "not a usable op-cost database"),
    ],
)
def test_mistakes_are_one_line(path: Path, arguments: list[str], message: str, capsys) -> None:
    Path(f"{path}.text").write_text("never a database " * 100)
    given = [argument.format(path=path) for argument in arguments]
    with pytest.raises(SystemExit) as error:
        costs.main(["--database", str(path), *given])
    assert error.value.code == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert len(OpDatabase(path, GPU)) == 2
    assert not Path(f"{path}.new").exists()


def test_it_runs_as_a_module(path: Path) -> None:
    command = [sys.executable, "-m", "xflowrl.costs", "--database", str(path), "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "NVIDIA H100" in done.stdout


# A device that is not here ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_a_gpu(tmp_path_factory) -> Path:
    """Costs of the tiny network and of what its rewrites need, as if timed on a GPU, exported."""
    here = tmp_path_factory.mktemp("gpu") / "costs.sqlite"
    objective = estimated(database=str(here), max_ms_per_op=1.0)
    objective.matches(objective.state(tiny().graph, load_core()))
    with closing(sqlite3.connect(here)) as connection, connection:
        connection.execute(
            "UPDATE op_cost SET device = ?, runtime = ?, version = ?, driver = ?",
            (GPU.device, GPU.runtime, GPU.version, GPU.driver),
        )
    exported = here.with_name("exported.sqlite")
    run(here, "export", str(exported))
    return exported


def elsewhere(path: Path, **options):
    return estimated(
        **{"device": GPU.device, "runtime": GPU.runtime, "database": str(path)} | options
    )


@pytest.mark.parametrize("options", [{"threads": 2}, {"precision": "fp16"}])
def test_costs_under_other_conditions_are_not_its_costs(of_a_gpu: Path, options) -> None:
    with pytest.raises(ValueError, match=r"measurement\.device=.*threads=\d, precision="):
        elsewhere(of_a_gpu, **options)


def test_its_costs_are_searched_with_and_nothing_is_opened(of_a_gpu: Path, monkeypatch) -> None:
    module = importlib.import_module("xflowrl.measurement.estimated")
    monkeypatch.setattr(module, "open_runtime", lambda *_, **__: pytest.fail("opened"))
    objective = elsewhere(of_a_gpu)
    assert (objective.device, objective.runtime) == (GPU.device, GPU.runtime)
    state = objective.state(tiny().graph, load_core())
    assert state.cost.ms > 0
    assert all(match.cost_difference_ms < 1e9 for match in objective.matches(state))
    assert objective.num_measured == 0


def test_an_operator_it_lacks_is_one_line(of_a_gpu: Path) -> None:
    with closing(sqlite3.connect(of_a_gpu)) as connection, connection:
        (key,) = connection.execute("SELECT signature FROM op_cost").fetchone()
        row = connection.execute("SELECT * FROM op_cost WHERE signature = ?", (key,)).fetchone()
        connection.execute("DELETE FROM op_cost WHERE signature = ?", (key,))
    try:
        with pytest.raises(ValueError, match="that device is not here: run the same") as error:
            elsewhere(of_a_gpu).state(tiny().graph, load_core())
    finally:
        with closing(sqlite3.connect(of_a_gpu)) as connection, connection:
            connection.execute(f"INSERT INTO op_cost VALUES ({', '.join('?' * 13)})", row)
    message = str(error.value)
    assert f"operator {key[:120]}" in message
    assert GPU.device in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "options", [{"device": "A100"}, {"runtime": "torch"}, {"database": "none.sqlite"}], ids=str
)
def test_a_device_without_costs_is_one_line(of_a_gpu: Path, options, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"a device whose costs in .* are kept") as error:
        elsewhere(of_a_gpu, **options)
    known = "none" if "database" in options else f"{GPU.device} in {GPU.runtime}"
    assert f"has those of {known}, and `python -m xflowrl.costs import FILE` adds more" in str(
        error.value
    )
    assert list(tmp_path.iterdir()) == []


def test_of_several_versions_the_latest_is_used_and_never_of_another_protocol(path: Path) -> None:
    newer = replace(GPU, version="torch 2.12, cuda, frozen, protocol 3")
    stale = replace(GPU, version="torch 2.13, cuda, frozen, protocol 2")
    for conditions, keys in ((newer, "abc"), (stale, "abcd")):
        for key in keys:
            OpDatabase(path, conditions).put(key, cost(1.0))
    assert elsewhere(path)._pricer._database.conditions == newer  # type: ignore[union-attr]
