"""Runs the original on inputs that tell something, and keeps what is to be compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from xflowrl.onnx_io.inlining import reads
from xflowrl.proof.comparison import TOLERANCE, Array, Value
from xflowrl.proof.inputs import ATTEMPTS, draw_inputs
from xflowrl.proof.plan import Plan, Record
from xflowrl.proof.program import CannotRun, Program, Session, is_wide

Shapes = Mapping[str, Sequence[int]]

_INNER_BYTES = 2**29  # of inner tensors that are kept for comparison at one time
_RUN_BYTES = 2**30  # of inner tensors that a run may hold
_NUMPY_OF = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16",
    "tensor(int8)": "int8", "tensor(int16)": "int16", "tensor(int32)": "int32",
    "tensor(int64)": "int64", "tensor(uint8)": "uint8", "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32", "tensor(uint64)": "uint64", "tensor(bool)": "bool",
    "tensor(string)": "object", "tensor(bfloat16)": "bfloat16",
}  # fmt: skip
_FLOATS = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}  # of TensorProto
_CUT_IN_PIECES = {"tensor(float)": 1, "tensor(float16)": 10, "tensor(double)": 11}
_INTEGERS = {"int8", "uint8", "int16", "uint16"}


@dataclass(frozen=True)
class Run:
    """One run of both files: `inputs`, or inputs drawn of `shapes`."""

    shapes: Shapes
    draw: int
    inputs: Mapping[str, Array] | None = None


def record(
    first: Program,
    second: Program,
    runs: Sequence[Run],
    seed: int,
    *,
    like: Plan | None = None,
    is_small: bool,
) -> tuple[Plan, Iterable[Record]]:
    """Runs the original and keeps what is to be compared.

    Args:
        like: what was compared of the same two with other weights, to be compared again.
        is_small: the original may stay in memory: it runs when the next record is asked for, and
            there is room for all that is kept of one run.
    """
    if like is not None and like.fits(first, second):
        plan = replace(like, original=first)
        session = first.open(plan.fetched, wide=plan.wide)
    else:
        plan, session = _chosen(first, second, runs, is_small=is_small)

    def records() -> Iterator[Record]:
        for run in runs if plan.compared else []:
            try:
                yield _run_original(first, session, run, plan.fetched, seed)
            except CannotRun as error:
                plan.reason = plan.reason or str(error)

    return plan, records() if is_small else list(records())


def _chosen(
    first: Program, second: Program, runs: Sequence[Run], *, is_small: bool
) -> tuple[Plan, Session]:
    """What is to be compared, and a session of the original that shows it."""
    outputs = [name for name in first.outputs if name not in first.noisy]
    inner = [n for n in second.produced if n in first.produced and n not in first.noisy]
    rank = {name: i for i, name in enumerate(second.produced)}
    plan = Plan(first, [], {}, [], {})
    cuts = [name for name in first.cuts if name in rank and name not in first.noisy]
    extra = [n for cut in cuts for n in plan.operands(cut) if n in first.produced]
    try:
        session = first.open([*inner, *extra])
    except CannotRun:  # of a tensor that cannot be shown, or of the file itself
        inner, cuts, extra = [], [], []
        session = first.open()
    types = session.types
    plan.wide = [name for name in types if is_wide(types[name])]
    plan.tolerances = _tolerances(first, types)
    plan.cuts = {
        name: onnx.helper.np_dtype_to_tensor_dtype(np.dtype(_NUMPY_OF[types[name]]))
        for name in cuts
        if _NUMPY_OF.get(types[name]) in (*_INTEGERS, "float32")
    }
    readable = [n for n in inner if types[n] in _NUMPY_OF or types[n].startswith("seq(tensor")]
    needed = [*outputs, *plan.cuts, *(n for n in extra if types[n] in _NUMPY_OF)]
    sizes = [{name: _num_bytes(name, session, run, first) for name in types} for run in runs]
    kept = {name: (max if is_small else sum)(size[name] for size in sizes) for name in types}
    known = set(needed)
    chosen = _within_limit([n for n in readable if n not in known], kept, first, second)
    plan.fetched = list(dict.fromkeys([*needed, *chosen]))
    if plan.wide or any(sum(size.values()) > _RUN_BYTES for size in sizes):
        del session  # what it shows it holds to the end of a run, fetched or not
        plan.wide = [name for name in plan.wide if name in {*plan.fetched}]
        session = first.open(plan.fetched, wide=plan.wide)
    compared = {*outputs, *plan.cuts, *chosen}
    plan.compared = sorted(compared, key=lambda name: (rank.get(name, -1), name))
    whole = {*outputs, *plan.cuts, *plan.wide}
    plan.pieces = {
        name: _CUT_IN_PIECES[types[name]]
        for name in plan.compared
        if name not in whole and types[name] in _CUT_IN_PIECES
    }
    return plan, session


def runs(file: Path) -> bool:
    """Whether ONNX Runtime takes a model file."""
    try:
        Program(file).open()
    except CannotRun:
        return False
    return True


def check_inputs(file: Path, inputs: Mapping[str, Array]) -> None:
    """Runs a model file, if ONNX Runtime takes it, on a user's data.

    Raises:
        ValueError: they lack an input or have one of another type; or the file cannot be run on
            them, or comes to nothing finite.
    """
    program = Program(file)
    for info in program.model.graph.input:
        element = info.type.tensor_type.elem_type
        if info.name not in inputs or not element:
            continue
        given, wanted = inputs[info.name].dtype, onnx.helper.tensor_dtype_to_np_dtype(element)
        if wanted.kind in "biuf" and given != wanted:
            raise ValueError(f'the input "{info.name}" is {given}; make it {wanted} (.astype)')
    try:
        session = program.open()
    except CannotRun:
        return  # said of the model, not of the data
    try:
        _run_original(program, session, Run({}, 0, inputs), program.outputs, 0)
    except CannotRun as error:
        raise ValueError(str(error)) from error


def draw_feeds(file: Path, shapes: Shapes, seed: int) -> Mapping[str, Array]:
    """Inputs of these shapes that a model file can be run on. Deterministic in `seed`.

    Raises:
        CannotRun: ONNX Runtime runs it on none that were tried.
    """
    program = Program(file)
    return _run_original(program, program.open(), Run(shapes, 0), program.outputs, seed).feeds


def _run_original(
    program: Program, session: Session, run: Run, fetched: Sequence[str], seed: int
) -> Record:
    """The first attempt whose outputs are mostly finite, or else the one that is most."""
    best: tuple[float, Record] | None = None
    reason = ""
    for feeds in _attempts(program, run, seed):
        try:
            values = session.run(feeds, fetched)
        except CannotRun as error:
            reason = reason or f"ONNX Runtime cannot run the original: {error}"
            continue
        share = min((_finite_share(values[n]) for n in program.outputs if n in values), default=1.0)
        if best is None or share > best[0]:
            best = (share, Record(feeds, values, run.inputs is not None))
        if share >= 0.5:
            break
    if best is None:
        raise CannotRun(reason)
    if best[0] == 0.0:
        where = "on your data"
        if run.inputs is None:
            where = "for any inputs that were drawn; give some it is meant for (--inputs data.npz)"
        raise CannotRun(f"the original's outputs are not finite {where}")
    return best[1]


def _attempts(program: Program, run: Run, seed: int) -> Iterator[Mapping[str, Array]]:
    if run.inputs is not None:
        for name in program.inputs:
            if name not in run.inputs:
                given = ", ".join(run.inputs) or "nothing"
                raise ValueError(f'the data lack the input "{name}"; they have {given}')
        yield run.inputs
        return
    for info in program.model.graph.input:
        if not info.type.HasField("tensor_type"):
            raise CannotRun(f'input "{info.name}" is no tensor, and others cannot be drawn')
    for attempt in range(ATTEMPTS):
        yield draw_inputs(program.uses, run.shapes, seed=seed, draw=run.draw, attempt=attempt)


def _finite_share(value: Value) -> float:
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or not value.size:
        return 1.0
    return float(np.mean(np.isfinite(value)))


def _tolerances(program: Program, types: Mapping[str, str]) -> dict[str, tuple[float, float]]:
    """Of every tensor: that of the coarsest type among what it is computed from."""
    graph = program.model.graph
    elements = {info.name: info.type.tensor_type.elem_type for info in graph.input}
    elements |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    found = {name: TOLERANCE.get(_FLOATS.get(element, "")) for name, element in elements.items()}
    for name, node in program.produced.items():
        own = {_NUMPY_OF.get(types.get(name, ""), "")}
        own |= {_FLOATS.get(a.i, "") for a in node.attribute if a.name in ("to", "dtype")}
        coarse = [TOLERANCE[dtype] for dtype in own if dtype in TOLERANCE]
        coarse += [t for operand in reads(node) if (t := found.get(operand)) is not None]
        found[name] = max(coarse, default=None)
    return {name: tolerance or TOLERANCE["float32"] for name, tolerance in found.items()}


def _within_limit(
    names: Sequence[str], num_bytes: Mapping[str, int], first: Program, second: Program
) -> list[str]:
    """As many of the tensors as may be kept: first those that the files compute by other nodes.

    Of each kind spread evenly. What the same node computes differs if an operand does.
    """
    is_same = {name: first.produced[name] == second.produced[name] for name in names}
    left, found = _INNER_BYTES, list[str]()
    for kind in (False, True):
        those = [name for name in names if is_same[name] is kind]
        for step in range(1, len(those) + 1):
            chosen = those[::step]
            if (size := sum(num_bytes[name] for name in chosen)) <= left:
                left -= size
                found += chosen
                break
    return found


def _num_bytes(name: str, session: Session, run: Run, program: Program) -> int:
    """An estimate; a dimension that is not known is taken for the largest of the inputs."""
    if session.types[name] not in _NUMPY_OF:
        return 0
    bound: dict[str, int] = {}
    shapes = {n: a.shape for n, a in run.inputs.items()} if run.inputs else run.shapes
    for info in program.model.graph.input:
        dims = info.type.tensor_type.shape.dim
        for dim, size in zip(dims, shapes.get(info.name, ()), strict=False):
            bound[dim.dim_param] = size
    largest = max((size for shape in shapes.values() for size in shape), default=1)
    dims = session.shapes[name] or []
    sizes = [dim if isinstance(dim, int) else bound.get(dim or "", largest) for dim in dims]
    return math.prod(sizes) * 4
