"""What a model holds beside its nodes; forms of older opsets; what is refused."""

from __future__ import annotations

import re
import weakref
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, parser

from xflowrl.measurement.runtimes.onnx_to_torch import OnnxModule
from xflowrl.measurement.runtimes.onnxruntime import open_session

X = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)


def model_of(body: str, *, opset: int = 18, ir: int = 8, results: str = "float[n] y") -> Any:
    """A model of the input x, float [2, 3, 4]."""
    header = f'<ir_version: {ir}, opset_import: ["" : {opset}, "com.microsoft" : 1]>'
    return parser.parse_model(f"{header} one (float[2, 3, 4] x) => ({results}) {{ {body} }}")


def run(model: onnx.ModelProto, *inputs: np.ndarray) -> list[np.ndarray]:
    tensors = [torch.from_numpy(array.copy()) for array in inputs or (X,)]
    return [result.numpy() for result in OnnxModule(model)(*tensors)]


# fmt: off
OLD_FORMS = {
    7: ["y = Softmax(x)", "y = Softmax<axis = 2>(x)", "y = LogSoftmax<axis = 0>(x)",
        "y = Clip<min = -0.5, max = 0.5>(x)", "y = Clip<max = 0.5>(x)",
        "y = Dropout<ratio = 0.3>(x)",
        "t = Unsqueeze<axes = [0, 2]>(x) y = Squeeze<axes = [0, 2]>(t)",
        "y = Slice<starts = [1, 0], ends = [9, -1], axes = [1, 2]>(x)",
        "a, y = TopK<k = 2, axis = 1>(x)", "y, b = Split<axis = 1, split = [1, 2]>(x)",
        "y = Pad<pads = [0, 1, 0, 0, 0, 2], value = 3.0>(x)",
        "y = ReduceSum<axes = [1], keepdims = 0>(x)"],
    11: ["y, b = Split<axis = 2>(x)", "y = ReduceMean<axes = [-1]>(x)"],
    13: ["y = Softmax(x)", "y = ReduceMax<axes = [0, 2]>(x)", "y, b = Split<axis = 2>(x)"],
    18: ["s = Shape(x) y = Reshape(x, s)", "y = Identity(x)",
         "two = Constant<value_float = 2.0>() y = Pow(x, two)",
         "c = Constant<value_ints = [0, -1]>() y = Reshape(x, c)",
         "s = Shape<start = 1>(x) z = ConstantOfShape(s) y = Add(x, z)"],
    20: ["y = Gelu<approximate = \"tanh\">(x)", "y = com.microsoft.Gelu(x)"],
}
# fmt: on


@pytest.mark.parametrize("opset, body", [(o, b) for o, bodies in OLD_FORMS.items() for b in bodies])
def test_forms_of_an_opset(opset: int, body: str) -> None:
    """As ONNX Runtime computes them: both of single precision."""
    kind = "int64" if "TopK" in body else "float"
    model = model_of(body, opset=opset, results=f"{kind}[n] y")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    (expected,) = open_session(model.SerializeToString()).run(None, {"x": X})
    np.testing.assert_allclose(run(model)[0], expected, rtol=1e-5, atol=1e-6)


def test_initialisers_that_are_inputs_are_no_inputs() -> None:
    model = model_of("y = Add(x, w)")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([1.0]), "w"))
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]))
    assert [given.name for given in OnnxModule(model).inputs] == ["x"]
    np.testing.assert_array_equal(run(model)[0], X + 1)


