"""Factors: what is fitted comes back, what is documented is believed, nothing is negative."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from calibration_rows import row

from xflowrl.calibrate import fit
from xflowrl.calibrate.fit import fit_factors, left_out, main
from xflowrl.calibrate.table import Row, write_rows
from xflowrl.measurement import correction

TRUE = {"Conv": 0.8, "Conv:narrow": 2.0, "Concat": 0.0}


def drawn(network: str = "net", *, count: int = 40, runtime: str = "onnxruntime") -> list[Row]:
    """Rows whose latency is the sum of their classes times `TRUE`."""
    rng = np.random.default_rng(len(network))
    rows = []
    for number in range(count):
        ms = dict(zip(TRUE, rng.uniform(0.5, 3.0, len(TRUE)), strict=True))
        real_ms = sum(TRUE[name] * value for name, value in ms.items())
        text = " ".join(f"{name}={value}" for name, value in ms.items())
        rows.append(row(text, network=network, graph=str(number), real_ms=real_ms, runtime=runtime))
    return rows


def test_true_factors_are_found() -> None:
    factors = fit_factors(drawn(), ridge=1e-6)
    assert factors == pytest.approx(TRUE, abs=1e-4)


def test_no_factor_is_negative() -> None:
    rows = [row(f"Conv=10 Add={add}", real_ms=10.0 - add) for add in (0.5, 1.0, 2.0)]
    factors = fit_factors(rows, ridge=1e-6)
    assert factors["Add"] == 0.0
    assert factors["Conv"] > 0.8


def test_what_is_hardly_seen_stays_as_documented() -> None:
    text = "Conv=10 Relu:after_product=1e-9 Add=1e-9 Split=1e-9"
    rows = [row(text, real_ms=20.0), row(text, real_ms=20.0)]
    factors = fit_factors(rows)
    assert factors["Conv"] == pytest.approx(2.0, abs=0.01)
    assert factors["Relu:after_product"] == pytest.approx(0.0, abs=1e-6)
    assert (factors["Add"], factors["Split"]) == pytest.approx((1.0, 1.0), abs=1e-6)
    compiled = fit_factors([row(text, real_ms=20.0, runtime="torch_compile")])
    assert compiled["Split"] == pytest.approx(0.0, abs=1e-6)


def test_networks_count_alike() -> None:
    """A hundred graphs of one weigh no more than two of another."""
    many = [row("Conv=10", network="many", real_ms=10.0, graph=str(n)) for n in range(100)]
    few = [row("Conv=10", network="few", real_ms=20.0, graph=str(n)) for n in range(2)]
    # Least squares of relative errors: (f - 1)^2 + (f / 2 - 1)^2.
    assert fit_factors([*many, *few])["Conv"] == pytest.approx(1.2, abs=0.01)


def test_a_network_is_left_out_of_its_own_factors() -> None:
    odd = [row("Conv=10", network="odd", real_ms=50.0) for _ in range(3)]
    factors = left_out([*drawn(), *odd])
    assert factors["odd"]["Conv"] == pytest.approx(TRUE["Conv"], abs=0.1)
    assert factors["net"]["Conv"] == pytest.approx(5.0, abs=0.1)
    assert left_out(odd) == {"odd": {}}, "there is nothing to fit to"
    assert left_out([*drawn(), *odd], unfit=["odd"])["net"] == {}


def test_the_command_fits_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table, target = tmp_path / "calibration.csv", tmp_path / "corrections.csv"
    target.write_text("prices,runtime,device,class,factor\nroofline,old,cuda,Split,0.5\n")
    monkeypatch.setattr(correction, "_PATH", target)
    monkeypatch.setattr(fit, "_RIDGE", 1e-6)
    correction._read.cache_clear()
    try:
        odd = [row("Conv=10", network="odd", real_ms=50.0) for _ in range(3)]
        write_rows(table, [*drawn("first"), *drawn("second"), *odd])
        main([str(table)])
        assert correction.known_factors("onnxruntime_plain", "onnxruntime", "cpu") == {}
        main([str(table), "--write", "--leave-out", "odd"])
        factors = correction.known_factors("onnxruntime_plain", "onnxruntime", "cpu")
        assert factors == pytest.approx(TRUE, abs=0.05)
        assert correction.known_factors("roofline", "old", "cuda") == {"Split": 0.5}
    finally:
        correction._read.cache_clear()
    printed = capsys.readouterr().out
    assert "onnxruntime_plain, corrected for onnxruntime on cpu" in printed
    assert "fitted to others" in printed


def test_a_table_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("a\n1\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"^error: .*bad.csv:2: no row of a calibration"):
        main([str(tmp_path / "bad.csv")])
