from __future__ import annotations

import importlib
import logging
import sqlite3
import tempfile
import time
from pathlib import Path

import pytest

from xflowrl._engine import Cost, Graph, GraphBuilder, RuleSet, TensorType
from xflowrl.measurement import Objective, estimated
from xflowrl.measurement.device import DeviceLock, cpu_name


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


def price(objective: Objective, graph: Graph) -> Cost:
    return objective.state(graph, RuleSet.parse("(rules none)")).cost


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "costs.sqlite")


def test_operators_are_timed_once_and_kept(path) -> None:
    first = estimated(database=path, max_ms_per_op=5.0)
    cost = price(first, graph_with())
    assert cost.ms > 0
    assert first.num_measured == 2  # the Reshape copies nothing
    assert 0 < first.measure_s < 30
    assert price(first, graph_with()).ms == cost.ms
    second = estimated(database=path, max_ms_per_op=5.0)
    assert price(second, graph_with()).ms == cost.ms
    assert second.num_measured == 0


def test_a_fused_operator_is_never_cheaper_than_its_plain_form(path) -> None:
    def product(activation: str):
        builder = GraphBuilder()
        builder.add_input("x", TensorType("float32", [32, 64]))
        builder.add_weight("w", TensorType("float32", [64, 64]))
        builder.add_node("MatMul", ["x", "w"], ["y"], {"activation": activation})
        builder.set_outputs(["y"])
        return builder.build()

    model = estimated(database=path, max_ms_per_op=50.0)  # rounds enough on a busy machine
    fused_ms = price(model, product("Gelu")).ms
    assert model.num_measured == 2  # and its plain form
    assert price(model, product("")).ms < fused_ms
    assert model.num_measured == 2


def test_a_slow_operator_keeps_the_limit(path) -> None:
    builder = GraphBuilder()
    builder.add_input("x", TensorType("float32", [256, 1024]))
    builder.add_weight("w", TensorType("float32", [1024, 1024]))
    builder.add_node("MatMul", ["x", "w"], ["y"], {"activation": "Relu"})
    builder.set_outputs(["y"])
    model = estimated(database=path, max_ms_per_op=10.0)  # one execution takes about 5 ms
    assert price(model, builder.build()).ms > 0.5
    repeats = sqlite3.connect(path).execute("SELECT num_repeats FROM op_cost").fetchall()
    assert len(repeats) == 2
    assert all(1 <= number <= 12 for (number,) in repeats)


def test_it_names_what_it_was_timed_on(path) -> None:
    objective = estimated(database=path)
    assert (objective.device, objective.runtime) == (cpu_name(), "onnxruntime_plain")


def test_costs_kept_by_earlier_versions_are_found(path) -> None:
    import onnxruntime

    objective = estimated(database=path, max_ms_per_op=5.0)
    price(objective, graph_with())
    (key,) = sqlite3.connect(path).execute("SELECT DISTINCT version FROM op_cost").fetchone()
    version = onnxruntime.__version__
    assert key == f"onnxruntime {version}, cpu, 1 thread, unoptimised, protocol 3"


def test_runtimes_keep_their_costs_apart(path) -> None:
    for runtime in ("onnxruntime_plain", "onnxruntime", "torch"):
        objective = estimated(runtime=runtime, database=path, max_ms_per_op=2.0)
        assert price(objective, graph_with()).ms > 0
        assert objective.num_measured == 2


def test_threads_and_precisions_keep_their_costs_apart(path) -> None:
    for options in ({}, {"threads": 2}, {"precision": "bf16"}):
        objective = estimated(runtime="torch", database=path, max_ms_per_op=2.0, **options)
        assert price(objective, graph_with()).ms > 0
        assert objective.num_measured == 2
    found = sqlite3.connect(path).execute("SELECT DISTINCT threads, precision FROM op_cost")
    assert sorted(found) == [(1, "bf16"), (1, "fp32"), (2, "fp32")]


def test_without_a_database_nothing_is_written(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert price(estimated(database=None, max_ms_per_op=5.0), graph_with()).ms > 0
    assert list(tmp_path.iterdir()) == []


def test_the_default_database_is_in_the_cache_folder(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    estimated()
    assert (tmp_path / "xflowrl" / "op_costs.sqlite").exists()


def test_an_interrupt_while_timing_gives_the_device_back(path, monkeypatch) -> None:
    def interrupted(*args: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    module = importlib.import_module("xflowrl.measurement.estimated")
    monkeypatch.setattr(module, "time_operator", interrupted)
    with pytest.raises(KeyboardInterrupt):
        price(estimated(database=path), graph_with())
    stranger = DeviceLock(Path(tempfile.gettempdir()) / "xflowrl-cpu.lock")
    with stranger.exclusive(max_wait_s=0.0) as alone:
        assert alone


def test_timing_stays_within_its_limit(path) -> None:
    price(estimated(database=path, max_ms_per_op=1.0), graph_with())  # imports, session overhead
    model = estimated(database=None, max_ms_per_op=50.0)
    started = time.perf_counter()
    price(model, graph_with())
    assert time.perf_counter() - started < 2 * 0.05 + 1.0  # sessions are made in milliseconds


def test_what_cannot_be_timed_is_estimated_and_says_so(path, caplog) -> None:
    model = estimated(database=path, max_ms_per_op=5.0)
    with caplog.at_level(logging.WARNING):
        cost = price(model, graph_with("Secret", "nobody.knows"))
    assert "operator Secret cannot be timed alone" in caplog.text
    sources = dict(sqlite3.connect(path).execute("SELECT signature, source FROM op_cost"))
    secret = next(key for key in sources if "Secret" in key)
    assert sources[secret] == "estimate"
    assert sorted(sources.values()) == ["estimate"] + ["timed"] * 4  # with three references
    assert cost.ms > price(model, graph_with("Identity")).ms


@pytest.mark.parametrize("op_type", ["Concat", "Conv"])
def test_a_size_that_has_no_price_is_estimated(path, caplog, op_type: str) -> None:
    """A dynamic size has a price, and what an operator makes of it has none."""
    builder = GraphBuilder("joined")
    x = builder.add_input("x", TensorType("float32", [1, 1, 18]))
    if op_type == "Concat":
        builder.add_node("Concat", [x, x], ["y"], {"axis": 2})
    else:
        weights = [builder.add_weight("w", TensorType("float32", [1, 1, 3]))]
        weights.append(builder.add_weight("b", TensorType("float32", [1])))
        window = {"strides": [1], "pads": [0, 0], "dilations": [1], "group": 1}
        builder.add_node("Conv", [x, *weights], ["y"], window)
    builder.set_outputs(["y"])
    builder.price_at({18: 97}, {})
    with caplog.at_level(logging.WARNING):
        assert price(estimated(database=path, max_ms_per_op=5.0), builder.build()).ms > 0
    assert f"operator {op_type} cannot be timed alone" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda"}, "measurement.device='cuda': onnxruntime_plain runs on cpu"),
        ({"runtime": "tensorrt"}, "measurement.runtime='tensorrt': use one of onnxruntime, onn"),
        ({"max_ms_per_op": 0.0}, "measurement.max_ms_per_op=0.0"),
    ],
)
def test_bad_options_are_one_clear_line(options, message, path) -> None:
    with pytest.raises(ValueError, match=message):
        estimated(database=path, **options)