def test_functions_of_a_model_are_called() -> None:
    model = model_of("y = Neg(x)", ir=9)
    model.graph.node[0].op_type, model.graph.node[0].domain = "Twice", "own"
    opsets = [helper.make_opsetid("", 18)]
    twice = helper.make_node("Add", ["a", "a"], ["b"])
    model.functions.append(helper.make_function("own", "Twice", ["a"], ["b"], [twice], opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    np.testing.assert_array_equal(run(model)[0], 2 * X)


def test_constants_and_inputs_may_be_outputs() -> None:
    model = model_of("y = Constant<value_ints = [1, 2]>()", results="int64[2] y, float[2, 3, 4] x")
    constant, given = run(model)
    np.testing.assert_array_equal(constant, [1, 2])
    np.testing.assert_array_equal(given, X)


def test_results_that_nobody_names_are_left_out() -> None:
    model = model_of("k = Constant<value_ints = [1]>() a, i = TopK(x, k) z = Cast<to = 1>(i) "
                     "t = Clip(x) y = Add(z, t)")  # fmt: skip
    model.graph.node[1].output[0] = ""
    model.graph.node[3].input.append("")  # a result that went there would be the lower limit
    np.testing.assert_allclose(run(model)[0], X.argmax(-1, keepdims=True) + X, rtol=1e-6)


def test_operands_stay_as_they_are() -> None:
    given = torch.from_numpy(X.copy())
    OnnxModule(model_of("r = Relu(x) t = Identity(r) y = Clip(t)"))(given)
    np.testing.assert_array_equal(given.numpy(), X)


def test_values_are_let_go_after_their_last_use() -> None:
    module = OnnxModule(model_of("a = Exp(x) b = Exp(a) c = Exp(b) y = Add(c, x)"))
    given = torch.from_numpy(X.copy())
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0

    class Counted(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            nonlocal most
            result = func(*args, **(kwargs or {}))
            alive.append(weakref.ref(result))
            most = max(most, sum(ref() is not None for ref in alive))
            return result

    with Counted():
        module(given)
    assert (len(alive), most) == (4, 2)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op_type", ["LSTM", "GRU"])
def test_recurrent_operators(op_type: str, direction: str) -> None:
    """As ONNX Runtime computes them, with biases and first states."""
    num, gates = (2 if direction == "bidirectional" else 1), {"LSTM": 4, "GRU": 3}[op_type]
    shapes = {"w": [num, 5 * gates, 4], "r": [num, 5 * gates, 5], "b": [num, 10 * gates]}
    shapes |= {"h": [num, 3, 5]} | ({"c": [num, 3, 5]} if op_type == "LSTM" else {})
    special = {"linear_before_reset": 1} if op_type == "GRU" else {}
    operands = ["x", "w", "r", "b", "", "h", "c"][: 5 + len(shapes) - 3]
    results = ["y", "y_h", "y_c"][: len(shapes) - 2]
    node = helper.make_node(
        op_type, operands, results, hidden_size=5, direction=direction, **special
    )
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in results]
    model = model_of("y = Identity(x)")
    model.graph.node[0].CopyFrom(node)
    del model.graph.output[:]
    model.graph.output.extend(infos)
    draw = np.random.default_rng(1).standard_normal
    for name, shape in shapes.items():
        tensor = onnx.numpy_helper.from_array(draw(shape).astype(np.float32), name)
        model.graph.initializer.append(tensor)
    expected = open_session(model.SerializeToString()).run(None, {"x": X})
    for ours, theirs in zip(run(model), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("body", "opset", "message"),
    [
        ("y = Multinomial(x)", 18, 'node "y" (Multinomial): the operator is not in the table'),
        ("y = other.Relu(x)", 18, 'node "y" (other.Relu): the operator is not in the table'),
        ("y = Relu<speed = 3>(x)", 18, 'node "y" (Relu): attribute speed'),
        ("y = Relu(gone)", 18, 'node "y" (Relu): "gone" is computed by no node'),
        ("y = Relu(x)", 6, "opset 6: models are run from opset 7 on"),
        ("y = GroupNormalization<num_groups = 1>(x, x, x)", 18, "(GroupNormalization): its form"),
        ("y, m = MaxPool<kernel_shape = [2]>(x)", 18, 'node "y" (MaxPool): 2 results'),
        ("y = Cast<to = 17>(x)", 18, 'node "y" (Cast): a tensor of type FLOAT8E4M3FN'),
        ("y = MatMul(x, x)", 18, 'node "y" (MatMul): '),
        ("y = Conv(x)", 18, 'node "y" (Conv): '),
    ],
)
def test_what_is_refused_names_the_node(body: str, opset: int, message: str) -> None:
    with pytest.raises(RuntimeError, match=re.escape(message)):
        run(model_of(body, opset=opset))
