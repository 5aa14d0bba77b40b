"""The `estimated` objective: the sum of every operator's time, measured alone in a runtime."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence

from xflowrl._engine import CostTable, GraphBuilder, OpSignature, TensorType
from xflowrl.measurement.correction import factors_of
from xflowrl.measurement.kept_costs import KeptCosts, conditions_kept
from xflowrl.measurement.objective import Objective
from xflowrl.measurement.op_database import (
    OpCost,
    OpDatabase,
    conditions_of,
    database_path,
    open_database,
)
from xflowrl.measurement.operator_timing import (
    NotExecutable,
    overhead_ms,
    plain_form,
    time_beside,
    time_operator,
)
from xflowrl.measurement.runtimes import Runtime, open_runtime

_log = logging.getLogger(__name__)

_PROTOCOL = "protocol 3"
"""Raise it when the way operators are timed changes: costs kept under another are not used."""

_HERE = ("cpu", "cuda")
"""What this machine's devices are called; any other name is that of one elsewhere."""

_MAX_PAIRED_BYTES = 2**25
"""Operators with more constants are timed alone: compiling four would take seconds."""


def estimated(
    device: str = "cpu",
    *,
    runtime: str = "onnxruntime_plain",
    threads: int = 1,
    precision: str = "fp32",
    correction: str | None = "default",
    database: str | None = "default",
    max_ms_per_op: float = 50.0,
) -> Objective:
    """A graph costs the sum of its operators' times, each measured alone.

    Operators are timed in the runtime, fused ones by its fused kernels, and kept in the op-cost
    database; source of the idea: Jia et al. 2019, TASO, section 5. An operator with bias or
    activation is timed beside the same one without: its cost is the plain one's and what they
    significantly add. An operator that cannot be executed alone is priced by its flops and bytes
    at the rates measured for a matrix product and an addition, which the log and the database say.
    What lies within the overhead of executing costs a tick of the clock, `cost_file.LEAST_MS`, for
    no time that is kept is 0.

    Args:
        device: "cpu", this machine's; or the full name of a device elsewhere whose costs the
            database has, as `python -m xflowrl.costs list` shows it. Nothing is timed then, and
            the runtime need not be installed.
        runtime: a name of `RUNTIMES`.
        threads: of the runtime.
        precision: what it computes tensors of single precision in.
        correction: the runtime that times are corrected for; "default" and None as for
            `factors_of`.
        database: a file; "default" is in the user's cache folder; None keeps costs in memory.
        max_ms_per_op: limit of timing one operator, milliseconds.

    Raises:
        ValueError: an unknown device, runtime or correction, a limit that is not positive, a
            database that cannot be used.
    """
    if not max_ms_per_op > 0:
        raise ValueError(f"measurement.max_ms_per_op={max_ms_per_op}: give a number above 0")
    if device not in _HERE and database is not None:
        conditions = conditions_kept(
            database_path(database),
            device,
            runtime,
            threads=threads,
            precision=precision,
            protocol=_PROTOCOL,
        )
        return _as_kept(OpDatabase(database_path(database), conditions), correction)
    executing = open_runtime(
        runtime, device=device, threads=threads, precision=precision, group="measurement"
    )
    conditions = conditions_of(executing, protocol=_PROTOCOL, threads=threads)
    costs = open_database(database, conditions)
    return Objective(
        CostTable.measured(factors_of(correction, prices=runtime, device=device)),
        device=executing.device,
        runtime=executing.name,
        pricer=OperatorTimer(costs, executing, max_ms_per_op=max_ms_per_op),
        lock=executing.lock,
        executor=executing,
    )


def _as_kept(database: OpDatabase, correction: str | None) -> Objective:
    """The costs of a device elsewhere, as they are kept."""
    about = database.conditions
    kind = "cuda" if about.driver else "cpu"
    return Objective(
        CostTable.measured(factors_of(correction, prices=about.runtime, device=kind)),
        device=about.device,
        runtime=about.runtime,
        pricer=KeptCosts(database),
    )


