"""The file of a calibration."""

from __future__ import annotations

from pathlib import Path

import pytest
from calibration_rows import row

from xflowrl.calibrate.table import append_row, by_network, classes_text, read_rows, write_rows


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "calibration.csv"
    assert read_rows(path) == []
    rows = [row(graph="a"), row("Conv:narrow=0.5 Split=2e-05", graph="b", device='"CPU", fast')]
    for each in rows:
        append_row(path, each)
    assert read_rows(path) == rows
    assert rows[1].classes == {"Conv:narrow": 0.5, "Split": 2e-05}
    write_rows(path, rows[1:])
    assert read_rows(path) == rows[1:]


def test_classes_are_written_in_order_to_six_digits() -> None:
    assert classes_text({"b": 1 / 3, "a:c": 2.0}) == "a:c=2 b=0.333333"


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "network,graph\nnet\n"])
def test_a_foreign_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "foreign.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"foreign.csv:2: no row of a calibration"):
        read_rows(path)


def test_rows_are_grouped_by_network() -> None:
    rows = [row(network="a"), row(network="b"), row(network="a", graph="1")]
    assert by_network(rows) == {"a": [rows[0], rows[2]], "b": [rows[1]]}
