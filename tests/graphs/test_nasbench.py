from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from graph_counts import operators, output_shapes, taso_nodes, trainable_parameters

from xflowrl.graphs.nasbench import ModelSpec, NasbenchTASO, nasbench, vertex_channels

CONV1, CONV3, POOL = "conv1x1-bn-relu", "conv3x3-bn-relu", "maxpool3x3"
OPS = ["input", CONV1, CONV3, CONV3, CONV3, POOL, "output"]
DENSE = [
    [0, 1, 1, 1, 1, 1, 0],
    [0, 0, 1, 0, 0, 0, 1],
    [0, 0, 0, 1, 0, 0, 1],
    [0, 0, 0, 0, 1, 0, 1],
    [0, 0, 0, 0, 0, 1, 1],
    [0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0, 0],
]
INCEPTION = [
    [0, 1, 1, 1, 0, 1, 0],
    [0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 1, 0, 0],
    [0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0, 0],
]


def chain(*ops: str) -> tuple[list[list[int]], list[str]]:
    """A cell whose vertices follow one another."""
    size = len(ops) + 2
    matrix = [[int(j == i + 1) for j in range(size)] for i in range(size)]
    return matrix, ["input", *ops, "output"]


def one_module(matrix: list[list[int]], ops: list[str], **sizes: int) -> Any:
    sizes = {"stem_channels": 16, "image_size": 8, **sizes}
    return nasbench(matrix, ops, num_stacks=1, num_modules_per_stack=1, **sizes).graph


# The specification


@pytest.mark.parametrize(
    ("matrix", "key"),
    [
        (DENSE, "9429b777fc32259a8a01bfc9bd2963eb"),
        (INCEPTION, "28cfc7874f6d200472e1a9dcd8650aa0"),
    ],
)
def test_hash_equals_the_datasets(matrix: list[list[int]], key: str) -> None:
    assert ModelSpec(matrix, OPS).hash_spec() == key
    assert ModelSpec(np.array(matrix), OPS).hash_spec() == key


