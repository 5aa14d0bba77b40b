"""TASO itself, where a user has it: its Python package optimises the graph as an ONNX file.

What TASO misreads is worked around here, as far as the file's form can do it; `patches/README.md`
has the list.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xflowrl._engine import Graph, GraphBuilder, inferable_operators
from xflowrl.agents.attempt import Attempt, attempt_each
from xflowrl.onnx_io import Model, export_onnx, load_onnx
from xflowrl.onnx_io.model import StoredWeights
from xflowrl.problem import Log, Problem, Result, StopReason

logger = logging.getLogger(__name__)

# Run in a process of its own: TASO aborts on what it does not expect, and keeps its GPU memory.
_PROGRAM = """
import sys, taso
given, made, alpha, budget = sys.argv[1:]
graph = taso.optimize(taso.load_onnx(given), alpha=float(alpha), budget=int(budget))
with open(made, "wb") as file:
    file.write(taso.export_onnx(graph).SerializeToString())
"""

_OPSET = 11  # the one whose forms TASO reads and writes
_MAX_CONCAT_INPUTS = 6
_MAX_BYTES = 2**31 - 2**27  # a protobuf holds 2 GiB
_INTS = 7  # AttributeProto.INTS

# Operands that became inputs after opset 11, by operator: TASO looks for the attribute.
_OPERAND_ATTRIBUTES = {
    "Split": "split",
    "Squeeze": "axes",
    "Unsqueeze": "axes",
    **{op: "axes" for op in inferable_operators() if op.startswith("Reduce")},
}

# What its importer skips, with everything behind it, and attributes that it ignores.
_SKIPPED = {"Softmax", "Sigmoid", "LayerNormalization", "Gelu", "Erf", "Clip", "HardSwish"}
_IGNORED = {"dilations": 1, "alpha": 1.0, "beta": 1.0, "ceil_mode": 0}
_IGNORED_BY = {"Conv", "Gemm", "MaxPool", "AveragePool"}


class TasoNative:
    """Hands the graph to the installed package `taso` and takes back what it makes of it.

    A foreign search: its steps are not known, so the trace is empty and does not lead to the
    result; iterations is 1, candidates 0, whatever TASO did. Its rules and costs are its own: the
    problem's rules are not asked, and the problem's costs only price the outcome. Where that is not
    cheaper than the original, the original is the result; the metric `current_cost_ms` and a line
    of the log say what TASO's graph costs. Memory is the peak of TASO's process.

    TASO's budget is `budget.max_iterations` - 1, as it expands one graph more than it is told;
    `budget.max_seconds` ends its process, and nothing of its work is left then.

    Raises:
        ValueError: there is no package `taso`; when optimising: TASO cannot read the graph, failed,
            or gave back a graph with other inputs or outputs.
    """

    def __init__(self, *, alpha: float = 1.05) -> None:
        if alpha < 1:
            raise ValueError(f"agent.alpha is {alpha}: give a factor >= 1")
        if importlib.util.find_spec("taso") is None:
            raise ValueError(
                "agent=taso_native needs the package taso, which is not installed; "
                "agent=taso is the same search without it"
            )
        self._alpha = alpha

    def optimize(self, problems: Sequence[Problem], log: Log) -> list[Result]:
        """One run of TASO a problem."""
        made: dict[int, Model] = {}

        def attempt_fn(attempt: Attempt) -> None:
            self._run(attempt, made)

        results = attempt_each(problems, log, attempt_fn)
        return [
            _with_model(result, made.get(id(problem)))
            for result, problem in zip(results, problems, strict=True)
        ]

    def _run(self, attempt: Attempt, made: dict[int, Model]) -> None:
        problem = attempt.problem
        max_iterations = problem.budget.max_iterations
        if max_iterations is None:
            raise ValueError("agent=taso_native needs budget.max_iterations: TASO has no other end")
        given = export_onnx(_checked_size(problem.model))
        make_readable(given)
        with tempfile.TemporaryDirectory(prefix="taso-") as folder:
            given_path, made_path = Path(folder) / "given.onnx", Path(folder) / "made.onnx"
            given_path.write_bytes(given.SerializeToString())
            is_done = self._optimise_file(
                given_path, made_path, max(max_iterations - 1, 0), problem
            )
            # of all processes this one has waited for; none of the others is nearly as large
            peak_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
            attempt.meter.memory_mb = max(attempt.meter.memory_mb, peak_kb / 1024)
            attempt.meter.spend(iterations=1)
            if is_done:
                _take(attempt, _read_back(made_path, type(given), problem), made)
        attempt.over()

    def _optimise_file(self, given: Path, made: Path, budget: int, problem: Problem) -> bool:
        """Runs TASO; False if the budget's seconds ended it."""
        command = [sys.executable, "-c", _PROGRAM, *map(str, (given, made, self._alpha, budget))]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            done = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=problem.budget.max_seconds,
            )
        except subprocess.TimeoutExpired:
            logger.warning("%s: TASO was stopped by budget.max_seconds", problem.name)
            return False
        logger.debug("%s: TASO printed %s", problem.name, done.stdout[-2000:])
        if done.returncode:
            raise ValueError(f"{problem.name}: {_failure(done)}; agent=taso has no such limits")
        return True


