from __future__ import annotations

import numpy as np
import onnx
import pytest

from xflowrl._engine import GraphBuilder, OpSignature, TensorType
from xflowrl.measurement import operator_timing
from xflowrl.measurement.operator_timing import (
    NotExecutable,
    overhead_ms,
    plain_form,
    significant_extra_ms,
    time_beside,
    time_operator,
)
from xflowrl.measurement.runtimes import export_for, open_runtime

PLAIN = open_runtime("onnxruntime_plain", group="measurement")
QUICK_MS = 3.0
ACTIVATIONS = [
    ("", []),
    ("Relu", []),
    ("LeakyRelu", [0.1]),
    ("Clip", [0.0, 6.0]),
    ("Sigmoid", []),
    ("Tanh", []),
    ("HardSwish", []),
    ("HardSigmoid", [0.2, 0.5]),
    ("Swish", [1.0]),
    ("Gelu", []),
    ("GeluTanh", []),
]
WINDOW = {"strides": [1, 1], "pads": [1] * 4, "dilations": [1, 1]}
POOL = {**WINDOW, "kernel_shape": [3, 3], "ceil_mode": 0}
IMAGE = [1, 4, 8, 8]


def signature(
    op_type: str,
    shapes: list[list[int] | None],
    attributes: dict[str, object] | None = None,
    *,
    constants: int = 0,
    **options: object,
) -> OpSignature:
    """One operator on float32 operands, the last `constants` of which are weights."""
    builder = GraphBuilder()
    names = []
    for i, shape in enumerate(shapes):
        if shape is None:
            names.append("")
            continue
        add = builder.add_weight if i >= len(shapes) - constants else builder.add_input
        names.append(add(f"x{i}", TensorType("float32", shape)))
    num_outputs = len(options.get("output_types", [])) or len((attributes or {}).get("split", "1"))
    outputs = [f"y{i}" for i in range(num_outputs)]
    builder.add_node(op_type, names, outputs, attributes or {}, **options)
    builder.set_outputs(outputs)
    found: OpSignature = builder.build().nodes()[-1].signature
    return found


@pytest.mark.parametrize(("activation", "params"), ACTIVATIONS)
@pytest.mark.parametrize("op_type", ["Conv", "MatMul", "Gemm"])
def test_every_fused_activation_is_timed(op_type: str, activation: str, params: list) -> None:
    shapes = {
        "Conv": [IMAGE, [8, 4, 3, 3], [8]],
        "MatMul": [[2, 4, 8], [8, 6]],
        "Gemm": [[4, 8], [8, 6], [6]],
    }[op_type]
    attributes = {"activation": activation, "activation_params": params}
    attributes |= {"Conv": {**WINDOW, "group": 1}}.get(op_type, {})
    fused = signature(op_type, shapes, attributes, constants=len(shapes) - 1)
    assert time_operator(fused, PLAIN, max_ms=QUICK_MS).median_ms > 0


@pytest.mark.parametrize(
    ("op_type", "shapes", "attributes"),
    [
        ("BatchNormalization", [IMAGE, [4], [4], [4], [4]], {"epsilon": 1e-5}),
        ("MaxPool", [IMAGE], POOL),
        ("AveragePool", [IMAGE], {**POOL, "count_include_pad": 0}),
        ("GlobalAveragePool", [IMAGE], {}),
        ("Softmax", [[4, 8]], {"axis": 1}),
        ("Clip", [IMAGE], {"min": 0.0, "max": 6.0}),
        ("Clip", [IMAGE], {"min": 0.0, "max": float("inf")}),
        ("Gelu", [IMAGE], {"approximate": "none"}),
        ("Swish", [IMAGE], {"alpha": 1.0}),
        ("Concat", [IMAGE, IMAGE], {"axis": 1}),
        ("Split", [IMAGE], {"axis": 1, "split": [1, 3]}),
        ("Slice", [IMAGE], {"starts": [1], "ends": [3], "axes": [1], "steps": [1]}),
        ("Pad", [IMAGE], {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "mode": "constant", "value": 0.0}),
        ("Transpose", [IMAGE], {"perm": [0, 2, 3, 1]}),
        ("Expand", [[1, 4, 1, 1]], {"shape": IMAGE}),
        ("Tile", [[2, 3]], {"repeats": [2, 2]}),
        ("ReduceMean", [IMAGE], {"axes": [2, 3], "keepdims": 1}),
        ("LayerNormalization", [[4, 8], [8], [8]], {"axis": 1, "epsilon": 1e-5}),
        ("Sum", [IMAGE, IMAGE, IMAGE], {}),
        ("Conv", [IMAGE, [8, 4, 3, 3], None], {**WINDOW, "group": 1}),
        (
            "Conv",
            [[1, 4, 9], [4, 1, 3]],
            {"strides": [2], "pads": [1, 1], "dilations": [1], "group": 4},
        ),
    ],
)
def test_operators_in_canonical_form_are_timed(op_type, shapes, attributes) -> None:
    measured = time_operator(signature(op_type, shapes, attributes), PLAIN, max_ms=QUICK_MS)
    assert measured.median_ms > 0
    assert measured.q1_ms <= measured.median_ms <= measured.q3_ms


