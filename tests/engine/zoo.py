"""Hand-made graphs in which many rules meet: what networks seldom hold, at small sizes."""

from __future__ import annotations

from drawing import Sketch

from xflowrl._engine import Graph, TensorType

ACTIVATIONS = {
    "Relu": {},
    "LeakyRelu": {"alpha": 0.1},
    "Clip": {"min": 0.0, "max": 6.0},
    "Sigmoid": {},
    "Tanh": {},
    "HardSwish": {},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "Swish": {"alpha": 1.0},
    "Gelu": {"approximate": "none"},
}


def activations() -> Graph:
    """Every activation behind Conv, Gemm and MatMul, and across Concat and Split."""
    net = Sketch("activations")
    x, m = net.input(1, 4, 6, 6), net.input(4, 8)
    results = []
    for op, attributes in ACTIVATIONS.items():
        conv = net.conv(x, net.weight(4, 4, 3, 3), net.weight(4), pad=1)
        results.append(net.node(op, conv, **attributes))
        gemm = net.node("Gemm", m, net.weight(8, 4), net.weight(4))
        results.append(net.node(op, gemm, **attributes))
        results.append(net.node(op, net.node("MatMul", m, net.weight(8, 4)), **attributes))
        halves = net.split(m, 4, 4, axis=1)
        results.append(net.node("Concat", *(net.node(op, h, **attributes) for h in halves), axis=0))
        joined = net.node(op, net.node("Concat", m, m, axis=1), **attributes)
        results += net.split(joined, 8, 8, axis=1)
    return net.graph(*results)


def normalised() -> Graph:
    """Convs, Gemms and MatMuls with batch normalisation, factors, summands and padding around."""
    net = Sketch("normalised")
    x, m = net.input(2, 4, 8, 8), net.input(4, 8)
    image = net.node("Mul", x, net.weight(1, 4, 1, 1))
    image = net.node("Pad", image, pads=[0, 0, 1, 1, 0, 0, 1, 1])
    image = net.conv(image, net.weight(4, 4, 3, 3), net.weight(4))
    image = net.node("BatchNormalization", image, *(net.weight(4) for _ in range(4)))
    image = net.node("Mul", image, net.weight(4, 1, 1))
    image = net.node("Add", net.weight(1, 4, 1, 1), image)
    image = net.node("Clip", image, min=0.0)
    image = net.conv(image, net.weight(8, 2, 3, 3), group=2)
    image = net.node("Div", image, net.literal(4.0))
    image = net.node("Sub", net.literal(1.0), image)
    rows = net.node("Gemm", m, net.weight(3, 8), transB=1, beta=0.5)
    rows = net.node("BatchNormalization", rows, *(net.weight(3) for _ in range(4)))
    rows = net.node("Mul", rows, net.weight(3))
    rows = net.node("Add", rows, net.weight(1, 3))
    columns = net.node("MatMul", m, net.weight(8, 5))
    columns = net.node("Add", net.weight(5), columns)
    columns = net.node("Mul", columns, net.node("Sigmoid", columns))
    turned = net.node("MatMul", net.node("Transpose", m, perm=[1, 0]), m)
    turned = net.node("Relu", net.node("Reshape", turned, shape=[4, 16]))
    return net.graph(image, rows, columns, turned)


