"""`python -m xflowrl.calibrate.fit CSV...`: factors by class of operators, from real latencies.

All it reads are tables of `python -m xflowrl.calibrate`, on any machine. It prints what the factors
are worth on networks that they were not fitted to, each left out in turn; `--write` puts those of
all networks into the package (`xflowrl/measurement/corrections.csv`).
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from xflowrl.calibrate.report import accuracy_line, accuracy_title
from xflowrl.calibrate.statistics import accuracy, ceiling, estimates
from xflowrl.calibrate.table import Latencies, Row, by_network, read_rows
from xflowrl.measurement.correction import Key, write_factors

_RIDGE = 0.03
_ACTIVATIONS = ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "Clip", "HardSwish")

# What the runtimes' own documentation says of a class, where data should begin: ONNX Runtime fuses
# an activation into the convolution or product before it and folds batch normalisations, and to
# Inductor a Split, Slice or Transpose is a view.
_DOCUMENTED: dict[str, dict[str, float]] = {
    "onnxruntime": {f"{name}:after_product": 0.0 for name in (*_ACTIVATIONS, "BatchNormalization")},
    "torch_compile": dict.fromkeys(("Split", "Slice", "Transpose"), 0.0),
}


def fit_factors(rows: Sequence[Row], *, ridge: float = _RIDGE) -> dict[str, float]:
    """The factors of the classes among the rows: least squares, none negative.

    Errors are relative, and every network counts alike. A class is drawn towards what is
    documented of the rows' runtime, else towards 1, as hard as an error of `ridge` times its
    deviation from that would: one of which graphs have little learns little.
    """
    names = sorted({name for row in rows for name in row.classes})
    documented = _DOCUMENTED.get(rows[0].runtime, {})
    expected = np.array([documented.get(name, 1.0) for name in names])
    blocks = []
    for network in by_network(rows).values():
        real_ms = Latencies.of(network).mean
        ms = np.array([[row.classes.get(name, 0.0) for name in names] for row in network])
        blocks.append(ms / (real_ms[:, None] * np.sqrt(len(network))))
    shares = np.vstack(blocks)
    wanted = np.concatenate([np.full(len(block), len(block) ** -0.5) for block in blocks])
    matrix = np.vstack([shares, ridge * np.eye(len(names))])
    factors = _nonnegative(matrix, np.concatenate([wanted, ridge * expected]))
    return dict(zip(names, factors.tolist(), strict=True))


def _nonnegative(matrix: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Minimises |matrix x - wanted| over x >= 0, one entry after the other; columns are not 0.

    The problem is strictly convex, so that this converges (Luo and Tseng 1992).
    """
    x = np.zeros(matrix.shape[1])
    residual, squares = wanted.copy(), (matrix**2).sum(axis=0)
    for _ in range(100_000):
        before = x.copy()
        for k, column in enumerate(matrix.T):
            step = max(-x[k], float(column @ residual) / squares[k])
            x[k] += step
            residual -= step * column
        if np.abs(x - before).max() < 1e-6:
            break
    return x


def left_out(rows: Sequence[Row], unfit: Collection[str] = ()) -> dict[str, dict[str, float]]:
    """For each network the factors that the others give, those of `unfit` not among them."""
    factors = {}
    for name in by_network(rows):
        others = [row for row in rows if row.network not in (name, *unfit)]
        factors[name] = fit_factors(others) if others else {}
    return factors


def _report(rows: Sequence[Row], factors: dict[str, float], unfit: Collection[str]) -> str:
    lines, others = [accuracy_title(20)], left_out(rows, unfit)
    for name, network in by_network(rows).items():
        latencies = Latencies.of(network)
        lines.append(f"{name}, {len(network)} graphs")
        for way, used in (
            ("uncorrected", {}),
            ("fitted to others", others[name]),
            ("as written", factors),
        ):
            found = accuracy(estimates(network, used), latencies)
            lines.append(accuracy_line(f"  {way}", found, ceiling(latencies), 20))
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Fits once for each (prices, runtime, device) of the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m xflowrl.calibrate.fit",
        description="Factors by class of operators, from tables of python -m xflowrl.calibrate.",
    )
    parser.add_argument("tables", nargs="+", type=Path, metavar="CSV")
    parser.add_argument(
        "--leave-out", default="", metavar="NAMES", help="networks that are reported, not fitted to"
    )
    parser.add_argument("--write", action="store_true", help="into the package's corrections.csv")
    parsed = parser.parse_args(arguments)
    groups: dict[Key, list[Row]] = defaultdict(list)
    try:
        for path in parsed.tables:
            for row in read_rows(path):
                groups[row.prices, row.runtime, row.kind].append(row)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    unfit = parsed.leave_out.split(",")
    for key, rows in groups.items():
        factors = fit_factors([row for row in rows if row.network not in unfit])
        print("{}, corrected for {} on {}".format(*key))
        print(_report(rows, factors, unfit))
        print(" ".join(f"{name}={factor:.2f}" for name, factor in factors.items()), end="\n\n")
        if parsed.write:
            write_factors(key, factors)


if __name__ == "__main__":
    main(sys.argv[1:])
