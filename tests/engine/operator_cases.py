"""Random nodes of every operator whose types the engine infers, awkward attributes included."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from xflowrl._engine import TensorType, inferable_operators

Case = tuple[list[TensorType | None], dict[str, Any]]
DrawFn = Any

_SIZES = st.sampled_from([1, 1, 2, 3, 4, 6])


def f32(shape: list[int]) -> TensorType:
    return TensorType("float32", shape)


def shapes(smallest: int = 0, largest: int = 4) -> st.SearchStrategy[list[int]]:
    return st.lists(_SIZES, min_size=smallest, max_size=largest)


def broadcastable(draw: DrawFn, shape: list[int]) -> list[int]:
    """A shape that broadcasts with `shape`, in either direction."""
    taken = shape[draw(st.integers(0, len(shape))) :]
    taken = [draw(st.sampled_from([size, 1])) for size in taken]
    return taken if len(taken) < len(shape) else draw(shapes(0, 1)) + taken


def same(draw: DrawFn, op: str) -> Case:
    return [f32(draw(shapes()))], {}


def boolean(draw: DrawFn, op: str) -> Case:
    return [TensorType("bool", draw(shapes()))], {}


def with_reals(*names: str) -> Any:
    def case(draw: DrawFn, op: str) -> Case:
        values = st.sampled_from([0.01, 0.2, 0.5, 1.0])
        return [f32(draw(shapes()))], {name: draw(values) for name in names}

    return case


def clip(draw: DrawFn, op: str) -> Case:
    bounds = draw(st.sampled_from([{}, {"min": 0.0}, {"max": 6.0}, {"min": -1.0, "max": 1.0}]))
    return [f32(draw(shapes()))], bounds


def gelu(draw: DrawFn, op: str) -> Case:
    return [f32(draw(shapes()))], {"approximate": draw(st.sampled_from(["none", "tanh"]))}


def two(draw: DrawFn, op: str) -> Case:
    shape = draw(shapes())
    dtype = "bool" if op in ("And", "Or", "Xor") else "float32"
    types = [TensorType(dtype, shape), TensorType(dtype, broadcastable(draw, shape))]
    return list(draw(st.permutations(types))), {}


def many(draw: DrawFn, op: str) -> Case:
    shape = draw(shapes())
    return [
        f32(shape),
        *(f32(broadcastable(draw, shape)) for _ in range(draw(st.integers(0, 2)))),
    ], {}


def where(draw: DrawFn, op: str) -> Case:
    shape = draw(shapes())
    condition = TensorType("bool", broadcastable(draw, shape))
    return [condition, f32(shape), f32(broadcastable(draw, shape))], {}


def prelu(draw: DrawFn, op: str) -> Case:
    shape = draw(shapes(1))
    slope = [draw(st.sampled_from([1, size])) for size in shape[draw(st.integers(0, len(shape))) :]]
    return [f32(shape), f32(slope)], {}


def window(draw: DrawFn, spatial: int) -> dict[str, Any]:
    def each(values: list[int], count: int = spatial) -> list[int]:
        return [draw(st.sampled_from(values)) for _ in range(count)]

    return {
        "strides": each([1, 1, 2, 3]),
        "dilations": each([1, 1, 2]),
        "pads": each([0, 0, 1, 2], 2 * spatial),
    }


def conv(draw: DrawFn, op: str) -> Case:
    spatial = draw(st.integers(1, 3))
    group, per_group, out = (draw(st.sampled_from([1, 1, 2, 3])) for _ in range(3))
    image = [draw(st.integers(5, 9)) for _ in range(spatial)]
    kernel = [draw(st.integers(1, 3)) for _ in range(spatial)]
    types: list[TensorType | None] = [
        f32([draw(_SIZES), group * per_group, *image]),
        f32([group * out, per_group, *kernel]),
    ]
    if draw(st.booleans()):
        types.append(f32([group * out]))
    return types, {**window(draw, spatial), "group": group}


def conv_transpose(draw: DrawFn, op: str) -> Case:
    (x, w, *_), attributes = conv(draw, op)
    assert x is not None
    assert w is not None
    group, spatial = attributes["group"], len(x.shape) - 2
    channels = w.shape[0]  # of the input: a Conv turned round
    turned: list[TensorType | None] = [
        f32([x.shape[0], channels, *x.shape[2:]]),
        f32([channels, *w.shape[1:]]),
    ]
    if draw(st.booleans()):
        turned.append(f32([w.shape[1] * group]))
    more = [draw(st.integers(0, stride - 1)) for stride in attributes["strides"]]
    return turned, {**attributes, "pads": [0, 1] * spatial, "output_padding": more}


def pool(draw: DrawFn, op: str) -> Case:
    spatial = draw(st.integers(1, 3))
    image = [draw(st.integers(5, 9)) for _ in range(spatial)]
    attributes = {**window(draw, spatial), "kernel_shape": [draw(st.integers(2, 3)) for _ in image]}
    attributes["pads"] = [min(p, 1) for p in attributes["pads"]]
    attributes["ceil_mode"] = draw(st.integers(0, 1))
    if attributes["ceil_mode"]:
        # Where a window would start in the end padding, opset 18's inference counts it and the
        # runtimes do not; the engine sides with them (test_operators has that case).
        attributes |= {"pads": [0] * 2 * spatial, "kernel_shape": [3] * spatial}
    if op == "AveragePool":
        attributes["count_include_pad"] = draw(st.integers(0, 1))
        attributes["dilations"] = [1] * spatial  # opset 18 has no others
    return [f32([draw(_SIZES), draw(_SIZES), *image])], attributes


def global_pool(draw: DrawFn, op: str) -> Case:
    return [f32(draw(shapes(3, 5)))], {}


def matmul(draw: DrawFn, op: str) -> Case:
    inner, batch = draw(_SIZES), draw(shapes(0, 2))
    left = draw(st.sampled_from([[inner], [*batch, draw(_SIZES), inner]]))
    right = draw(st.sampled_from([[inner], [*broadcastable(draw, batch), inner, draw(_SIZES)]]))
    return [f32(left), f32(right)], {}


def gemm(draw: DrawFn, op: str) -> Case:
    m, n, k = (draw(_SIZES) for _ in range(3))
    attributes = {name: draw(st.integers(0, 1)) for name in ("transA", "transB")}
    left, right = [m, k], [k, n]
    types: list[TensorType | None] = [
        f32(left[::-1] if attributes["transA"] else left),
        f32(right[::-1] if attributes["transB"] else right),
    ]
    bias = draw(st.sampled_from([None, [], [n], [1], [1, n], [m, 1], [m, n]]))
    if bias is not None:
        types.append(f32(bias))
    return types, {**attributes, "alpha": 0.5, "beta": draw(st.sampled_from([0.0, 1.0, -2.0]))}


def per_channel(draw: DrawFn, op: str) -> Case:
    shape = draw(shapes(3, 4))
    count = 4 if op == "BatchNormalization" else 2
    return [f32(shape), *(f32([shape[1]]) for _ in range(count))], {"epsilon": 1e-3}


def layer_norm(draw: DrawFn, op: str) -> Case:
    shape = draw(shapes(1))
    axis = draw(st.integers(0, len(shape) - 1))
    parameters = [f32(shape[axis:])] * draw(st.integers(1, 1 + (op == "LayerNormalization")))
    return [f32(shape), *parameters], {"axis": axis}


def lrn(draw: DrawFn, op: str) -> Case:
    return [f32(draw(shapes(3, 4)))], {"size": draw(st.integers(1, 5))}


def on_axis(draw: DrawFn, op: str) -> Case:
    shape = draw(shapes(1))
    return [f32(shape)], {"axis": draw(st.integers(0, len(shape) - 1))}


def concat(draw: DrawFn, op: str) -> Case:
    shape = draw(shapes(1))
    axis = draw(st.integers(0, len(shape) - 1))
    count = draw(st.integers(1, 3))
    return [f32([*shape[:axis], draw(_SIZES), *shape[axis + 1 :]]) for _ in range(count)], {
        "axis": axis
    }


def split(draw: DrawFn, op: str) -> Case:
    sizes = draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    shape = draw(shapes(1))
    axis = draw(st.integers(0, len(shape) - 1))
    shape[axis] = sum(sizes)
    return [f32(shape)], {"axis": axis, "split": sizes}


def slice_(draw: DrawFn, op: str) -> Case:
    shape = draw(shapes(1))
    axes = draw(st.lists(st.integers(0, len(shape) - 1), unique=True, min_size=1))
    starts = [draw(st.integers(0, shape[axis])) for axis in axes]
    ends = [draw(st.integers(0, shape[axis])) for axis in axes]
    steps = [draw(st.integers(1, 3)) for _ in axes]
    return [f32(shape)], {"starts": starts, "ends": ends, "axes": axes, "steps": steps}


def pad(draw: DrawFn, op: str) -> Case:
    shape = draw(shapes(1))
    pads = [draw(st.integers(-(size // 2), 3)) for size in [*shape, *shape]]
    return [f32(shape)], {"pads": pads, "mode": "constant", "value": 1.0}


def transpose(draw: DrawFn, op: str) -> Case:
    shape = draw(shapes())
    return [f32(shape)], {"perm": draw(st.permutations(range(len(shape))))}


def reshape(draw: DrawFn, op: str) -> Case:
    shape = draw(shapes())
    result = list(draw(st.permutations(shape))) + [1] * draw(st.integers(0, 2))
    return [f32(shape)], {"shape": result}


def flatten(draw: DrawFn, op: str) -> Case:
    shape = draw(shapes())
    return [f32(shape)], {"axis": draw(st.integers(0, len(shape)))}


def squeeze(draw: DrawFn, op: str) -> Case:
    shape = draw(shapes())
    ones = [i for i, size in enumerate(shape) if size == 1]
    axes = draw(st.lists(st.sampled_from(ones), unique=True, min_size=1)) if ones else []
    return [f32(shape if axes else [1, *shape])], {"axes": axes or [0]}


def unsqueeze(draw: DrawFn, op: str) -> Case:
    shape = draw(shapes())
    rank = len(shape) + draw(st.integers(1, 2))
    count = rank - len(shape)
    axes = draw(st.lists(st.integers(0, rank - 1), unique=True, min_size=count, max_size=count))
    return [f32(shape)], {"axes": axes}


def expand(draw: DrawFn, op: str) -> Case:
    shape = draw(shapes())
    result = draw(shapes(0, 1)) + [draw(_SIZES) if size == 1 else size for size in shape]
    return [f32(shape)], {"shape": result}


def tile(draw: DrawFn, op: str) -> Case:
    shape = draw(shapes(1))
    return [f32(shape)], {"repeats": [draw(st.integers(0, 3)) for _ in shape]}


def gather(draw: DrawFn, op: str) -> Case:
    shape = draw(shapes(1))
    indices = TensorType("int64", draw(shapes(0, 2)))
    return [f32(shape), indices], {"axis": draw(st.integers(0, len(shape) - 1))}


def reduce(draw: DrawFn, op: str) -> Case:
    shape = draw(shapes(1))
    axes = draw(st.lists(st.integers(0, len(shape) - 1), unique=True, min_size=1))
    return [f32(shape)], {"axes": axes, "keepdims": draw(st.integers(0, 1))}


_SPECIAL: dict[str, Any] = {
    **dict.fromkeys(["MaxPool", "AveragePool"], pool),
    **dict.fromkeys(["GlobalAveragePool", "GlobalMaxPool"], global_pool),
    **dict.fromkeys(["BatchNormalization", "InstanceNormalization"], per_channel),
    **dict.fromkeys(["Softmax", "LogSoftmax"], on_axis),
    **dict.fromkeys(["Sum", "Min", "Max", "Mean"], many),
    **dict.fromkeys(["LeakyRelu", "Elu", "Celu", "ThresholdedRelu", "Swish"], with_reals("alpha")),
    **dict.fromkeys(["Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor"], two),
    **dict.fromkeys(["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"], two),
    **{op: reduce for op in inferable_operators() if op.startswith("Reduce")},
    "Selu": with_reals("alpha", "gamma"),
    "HardSigmoid": with_reals("alpha", "beta"),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), layer_norm),
    "ConvTranspose": conv_transpose,
}
_SPECIAL |= {"Conv": conv, "MatMul": matmul, "Gemm": gemm, "LRN": lrn, "PRelu": prelu, "Clip": clip}
_SPECIAL |= {"Gelu": gelu, "Where": where, "Concat": concat, "Split": split, "Slice": slice_}
_SPECIAL |= {"Pad": pad, "Transpose": transpose, "Reshape": reshape, "Flatten": flatten}
_SPECIAL |= {"Squeeze": squeeze, "Unsqueeze": unsqueeze, "Expand": expand, "Tile": tile}
_SPECIAL |= {"Gather": gather, "Not": boolean}


@st.composite
def cases(draw: DrawFn, op: str) -> Case:
    """Operand types and attributes of one node; nearly all fit together."""
    types, attributes = _SPECIAL.get(op, same)(draw, op)
    return types, attributes


def special_operators() -> frozenset[str]:
    """Those that do not merely keep the type of one operand."""
    return frozenset(_SPECIAL)
