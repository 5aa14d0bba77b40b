"""What a runtime makes of operators: factors on their prices, by class, fitted to real latencies.

A sum of operators' times knows nothing of what a runtime fuses, or lays out so that its kernels
are fast. Both are seen from near by: an elementwise operator behind a product is fused into it, a
convolution of narrow groups falls out of ONNX Runtime's blocked layout, a Split is a view to
Inductor. So each class of operators (`CostTable.ms_by_class`), which follows from a node and the
operators of its producers, has a factor for each runtime, and what a rewrite changes stays local.

`corrections.csv` has the factors; `python -m xflowrl.calibrate.fit` writes it.
"""

from __future__ import annotations

import csv
import functools
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

_PATH = Path(__file__).with_name("corrections.csv")
_COLUMNS = ("prices", "runtime", "device", "class", "factor")

# What corrects prices unless the user says otherwise: where it lowers the error on networks that it
# was not fitted to (docs/results.md).
_DEFAULTS = {("onnxruntime_plain", "cpu"): "onnxruntime"}

Key = tuple[str, str, str]
"""What prices are from ("roofline", or the runtime that operators are timed in), the runtime they
are corrected for, and its kind of device."""


def known_factors(prices: str, runtime: str, device: str) -> dict[str, float]:
    """The factors by class of operators; empty where none are known."""
    return dict(_read().get((prices, runtime, device), {}))


def factors_of(correction: str | None, *, prices: str, device: str) -> dict[str, float]:
    """The factors that the option `measurement.correction` means.

    Args:
        correction: a runtime; "default" is the one that is known to help these prices, if any;
            None is no correction.

    Raises:
        ValueError: none are known for this runtime; the message lists those there are.
    """
    if correction == "default":
        correction = _DEFAULTS.get((prices, device))
    if correction is None:
        return {}
    if not (factors := known_factors(prices, correction, device)):
        known = [r for p, r, d in _read() if (p, d) == (prices, device)]
        raise ValueError(
            f"measurement.correction={correction!r}: prices of {prices} on {device} have no such "
            f"correction; use one of {', '.join([*known, 'default', 'null'])}"
        )
    return factors


def write_factors(key: Key, factors: Mapping[str, float]) -> None:
    """Puts factors in the place of those that `corrections.csv` has for a key."""
    table = {**_read(), key: factors}
    with _PATH.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for about, by_class in sorted(table.items()):
            writer.writerows(
                [*about, name, f"{factor:.3f}"] for name, factor in sorted(by_class.items())
            )
    _read.cache_clear()


@functools.cache
def _read() -> dict[Key, Mapping[str, float]]:
    found: dict[Key, dict[str, float]] = defaultdict(dict)
    with _PATH.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            key = (row["prices"], row["runtime"], row["device"])
            found[key][row["class"]] = float(row["factor"])
    return dict(found)
