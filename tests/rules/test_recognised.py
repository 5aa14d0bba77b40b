"""What exporters write out becomes one operator, where the user's file has that operator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from xflowrl.onnx_io import Model, load_onnx, save_onnx
from xflowrl.options import build_option, make_problems
from xflowrl.problem import Result
from xflowrl.rules import load_core

# Operator, the first opset that has it, and what is written out: x is [2, 3, 8].
WRITTEN_OUT = {
    "layer-norm-torch": (
        "LayerNormalization",
        17,
        """m = ReduceMean <keepdims = 1> (x, last) d = Sub(x, m) q = Pow(d, two)
        v = ReduceMean <keepdims = 1> (q, last) a = Add(v, epsilon) r = Sqrt(a) n = Div(d, r)
        s = Mul(n, scale) y = Add(s, bias)""",
    ),
    "layer-norm-reciprocal": (
        "LayerNormalization",
        17,
        """m = ReduceMean <keepdims = 1> (x, last) d = Sub(x, m) q = Mul(d, d)
        v = ReduceMean <keepdims = 1> (q, last) a = Add(epsilon, v) r = Sqrt(a) i = Div(one, r)
        n = Mul(d, i) y = Mul(scale, n)""",
    ),
    "layer-norm-tensorflow": (
        "LayerNormalization",
        17,
        """m = ReduceMean <keepdims = 1> (x, last) d = Sub(x, m) q = Mul(d, d)
        v = ReduceMean <keepdims = 1> (q, last) a = Add(v, epsilon) r = Sqrt(a)
        i = Reciprocal(r) k = Mul(i, scale) n = Mul(x, k) o = Mul(m, k) c = Sub(bias, o)
        y = Add(n, c)""",
    ),
    "rms-norm": (
        "RMSNormalization",
        23,
        """q = Pow(x, two) v = ReduceMean <keepdims = 1> (q, last) a = Add(v, epsilon)
        r = Sqrt(a) i = Reciprocal(r) n = Mul(x, i) y = Mul(scale, n)""",
    ),
    "gelu": (
        "Gelu",
        20,
        "d = Div(x, root) e = Erf(d) a = Add(e, one) m = Mul(x, a) y = Mul(m, half)",
    ),
    "gelu-tanh": (
        "Gelu",
        20,
        """h = Mul(x, half) q = Pow(x, three) k = Mul(q, cubic) i = Add(x, k) c = Mul(i, outer)
        t = Tanh(c) a = Add(t, one) y = Mul(h, a)""",
    ),
    "hard-swish": ("HardSwish", 14, "s = HardSigmoid <alpha = 0.16666667> (x) y = Mul(x, s)"),
}
NUMBERS = {
    "two": 2.0, "three": 3.0, "one": 1.0, "half": 0.5, "epsilon": 1e-5, "root": 2.0**0.5,
    "inverse": 0.5**0.5,
    "cubic": 0.044715, "outer": (2 / np.pi) ** 0.5,
}  # fmt: skip
# Rounding of one operator of eight numbers of unit size, against that of as many as ten.
TOLERANCE = {"float": 1e-5, "float16": 1e-2}


def written(text: str, opset: int, path: Path, dtype: str = "float") -> Path:
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : {opset}]>
        written_out ({dtype}["batch", 3, 8] x) => ({dtype}["batch", 3, 8] y) {{ {text} }}"""
    )
    element = np.float16 if dtype == "float16" else np.float32
    generator = np.random.default_rng(0)
    constants = {name: np.array(value, element) for name, value in NUMBERS.items()}
    constants["last"] = np.array([-1], np.int64)
    for name in ("scale", "bias"):
        constants[name] = generator.uniform(0.5, 1.5, 8).astype(element)
    if opset < 18:  # axes are an attribute
        for node in model.graph.node:
            if node.op_type == "ReduceMean":
                del node.input[1:]
                node.attribute.append(onnx.helper.make_attribute("axes", [-1]))
    read = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(a, n) for n, a in constants.items() if n in read
    )
    onnx.save(model, path)
    return path


