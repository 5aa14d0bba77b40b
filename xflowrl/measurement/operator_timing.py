"""Times one operator alone in a runtime."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xflowrl._engine import Graph, GraphBuilder, OpSignature, TensorType
from xflowrl.measurement.cost_file import LEAST_MS
from xflowrl.measurement.operand_values import draw_operand
from xflowrl.measurement.runtimes import Run, Runtime, export_for
from xflowrl.measurement.timer import Measurement, median_interval, sample_ms
from xflowrl.operators import operator_of

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
    signature: OpSignature, runtime: Runtime, *, max_ms: float = 50.0, overhead_ms: float = 0.0
) -> Measurement:
    """Times an operator as a whole graph would execute it.

    Constant operands are initialisers, for the runtime packs them when it compiles; the
    others are bound inputs. A fused activation is executed by the runtime's fused kernel, or as
    an operator of its own where there is none. `overhead_ms`, what executing costs whatever is
    executed, is taken off: a graph pays it once, not once a node. What is left is at least
    `LEAST_MS`.

    At most `max_ms` of executions, warm-up included; if two executions take longer, two.

    Raises:
        NotExecutable: the runtime refuses the operator, or its result has another type.
    """
    run = _prepare(signature, runtime)
    samples = sample_ms(
        [run],
        max_ms=max_ms,
        precision=_PRECISION,
        min_ms=min(_MIN_MS, max_ms / 2),
    )[:, 0]
    net = np.maximum(samples - overhead_ms, LEAST_MS)
    return Measurement.of(net, device=runtime.device, runtime=runtime.name)


def plain_form(signature: OpSignature) -> OpSignature | None:
    """A convolution or product without its bias and activation; None where it has neither."""
    if "activation" not in signature.attributes or signature.domain or signature.is_opaque:
        return None
    attributes = signature.attributes
    if not attributes["activation"] and len(signature.input_types) == 2:
        return None
    plain = {**attributes, "activation": "", "activation_params": []}
    return _graph_of(signature, num_operands=2, attributes=plain).nodes()[-1].signature


def time_beside(
    plain: OpSignature,
    fused: OpSignature,
    runtime: Runtime,
    *,
    num_runs: int = 2,
    max_ms: float = 50.0,
) -> tuple[float, int]:
    """What bias and activation add to a plain operator, milliseconds, and the rounds timed.

    What they add is little, often less than two measurements of the plain operator differ by. So
    `num_runs` of each take turns, and a difference counts only if it is significant; never is
    it negative, for the fused operator does more. At most `max_ms` of executions, or two rounds.

    Raises:
        NotExecutable: the runtime refuses either.
    """
    runs = [_prepare(signature, runtime) for signature in (plain, fused) * num_runs]
    samples = sample_ms(
        runs,
        max_ms=max_ms,
        precision=_PRECISION,
        min_rounds=2,
        min_ms=max_ms / 2,
    )
    return significant_extra_ms(samples), len(samples)


def significant_extra_ms(samples_ms: np.ndarray) -> float:
    """How much slower the odd columns, fused, are than the even ones, or 0 where it may be chance.

    It may be if it is no more than a hundredth of the whole, or than equal runs differ among
    themselves (they lie elsewhere in memory), or if the median of the rounds' differences is not
    known to be above zero.
    """
    plain, fused = samples_ms[:, 0::2], samples_ms[:, 1::2]
    differences = fused.mean(axis=1) - plain.mean(axis=1)
    extra = float(np.median(differences))
    spread = max(float(np.ptp(np.median(equal, axis=0))) for equal in (plain, fused))
    chance = max(spread, _PRECISION * float(np.median(plain)))
    return extra if extra > chance and median_interval(differences)[0] > 0 else 0.0


@functools.cache
def overhead_ms(runtime: Runtime) -> float:
    """What executing a model costs whatever is in it: the intercept of a chain of operators.

    Measured once a process and runtime, from chains of 1 and 65 Relu on one number: what one more
    operator costs is the slope, and belongs to the operator.
    """
    one, many = _chain(1, runtime), _chain(_CHAIN_LENGTH, runtime)
    samples = sample_ms(
        [one, many],
        max_ms=_OVERHEAD_MAX_MS,
        precision=_PRECISION,
        min_ms=20.0,
    )
    one_ms, many_ms = np.median(samples, axis=0)
    return max(0.0, float(one_ms - (many_ms - one_ms) / (_CHAIN_LENGTH - 1)))


def _graph_of(
    signature: OpSignature,
    *,
    num_operands: int | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Graph:
    """A graph of one operator on operands of its own, the first `num_operands` of them.

    Raises NotExecutable where the sizes of the operands have a price and what they add up to none.
    """
    builder = GraphBuilder("operator")
    names = []
    for index, operand in enumerate(signature.input_types[:num_operands]):
        name = _operand_name(index) if operand is not None else ""
        names.append(name)
        if operand is not None and signature.input_is_constant[index]:
            builder.add_weight(name, operand)
        elif operand is not None:
            builder.add_input(name, operand)
    results = [f"result_{index}" for index in range(len(signature.output_types))]
    try:
        builder.add_node(
            signature.op_type,
            names,
            results,
            dict(signature.attributes if attributes is None else attributes),
            domain=signature.domain,
            output_types=signature.output_types,
            opaque=signature.is_opaque,
        )
    except ValueError as error:
        raise NotExecutable(str(error)) from error
    builder.set_outputs(results)
    return builder.build()


def _operand_name(index: int) -> str:
    return f"operand_{index}"


def _prepare(signature: OpSignature, runtime: Runtime) -> Run:
    try:
        values = {
            _operand_name(index): draw_operand(signature, index)
            for index, operand in enumerate(signature.input_types)
            if operand is not None
        }
    except ValueError as error:
        raise NotExecutable(str(error)) from error
    run = _executable(_graph_of(signature), values, runtime)
    expected = [tuple(result.shape) for result in signature.output_types]
    if run.output_shapes() != expected:
        raise NotExecutable(f"alone it computes shapes {run.output_shapes()}, not {expected}")
    return run


def _executable(graph: Graph, values: Mapping[str, np.ndarray], runtime: Runtime) -> Run:
    """The graph compiled, with `values` for both its weights and its inputs."""
    from xflowrl.onnx_io import Model

    try:
        # In an opset that has the operators, so that they are not written out.
        opset = max(operator_of(node.op_type).opset for node in graph.nodes())
        exported = export_for(runtime, Model(graph, _Operands(values)), opset=opset)
        return runtime.compile(exported, values)
    except (RuntimeError, ValueError) as error:
        raise NotExecutable(str(error)) from error


def _chain(length: int, runtime: Runtime) -> Run:
    number = TensorType("float32", [1])
    builder = GraphBuilder("chain")
    builder.add_input("link_0", number)
    for i in range(length):
        builder.add_node("Relu", [f"link_{i}"], [f"link_{i + 1}"])
    builder.set_outputs([f"link_{length}"])
    return _executable(builder.build(), {"link_0": np.ones(1, np.float32)}, runtime)
