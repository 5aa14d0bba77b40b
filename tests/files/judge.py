"""A second opinion on a delivered file: both files run in ONNX Runtime, and their protos compared.

It shares no line with `xflowrl.verify`, so that no mistake of one hides in the other. Tolerance: an
output may differ by `TOLERANCE` of its largest magnitude. Rewriting reorders float32 sums, which
moved no output of the networks tried by more than 4e-5 of its deviation; a wrong rewrite moves one
by 1e-2 or more. Integers, booleans, strings, NaNs and infinities must be equal.

A function between -1 and 1 that is all but saturated has no largest magnitude to speak of: ONNX
Runtime approximates Sigmoid and its like to a few units in the last place of 1, not of the result,
so these outputs may be `FLOOR` off, four such units, however small they are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

Feeds = dict[str, np.ndarray]

TOLERANCE = {"float16": 1e-2, "float32": 3e-4, "float64": 1e-9}
QUANTISED_TOLERANCE = 5e-2  # a rounding that falls to the other side moves a whole step
FLOOR = 2.0**-22
BOUNDED = {"Erf", "HardSigmoid", "Sigmoid", "Softmax", "Tanh"}
MOVING = {"Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
SIZES = ((1, 2, 3), (32, 64, 96), (8, 16, 24), (1, 1, 1), (512, 512, 512), (224, 224, 224))
MIN_OPSET = 18  # the one that a rewritten file of an older opset has


def complaints(original: Path, delivered: Path, *, num_sizes: int = 3, seed: int = 0) -> list[str]:
    """What is wrong with `delivered`, one line each; empty if nothing. Deterministic in `seed`.

    Args:
        num_sizes: at how many sizes a file with dynamic dimensions is run.
    """
    found = proto_complaints(onnx.load(original), onnx.load(delivered))
    if not _passes_checker(delivered) and _passes_checker(original):
        found.append("onnx.checker refuses it")
    return found + run_complaints(original, delivered, num_sizes=num_sizes, seed=seed)


def proto_complaints(ours: onnx.ModelProto, theirs: onnx.ModelProto) -> list[str]:
    """Differences in interface and metadata."""
    found = []
    for field in ("input", "output"):
        before, after = _infos(ours, field), _infos(theirs, field)
        if before != after:
            found.append(f"{field}s are {after}, not {before}")
    if _defaults(ours) != _defaults(theirs):
        found.append("inputs with a default differ")
    for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
        if getattr(ours, field) != getattr(theirs, field):
            found.append(f"{field} is {getattr(theirs, field)!r}, not {getattr(ours, field)!r}")
    for name, before, after in (
        ("model", ours.metadata_props, theirs.metadata_props),
        ("graph", ours.graph.metadata_props, theirs.graph.metadata_props),
    ):
        if {p.key: p.value for p in before} != {p.key: p.value for p in after}:
            found.append(f"metadata_props of the {name} differ")
    for field in ("name", "doc_string"):
        before, after = getattr(ours.graph, field), getattr(theirs.graph, field)
        if before and before != after:
            found.append(f"the graph's {field} is {after!r}, not {before!r}")
    return found + _version_complaints(ours, theirs)


def _version_complaints(ours: onnx.ModelProto, theirs: onnx.ModelProto) -> list[str]:
    before, after = _opsets(ours), _opsets(theirs)
    found = []
    if after.get("") not in {before.get(""), max(before.get("", MIN_OPSET), MIN_OPSET)}:
        found.append(f"opset is {after.get('')}, not {before.get('')}")
    used = {node.domain for node in theirs.graph.node} - {"", "ai.onnx"}
    for domain in used & set(before):
        if after.get(domain) != before[domain]:
            found.append(f"opset of {domain} is {after.get(domain)}, not {before[domain]}")
    if before.get("") == after.get("") and ours.ir_version != theirs.ir_version:
        found.append(f"ir_version is {theirs.ir_version}, not {ours.ir_version}")
    functions = {
        (f.domain, f.name): f.SerializeToString(deterministic=True) for f in ours.functions
    }
    for function in theirs.functions:
        key = (function.domain, function.name)
        if key in functions and functions[key] != function.SerializeToString(deterministic=True):
            found.append(f"function {function.name} differs")
    return found


def run_complaints(
    original: Path, delivered: Path, *, num_sizes: int = 3, seed: int = 0
) -> list[str]:
    """Differences between the outputs of two files at several sizes."""
    reference = open_session(original)
    try:
        result = open_session(delivered)
    except Exception as error:
        return [f"ONNX Runtime does not load it: {_first_line(error)}"]
    num_run = 0
    for feeds in drawn_feeds(original, reference, num_sizes=num_sizes, seed=seed):
        num_run += 1
        if found := compare(original, reference, result, feeds):
            return found
    return [] if num_run else ["no inputs were found that the original runs on"]


def compare(
    original: Path, reference: ort.InferenceSession, result: ort.InferenceSession, feeds: Feeds
) -> list[str]:
    """Differences between the outputs of two sessions on the same inputs."""
    sizes = {name: list(array.shape) for name, array in feeds.items()}
    expected, again = reference.run(None, feeds), reference.run(None, feeds)
    try:
        got = result.run(None, feeds)
    except Exception as error:
        return [f"at {sizes}: ONNX Runtime does not run it: {_first_line(error)}"]
    tolerance, floors = _tolerance(original), _floors(original)
    names = [output.name for output in reference.get_outputs()]
    found = []
    for name, ours, twice, theirs in zip(names, expected, again, got, strict=True):
        if _difference(ours, twice, 0.0) is None:  # one that draws noise has no right answer
            difference = _difference(ours, theirs, tolerance, floors.get(name, 0.0))
            found += [f"at {sizes}: {name}: {difference}"] if difference else []
    return found


def _difference(ours: Any, theirs: Any, tolerance: float, floor: float = 0.0) -> str | None:
    """How two values of an output differ by more than is allowed; None if they do not."""
    if isinstance(ours, list | tuple):
        if not isinstance(theirs, list | tuple) or len(ours) != len(theirs):
            return "a sequence of another length"
        pairs = zip(ours, theirs, strict=True)
        return next(filter(None, (_difference(a, b, tolerance) for a, b in pairs)), None)
    if isinstance(ours, Mapping):
        if list(ours) != list(theirs):
            return "a map of other keys"
        return _difference(list(ours.values()), list(theirs.values()), tolerance)
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return f"{theirs.dtype}{theirs.shape}, not {ours.dtype}{ours.shape}"
    if ours.dtype.kind != "f":
        return None if np.array_equal(ours, theirs) else "other elements"
    finite = np.isfinite(ours)
    if not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True):
        return "other NaNs or infinities"
    if not np.isfinite(theirs[finite]).all():
        return "NaN or infinity where the original has none"
    before, after = (a[finite].astype(np.float64) for a in (ours, theirs))
    error, scale = (np.abs(a).max(initial=0.0) for a in (after - before, before))
    is_near = error <= max(tolerance * scale, floor)
    return None if is_near else f"{error:.2e} off, of at most {scale:.2e}"


def open_session(path: Path, *, optimised: bool = False) -> ort.InferenceSession:
    """A session on one thread of the CPU; as deployed if `optimised`, else as it is written."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def drawn_feeds(
    original: Path, session: ort.InferenceSession, *, num_sizes: int = 3, seed: int = 0
) -> Iterator[Feeds]:
    """Inputs that the original runs on, at up to `num_sizes` sizes of its dynamic dimensions.

    Batches (first dimensions) are small; other sizes are tried until the original runs. A file
    without dynamic dimensions gets as many draws of one size, each of another magnitude.
    """
    random = np.random.default_rng(seed)
    limits = _index_limits(onnx.load(original, load_external_data=False))
    inputs = session.get_inputs()
    dynamic = any(not isinstance(size, int) for i in inputs for size in i.shape)
    tried: set[str] = set()
    num_found = 0
    for position, (sizes, low) in enumerate(itertools.product(SIZES, (False, True))):
        for step in range(3):
            shapes = {i.name: _shape(i.shape, step, sizes[step]) for i in inputs}
            if dynamic and f"{shapes}" in tried:
                continue
            scale = 1.0 if dynamic else (1.0, 0.1, 10.0)[step]
            feeds = {
                i.name: _draw(i.name, i.type, shapes[i.name], random, limits, scale, low)
                for i in inputs
            }
            try:
                session.run(None, feeds)
            except Exception:
                continue
            tried.add(f"{shapes}")
            yield feeds
            num_found += 1
            if num_found == num_sizes:
                return
        if not dynamic and num_found and position:
            return


