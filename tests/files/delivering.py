"""The one way in which these tests have a file optimised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xflowrl


def deliver(
    path: Path,
    out: Path,
    *,
    agent: str = "greedy",
    seed: int = 0,
    max_iterations: int | None = None,
) -> None:
    """Optimises `path` into `out` without timing anything. Deterministic in `seed`.

    Args:
        max_iterations: of the search; else it has a share of the seconds.

    Raises:
        ValueError: it is refused.
    """
    settings: dict[str, Any] = {"measurement": "roofline", "judge.measure": False}
    if max_iterations is not None:
        settings["budget.max_iterations"] = max_iterations
    xflowrl.optimize_file(path, out, agent=agent, seconds=5, settings=settings, seed=seed)
