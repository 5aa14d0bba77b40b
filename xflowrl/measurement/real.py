"""The `real` objective: the latency of a whole graph, executed in a runtime."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from xflowrl.measurement.estimated import estimated
from xflowrl.measurement.latency import PRECISION, time_graph
from xflowrl.measurement.objective import Objective, Reference
from xflowrl.measurement.op_database import OpCost, OpDatabase, conditions_of, open_database
from xflowrl.measurement.roofline import roofline
from xflowrl.measurement.runtimes import Runtime, open_runtime

if TYPE_CHECKING:
    from xflowrl.onnx_io import Model

_log = logging.getLogger(__name__)

_PROTOCOL = "graph protocol 1"
"""Raise it when the way graphs are timed changes."""

# What executes operators alone, to guide, without compiling each.
_GUIDES: Mapping[str, str] = {"cpu": "onnxruntime_plain", "cuda": "torch"}


def real(
    device: str = "cpu",
    *,
    runtime: str = "onnxruntime",
    threads: int = 1,
    precision: str = "fp32",
    guide: Literal["estimated", "roofline"] = "estimated",
    database: str | None = "default",
    max_ms: float = 300.0,
) -> Objective:
    """A graph costs its latency as a whole in a runtime.

    It is executed until the median is known to within 1%, or for `max_ms`, and kept in the op-cost
    database by the graph's structure. A graph counts as faster only beyond the noise: what the
    original, compiled and timed a second time, differs from itself, and at least 1%. One that the
    runtime refuses is infinitely slow.

    To execute every neighbour of a graph takes too long. So a guide, which prices operators, says
    what a match is expected to change, in proportion; agents try the promising ones first, and
    what they come to is executed.

    Args:
        device: "cpu" or "cuda", this machine's.
        runtime: a name of `RUNTIMES`.
        threads: of the runtime.
        precision: what it computes tensors of single precision in; the guide does not.
        guide: "estimated", operators timed alone where nothing compiles them (`onnxruntime_plain`,
            on CUDA `torch`), or "roofline", which takes no time.
        database: a file; "default" is in the user's cache folder; None keeps times in memory.
        max_ms: limit of timing one graph, milliseconds; compiling it comes on top.

    Raises:
        ValueError: an unknown device or runtime, a limit that is not positive, a database that
            cannot be used.
    """
    executing = open_runtime(
        runtime, device=device, threads=threads, precision=precision, group="measurement"
    )
    if not max_ms > 0:
        raise ValueError(f"measurement.max_ms={max_ms}: give a number above 0")
    if guide == "estimated":
        guiding = estimated(device, runtime=_GUIDES[device], database=database)
    else:
        guiding = roofline()
    conditions = conditions_of(executing, protocol=_PROTOCOL, threads=threads)
    kept = open_database(database, conditions, table="graph_latency")
    return guiding.with_timer(GraphTimer(kept, executing, max_ms=max_ms), executing)


def as_real(guide: Objective) -> Objective:
    """Latencies in the runtime that an objective times operators in, with that as the guide.

    Where it times none they are those of `onnxruntime` on this CPU. Nothing is kept on disk.
    """
    executing = guide.executor or open_runtime("onnxruntime", group="measurement")
    kept = OpDatabase(None, conditions_of(executing, protocol=_PROTOCOL), table="graph_latency")
    return guide.with_timer(GraphTimer(kept, executing), executing)


class GraphTimer:
    """Finds out what whole graphs take: by executing each once, or from what was kept.

    Attributes:
        num_timed: executions so far; what was read from the database is not counted.
    """

    def __init__(self, database: OpDatabase, runtime: Runtime, *, max_ms: float = 300.0) -> None:
        self.num_timed = 0
        self._database = database
        self._runtime = runtime
        self._max_ms = max_ms
        self._keys: dict[tuple[str, int], str] = {}  # by the cheap hash, of where rewrites led
        self._known: dict[str, OpCost | None] = {}  # None: the runtime refuses it
        self._references: dict[str, Reference] = {}

    def latency_ms(self, model: Model) -> float:
        """Of the model's graph; infinite where the runtime refuses it."""
        try:
            cost = self._cost(model)
        except RuntimeError as error:
            _log.warning("%s: %s refuses a graph: %s", model.name, self._runtime.name, error)
            cost = self._known[self._key(model)] = None
        return math.inf if cost is None else cost.median_ms

    def reference(self, model: Model) -> Reference:
        """Of an original: it is executed here and now, whatever is kept of it.

        If that differs from what is kept, so may everything else that is.

        Raises:
            ValueError: the runtime refuses it.
        """
        key = self._key(model)
        if key not in self._references:
            try:
                kept, again = self._cost(model), self._time(model)
            except RuntimeError as error:
                raise ValueError(
                    f"{model.name}: {self._runtime.name} cannot run it ({error}); give another "
                    f"measurement.runtime"
                ) from error
            assert kept is not None, "no original is refused"
            differs_ms = max(
                abs(again.median_ms - kept.median_ms),
                _notch_ms(kept) + _notch_ms(again),
                PRECISION * kept.median_ms,
            )
            self._references[key] = Reference(kept.median_ms, differs_ms)
        return self._references[key]

    def known_reference(self, model: Model) -> Reference | None:
        """The same, if it is known already."""
        return self._references.get(self._key(model))

    def _key(self, model: Model) -> str:
        cheap = (model.graph.hash, model.opset)
        if cheap not in self._keys:
            self._keys[cheap] = _key(model)
        return self._keys[cheap]

    def _cost(self, model: Model) -> OpCost | None:
        key = self._key(model)
        if key not in self._known:
            kept = self._database.get([key])
            self._known[key] = kept.get(key) or self._database.put(key, self._time(model))
        return self._known[key]

    def _time(self, model: Model) -> OpCost:
        self.num_timed += 1
        taken = time_graph(model, self._runtime, max_ms=self._max_ms)
        return OpCost(taken.median_ms, taken.q1_ms, taken.q3_ms, taken.num_repeats)


def _key(model: Model) -> str:
    """The structure, the operator set it is written in and the sizes it is executed at.

    The Merkle hash is that of the outputs as functions of inputs and weights, however rewrites led
    there; which of its parts are computed once for several readers the operators tell.
    """
    signatures = "\n".join(sorted(node.signature.key for node in model.graph.nodes()))
    operators = hashlib.sha256(signatures.encode()).hexdigest()[:32]
    sizes = (f"{name}{list(shape)}" for name, shape in sorted(model.input_shapes().items()))
    return ", ".join([f"{model.graph.merkle_hash}{operators}", f"opset {model.opset}", *sizes])


def _notch_ms(cost: OpCost) -> float:
    """Medians whose notches do not overlap differ, at about 95% (McGill, Tukey, Larsen 1978)."""
    return 1.57 * (cost.q3_ms - cost.q1_ms) / math.sqrt(cost.num_repeats)