def optimised(model: Model) -> Result:
    (problem,) = make_problems(
        [model],
        build_option("rules", "core"),
        build_option("measurement", "roofline"),
        build_option("budget", "default"),
        seed=0,
    )
    (result,) = build_option("agent", "greedy").optimize([problem], lambda metrics, step: None)
    found: Result = result
    return found


def computed(path: Path, batch: int) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options)
    dtype = np.float16 if "float16" in session.get_inputs()[0].type else np.float32
    x = np.random.default_rng(1).standard_normal((batch, 3, 8)).astype(dtype)
    result: np.ndarray = session.run(None, {"x": x})[0]
    return result


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_one_operator_where_the_file_has_it(name: str, tmp_path: Path) -> None:
    op_type, since, text = WRITTEN_OUT[name]
    path, out = written(text, max(since, 18), tmp_path / "m.onnx"), tmp_path / "out.onnx"
    save_onnx(optimised(load_onnx(path)).model, out)
    result = onnx.load(out)
    assert [node.op_type for node in result.graph.node] == [op_type]
    assert [o.version for o in result.opset_import] == [max(since, 18)]
    for batch in (1, 5):
        np.testing.assert_allclose(
            computed(out, batch), computed(path, batch), rtol=0, atol=TOLERANCE["float"]
        )


@pytest.mark.parametrize("name", [n for n, (_, since, _) in WRITTEN_OUT.items() if since > 18])
def test_as_it_was_where_the_file_is_older(name: str, tmp_path: Path) -> None:
    op_type, since, text = WRITTEN_OUT[name]
    path, out = written(text, since - 1, tmp_path / "m.onnx"), tmp_path / "out.onnx"
    found = optimised(load_onnx(path))
    later = {rule.name for rule in load_core().rules if rule.opset >= since}
    assert later.isdisjoint(step.rule for step in found.trace.steps)
    save_onnx(found.model, out)
    result = onnx.load(out)
    assert op_type not in {node.op_type for node in result.graph.node}
    assert [o.version for o in result.opset_import] == [since - 1]
    np.testing.assert_allclose(computed(out, 2), computed(path, 2), rtol=0, atol=1e-5)


def test_silu_stays_written_out(tmp_path: Path) -> None:
    """ONNX Runtime fuses these two, and has no kernel for Swish."""
    path, out = written("s = Sigmoid(x) y = Mul(x, s)", 24, tmp_path / "m.onnx"), tmp_path / "out"
    save_onnx(optimised(load_onnx(path)).model, out)
    assert [node.op_type for node in onnx.load(out).graph.node] == ["Sigmoid", "Mul"]


def test_older_files_get_a_gelu_that_is_fused(tmp_path: Path) -> None:
    """ONNX Runtime knows the operator by its division, and by the order of its products."""
    text = "d = Mul(x, inverse) e = Erf(d) a = Add(e, one) h = Mul(a, half) y = Mul(x, h)"
    path, out = written(text, 17, tmp_path / "m.onnx"), tmp_path / "out.onnx"
    save_onnx(optimised(load_onnx(path)).model, out)
    np.testing.assert_allclose(computed(out, 2), computed(path, 2), rtol=0, atol=1e-5)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    onnxruntime.InferenceSession(out, options)
    assert [node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node] == ["Gelu"]


@pytest.mark.parametrize("name", ["layer-norm-torch", "rms-norm"])
def test_half_precision(name: str, tmp_path: Path) -> None:
    op_type, since, text = WRITTEN_OUT[name]
    path = written(text, max(since, 18), tmp_path / "m.onnx", "float16")
    save_onnx(optimised(load_onnx(path)).model, tmp_path / "out.onnx")
    assert op_type in {node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node}
    np.testing.assert_allclose(
        computed(tmp_path / "out.onnx", 2),
        computed(path, 2),
        rtol=0,
        atol=TOLERANCE["float16"],
    )