def siblings() -> Graph:
    """Operators that share an operand: merged, parted, enlarged, grouped, joined, distributed."""
    net = Sketch("siblings")
    x = net.input(1, 4, 6, 6)
    narrow = net.conv(x, net.weight(4, 4, 1, 1), net.weight(4))
    wide = net.conv(x, net.weight(4, 4, 3, 3), net.weight(4), pad=1)
    bare = [net.conv(x, net.weight(4, 4, 3, 3), pad=1) for _ in range(2)]
    groups = [net.conv(x, net.weight(8, 2, 3, 3), pad=1, group=2) for _ in range(2)]
    summed = net.node("Add", net.node("Add", narrow, wide), net.node("Sum", *bare))
    joined = net.node("Concat", *groups, axis=1)
    last = net.conv(net.node("Concat", narrow, wide, axis=1), net.weight(4, 8, 1, 1))
    m, n = net.input(6, 8), net.input(6, 8)
    w, v = net.weight(8, 5), net.weight(8, 5)
    products = [net.node("MatMul", a, b) for a in (m, n) for b in (w, v)]
    total = net.node("Add", products[0], products[1])
    both = net.node("Sub", products[2], products[3])
    gemms = [net.node("Gemm", m, net.weight(8, 4), net.weight(4)) for _ in range(2)]
    factored = net.node("Add", net.node("Mul", m, n), net.node("Mul", n, n))
    return net.graph(summed, joined, last, total, both, *gemms, factored)


def layouts() -> Graph:
    """Transposes, reshapes, concats and splits in chains, and whatever changes nothing."""
    net = Sketch("layouts")
    x, y = net.input(2, 6, 4), net.input(2, 6, 4)
    for op in ("Identity", "Dropout", "Sum", "Max"):
        x = net.node(op, x)
    for op, attributes in (
        ("Concat", {"axis": 1}),
        ("Split", {"axis": 2, "split": [4]}),
        ("Expand", {"shape": [2, 6, 4]}),
        ("Tile", {"repeats": [1, 1, 1]}),
        ("Slice", {"starts": [0], "ends": [6], "axes": [1], "steps": [1]}),
        ("Pad", {"pads": [0] * 6}),
        ("Transpose", {"perm": [0, 1, 2]}),
        ("Neg", {}),
        ("Neg", {}),
    ):
        x = net.node(op, x, **attributes)
    turned = [net.node("Transpose", t, perm=[0, 2, 1]) for t in (x, y)]
    joined = net.node("Concat", *turned, axis=1)
    joined = net.node("Transpose", net.node("Relu", net.node("Relu", joined)), perm=[0, 2, 1])
    flat = [net.node("Reshape", t, shape=[2, 24]) for t in (x, y)]
    rows = net.node("Concat", net.node("Concat", *flat, axis=0), flat[0], axis=0)
    first, rest = net.split(rows, 2, 4, axis=0)
    second, third = net.split(rest, 2, 2, axis=0)
    again = net.node("Concat", *net.split(y, 2, 2, 2, axis=1), axis=1)
    halves = net.split(net.node("Transpose", y, perm=[2, 0, 1]), 1, 3, axis=0)
    shapes = net.node("Flatten", net.node("Unsqueeze", third, axes=[0]), axis=2)
    return net.graph(joined, first, second, shapes, again, *halves)


def awkward() -> Graph:
    """Outputs inside, inputs as outputs, shared and dead branches, opaque and constant nodes."""
    net = Sketch("awkward")
    x = net.input(1, 4, 6, 6)
    net.input(3, 3, name="unused")
    w = net.weight(4, 4, 3, 3)
    scale = net.node("Sqrt", net.node("Add", net.weight(4, 1, 1, 1), net.literal(1.0)))
    scaled = net.node("Mul", w, scale)
    inner = net.conv(x, scaled, pad=1)
    relu = net.node("Relu", inner)
    twice = net.node("Add", relu, relu)
    shared = [net.conv(t, w, pad=1) for t in (relu, twice)]
    chain = net.conv(shared[0], w, pad=1)
    net.builder.add_node(
        "Hardmax",
        [chain],
        ["opaque"],
        output_types=[TensorType("float32", [1, 4, 6, 6])],
        opaque=True,
    )
    kept = net.node("Concat", shared[0], shared[1], "opaque", axis=1)
    first, second, third = net.split(kept, 4, 4, 4, axis=1)
    return net.graph(x, inner, twice, first, net.node("Relu", second), third)


GRAPHS = {make.__name__: make for make in (activations, normalised, siblings, layouts, awkward)}
