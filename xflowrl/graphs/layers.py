"""The layers that the built-in networks are made of, one graph node at a time.

Names are readable and follow from the layer's own name: the convolution of `conv_bn_relu(x,
"stem", ...)` computes the tensor `stem/conv` from the weight `stem/conv/weight`. Images are NCHW.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from xflowrl._engine import GraphBuilder, TensorType, infer_types
from xflowrl.onnx_io import Model
from xflowrl.weights import DrawnWeights

Padding = Literal["same"] | int | tuple[int, int]
"""`"same"`: as TensorFlow's SAME, the odd pixel after; a number: on all sides; a pair: (h, w)."""

Size2d = int | tuple[int, int]


def require_positive(**sizes: int) -> None:
    """Raises `ValueError` naming the first size that is below one."""
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name}: {value} is not positive; give at least 1")


class LayerBuilder:
    """Builds one graph; every method that makes a layer returns the name of its output tensor.

    Args:
        name: of the graph.
        weights_first: all weights are created before the first operator, as in a network that is
            read from a file, and not each where it is used. TASO's hash depends on that order.
    """

    def __init__(self, name: str, *, weights_first: bool = True) -> None:
        self._name = name
        self._weights_first = weights_first
        self._builder = GraphBuilder(name)
        self._types: dict[str, TensorType] = {}
        self._postponed: list[tuple[str, Sequence[str], list[str], dict[str, Any]]] = []

    def shape(self, x: str) -> tuple[int, ...]:
        """The shape of a tensor made by this builder."""
        return tuple(self._types[x].shape)

    def input(self, name: str, shape: Sequence[int]) -> str:
        """A float32 graph input."""
        self._types[name] = TensorType("float32", list(shape))
        return self._builder.add_input(name, self._types[name])

    def image_input(self, batch_size: int, image_size: int) -> str:
        """The graph input `input`, [batch_size, 3, image_size, image_size]."""
        require_positive(batch_size=batch_size, image_size=image_size)
        return self.input("input", [batch_size, 3, image_size, image_size])

    def weight(self, name: str, shape: Sequence[int]) -> str:
        """A float32 constant whose values are drawn when somebody asks for them."""
        if min(shape, default=1) < 1:
            raise ValueError(f"{self._name}: weight {name} would be of shape {list(shape)}")
        self._types[name] = TensorType("float32", list(shape))
        return self._builder.add_weight(name, self._types[name])

    def scalar(self, name: str, value: float) -> str:
        """A rank-0 float32 literal."""
        self._types[name] = TensorType("float32", [])
        return self._builder.add_literal(name, self._types[name], [value])

    def node(self, op_type: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """One operator with one output, named `name`."""
        (self._types[name],) = infer_types(op_type, [self._types[x] for x in inputs], attributes)
        if self._weights_first:
            self._postponed.append((op_type, list(inputs), [name], attributes))
        else:
            self._builder.add_node(op_type, inputs, [name], attributes)
        return name

    def model(self, outputs: dict[str, str], *, seed: int) -> Model:
        """The finished model; `outputs` maps public output names to tensors, in order."""
        for node in self._postponed:
            self._builder.add_node(*node)
        self._builder.set_outputs(list(outputs), list(outputs.values()))
        graph = self._builder.build()
        return Model(graph, DrawnWeights(graph, seed))

    # Convolutional layers

    def conv(
        self,
        x: str,
        name: str,
        channels: int,
        kernel: Size2d,
        *,
        stride: int = 1,
        padding: Padding = "same",
        groups: int = 1,
        bias: bool = False,
    ) -> str:
        """2-d convolution to `channels` channels."""
        kernel = _pair(kernel)
        in_channels = self.shape(x)[1]
        if in_channels % groups or channels % groups:
            raise ValueError(
                f"{self._name}: {name} cannot divide {in_channels} channels in and {channels} out "
                f"into {groups} groups"
            )
        pads = self._pads(x, name, kernel, stride, padding)
        operands = [x, self.weight(f"{name}/weight", [channels, in_channels // groups, *kernel])]
        if bias:
            operands.append(self.weight(f"{name}/bias", [channels]))
        strides, dilations = [stride, stride], [1, 1]
        return self.node(
            "Conv", operands, name, strides=strides, pads=pads, dilations=dilations, group=groups
        )

    def batch_norm(self, x: str, name: str, *, epsilon: float = 1e-5) -> str:
        """Batch normalisation in its inference form, with scale and bias."""
        channels = [self.shape(x)[1]]
        roles = ("scale", "bias", "mean", "variance")
        parameters = [self.weight(f"{name}/{role}", channels) for role in roles]
        return self.node("BatchNormalization", [x, *parameters], name, epsilon=epsilon)

    def relu(self, x: str, name: str) -> str:
        """max(x, 0)."""
        return self.node("Relu", [x], name)

    def conv_bn(
        self,
        x: str,
        name: str,
        channels: int,
        kernel: Size2d,
        *,
        stride: int = 1,
        padding: Padding = "same",
        groups: int = 1,
        epsilon: float = 1e-5,
    ) -> str:
        """Convolution without bias, then batch normalisation."""
        x = self.conv(
            x, f"{name}/conv", channels, kernel, stride=stride, padding=padding, groups=groups
        )
        return self.batch_norm(x, f"{name}/bn", epsilon=epsilon)

    def conv_bn_relu(
        self,
        x: str,
        name: str,
        channels: int,
        kernel: Size2d,
        *,
        stride: int = 1,
        padding: Padding = "same",
        groups: int = 1,
        epsilon: float = 1e-5,
    ) -> str:
        """Convolution without bias, batch normalisation, relu."""
        x = self.conv_bn(
            x,
            name,
            channels,
            kernel,
            stride=stride,
            padding=padding,
            groups=groups,
            epsilon=epsilon,
        )
        return self.relu(x, f"{name}/relu")

    def max_pool(
        self, x: str, name: str, kernel: Size2d, *, stride: int = 1, padding: Padding = "same"
    ) -> str:
        """Max pool; padding never wins."""
        kernel = _pair(kernel)
        pads = self._pads(x, name, kernel, stride, padding)
        return self.node(
            "MaxPool",
            [x],
            name,
            kernel_shape=list(kernel),
            strides=[stride, stride],
            pads=pads,
            dilations=[1, 1],
            ceil_mode=0,
        )

    def average_pool(
        self, x: str, name: str, kernel: Size2d, *, stride: int = 1, padding: Padding = "same"
    ) -> str:
        """Average pool; the mean is over the pixels of the image, padding is not counted."""
        kernel = _pair(kernel)
        pads = self._pads(x, name, kernel, stride, padding)
        return self.node(
            "AveragePool",
            [x],
            name,
            kernel_shape=list(kernel),
            strides=[stride, stride],
            pads=pads,
            dilations=[1, 1],
            ceil_mode=0,
            count_include_pad=0,
        )

    def spatial_mean(self, x: str, name: str) -> str:
        """Average pool over the whole image, [N, C, H, W] to [N, C, 1, 1]."""
        _, _, height, width = self.shape(x)
        return self.average_pool(x, name, (height, width), padding=0)

    # Dense layers and operators of transformers

    def flatten(self, x: str, name: str) -> str:
        """[N, ...] to [N, features], a reshape."""
        batch_size, *rest = self.shape(x)
        features = 1
        for extent in rest:
            features *= extent
        return self.reshape(x, name, [batch_size, features])

    def dense(self, x: str, name: str, units: int) -> str:
        """x W^T + b as one Gemm, [N, features] to [N, units]."""
        w = self.weight(f"{name}/weight", [units, self.shape(x)[1]])
        b = self.weight(f"{name}/bias", [units])
        return self.node("Gemm", [x, w, b], name, alpha=1.0, beta=1.0, transA=0, transB=1)

    def linear(self, x: str, name: str, units: int) -> str:
        """x W + b over the last axis, as a MatMul `name/matmul` and an Add `name/add`."""
        x = self.matmul(x, f"{name}/matmul", units)
        return self.add(x, self.weight(f"{name}/bias", [units]), f"{name}/add")

    def matmul(self, x: str, name: str, units: int) -> str:
        """x W over the last axis."""
        w = self.weight(f"{name}/weight", [self.shape(x)[-1], units])
        return self.node("MatMul", [x, w], name)

    def add(self, a: str, b: str, name: str) -> str:
        """a + b with broadcasting."""
        return self.node("Add", [a, b], name)

    def concat(self, xs: Sequence[str], name: str, *, axis: int = 1) -> str:
        """Concatenation; one tensor is returned as it is."""
        return self.node("Concat", xs, name, axis=axis) if len(xs) > 1 else xs[0]

    def slice(
        self, x: str, name: str, *, starts: list[int], ends: list[int], axes: list[int]
    ) -> str:
        """x[..., start:end, ...] on the given axes."""
        steps = [1] * len(axes)
        return self.node("Slice", [x], name, starts=starts, ends=ends, axes=axes, steps=steps)

    def reshape(self, x: str, name: str, shape: Sequence[int]) -> str:
        """The same elements in another shape, given in full."""
        return self.node("Reshape", [x], name, shape=list(shape))

    def transpose(self, x: str, name: str, perm: Sequence[int]) -> str:
        """Axis i of the result is axis perm[i] of x."""
        return self.node("Transpose", [x], name, perm=list(perm))

    def layer_norm(self, x: str, name: str, *, epsilon: float) -> str:
        """Layer normalisation over the last axis, with scale and bias."""
        width = [self.shape(x)[-1]]
        scale, bias = self.weight(f"{name}/scale", width), self.weight(f"{name}/bias", width)
        axis = len(self.shape(x)) - 1
        return self.node("LayerNormalization", [x, scale, bias], name, axis=axis, epsilon=epsilon)

    def _pads(
        self, x: str, name: str, kernel: tuple[int, int], stride: int, padding: Padding
    ) -> list[int]:
        """ONNX's [h before, w before, h after, w after]; refuses a window that never fits."""
        extents = self.shape(x)[2:]
        if padding == "same":
            totals = [
                max((-(-extent // stride) - 1) * stride + k - extent, 0)
                for extent, k in zip(extents, kernel, strict=True)
            ]
            return [total // 2 for total in totals] + [total - total // 2 for total in totals]
        pads = _pair(padding)
        for extent, k, pad in zip(extents, kernel, pads, strict=True):
            if extent + 2 * pad < k:
                raise ValueError(
                    f"{self._name}: the {kernel[0]}x{kernel[1]} window of {name} does not fit its "
                    f"{extents[0]}x{extents[1]} input; give a larger image_size"
                )
        return [*pads, *pads]


def _pair(size: Size2d) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size
