"""Makes model files, and runs them before and after a trip through the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from xflowrl.onnx_io import Model, export_onnx, load_onnx
from xflowrl.weights import draw_inputs

MakeModel = Callable[..., Path]


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Writes a model file from nodes (or the text of a graph's body) and types.

    `inputs` and `outputs` map names to (element type, shape) or, for float32, to a shape.
    """

    def make(
        nodes: Sequence[onnx.NodeProto],
        inputs: Mapping[str, Any],
        outputs: Mapping[str, Any],
        weights: Mapping[str, Any] | None = None,
        *,
        opset: int = 18,
        name: str = "model",
        ir_version: int = 8,
        opsets: Mapping[str, int] | None = None,
        functions: Sequence[onnx.FunctionProto] = (),
        value_info: Mapping[str, Any] | None = None,
    ) -> Path:
        graph = onnx.helper.make_graph(
            list(nodes),
            name,
            [_info(n, t) for n, t in inputs.items()],
            [_info(n, t) for n, t in outputs.items()],
            [
                w if isinstance(w, onnx.TensorProto) else onnx.numpy_helper.from_array(w, n)
                for n, w in (weights or {}).items()
            ],
            value_info=[_info(n, t) for n, t in (value_info or {}).items()],
        )
        imports = {"": opset, **(opsets or {})}
        model = onnx.helper.make_model(
            graph,
            opset_imports=[onnx.helper.make_opsetid(d, v) for d, v in imports.items()],
            ir_version=ir_version,
            functions=list(functions),
        )
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return make


def _info(name: str, type_: Any) -> onnx.ValueInfoProto:
    if isinstance(type_, onnx.TypeProto):
        return onnx.helper.make_value_info(name, type_)
    element, shape = type_ if isinstance(type_, tuple) else (onnx.TensorProto.FLOAT, type_)
    return onnx.helper.make_tensor_value_info(name, element, shape)


def run(proto: onnx.ModelProto | Path, feeds: Mapping[str, Any]) -> list[Any]:
    """Outputs of a model in ONNX Runtime, its optimisations off."""
    options = onnxruntime.SessionOptions()
    level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.graph_optimization_level = level
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    source = str(proto) if isinstance(proto, Path) else proto.SerializeToString()
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = {i.name for i in session.get_inputs()}
    results: list[Any] = session.run(None, {n: v for n, v in feeds.items() if n in names})
    return results


@pytest.fixture
def run_model() -> Callable[..., list[Any]]:
    return run


@pytest.fixture
def round_trip() -> Callable[..., Model]:
    """Loads a file, exports it, and compares both in ONNX Runtime on random inputs.

    The export must pass the checker with strict shape inference and come back with the same
    inputs, outputs and types. Tolerance: 1e-5, single precision and small sums.
    """

    def trip(path: Path, feeds: Mapping[str, Any] | None = None, **options: Any) -> Model:
        model = load_onnx(path, **options)
        proto = export_onnx(model)
        declared = onnx.ModelProto()
        declared.CopyFrom(proto)
        for info in declared.graph.output:  # the checker wants shapes that a file need not have
            info.type.tensor_type.shape.SetInParent()
        is_complete = all(o.type.tensor_type.HasField("shape") for o in proto.graph.output)
        onnx.checker.check_model(declared, full_check=is_complete)
        assert ("", model.opset) in [(o.domain, o.version) for o in proto.opset_import]
        feeds = feeds or draw_inputs(model.graph, 0)
        for ours, theirs in zip(run(path, feeds), run(proto, feeds), strict=True):
            if ours.dtype.kind in "OSU":
                assert list(ours.ravel()) == list(theirs.ravel())
            else:
                assert ours.dtype == theirs.dtype
                np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-5)
        again_path = path.with_name("again.onnx")
        again_path.write_bytes(proto.SerializeToString())
        again = load_onnx(again_path)
        assert interface(again) == interface(model)
        return model

    return trip


def interface(model: Model) -> list[tuple[str, str]]:
    """Names and types of a model's inputs and outputs, in order."""
    graph = model.graph
    pairs = [(n, graph.tensor_type(n)) for n in graph.inputs]
    pairs += [
        (public, graph.tensor_type(t))
        for public, t in zip(graph.outputs, graph.output_tensors, strict=True)
    ]
    return [(name, str(tensor_type)) for name, tensor_type in pairs]


@pytest.fixture
def operators() -> Callable[[Model], list[str]]:
    """The operators of a model's graph in order, an opaque one with a question mark."""
    return lambda model: [n.op_type + "?" * n.is_opaque for n in model.graph.nodes()]