def _shape(declared: list[Any], step: int, size: int) -> list[int]:
    """Integers for a declared shape.

    A dynamic dimension is a batch where it comes first, or where it is the only one of three or
    more (the state of a recurrent network has its layers first).
    """
    dynamic = [axis for axis, d in enumerate(declared) if not isinstance(d, int) or d < 0]
    alone = len(dynamic) == 1 and len(declared) > 2
    batches = {axis for axis in dynamic if alone or (axis == 0 and len(declared) > 1)}
    return [
        d if axis not in dynamic else step + 1 if axis in batches else size
        for axis, d in enumerate(declared)
    ]


def _draw(
    name: str,
    kind: str,
    shape: list[int],
    random: np.random.Generator,
    limits: Mapping[str, int],
    scale: float,
    low: bool,
) -> np.ndarray:
    """An input by its role: token ids below the table's size, masks of ones, images of bytes."""
    element = kind.removeprefix("tensor(").removesuffix(")")
    if element == "string":
        words = np.array(["a", "bc", "def", "0.5"], dtype=object)
        return words[random.integers(0, len(words), shape)]
    if element == "bool":
        return np.asarray(random.integers(0, 2, shape), bool)
    dtype = np.dtype({"float": "float32", "double": "float64"}.get(element, element))
    if dtype.kind == "f":
        return np.asarray(random.normal(0, scale, shape)).astype(dtype)
    if name in {"sr", "sample_rate"}:
        return np.full(shape, 16000, dtype)
    if "mask" in name.lower() or low:
        return np.ones(shape, dtype)
    if dtype.itemsize == 1:
        return random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, shape).astype(dtype)
    return np.asarray(random.integers(0, limits.get(name, 2), shape)).astype(dtype)


