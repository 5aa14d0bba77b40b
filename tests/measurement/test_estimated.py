from __future__ import annotations

import logging
import sqlite3
import time

import pytest

from xflowrl._engine import GraphBuilder, TensorType
from xflowrl.measurement import cpu_name, estimated


def graph_with(op_type: str = "Relu", domain: str = ""):
    builder = GraphBuilder()
    builder.add_input("x", TensorType("float32", [64, 64]))
    builder.add_weight("w", TensorType("float32", [64, 64]))
    builder.add_node("MatMul", ["x", "w"], ["product"])
    types = [TensorType("float32", [64, 64])]
    builder.add_node(op_type, ["product"], ["y"], domain=domain, output_types=types)
    builder.add_node("Reshape", ["y"], ["z"], {"shape": [4096]})
    builder.set_outputs(["z"])
    return builder.build()


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "costs.sqlite")


def test_operators_are_timed_once_and_kept(path) -> None:
    first = estimated(database=path, max_ms_per_op=5.0)
    cost = first.price(graph_with())
    assert cost.ms > 0
    assert first.num_measured == 2  # the Reshape copies nothing
    assert 0 < first.measure_s < 30
    assert first.price(graph_with()).ms == cost.ms
    second = estimated(database=path, max_ms_per_op=5.0)
    assert second.price(graph_with()).ms == cost.ms
    assert second.num_measured == 0


def test_a_fused_operator_is_never_cheaper_than_its_plain_form(path) -> None:
    def product(activation: str):
        builder = GraphBuilder()
        builder.add_input("x", TensorType("float32", [32, 64]))
        builder.add_weight("w", TensorType("float32", [64, 64]))
        builder.add_node("MatMul", ["x", "w"], ["y"], {"activation": activation})
        builder.set_outputs(["y"])
        return builder.build()

    model = estimated(database=path, max_ms_per_op=10.0)
    fused_ms = model.price(product("Gelu")).ms
    assert model.num_measured == 2  # and its plain form
    assert model.price(product("")).ms < fused_ms
    assert model.num_measured == 2


def test_a_slow_operator_keeps_the_limit(path) -> None:
    builder = GraphBuilder()
    builder.add_input("x", TensorType("float32", [256, 1024]))
    builder.add_weight("w", TensorType("float32", [1024, 1024]))
    builder.add_node("MatMul", ["x", "w"], ["y"], {"activation": "Relu"})
    builder.set_outputs(["y"])
    model = estimated(database=path, max_ms_per_op=10.0)  # one execution takes about 5 ms
    assert model.price(builder.build()).ms > 0.5
    repeats = sqlite3.connect(path).execute("SELECT num_repeats FROM op_cost").fetchall()
    assert len(repeats) == 2
    assert all(1 <= number <= 12 for (number,) in repeats)


def test_it_names_what_it_was_timed_on(path) -> None:
    model = estimated(database=path)
    assert model.device == cpu_name()
    assert model.decides(device=cpu_name(), runtime="onnxruntime_cpu")


def test_without_a_database_nothing_is_written(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert estimated(database=None, max_ms_per_op=5.0).price(graph_with()).ms > 0
    assert list(tmp_path.iterdir()) == []


def test_the_default_database_is_in_the_cache_folder(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    estimated()
    assert (tmp_path / "xflowrl" / "op_costs.sqlite").exists()


def test_timing_stays_within_its_limit(path) -> None:
    estimated(database=path, max_ms_per_op=1.0).price(graph_with())  # imports, session overhead
    model = estimated(database=None, max_ms_per_op=50.0)
    started = time.perf_counter()
    model.price(graph_with())
    assert time.perf_counter() - started < 2 * 0.05 + 1.0  # sessions are made in milliseconds


def test_what_cannot_be_timed_is_estimated_and_says_so(path, caplog) -> None:
    model = estimated(database=path, max_ms_per_op=5.0)
    with caplog.at_level(logging.WARNING):
        cost = model.price(graph_with("Secret", "nobody.knows"))
    assert "operator Secret cannot be timed alone" in caplog.text
    sources = dict(sqlite3.connect(path).execute("SELECT signature, source FROM op_cost"))
    secret = next(key for key in sources if "Secret" in key)
    assert sources[secret] == "estimate"
    assert sorted(sources.values()) == ["estimate"] + ["timed"] * 4  # with three references
    assert cost.ms > model.price(graph_with("Identity")).ms


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda"}, "measurement.device='cuda'"),
        ({"max_ms_per_op": 0.0}, "measurement.max_ms_per_op=0.0"),
    ],
)
def test_bad_options_are_one_clear_line(options, message, path) -> None:
    with pytest.raises(ValueError, match=message):
        estimated(database=path, **options)