def test_hash_is_equal_for_isomorphic_cells_only() -> None:
    # two branches, in either order
    matrix = [[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    one = ModelSpec(matrix, ["input", CONV1, POOL, "output"])
    swapped = ModelSpec(matrix, ["input", POOL, CONV1, "output"])
    other = ModelSpec(matrix, ["input", POOL, CONV3, "output"])
    assert one.hash_spec() == swapped.hash_spec() != other.hash_spec()


def test_hash_refuses_operations_without_a_label() -> None:
    spec = ModelSpec(*chain("identity"))
    with pytest.raises(ValueError, match="'identity' has no label"):
        spec.hash_spec()
    assert len(spec.hash_spec(["identity"])) == 32


def test_pruning_drops_what_is_not_on_a_path() -> None:
    matrix = [
        [0, 1, 0, 1, 0],  # input -> 1 and 3
        [0, 0, 0, 0, 1],
        [0, 0, 0, 0, 1],  # vertex 2 is not reached
        [0, 0, 0, 0, 0],  # vertex 3 leads nowhere
        [0, 0, 0, 0, 0],
    ]
    spec = ModelSpec(matrix, ["input", CONV1, CONV3, POOL, "output"])
    assert spec.matrix == ((0, 1, 0), (0, 0, 1), (0, 0, 0))
    assert spec.ops == ("input", CONV1, "output")
    assert spec.original_matrix == tuple(map(tuple, matrix))
    assert spec.original_ops == ("input", CONV1, CONV3, POOL, "output")
    assert spec.hash_spec() == ModelSpec(*chain(CONV1)).hash_spec()


@pytest.mark.parametrize(
    ("matrix", "ops", "reason"),
    [
        ([[0, 1], [0, 0], [0, 0]], OPS[:2], "must be square"),
        ([[0, 1, 0], [0, 0]], OPS[:2], "must be square"),
        ([[0]], ["input"], "at least 2x2"),
        ([], [], "at least 2x2"),
        ([[0, 2], [0, 0]], ["input", "output"], r"matrix\[0\]\[1\] is 2; entries are 0 or 1"),
        ([[0, 0.5], [0, 0]], ["input", "output"], "entries are 0 or 1"),
        ([[0, 1], [1, 0]], ["input", "output"], "strictly upper triangular"),
        ([[1, 1], [0, 0]], ["input", "output"], "strictly upper triangular"),
        (DENSE, OPS[:-1], "6 ops for a matrix of 7 vertices"),
        (chain("conv7x7")[0], ["input", "conv7x7", "output"], "'conv7x7' of vertex 1 is unknown"),
        ([[0, 0], [0, 0]], ["input", "output"], "cannot be reached"),
        ([[0, 1, 0], [0, 0, 0], [0, 0, 0]], ["input", CONV1, "output"], "cannot be reached"),
        ([[0, 0, 0], [0, 0, 1], [0, 0, 0]], ["input", CONV1, "output"], "cannot be reached"),
    ],
)
def test_invalid_specifications_are_refused_with_the_reason(
    matrix: list[list[int]], ops: list[str], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        ModelSpec(matrix, ops)


def test_data_format_is_checked() -> None:
    matrix, ops = chain(CONV1)
    assert ModelSpec(matrix, ops, "channels_first").data_format == "channels_first"
    with pytest.raises(ValueError, match="data_format 'NHWC' is unknown"):
        ModelSpec(matrix, ops, "NHWC")


# Channels


@pytest.mark.parametrize(
    ("matrix", "interior"),
    [
        (
            DENSE,
            {
                128: [26, 26, 26, 25, 25],
                256: [52, 51, 51, 51, 51],
                512: [103, 103, 102, 102, 102],
            },
        ),
        (INCEPTION, {128: [32] * 5, 256: [64] * 5, 512: [128] * 5}),
    ],
)
def test_vertex_channels(matrix: list[list[int]], interior: dict[int, list[int]]) -> None:
    spec = ModelSpec(matrix, OPS)
    for output_channels, expected in interior.items():
        assert vertex_channels(spec, output_channels) == [0, *expected, output_channels]


def test_too_few_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="3 channels cannot be shared by the 5 vertices"):
        nasbench(DENSE, OPS, stem_channels=3)


# Networks


def test_dense_network_counts() -> None:
    graph = nasbench(DENSE, OPS).graph
    # 36 two-input additions in the modules and the classifier's bias
    assert operators(graph) == Counter(
        Conv=82,
        BatchNormalization=82,
        Relu=82,
        MaxPool=11,
        Concat=9,
        Slice=9,
        Add=37,
        GlobalAveragePool=1,
        Reshape=1,
        MatMul=1,
    )
    assert taso_nodes(graph) == 740
    assert output_shapes(graph) == {"logits": (1, 10)}
    assert [tuple(graph.tensor_type(name).shape) for name in graph.inputs] == [(1, 3, 32, 32)]


def test_dense_module_counts() -> None:
    graph = nasbench(DENSE, OPS).graph
    for stack in range(3):
        for module in range(3):
            prefix = f"stack{stack}/module{module}/"
            inside = [n for n in graph.nodes() if n.outputs[0].startswith(prefix)]
            counts = Counter(node.op_type for node in inside)
            assert (counts["Slice"], counts["Add"], counts["Concat"]) == (1, 4, 1)
            names = [node.outputs[0] for node in inside]
            assert sum(name.endswith("projection/conv") for name in names) == 5


def test_inception_like_network_counts() -> None:
    graph = nasbench(INCEPTION, OPS).graph
    counts = operators(graph)
    assert (counts["Conv"], counts["BatchNormalization"], counts["Relu"]) == (73, 73, 73)
    assert (counts["MaxPool"], counts["Concat"], counts["Slice"]) == (11, 9, 0)
    assert counts["Add"] == 1  # the classifier's bias
    assert taso_nodes(graph) == 623
    module = [n.outputs[0] for n in graph.nodes() if n.outputs[0].startswith("stack0/module0/")]
    assert sum(name.endswith("projection/conv") for name in module) == 4


def test_inception_like_network_has_the_published_number_of_parameters() -> None:
    # trainable_parameters in NAS-Bench-101's README, where this cell is the example query
    assert trainable_parameters(nasbench(INCEPTION, OPS).graph) == 2694282


def test_weights_are_named_after_their_place() -> None:
    weights = nasbench(DENSE, OPS).graph.weights
    shape = weights["stack0/module1/vertex3/conv/weight"].shape
    assert tuple(shape) == (26, 26, 3, 3)
    assert tuple(weights["stack1/module0/vertex1/projection/conv/weight"].shape) == (52, 128, 1, 1)


def test_stacks_halve_the_image_and_double_the_channels() -> None:
    graph = nasbench(DENSE, OPS, batch_size=2, image_size=31, num_labels=7).graph
    shapes = [tuple(graph.tensor_type(f"stack{stack}/module2/concat").shape) for stack in range(3)]
    assert shapes == [(2, 128, 31, 31), (2, 256, 16, 16), (2, 512, 8, 8)]
    assert output_shapes(graph) == {"logits": (2, 7)}


def test_input_connected_to_output_adds_a_projection() -> None:
    matrix = [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    graph = one_module(matrix, ["input", CONV3, "output"])
    (add,) = [n for n in graph.nodes() if n.outputs[0] == "stack0/module0/add"]
    assert add.inputs == ["stack0/module0/vertex1/relu", "stack0/module0/projection/relu"]


def test_cell_without_interior_is_its_projection() -> None:
    graph = one_module([[0, 1], [0, 0]], ["input", "output"])
    assert operators(graph)["Conv"] == 2  # stem and projection
    assert tuple(graph.weights["stack0/module0/projection/conv/weight"].shape) == (16, 16, 1, 1)


def test_three_terms_are_added_from_the_left() -> None:
    matrix = [
        [0, 1, 1, 1, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0],
    ]
    graph = one_module(matrix, ["input", CONV1, CONV1, CONV3, "output"])
    prefix = "stack0/module0/vertex3"
    adds = {n.outputs[0]: n.inputs for n in graph.nodes() if n.outputs[0].startswith(prefix)}
    assert adds[f"{prefix}/add0"] == [
        "stack0/module0/vertex1/relu",
        "stack0/module0/vertex2/relu",
    ]
    assert adds[f"{prefix}/add1"] == [f"{prefix}/add0", f"{prefix}/projection/relu"]


@pytest.mark.parametrize(
    ("op", "kernels", "pools"),
    [
        ("identity", [1], 0),
        ("bottleneck3x3", [1, 1, 3, 1], 0),
        ("bottleneck5x5", [1, 1, 5, 1], 0),
        ("maxpool3x3-conv1x1", [1, 1], 1),
        (POOL, [1], 1),
    ],
)
def test_every_operation(op: str, kernels: list[int], pools: int) -> None:
    graph = one_module(*chain(op))
    convs = [n for n in graph.nodes() if n.op_type == "Conv"][1:]  # behind the stem
    assert [graph.tensor_type(n.inputs[1]).shape[2] for n in convs] == kernels
    assert operators(graph)["MaxPool"] == pools
    assert {tuple(n.output_types[0].shape[2:]) for n in convs} == {(8, 8)}
    if op.startswith("bottleneck"):
        assert [n.output_types[0].shape[1] for n in convs] == [16, 4, 4, 16]


def test_every_pool_and_convolution_keeps_or_halves_the_image() -> None:
    graph = nasbench(DENSE, OPS).graph
    strides = Counter(
        (node.op_type, tuple(node.attributes["strides"]))
        for node in graph.nodes()
        if node.op_type in ("Conv", "MaxPool")
    )
    assert strides == {("Conv", (1, 1)): 82, ("MaxPool", (1, 1)): 9, ("MaxPool", (2, 2)): 2}


# The original study's interface


def test_build_model_equals_nasbench() -> None:
    config = {"num_stacks": 3, "num_modules_per_stack": 3}
    built = NasbenchTASO().build_model(ModelSpec(DENSE, OPS), config)
    assert built.graph.merkle_hash == nasbench(DENSE, OPS).graph.merkle_hash
    smaller = NasbenchTASO().build_model(ModelSpec(DENSE, OPS), {**config, "num_stacks": 2})
    assert smaller.graph.merkle_hash != built.graph.merkle_hash


def test_build_model_accepts_the_datasets_class() -> None:
    # its attributes: matrix and ops are pruned numpy arrays and lists, None where invalid
    theirs = SimpleNamespace(
        original_matrix=np.array(INCEPTION),
        original_ops=list(OPS),
        matrix=np.array(INCEPTION),
        ops=list(OPS),
        valid_spec=True,
        data_format="channels_last",
    )
    built = NasbenchTASO().build_model(theirs, {"num_stacks": 3, "num_modules_per_stack": 3})
    assert built.graph.merkle_hash == nasbench(INCEPTION, OPS).graph.merkle_hash


def test_build_model_refuses_an_invalid_object_of_the_datasets_class() -> None:
    theirs = SimpleNamespace(
        original_matrix=np.zeros((7, 7), dtype=int),
        original_ops=OPS,
        matrix=None,
        ops=None,
        valid_spec=False,
        data_format="channels_last",
    )
    with pytest.raises(ValueError, match="cannot be reached"):
        NasbenchTASO().build_model(theirs)


@pytest.mark.parametrize(
    ("spec", "config", "reason"),
    [
        (
            ModelSpec(DENSE, OPS),
            {"num_stack": 3},
            "'num_stack' is unknown; the keys are num_stacks",
        ),
        (ModelSpec(DENSE, OPS), {"num_stacks": 0}, "num_stacks: 0 is not positive"),
        (DENSE, {}, "spec is a list; give a ModelSpec"),
    ],
)
def test_build_model_refuses_bad_arguments(spec: Any, config: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        NasbenchTASO().build_model(spec, config)
