"""`python -m xflowrl.calibrate`: rows as they are measured, and a second call that goes on."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from xflowrl.calibrate.report import report
from xflowrl.calibrate.table import read_rows, write_rows

COMMAND = (
    *(sys.executable, "-m", "xflowrl.calibrate", "graph=tiny", "measurement=roofline"),
    *("calibrate.num_graphs=4", "calibrate.max_s=0.05"),
)


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, f"hydra.run.dir={folder}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_calibration_goes_on_where_it_was(tmp_path: Path) -> None:
    done = call(tmp_path)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "calibration.csv"
    rows = read_rows(path)
    assert len(rows) == 5 == len({row.graph for row in rows})
    assert rows[0].num_steps == 0
    assert all(row.real_ms > 0 and row.again_ms != row.real_ms for row in rows)
    assert {(row.prices, row.runtime, row.kind) for row in rows} == {
        ("roofline", "onnxruntime", "cpu")
    }
    assert rows[0].estimated_ms == pytest.approx(sum(rows[0].classes.values()), rel=1e-4)
    assert "5 graphs, roofline against onnxruntime" in done.stdout
    assert "uncorrected" in done.stdout
    assert (tmp_path / "calibration-tiny.png").stat().st_size > 10_000

    # Two rows are there, one with another estimate; a row of another network stays.
    foreign = replace(rows[0], network="other")
    write_rows(path, [foreign, replace(rows[1], estimated_ms=9.0, ms_by_class="Conv=9"), rows[2]])
    assert call(tmp_path).returncode == 0
    again = read_rows(path)
    assert again[0] == foreign
    assert [row.graph for row in again[1:]] == [row.graph for row in rows]
    assert again[2:4] == rows[1:3], "measured once, estimated anew"
    assert again[1].real_ms != rows[0].real_ms


def test_what_a_user_got_wrong_is_one_line(tmp_path: Path) -> None:
    done = call(tmp_path, "calibrate.num_graphs=0")
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["error: calibrate.num_graphs=0: give at least 2"]


def test_one_graph_is_too_few() -> None:
    assert report([]) == "0 graphs: too few to compare"
