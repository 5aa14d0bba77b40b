"""What a run came to, in the few numbers that runs are compared by."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xflowrl.run_folder import GraphRecord, RunRecord


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of one graph or of several; None is what is not known.

    Attributes:
        cost_initial_ms: the total of all graphs.
        saved: share of the cost that the search saved, the mean over graphs.
        speedup: of what is delivered, as measured: geometric mean; 1 where the original was kept.
        speedup_noise: how far such a ratio of the original to itself is from 1; the largest.
        train_s: seconds of training, which no budget counts.
        optimisation_s: seconds of searching, of all graphs.
        verified: the worst verdict: `different`, `undecided` or `equal`.
    """

    cost_initial_ms: float | None
    cost_best_ms: float | None
    saved: float | None
    speedup: float | None
    speedup_noise: float | None
    train_s: float
    optimisation_s: float
    verified: str

    @classmethod
    def of(cls, record: RunRecord) -> Outcome:
        """Of what `result.json` says."""
        entries = record.results
        costs = [
            (entry.cost_initial_ms, entry.cost_best_ms)
            for entry in entries
            if entry.cost_initial_ms is not None and entry.cost_best_ms is not None
        ]
        is_known = bool(costs) and len(costs) == len(entries)
        saved = [1 - best / initial if initial else 0.0 for initial, best in costs]
        decided = [
            (1.0 if entry.kept_original else real.speedup, real.noise)
            for entry in entries
            for real in entry.real
            if real.decides
        ]
        ratios = [math.log(speedup) for speedup, _ in decided if speedup > 0]
        verdicts = {entry.verified.status for entry in entries}
        order = ("different", "undecided", "equal")
        return cls(
            cost_initial_ms=sum(initial for initial, _ in costs) if is_known else None,
            cost_best_ms=sum(best for _, best in costs) if is_known else None,
            saved=sum(saved) / len(saved) if is_known else None,
            speedup=math.exp(sum(ratios) / len(ratios)) if ratios else None,
            speedup_noise=max((noise for _, noise in decided), default=None),
            train_s=record.train_s,
            optimisation_s=sum(entry.optimisation_s for entry in entries),
            verified=next(status for status in order if status in verdicts or status == "equal"),
        )


def bound_line(entry: GraphRecord) -> str | None:
    """How far a result is from the bound of the e-graph that was explored; None without one."""
    if not entry.bound_ms or entry.cost_best_ms is None:
        return None
    above = f"{entry.cost_best_ms / entry.bound_ms - 1:.2%} above the bound of its e-graph"
    return f"{entry.graph}: {above}, {entry.bound_ms:.4g} ms"