class OperatorTimer:
    """Prices operators from a database, timing those that it lacks.

    Attributes:
        num_timed: operators timed so far.
    """

    def __init__(self, database: OpDatabase, runtime: Runtime, *, max_ms_per_op: float) -> None:
        self.num_timed = 0
        self._database = database
        self._runtime = runtime
        self._max_ms = max_ms_per_op

    def price_ms(self, signatures: Sequence[OpSignature]) -> list[float]:
        """Milliseconds, one for each signature, in order; missing ones are timed in one batch."""
        keys = [signature.key for signature in signatures]
        known = self._database.get(keys)
        if any(key not in known for key in keys):
            with self._runtime.lock.exclusive():
                known |= self._database.get(keys)  # another run may have timed them meanwhile
                for signature, key in zip(signatures, keys, strict=True):
                    if key not in known:
                        known[key] = self._database.put(key, self._cost(signature))
            self._runtime.release()
        return [known[key].median_ms for key in keys]

    def _cost(self, signature: OpSignature) -> OpCost:
        try:
            plain = plain_form(signature)
            if plain is None or _constant_bytes(signature) > _MAX_PAIRED_BYTES:
                return self._time(signature)
            return self._time_beside(plain, signature)
        except NotExecutable as error:
            cost_ms = self._estimate_ms(signature)
            _log.warning(
                "operator %s cannot be timed alone, priced %.4f ms by its flops and bytes: %s",
                signature.op_type,
                cost_ms,
                error,
            )
            return OpCost(cost_ms, cost_ms, cost_ms, 0, "estimate")

    def _time(self, signature: OpSignature) -> OpCost:
        measured = time_operator(
            signature,
            self._runtime,
            max_ms=self._max_ms,
            overhead_ms=overhead_ms(self._runtime),
        )
        self.num_timed += 1
        return OpCost(measured.median_ms, measured.q1_ms, measured.q3_ms, measured.num_repeats)

    def _time_beside(self, plain: OpSignature, signature: OpSignature) -> OpCost:
        """The plain operator's cost and what bias and activation add to it.

        An operator of which the limit allows only a few executions is timed alone.
        """
        base = self._timed_cost(plain)
        num_affordable = self._max_ms / base.median_ms
        if num_affordable < 6:
            return self._time(signature)
        extra_ms, num_rounds = time_beside(
            plain,
            signature,
            self._runtime,
            num_runs=2 if num_affordable >= 20 else 1,
            max_ms=self._max_ms,
        )
        self.num_timed += 1
        return OpCost(
            base.median_ms + extra_ms, base.q1_ms + extra_ms, base.q3_ms + extra_ms, num_rounds
        )

    def _timed_cost(self, signature: OpSignature) -> OpCost:
        """The cost kept of an operator, timed if there is none."""
        key = signature.key
        known = self._database.get([key])
        return known[key] if key in known else self._database.put(key, self._time(signature))

    def _estimate_ms(self, signature: OpSignature) -> float:
        """What the smallest operator takes, and flops or bytes at the rates of larger ones."""
        product, addition, smallest = _reference_operators()
        flops_per_ms = product.flops / self._timed_cost(product).median_ms
        bytes_per_ms = addition.bytes / self._timed_cost(addition).median_ms
        return self._timed_cost(smallest).median_ms + max(
            signature.flops / flops_per_ms, signature.bytes / bytes_per_ms
        )


def _constant_bytes(signature: OpSignature) -> int:
    operands = zip(signature.input_types, signature.input_is_constant, strict=True)
    return sum(operand.num_bytes for operand, constant in operands if operand and constant)


@functools.cache
def _reference_operators() -> tuple[OpSignature, OpSignature, OpSignature]:
    """A matrix product of ordinary size, an addition larger than most caches, a single number."""
    builder = GraphBuilder("reference")
    square, large = TensorType("float32", [256, 256]), TensorType("float32", [4_194_304])
    number = TensorType("float32", [1])
    for name, operand in (("a", square), ("b", square), ("c", large), ("d", large), ("e", number)):
        builder.add_input(name, operand)
    builder.add_node("MatMul", ["a", "b"], ["product"])
    builder.add_node("Add", ["c", "d"], ["sum"])
    builder.add_node("Relu", ["e"], ["kept"])
    builder.set_outputs(["product", "sum", "kept"])
    product, addition, smallest = (node.signature for node in builder.build().nodes())
    return product, addition, smallest