def _index_limits(model: onnx.ModelProto) -> dict[str, int]:
    """For inputs that pick rows of a weight, how many rows there are."""
    rows = {w.name: w.dims[0] for w in model.graph.initializer if w.dims}
    gathers = [node for node in model.graph.node if node.op_type == "Gather"]
    return {node.input[1]: rows[node.input[0]] for node in gathers if node.input[0] in rows}


def _tolerance(path: Path) -> float:
    model = onnx.load(path, load_external_data=False)
    if any("Quantize" in node.op_type or "Integer" in node.op_type for node in model.graph.node):
        return QUANTISED_TOLERANCE
    half = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    infos = [*model.graph.input, *model.graph.output]
    elements = {i.type.tensor_type.elem_type for i in infos}
    elements |= {weight.data_type for weight in model.graph.initializer}
    if elements & half:
        return TOLERANCE["float16"]
    doubles = onnx.TensorProto.DOUBLE in elements and onnx.TensorProto.FLOAT not in elements
    return TOLERANCE["float64" if doubles else "float32"]


def _floors(path: Path) -> dict[str, float]:
    """For outputs between -1 and 1, what they may be off however small they are."""
    model = onnx.load(path, load_external_data=False)
    producers = {name: node for node in model.graph.node for name in node.output}
    floors = {}
    for output in model.graph.output:
        node = producers.get(output.name)
        while node is not None and node.op_type in MOVING:
            node = producers.get(node.input[0])
        if node is not None and node.op_type in BOUNDED:
            floors[output.name] = FLOOR
    return floors


def _infos(model: onnx.ModelProto, field: str) -> list[str]:
    """Names, types and symbols, in order; a type may be missing."""
    return [
        f"{info.name}: {' '.join(str(info.type).split())}" for info in getattr(model.graph, field)
    ]


def _defaults(model: onnx.ModelProto) -> dict[str, bytes]:
    names = {info.name for info in model.graph.input}
    weights = [weight for weight in model.graph.initializer if weight.name in names]
    return {weight.name: onnx.numpy_helper.to_array(weight).tobytes() for weight in weights}


def _opsets(model: onnx.ModelProto) -> dict[str, int]:
    return {o.domain.replace("ai.onnx.ml", "ml").replace("ai.onnx", ""): o.version
            for o in model.opset_import}  # fmt: skip


def _passes_checker(path: Path) -> bool:
    try:
        onnx.checker.check_model(str(path))
    except Exception:
        return False
    return True


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
