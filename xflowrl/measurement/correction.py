"""What a runtime makes of operators: factors on their prices, by class, fitted to real latencies.

A sum of operators' times knows nothing of what a runtime fuses, or lays out so that its kernels
are fast. Both are seen from near by: an elementwise operator behind a product is fused into it, a
convolution of narrow groups falls out of ONNX Runtime's blocked layout, a Split is a view to
Inductor. So each class of operators (`CostTable.ms_by_class`), which follows from a node and the
operators of its producers, has a factor for each runtime, and a rewrite's difference of costs stays
local and exact. `corrections.csv` has them; `python -m xflowrl.calibrate.fit` writes it.
"""

from __future__ import annotations

import csv
import functools
from collections import defaultdict
from importlib.resources import files


@functools.cache
def _table() -> dict[tuple[str, str, str], dict[str, float]]:
    """Factors by class for (measurement, runtime, kind of device)."""
    found: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    text = files("xflowrl.measurement").joinpath("corrections.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        key = (row["measurement"], row["runtime"], row["device"])
        found[key][row["class"]] = float(row["factor"])
    return dict(found)


def known_factors(measurement: str, runtime: str, device: str) -> dict[str, float]:
    """What prices of a measurement are multiplied by for a runtime; empty where none is fitted."""
    return dict(_table().get((measurement, runtime, device), {}))


def correction_of(measurement: str, runtime: str | None, device: str) -> dict[str, float]:
    """The factors of the option `measurement.correction`; None is no correction.

    Raises:
        ValueError: there are none for this runtime; the message lists those there are.
    """
    if runtime is None:
        return {}
    factors = known_factors(measurement, runtime, device)
    if not factors:
        known = [r for m, r, d in _table() if (m, d) == (measurement, device)]
        raise ValueError(
            f"measurement.correction={runtime!r}: there is none of {measurement} for it on "
            f"{device}; use one of {', '.join([*known, 'null'])}"
        )
    return factors
