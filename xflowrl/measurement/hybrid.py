"""The `hybrid` objective: searched with prices, decided by a few real measurements."""

from __future__ import annotations

from typing import Literal

from xflowrl.measurement.estimated import estimated
from xflowrl.measurement.objective import Objective
from xflowrl.measurement.roofline import roofline


def hybrid(
    device: str = "cpu",
    *,
    guide: Literal["estimated", "roofline"] = "estimated",
    num_real: int = 4,
    runtime: str = "onnxruntime_plain",
    threads: int = 1,
    precision: str = "fp32",
    database: str | None = "default",
    max_ms_per_op: float = 50.0,
    prices: str = "a100_fp32",
    correction: str | None = "default",
) -> Objective:
    """A graph costs what the guide says; the best, diverse few are then raced as deployed.

    Args:
        device: of the guide `estimated`, as are `runtime`, `threads`, `precision`, `database` and
            `max_ms_per_op`.
        guide: the objective that the search goes by.
        num_real: so many states race for real against the user's file, at most.
        prices: of the guide `roofline`.
        correction: of either guide, as for `factors_of`.

    Raises:
        ValueError: as the guide; `num_real` below 1.
    """
    if num_real < 1:
        raise ValueError(f"measurement.num_real is {num_real}: give at least 1")
    if guide == "roofline":
        objective = roofline(prices, correction=correction)
    else:
        objective = estimated(
            device,
            runtime=runtime,
            threads=threads,
            precision=precision,
            correction=correction,
            database=database,
            max_ms_per_op=max_ms_per_op,
        )
    objective.num_real = num_real
    return objective