@pytest.mark.parametrize(
    ("op_type", "shapes", "attributes"),
    [
        ("Gelu", [[2, 8]], {"approximate": "tanh"}),
        ("RMSNormalization", [[2, 8], [8]], {"axis": 1}),
        ("LayerNormalization", [[2, 8], [8]], {"axis": 1}),
    ],
)
def test_an_operator_is_timed_in_an_opset_that_has_it(
    op_type, shapes, attributes, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = []

    def export(*args: object, **options: object) -> bytes:
        timed.append(export_for(*args, **options))  # type: ignore[arg-type]
        return timed[-1]

    monkeypatch.setattr(operator_timing, "export_for", export)
    time_operator(signature(op_type, shapes, attributes), PLAIN, max_ms=QUICK_MS)
    assert [[n.op_type for n in onnx.load_from_string(m).graph.node] for m in timed] == [[op_type]]


def test_an_opaque_operator_is_timed_as_it_stands() -> None:
    result = [TensorType("float32", [3]), TensorType("int64", [3])]
    builder = GraphBuilder()
    builder.add_input("x", TensorType("float32", [9]))
    builder.add_weight("k", TensorType("int64", [1]))
    builder.add_node("TopK", ["x", "k"], ["v", "i"], {"axis": 0}, output_types=result, opaque=True)
    builder.set_outputs(["v", "i"])
    assert time_operator(builder.build().nodes()[0].signature, PLAIN, max_ms=QUICK_MS).median_ms > 0


def test_more_work_takes_longer() -> None:
    def conv(channels: int) -> OpSignature:
        image, kernel = [1, channels, 16, 16], [channels, channels, 3, 3]
        return signature("Conv", [image, kernel], {**WINDOW, "group": 1}, constants=1)

    small, large = (time_operator(conv(channels), PLAIN).median_ms for channels in (16, 128))
    assert large > 5 * small  # 64 times the work


def test_the_session_is_not_charged_to_the_operator() -> None:
    relu = signature("Relu", [[1]])
    whole = time_operator(relu, PLAIN).median_ms
    net = time_operator(relu, PLAIN, overhead_ms=overhead_ms(PLAIN)).median_ms
    assert 0 < overhead_ms(PLAIN) < 1.0
    assert net < 0.6 * whole  # on the machine this was written on: 0.0002 of 0.0026 ms


@pytest.mark.parametrize(
    ("domain", "output"), [("nobody.knows", [4]), ("", [5])], ids=["unknown", "other shape"]
)
def test_what_cannot_be_executed_says_why(domain: str, output: list[int]) -> None:
    options = {"domain": domain, "output_types": [TensorType("float32", output)], "opaque": True}
    with pytest.raises(NotExecutable, match=r".+"):
        time_operator(signature("Relu", [[4]], **options), PLAIN)


def test_the_plain_form_has_neither_bias_nor_activation() -> None:
    attributes = {**WINDOW, "group": 1, "activation": "Clip", "activation_params": [0.0, 6.0]}
    fused = signature("Conv", [IMAGE, [8, 4, 3, 3], [8]], attributes, constants=2)
    plain = plain_form(fused)
    wanted = signature("Conv", [IMAGE, [8, 4, 3, 3]], {**WINDOW, "group": 1}, constants=1)
    assert plain is not None
    assert plain.key == wanted.key
    assert plain_form(plain) is None
    assert plain_form(signature("Relu", [IMAGE])) is None


def rounds_of(*columns: list[float]) -> np.ndarray:
    return np.array(columns).T


@pytest.mark.parametrize(
    ("plain", "fused", "plain_again", "fused_again", "extra"),
    [
        (1.0, 1.1, 1.0, 1.1, 0.1),
        (1.0, 1.1, 1.02, 1.12, 0.1),
        (1.0, 1.1, 1.12, 1.18, 0.0),  # the plain sessions differ by more
        (1.0, 0.9, 1.0, 0.9, 0.0),  # more work cannot take less
        (1.0, 1.009, 1.0, 1.009, 0.0),  # a hundredth is not told apart
    ],
)
def test_what_is_added_must_exceed_how_equal_sessions_differ(
    plain, fused, plain_again, fused_again, extra
) -> None:
    samples = rounds_of(*([ms] * 10 for ms in (plain, fused, plain_again, fused_again)))
    assert significant_extra_ms(samples) == pytest.approx(extra)


def test_one_session_of_each_will_do() -> None:
    assert significant_extra_ms(rounds_of([1.0] * 10, [1.1] * 10)) == pytest.approx(0.1)


def test_what_is_added_must_be_known_to_be_above_zero() -> None:
    noisy = [1.5, 0.8, 1.4, 0.7, 1.3, 0.9, 1.2, 1.1, 1.15, 0.95]
    assert significant_extra_ms(rounds_of([1.0] * 10, noisy, [1.0] * 10, noisy)) == 0.0


def test_an_expensive_activation_is_charged() -> None:
    shapes, window = [[1, 4, 32, 32], [32, 4, 1, 1]], {**WINDOW, "pads": [0] * 4, "group": 1}
    gelu = signature("Conv", shapes, {**window, "activation": "Gelu"}, constants=1)
    plain = plain_form(gelu)
    assert plain is not None
    extra_ms, num_rounds = time_beside(plain, gelu, PLAIN, max_ms=20.0)
    assert extra_ms > 0.1 * time_operator(plain, PLAIN, max_ms=20.0).median_ms
    assert num_rounds >= 2


@pytest.mark.slow
def test_operators_add_up_to_the_whole_graph() -> None:
    """Ratio 0.97 to 1.01 on a quiet machine; the tolerance allows for a busy one."""
    from xflowrl.measurement.operand_values import draw
    from xflowrl.measurement.operator_timing import _Operands
    from xflowrl.measurement.timer import sample_ms
    from xflowrl.onnx_io import Model

    graph = cells_graph(channels=32, size=56, num_cells=3)
    weights = _Operands({name: draw(weight) for name, weight in graph.weights.items()})
    exported = export_for(PLAIN, Model(graph, weights))
    run = PLAIN.compile(exported, {"x": draw(graph.tensor_type("x"))})
    limits = {"max_ms": 1000.0, "precision": 0.005, "min_ms": 500.0}
    whole_ms = np.median(sample_ms([run], **limits))
    sum_ms = sum(
        time_operator(node.signature, PLAIN, overhead_ms=overhead_ms(PLAIN)).median_ms
        for node in graph.nodes()
    )
    assert 0.75 < sum_ms / whole_ms < 1.3


def cells_graph(*, channels: int, size: int, num_cells: int):
    """Cells of two convolution branches, concatenated and added to a pooled copy."""
    builder = GraphBuilder("cells")
    x = builder.add_input("x", TensorType("float32", [1, channels, size, size]))

    def node(op_type: str, operands: list[str], attributes: dict[str, object]) -> str:
        name = f"t{len(names)}"
        names.append(name)
        return builder.add_node(op_type, operands, [name], attributes)[0]

    def conv(x: str, kernel: int, activation: str) -> str:
        shape = [channels // 2, channels, kernel, kernel]
        weight = builder.add_weight(f"w{len(names)}", TensorType("float32", shape))
        attributes = {**WINDOW, "pads": [kernel // 2] * 4, "group": 1, "activation": activation}
        return node("Conv", [x, weight], attributes)

    names: list[str] = []
    for _ in range(num_cells):
        branches = [conv(x, 1, "Relu"), node("Relu", [conv(x, 3, "")], {})]
        x = node("Add", [node("Concat", branches, {"axis": 1}), node("MaxPool", [x], POOL)], {})
    builder.set_outputs([x])
    return builder.build()
