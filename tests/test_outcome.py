"""The numbers that runs are compared by."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from xflowrl.outcome import Outcome, bound_line
from xflowrl.run_folder import GraphRecord, Quartiles, Real, RunRecord, read_result

SCHEMA_1 = Path(__file__).parent / "run_folder_schema_1"


def measured(speedup: float, noise: float, *, decides: bool = True) -> Real:
    time = Quartiles(median=1.0, q1=1.0, q3=1.0)
    where = {"device": "cpu", "runtime": "onnxruntime", "decides": decides}
    return Real(initial_ms=time, best_ms=time, speedup=speedup, noise=noise, **where)


def entry(initial_ms: float | None, best_ms: float | None, *real: Real) -> GraphRecord:
    (entry,) = read_result(SCHEMA_1).results
    return replace(
        entry, cost_initial_ms=initial_ms, cost_best_ms=best_ms, real=real, optimisation_s=2.0
    )


def record(*entries: GraphRecord) -> RunRecord:
    return replace(read_result(SCHEMA_1), results=entries, train_s=7.0)


def test_of_several_graphs_it_is_total_mean_and_worst() -> None:
    first = entry(4.0, 2.0, measured(2.0, 0.01), measured(9.0, 0.5, decides=False))
    outcome = Outcome.of(record(first, entry(10.0, 10.0, measured(0.5, 0.03))))
    assert (outcome.cost_initial_ms, outcome.cost_best_ms) == (14.0, 12.0)
    assert outcome.saved == 0.25
    assert outcome.speedup == pytest.approx(1.0)  # the geometric mean of 2 and a half
    assert (outcome.speedup_noise, outcome.train_s, outcome.optimisation_s) == (0.03, 7.0, 4.0)


def test_a_kept_original_is_as_fast_as_itself() -> None:
    kept = replace(entry(4.0, 2.0, measured(0.9, 0.01)), kept_original=True)
    assert Outcome.of(record(kept)).speedup == 1.0
    assert math.isclose(Outcome.of(record(entry(4.0, 2.0, measured(0.9, 0.01)))).speedup or 0, 0.9)


def test_what_is_not_known_is_none() -> None:
    outcome = Outcome.of(record(entry(None, None), entry(4.0, 2.0)))
    assert (outcome.cost_initial_ms, outcome.cost_best_ms, outcome.saved) == (None, None, None)
    assert (outcome.speedup, outcome.speedup_noise) == (None, None)


@pytest.mark.parametrize(
    ("statuses", "worst"),
    [
        (("equal", "equal"), "equal"),
        (("equal", "undecided"), "undecided"),
        (("undecided", "different"), "different"),
    ],
)
def test_the_worst_verdict_counts(statuses: tuple[str, str], worst: str) -> None:
    one = entry(4.0, 2.0)
    entries = [replace(one, verified=replace(one.verified, status=status)) for status in statuses]  # type: ignore[arg-type]
    assert Outcome.of(record(*entries)).verified == worst


def test_the_bound_is_a_line_of_its_own() -> None:
    bounded = replace(entry(4.0, 2.1), graph="net", bound_ms=2.0)
    assert bound_line(bounded) == "net: 5.00% above the bound of its e-graph, 2 ms"
    assert bound_line(entry(4.0, 2.1)) is None
