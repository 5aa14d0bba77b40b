"""Times one operator alone in ONNX Runtime on the CPU."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xflowrl._engine import Graph, GraphBuilder, OpSignature, TensorType
from xflowrl.measurement import onnxruntime_cpu
from xflowrl.measurement.device import cpu_name
from xflowrl.measurement.operands import draw_operand
from xflowrl.measurement.timer import Measurement, sample_ms

_CHAIN_LENGTH = 65
_PRECISION = 0.01
_MIN_MS = 10.0
_OVERHEAD_MAX_MS = 200.0


class NotExecutable(Exception):
    """The runtime cannot execute the operator alone; the message says why."""


@dataclass(frozen=True)
class _Operands:
    """Weights of a model of one operator: its constant operands, by name."""

    values: Mapping[str, np.ndarray]

    def get(self, name: str) -> np.ndarray:
        return self.values[name]


def time_operator(
    signature: OpSignature, *, max_ms: float = 50.0, overhead_ms: float = 0.0
) -> Measurement:
    """Times an operator as a whole graph would execute it, on one thread.

    Constant operands are initialisers, for the runtime packs them when the session is made; the
    others are bound inputs. A fused activation is executed by the runtime's fused kernel, or as
    an operator of its own where there is none. `overhead_ms`, what executing a session costs
    whatever is in it, is taken off: a graph pays it once, not once a node.

    At most `max_ms` of executions, warm-up included; if two executions take longer, two.

    Raises:
        NotExecutable: the runtime refuses the operator, or its result has another type.
    """
    run = _prepare(signature)
    samples = sample_ms(
        [run],
        max_ms=max_ms,
        precision=_PRECISION,
        min_ms=min(_MIN_MS, max_ms / 2),
        clock_ns=onnxruntime_cpu.CLOCK_NS,
    )[:, 0]
    net = np.maximum(samples - overhead_ms, 0.0)
    return Measurement.of(net, device=cpu_name(), runtime=onnxruntime_cpu.RUNTIME)


@functools.cache
def session_overhead_ms() -> float:
    """What executing a session costs whatever is in it: the intercept of a chain of operators.

    Measured once a process, from chains of 1 and 65 Relu on one number: what one more operator
    costs is the slope, and belongs to the operator.
    """
    one, many = _chain(1), _chain(_CHAIN_LENGTH)
    samples = sample_ms(
        [one, many],
        max_ms=_OVERHEAD_MAX_MS,
        precision=_PRECISION,
        min_ms=20.0,
        clock_ns=onnxruntime_cpu.CLOCK_NS,
    )
    one_ms, many_ms = np.median(samples, axis=0)
    return max(0.0, float(one_ms - (many_ms - one_ms) / (_CHAIN_LENGTH - 1)))


def _prepare(signature: OpSignature) -> onnxruntime_cpu.BoundSession:
    operands, builder = {}, GraphBuilder("operator")
    constants: dict[str, np.ndarray] = {}
    names = []
    for index, operand_type in enumerate(signature.input_types):
        if operand_type is None:
            names.append("")
            continue
        name = f"operand_{index}"
        names.append(name)
        try:
            value = draw_operand(signature, index)
        except ValueError as error:
            raise NotExecutable(str(error)) from error
        if signature.input_is_constant[index]:
            builder.add_weight(name, operand_type)
            constants[name] = value
        else:
            builder.add_input(name, operand_type)
            operands[name] = value
    results = [f"result_{index}" for index in range(len(signature.output_types))]
    builder.add_node(
        signature.op_type,
        names,
        results,
        signature.attributes,
        domain=signature.domain,
        output_types=signature.output_types,
        opaque=signature.is_opaque,
    )
    builder.set_outputs(results)
    run = _executable(builder.build(), _Operands(constants), operands)
    expected = [tuple(result.shape) for result in signature.output_types]
    if run.output_shapes() != expected:
        raise NotExecutable(f"alone it computes shapes {run.output_shapes()}, not {expected}")
    return run


def _executable(
    graph: Graph, weights: _Operands, feeds: Mapping[str, np.ndarray]
) -> onnxruntime_cpu.BoundSession:
    from xflowrl.onnx_io import Model, export_onnx

    try:
        proto = export_onnx(Model(graph, weights), fused_conv=True)
        session = onnxruntime_cpu.open_session(proto.SerializeToString())
        return onnxruntime_cpu.BoundSession(session, feeds)
    except (RuntimeError, ValueError) as error:
        raise NotExecutable(str(error)) from error


def _chain(length: int) -> onnxruntime_cpu.BoundSession:
    number = TensorType("float32", [1])
    builder = GraphBuilder("chain")
    builder.add_input("link_0", number)
    for i in range(length):
        builder.add_node("Relu", [f"link_{i}"], [f"link_{i + 1}"])
    builder.set_outputs([f"link_{length}"])
    graph = builder.build()
    return _executable(graph, _Operands({}), {"link_0": np.ones(1, np.float32)})