def _checked_size(model: Model) -> Model:
    if sum(weight.num_bytes for weight in model.graph.weights.values()) > _MAX_BYTES:
        raise ValueError(f"{model.name}: TASO reads models of up to 2 GB; use agent=taso")
    return model


def _failure(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    words = lines[-1].strip() if lines else "it said nothing"
    if done.returncode > 0:
        return f"TASO failed: {words}"
    try:
        name = signal.Signals(-done.returncode).name
    except ValueError:
        name = f"signal {-done.returncode}"
    return f"TASO's process died ({name}): {words}"


def _take(attempt: Attempt, model: Model, made: dict[int, Model]) -> None:
    """Prices TASO's graph like any other, and makes it the result if it is the cheapest."""
    problem = attempt.problem
    with attempt.meter.measuring(problem.objective):
        state = problem.objective.state(model.graph, problem.rules)
        cost_ms = problem.objective.cost_ms(model, state)  # with TASO's own weights
    logger.info(
        "%s: TASO's graph costs %.6g ms here, the original %.6g ms; its steps are not known",
        *(problem.name, cost_ms, attempt.initial_cost_ms),
    )
    if attempt.reached(state, attempt.origin, cost_ms=cost_ms):
        made[id(problem)] = model


def _with_model(result: Result, model: Model | None) -> Result:
    """The result with TASO's own weights, and no word of matches, which nobody looked for."""
    if result.stop_reason is StopReason.NO_MATCH:
        result = replace(result, stop_reason=StopReason.EXHAUSTED)
    return result if model is None else replace(result, model=model)


# The file's form. `proto` is an onnx.ModelProto, which is not imported here.


def make_readable(proto: Any) -> None:
    """Writes a model of opset 18 as TASO reads it, in place.

    Raises:
        ValueError: an operator or attribute that TASO would skip or ignore.
    """
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    for node in nodes:
        _refuse_misread(node, proto.graph.name)
        name = _OPERAND_ATTRIBUTES.get(node.op_type)
        if name is not None and len(node.input) > 1:
            values = _integers(constants[node.input[1]])
            del node.input[1:]
            _drop_attributes(node, "noop_with_empty_axes", "num_outputs")
            node.attribute.add(name=name, type=_INTS, ints=values)
        elif node.op_type == "BatchNormalization":
            _drop_attributes(node, "training_mode")
            _move_epsilon(node, constants, proto.graph)
        elif node.op_type == "Concat":
            _nest(node, proto.graph)
        proto.graph.node.add().CopyFrom(node)
    read = {name for node in proto.graph.node for name in node.input}
    unread = [tensor for tensor in proto.graph.initializer if tensor.name not in read]
    for tensor in unread:
        proto.graph.initializer.remove(tensor)
    _declare(proto, _OPSET)


def make_valid(proto: Any) -> None:
    """Completes a model as TASO writes it, in place: operator set, epsilons; Concats are wide."""
    versions = [opset.version for opset in proto.opset_import if opset.domain in ("", "ai.onnx")]
    has_old_forms = any(
        attribute.name == _OPERAND_ATTRIBUTES.get(node.op_type)
        for node in proto.graph.node
        for attribute in node.attribute
    )
    if not versions or has_old_forms:
        _declare(proto, _OPSET)
    if not proto.ir_version:
        proto.ir_version = 8
    for node in proto.graph.node:
        names = [attribute.name for attribute in node.attribute]
        if node.op_type == "BatchNormalization" and "epsilon" not in names:
            node.attribute.add(name="epsilon", type=1, f=0.0)  # it is in the variance
    _flatten_concats(proto.graph)


def _refuse_misread(node: Any, graph: str) -> None:
    where = f'{graph}: {node.op_type} "{node.output[0]}"'
    if node.op_type in _SKIPPED:
        raise ValueError(
            f"{where}: TASO skips it with everything behind it; agent=taso is the same search"
        )
    for attribute in node.attribute if node.op_type in _IGNORED_BY else ():
        neutral = _IGNORED.get(attribute.name)
        values = [*attribute.ints] or [attribute.f if attribute.type == 1 else attribute.i]
        if neutral is not None and any(value != neutral for value in values):
            raise ValueError(
                f"{where}: TASO ignores {attribute.name} {values}; agent=taso is the same search"
            )


def _integers(tensor: Any) -> list[int]:
    if tensor.raw_data:
        return [int(value) for value in np.frombuffer(tensor.raw_data, np.dtype("<i8"))]
    return [int(value) for value in tensor.int64_data]


def _drop_attributes(node: Any, *names: str) -> None:
    for attribute in [a for a in node.attribute if a.name in names]:
        node.attribute.remove(attribute)


def _move_epsilon(node: Any, constants: dict[str, Any], graph: Any) -> None:
    """TASO's batchnorm has no epsilon: it becomes part of the variance, if that is float32."""
    variance = constants.get(node.input[4])
    if variance is None or variance.data_type != 1 or not variance.raw_data:
        return
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    values = np.frombuffer(variance.raw_data, np.dtype("<f4")) + np.float32(epsilon)
    moved = graph.initializer.add()
    moved.CopyFrom(variance)
    moved.name = f"{node.output[0]}/variance_and_epsilon"
    moved.raw_data = values.astype("<f4").tobytes()
    node.input[4] = moved.name
    _drop_attributes(node, "epsilon")
    node.attribute.add(name="epsilon", type=1, f=0.0)


def _nest(node: Any, graph: Any) -> None:
    """Adds Concats of six to the graph until `node` has no more than six inputs itself."""
    part = 0
    while len(node.input) > _MAX_CONCAT_INPUTS:
        inner = graph.node.add()
        inner.CopyFrom(node)
        del inner.input[_MAX_CONCAT_INPUTS:]
        inner.output[0] = f"{node.output[0]}/part{part}"
        inner.name = ""
        rest = list(node.input)[_MAX_CONCAT_INPUTS:]
        del node.input[:]
        node.input.extend([inner.output[0], *rest])
        part += 1


def _flatten_concats(graph: Any) -> None:
    """A Concat read by one other of the same axis becomes part of it: undoes `_nest`."""
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(output.name for output in graph.output)
    concats = {node.output[0]: node for node in graph.node if node.op_type == "Concat"}
    for node in concats.values():  # in topological order: those inside are flat already
        operands: list[str] = []
        for name in node.input:
            inner = concats.get(name)
            if inner is not None and readers[name] == 1 and _axis(inner) == _axis(node):
                operands += inner.input
                inner.op_type = ""
            else:
                operands.append(name)
        del node.input[:]
        node.input.extend(operands)
    for node in [node for node in graph.node if not node.op_type]:
        graph.node.remove(node)


def _axis(concat: Any) -> int:
    return next(int(attribute.i) for attribute in concat.attribute if attribute.name == "axis")


def _declare(proto: Any, version: int) -> None:
    del proto.opset_import[:]
    proto.opset_import.add(domain="", version=version)


# Back


def _read_back(path: Path, proto_type: Any, problem: Problem) -> Model:
    """TASO's model under the original's names of inputs and outputs."""
    proto = proto_type.FromString(path.read_bytes())
    make_valid(proto)
    path.write_bytes(proto.SerializeToString())
    try:
        made = load_onnx(path)
    except ValueError as error:
        reason = str(error).removeprefix(f'model "{path}": ')
        raise ValueError(f"{problem.name}: what TASO gave back cannot be read: {reason}") from None
    if made.source is not None and made.source.failures:
        raise ValueError(
            f"{problem.name}: what TASO gave back cannot be read: {made.source.failures[0]}"
        )
    return _renamed(made, problem)


def _renamed(made: Model, problem: Problem) -> Model:
    """Every name gets a prefix, for another weight of the original may have it; see `verify`."""
    original, graph = problem.model.graph, made.graph
    inputs = _paired(original, original.inputs, graph, graph.inputs, problem.name, "inputs")
    outputs = _paired(
        *(original, original.output_tensors, graph, graph.output_tensors, problem.name, "outputs")
    )
    names = {"": ""} | {theirs: ours for ours, theirs in zip(original.inputs, inputs, strict=True)}
    builder = GraphBuilder(original.name)
    for ours in original.inputs:
        builder.add_input(ours, original.tensor_type(ours))
    for name, weight_type in graph.weights.items():
        names[name] = builder.add_weight(f"taso/{name}", weight_type)
    for name, (literal_type, values) in graph.literals.items():
        names[name] = builder.add_literal(f"taso/{name}", literal_type, values)
    for node in graph.nodes():
        names |= {output: f"taso/{output}" for output in node.outputs if output}
        builder.add_node(
            node.op_type,
            [names[x] for x in node.inputs],
            [names[x] for x in node.outputs],
            node.attributes,
            domain=node.domain,
            output_types=node.output_types,
            opaque=node.is_opaque,
        )
    builder.set_outputs(original.outputs, [names[tensor] for tensor in outputs])
    weights = {f"taso/{name}": made.weights.get(name) for name in graph.weights}
    return replace(made, graph=builder.build(), weights=StoredWeights(weights), source=None)


def _paired(
    original: Graph, ours: list[str], made: Graph, theirs: list[str], name: str, what: str
) -> list[str]:
    """Their tensor for each of ours: the first of its type that is left, for names are not kept."""
    left = list(theirs)
    found = []
    for tensor in ours:
        wanted = original.tensor_type(tensor)
        match = next((other for other in left if made.tensor_type(other) == wanted), None)
        if match is None:
            break
        left.remove(match)
        found.append(match)
    if left or len(found) < len(ours):
        ours_text, theirs_text = (
            ", ".join(str(graph.tensor_type(tensor)) for tensor in tensors)
            for graph, tensors in ((original, ours), (made, theirs))
        )
        raise ValueError(
            f"{name}: TASO gave back a graph with the {what} {theirs_text}; the original has "
            f"{ours_text}. It skips operators that it does not know; use agent=taso"
        )
    return found
