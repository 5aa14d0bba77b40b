"""Do two models compute the same function?

Both run in ONNX Runtime on the CPU, its optimisations off, on random inputs, with several draws of
weights: float parameters are drawn anew under their names, so both models get the same ones, at a
scale that keeps activations near unit size (see `weights`); what is no parameter keeps its value.
Then the models as they would be saved, their own weights folded, are compared once. Last, one
number in a weight of the result is changed by 10%: if the comparison does not notice that, its
agreement proves nothing, and the verdict is "undecided".

Tolerance. Two orders of summation differ in float32 by about 1e-6 of an output's standard deviation
per layer (after rewriting, 4e-5 was the most in ResNet-50, 1e-6 in DenseNet-121), and a real error
by 1e-2 or more; the limit is 5e-4 of the standard deviation of each output plus, for outputs that
hardly vary, 8e-6 (64 units in the last place) of its largest value;
`_TOLERANCE` has the numbers for other types. Integers and strings must be equal.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime

from xflowrl._engine import Graph, TensorType
from xflowrl.onnx_io.exporting import (
    MAX_INLINE_BYTES,
    export_for_comparison,
    export_onnx,
    save_onnx,
)
from xflowrl.onnx_io.model import Array, Model
from xflowrl.weights import DrawnWeights, draw_inputs

# Allowed difference relative to an output's standard deviation and to its largest value, by the
# coarsest type that computes.
_TOLERANCE = {
    "float64": (1e-9, 1e-13),
    "float32": (5e-4, 8e-6),
    "float16": (2e-2, 4e-3),
    "bfloat16": (1e-1, 3e-2),
}
_QUANTISED_TOLERANCE = (5e-2, 5e-2)  # a rounding that falls to the other side
_MUTATION = 1.1
_MAX_MUTANTS = 8
_PASS_THROUGH = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})


@dataclass(frozen=True)
class Verdict:
    """Whether a result computes what its original computes.

    Attributes:
        equal: every comparison agreed, and the check notices a changed weight.
        max_abs_error: largest difference of two output elements, over all comparisons.
        max_rel_error: the same in units of the output's standard deviation.
        caught_mutant: the check fails when one weight of the result is changed.
        detail: one line: what was compared, or which output differs, or why it is undecided.
    """

    equal: bool
    max_abs_error: float
    max_rel_error: float
    caught_mutant: bool
    detail: str

    @property
    def verdict(self) -> Literal["equal", "different", "undecided"]:
        """ "equal", "different" or "undecided"."""
        if self.equal:
            return "equal"
        return "undecided" if self.detail.startswith("undecided") else "different"


@dataclass
class _Difference:
    """The worst of the comparisons so far."""

    absolute: float = 0.0
    relative: float = 0.0
    failure: str = ""

    def merge(self, other: _Difference) -> None:
        self.absolute = max(self.absolute, other.absolute)
        self.relative = max(self.relative, other.relative)
        self.failure = self.failure or other.failure


class _NotEvidence(Exception):
    """The original gives no finite numbers to compare with."""


def verify(original: Model, result: Model, *, draws: int = 3, seed: int = 0) -> Verdict:
    """Compares two models with the same inputs and outputs. Deterministic in `seed`.

    Args:
        original: the reference.
        result: what was made of it; its weights are found by the original's names.
        draws: how many draws of weights and inputs.
        seed: of the draws.

    Raises:
        ValueError: if the inputs or outputs of the two differ in name, order or type.
    """
    _check_interfaces(original.graph, result.graph)
    total = _Difference()
    try:
        check = _Check(original, result)
        for draw in range(draws):
            total.merge(check.compare_draw(seed + draw))
            if total.failure:
                return _verdict(total, False, f"draw {draw + 1}: {total.failure}")
        mutant = check.caught_mutant()
        check.close()
        total.merge(_compare_as_saved(original, result, seed))
        if total.failure:
            return _verdict(total, False, f"with the model's own weights: {total.failure}")
    except _NotEvidence as error:
        return _verdict(total, False, f"undecided: {error}")
    except _CannotRun as error:
        return _verdict(total, False, f"undecided: ONNX Runtime cannot run it: {error}")
    if mutant is None:
        return _verdict(total, False, "undecided: no changed weight made the outputs differ")
    what = f"{draws} draws and the model's own weights agree; {mutant} changed by 10% is noticed"
    return _verdict(total, True, what)


def _verdict(total: _Difference, caught: bool, detail: str) -> Verdict:
    return Verdict(caught, total.absolute, total.relative, caught, detail)


def _check_interfaces(original: Graph, result: Graph) -> None:
    for kind in ("inputs", "outputs"):
        ours, theirs = getattr(original, kind), getattr(result, kind)
        if ours != theirs:
            raise ValueError(f"the {kind} of the result are {theirs}; the original has {ours}")
    pairs = [(n, n) for n in original.inputs]
    pairs += list(zip(original.output_tensors, result.output_tensors, strict=True))
    for ours, theirs in pairs:
        if original.tensor_type(ours) != result.tensor_type(theirs):
            raise ValueError(
                f'tensor "{theirs}" of the result is {result.tensor_type(theirs)}; '
                f"the original has {original.tensor_type(ours)}"
            )


# The tensor before a final Softmax


def _shared_logits(original: Graph, result: Graph) -> tuple[dict[str, str], dict[str, str]]:
    """Further outputs of both graphs: the operands of final Softmaxes, where both have them."""
    ours, theirs = _logits(original), _logits(result)
    shared = [i for i in ours if i in theirs and ours[i][1:] == theirs[i][1:]]
    names = {i: f"logits of {original.outputs[i]}" for i in shared}
    return (
        {names[i]: ours[i][0] for i in shared},
        {names[i]: theirs[i][0] for i in shared},
    )


def _logits(graph: Graph) -> dict[int, tuple[str, TensorType, dict[str, Any]]]:
    """Operand, type and attributes of the Softmax that an output comes from, by output index."""
    producer = {name: node for node in graph.nodes() for name in node.outputs}
    found = {}
    for index, tensor in enumerate(graph.output_tensors):
        node = producer.get(tensor)
        while node is not None and node.op_type in _PASS_THROUGH:
            node = producer.get(node.inputs[0])
        if node is not None and node.op_type == "Softmax" and node.domain == "":
            operand = node.inputs[0]
            found[index] = (operand, graph.tensor_type(operand), node.attributes)
    return found


# Running and comparing


class _CannotRun(Exception):
    """ONNX Runtime refuses the model."""


class _Session:
    """A model in ONNX Runtime; `source` is a model or the path of one."""

    def __init__(self, source: onnx.ModelProto | Path) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        options.enable_cpu_mem_arena = False
        model = str(source) if isinstance(source, Path) else source.SerializeToString()
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime has a dozen exception types of its own
            raise _CannotRun(" ".join(str(error).split())) from error
        self._inputs = [i.name for i in self._session.get_inputs()]

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        try:
            results = self._session.run(None, {name: feeds[name] for name in self._inputs})
        except Exception as error:
            raise _CannotRun(" ".join(str(error).split())) from error
        return [np.asarray(result) for result in results]


class _Check:
    """Runs both models with the weights of a draw as inputs, so that one session serves all."""

    def __init__(self, original: Model, result: Model) -> None:
        self._original, self._result = original, result
        parameters = DrawnWeights(original.graph, 0).parameters()
        is_shared = original.graph.weights.items() >= result.graph.weights.items()
        # Weights of other names (a folded model read from a file) cannot be drawn alike.
        self._is_drawn = is_shared
        theirs = parameters if is_shared else DrawnWeights(result.graph, 0).parameters()
        self._parameters = [n for n in original.graph.weights if n in parameters]
        self._result_parameters = [n for n in result.graph.weights if n in theirs]
        more = _shared_logits(original.graph, result.graph)
        self._names = [*original.graph.outputs, *more[0]]
        self._tolerance = _tolerance(original.graph)
        self._first: _Session | None = _Session(
            export_for_comparison(original, weight_inputs=self._parameters, more_outputs=more[0])
        )
        self._second: _Session | None = _Session(
            export_for_comparison(
                result, weight_inputs=self._result_parameters, more_outputs=more[1]
            )
        )
        self._feeds: dict[str, Array] = {}
        self._expected: list[Array] = []

    def close(self) -> None:
        """Gives the memory of the sessions and of the last draw back."""
        self._first = self._second = None
        self._feeds, self._expected = {}, []

    def compare_draw(self, seed: int) -> _Difference:
        assert self._first is not None and self._second is not None
        weights = DrawnWeights(self._original.graph, seed) if self._is_drawn else None
        feeds = {n: (weights or self._original.weights).get(n) for n in self._parameters}
        inputs, self._expected = _finite_run(self._first, self._original.graph, feeds, seed)
        if not self._is_drawn:
            feeds = {n: self._result.weights.get(n) for n in self._result_parameters}
        self._feeds = {**feeds, **inputs}
        return _compare(self._names, self._expected, self._second.run(self._feeds), self._tolerance)

    def caught_mutant(self) -> str | None:
        """What, changed by 10% in the last draw, made the outputs differ; None if nothing did."""
        assert self._second is not None
        weights = [n for n in self._result_parameters if self._feeds[n].size]
        step = max(1, len(weights) // _MAX_MUTANTS)
        candidates = [(f'weight "{n}"', n) for n in weights[::-1][::step][:_MAX_MUTANTS]]
        if not weights:
            candidates = [(f'input "{n}"', n) for n in self._result.graph.inputs]
        for label, name in candidates:
            for mutated in _mutants(self._feeds[name]):
                actual = self._second.run({**self._feeds, name: mutated})
                if _compare(self._names, self._expected, actual, self._tolerance).failure:
                    return label
        return None


def _mutants(array: Array) -> Iterator[Array]:
    """The array with its largest, then its smallest element changed: floats by 10%, others by one.

    Of both signs, because an activation may let only one through.
    """
    if not array.size or array.dtype == object:
        return
    numbers = array.astype(np.float64)
    for extreme in (np.argmax, np.argmin):
        position = np.unravel_index(int(extreme(numbers)), array.shape)
        mutant = array.copy()
        if array.dtype == bool:
            mutant[position] = not array[position]
        elif array.dtype.kind in "iu":
            mutant[position] = 0 if array[position] else 1
        else:
            mutant[position] = array[position] * array.dtype.type(_MUTATION)
        yield mutant


def _compare_as_saved(original: Model, result: Model, seed: int) -> _Difference:
    """Compares the models with their own weights, constants folded, as they are saved."""
    first = _folded_session(original)
    try:
        inputs, expected = _finite_run(first, original.graph, {}, seed)
    except _NotEvidence:
        return _Difference()  # placeholder weights; the draws have been compared
    del first
    actual = _folded_session(result).run(inputs)
    names, tolerance = original.graph.outputs, _tolerance(original.graph)
    return _compare(names, expected, actual, tolerance)


def _folded_session(model: Model) -> _Session:
    if sum(t.num_bytes for t in model.graph.weights.values()) < MAX_INLINE_BYTES // 2:
        return _Session(export_onnx(model))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        save_onnx(model, path)
        return _Session(path)


def _tolerance(graph: Graph) -> tuple[float, float]:
    nodes = graph.nodes()
    types = {t.dtype for node in nodes for t in node.output_types}
    tolerance = max(
        (_TOLERANCE[t] for t in types if t in _TOLERANCE), default=_TOLERANCE["float32"]
    )
    if any("Quantize" in node.op_type or node.op_type.startswith("QLinear") for node in nodes):
        return max(tolerance, _QUANTISED_TOLERANCE)
    return tolerance


def _compare(
    names: Sequence[str],
    expected: Sequence[Array],
    actual: Sequence[Array],
    tolerance: tuple[float, float],
) -> _Difference:
    worst = _Difference()
    for name, ours, theirs in zip(names, expected, actual, strict=True):
        worst.merge(_compare_output(name, ours, theirs, tolerance))
    return worst


def _compare_output(
    name: str, ours: Array, theirs: Array, tolerance: tuple[float, float]
) -> _Difference:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return _Difference(np.inf, np.inf, f'output "{name}" has another type')
    if not ours.size:
        return _Difference()
    if ours.dtype.kind in "OSUb":
        count = int(np.count_nonzero(ours != theirs))
        failure = f'output "{name}" differs in {count} of {ours.size} elements' if count else ""
        return _Difference(float(count > 0), float(count > 0), failure)
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    if not np.all(np.isfinite(b)):
        return _Difference(np.inf, np.inf, f'output "{name}" of the result is not finite')
    absolute = float(np.max(np.abs(a - b)))
    if absolute == 0.0:
        return _Difference()
    # Of few elements the standard deviation says little: their size is taken.
    spread = float(np.std(a) if a.size >= 16 else np.sqrt(np.mean(np.square(a))))
    error = absolute / spread if spread else np.inf
    is_float = ours.dtype.kind not in "iu"
    allowed = tolerance[0] * spread + tolerance[1] * float(np.max(np.abs(a))) if is_float else 0.0
    if not is_float and tolerance == _QUANTISED_TOLERANCE:
        allowed = 1.0
    if absolute <= allowed:
        return _Difference(absolute, error)
    failure = f'output "{name}" differs by {absolute:.3g}, {error:.3g} of its standard deviation'
    return _Difference(absolute, error, failure)


def _finite_run(
    session: _Session, graph: Graph, feeds: Mapping[str, Array], seed: int
) -> tuple[dict[str, Array], list[Array]]:
    """Inputs for which the model's outputs are finite, and those outputs."""
    for attempt in range(3):
        inputs = draw_inputs(graph, seed, attempt)
        outputs = session.run({**feeds, **inputs})
        if all(o.dtype.kind in "OSUbiu" or np.all(np.isfinite(o.astype(float))) for o in outputs):
            return inputs, outputs
    raise _NotEvidence("the original's outputs are not finite, neither for small nor for positive "
                       "inputs")  # fmt: skip
