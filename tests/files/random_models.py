"""Random model files with the traits of real ones; every one runs in ONNX Runtime.

A file is drawn by its seed: any opset of 7 to 24, a dynamic or fixed batch, float32 or float16, and
a chain of blocks, each from a list of what exporters write: convolutions with normalisation,
dense layers, shape arithmetic, branches, loops, quantisation, local functions, noise. On top come
the manners of files: nodes unnamed or unsorted, types of inner tensors present or missing,
metadata, inputs with defaults.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from judge import drawn_feeds, open_session
from onnx import TensorProto, helper, numpy_helper

NUM_CHANNELS, SIZE = 4, 6


def random_model(seed: int) -> onnx.ModelProto:
    """A model that ONNX Runtime runs. Deterministic in `seed`."""
    for attempt in range(50):
        model = _Writer(np.random.default_rng([seed, attempt])).model(seed)
        if _runs(model):
            return model
    raise AssertionError(f"seed {seed}: nothing that ONNX Runtime runs in 50 attempts")


def _runs(model: onnx.ModelProto) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        try:
            return any(True for _ in drawn_feeds(path, open_session(path), num_sizes=1))
        except Exception:
            return False


class _Writer:
    """Writes one model, block after block; `x` is the current tensor, NCHW."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.opset = int(random.integers(7, 25))
        self.dtype = np.float16 if random.random() < 0.15 else np.float32
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.functions: list[onnx.FunctionProto] = []
        self.x = "x"
        self.earlier = ["x"]
        self.num_names = 0

    def model(self, seed: int) -> onnx.ModelProto:
        blocks = self._blocks()
        for index in self.random.integers(0, len(blocks), self.random.integers(2, 9)):
            blocks[index]()
            self.earlier.append(self.x)
        self.add("Identity", [self.x], outputs=["y"])
        batch = "N" if self.random.random() < 0.5 else 2
        element = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        shape = [batch, NUM_CHANNELS, SIZE, SIZE]
        inputs = [helper.make_tensor_value_info("x", element, shape)]
        outputs = [helper.make_tensor_value_info("y", element, shape)]
        if self.weights and self.random.random() < 0.2:  # an input with a default
            default = self.weights[int(self.random.integers(len(self.weights)))]
            info = helper.make_tensor_value_info(default.name, default.data_type, default.dims)
            inputs.append(info)
        if self.random.random() < 0.15:  # ONNX Runtime sorts them itself
            self.nodes = [self.nodes[i] for i in self.random.permutation(len(self.nodes))]
        graph = helper.make_graph(self.nodes, f"random{seed}", inputs, outputs, self.weights)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        opsets.append(helper.make_opsetid("local", 1))
        model = helper.make_model(graph, opset_imports=opsets, functions=self.functions)
        model.ir_version = 10
        model.producer_name = str(self.random.choice(["", "pytorch", "tf2onnx"]))
        if self.random.random() < 0.3:
            helper.set_model_props(model, {"classes": "a,b", "stride": "8"})
        if self.random.random() < 0.3:
            model = onnx.shape_inference.infer_shapes(model)
        return model

    def _blocks(self) -> list[Callable[[], None]]:
        return [
            self.conv, self.conv, self.activation, self.activation, self.scale, self.residual,
            self.dense, self.transposes, self.shape_arithmetic, self.split_concat, self.branch,
            self.loop, self.quantised, self.fused_gelu, self.function, self.noise, self.cast,
            self.pool, self.reduce, self.dropout, self.softmax,
        ]  # fmt: skip

    def name(self) -> str:
        self.num_names += 1
        return str(self.random.choice(["t{}", "layer/{}:0", "{}", "/blk.{}/Out"])).format(
            self.num_names
        )

    def add(
        self,
        kind: str,
        operands: list[str],
        *,
        outputs: list[str] | None = None,
        **attributes: object,
    ) -> str:
        made = outputs or [self.name()]
        label = f"node_{made[0]}" if self.random.random() < 0.7 else ""
        self.nodes.append(helper.make_node(kind, operands, made, name=label, **attributes))
        return made[0]

    def constant(self, value: np.ndarray) -> str:
        name = self.name()
        if self.random.random() < 0.2:
            return self.add("Constant", [], outputs=[name], value=numpy_helper.from_array(value))
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def weight(self, *shape: int, positive: bool = False) -> str:
        value = self.random.normal(0, 0.5, shape)
        return self.constant((np.abs(value) + 0.5 if positive else value).astype(self.dtype))

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def conv(self) -> None:
        group = int(self.random.choice([1, 2, NUM_CHANNELS]))
        kernel = int(self.random.choice([1, 3]))
        shape = (NUM_CHANNELS, NUM_CHANNELS // group, kernel, kernel)
        operands = [self.x, self.weight(*shape)]
        if self.random.random() < 0.5:
            operands.append(self.weight(NUM_CHANNELS))
        self.x = self.add("Conv", operands, group=group, pads=[kernel // 2] * 4)
        if self.random.random() < 0.6:
            scales = [self.weight(NUM_CHANNELS) for _ in range(3)]
            variance = self.weight(NUM_CHANNELS, positive=True)
            self.x = self.add("BatchNormalization", [self.x, *scales, variance])

    def activation(self) -> None:
        kind = str(self.random.choice(["Relu", "Sigmoid", "Tanh", "LeakyRelu", "Abs", "Neg"]))
        self.x = self.add(kind, [self.x])

    def scale(self) -> None:
        kind = str(self.random.choice(["Mul", "Add", "Sub"]))
        shape = ((), (NUM_CHANNELS, 1, 1), (1,))[int(self.random.integers(3))]
        self.x = self.add(kind, [self.x, self.weight(*shape)])

    def residual(self) -> None:
        self.x = self.add("Add", [self.x, str(self.random.choice(self.earlier))])

    def dense(self) -> None:
        operands = [self.x, self.weight(SIZE, SIZE)]
        self.x = self.add("Add", [self.add("MatMul", operands), self.weight(SIZE)])

    def transposes(self) -> None:
        nhwc = self.add("Transpose", [self.x], perm=[0, 2, 3, 1])
        inner = self.add("Add", [nhwc, self.weight(NUM_CHANNELS)])
        self.x = self.add("Transpose", [inner], perm=[0, 3, 1, 2])

    def shape_arithmetic(self) -> None:
        shape = self.add("Shape", [self.x])
        batch = self.add("Gather", [shape, self.integers(0)], axis=0)
        target = [batch, self.integers(NUM_CHANNELS), self.integers(-1)]
        flat = self.add("Reshape", [self.x, self.add("Concat", target, axis=0)])
        flat = self.add("Relu", [flat])
        self.x = self.add("Reshape", [flat, shape])

    def split_concat(self) -> None:
        names = [self.name(), self.name()]
        halves = [self.x] if self.opset < 13 else [self.x, self.integers(2, 2)]
        attributes = {"split": [2, 2]} if self.opset < 13 else {}
        self.add("Split", halves, outputs=names, axis=1, **attributes)
        self.x = self.add("Concat", names[:: int(self.random.choice([1, -1]))], axis=1)

    def _body(self, kind: str, result: str) -> onnx.GraphProto:
        node = helper.make_node(kind, [self.x], [result])
        return helper.make_graph([node], kind, [], [onnx.ValueInfoProto(name=result)])

    def branch(self) -> None:
        total = self.add("ReduceMax", [self.x], keepdims=0)
        zero = self.constant(np.zeros((), self.dtype))
        condition = self.add("Greater", [total, zero])
        bodies = [self._body("Neg", self.name()), self._body("Tanh", self.name())]
        element = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        for body in bodies:
            body.output[0].CopyFrom(
                helper.make_tensor_value_info(body.output[0].name, element, None)
            )
        out = self.name()
        node = helper.make_node("If", [condition], [out])
        names = ["then_branch", "else_branch"]
        node.attribute.extend(map(helper.make_attribute, names, bodies))  # in the written order
        self.nodes.append(node)
        self.x = out

    def loop(self) -> None:
        count, going, carried, kept, result = (f"{self.name()}_body" for _ in range(5))
        element = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        info = helper.make_tensor_value_info
        body = helper.make_graph(
            [
                helper.make_node("Identity", [going], [kept]),
                helper.make_node("Tanh", [carried], [result]),
            ],
            "body",
            [
                info(count, TensorProto.INT64, []),
                info(going, TensorProto.BOOL, []),
                info(carried, element, None),
            ],
            [info(kept, TensorProto.BOOL, []), info(result, element, None)],
        )
        trips = self.constant(np.array(2, np.int64))
        always = self.constant(np.array(True))
        self.x = self.add("Loop", [trips, always, self.x], body=body)

    def quantised(self) -> None:
        scale = self.constant(np.array(0.05, np.float32))
        zero = self.constant(np.array(128, np.uint8))
        self.x = self.add("QuantizeLinear", [self.x, scale, zero])
        self.x = self.add("DequantizeLinear", [self.x, scale, zero])

    def fused_gelu(self) -> None:
        self.x = self.add("Gelu", [self.x], domain="com.microsoft")

    def function(self) -> None:
        if not self.functions:
            node = helper.make_node("Sigmoid", ["a"], ["s"])
            product = helper.make_node("Mul", ["a", "s"], ["b"])
            opsets = [helper.make_opsetid("", self.opset)]
            self.functions.append(
                helper.make_function("local", "Swish", ["a"], ["b"], [node, product], opsets)
            )
        self.x = self.add("Swish", [self.x], domain="local")

    def noise(self) -> None:
        if self.random.random() < 0.3:
            self.x = self.add("Add", [self.x, self.add("RandomNormalLike", [self.x])])

    def cast(self) -> None:
        element = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        wide = self.add("Cast", [self.x], to=TensorProto.DOUBLE)
        self.x = self.add("Cast", [wide], to=element)

    def pool(self) -> None:
        kind = str(self.random.choice(["MaxPool", "AveragePool"]))
        self.x = self.add(kind, [self.x], kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1])

    def reduce(self) -> None:
        self.x = self.add("Sub", [self.x, self.add("GlobalAveragePool", [self.x])])

    def dropout(self) -> None:
        self.x = self.add(str(self.random.choice(["Dropout", "Identity"])), [self.x])

    def softmax(self) -> None:
        self.x = self.add("Softmax", [self.x], axis=int(self.random.choice([1, 3])))
