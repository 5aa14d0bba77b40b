"""Prices from the op-cost database alone, for a device that is not here."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from xflowrl._engine import OpSignature
from xflowrl.measurement.op_database import Conditions, OpDatabase, list_kept

_log = logging.getLogger(__name__)

_MAX_SHOWN = 120  # characters of an operator's signature


class KeptCosts:
    """Prices operators as they were timed elsewhere, and times nothing.

    Raises:
        ValueError: from `price_ms`, for an operator that was not timed there; one line says what
            to do.
    """

    num_timed = 0

    def __init__(self, database: OpDatabase) -> None:
        self._database = database

    def price_ms(self, signatures: Sequence[OpSignature]) -> list[float]:
        """Milliseconds, one for each signature, in order."""
        keys = [signature.key for signature in signatures]
        known = self._database.get(keys)
        missing = next((key for key in keys if key not in known), None)
        if missing is not None:
            about = self._database.conditions
            shown = missing if len(missing) <= _MAX_SHOWN else f"{missing[:_MAX_SHOWN]}..."
            raise ValueError(
                f"operator {shown} has no cost on {about.device} in {about.runtime}, and that "
                f"device is not here: run the same command where it is, take its costs with `python"
                f" -m xflowrl.costs export FILE` and add them with `python -m xflowrl.costs import "
                f"FILE`"
            )
        return [known[key].median_ms for key in keys]


def conditions_kept(
    path: Path, device: str, runtime: str, *, threads: int, precision: str, protocol: str
) -> Conditions:
    """Under which conditions a database has costs of operators on a device; the latest if several.

    Args:
        protocol: what versions end with, for costs are comparable only if timed alike.

    Raises:
        ValueError: it has none; the message says of which devices it has.
    """
    everything = [entry for entry in list_kept(path) if entry.num_operators]
    wanted = {"device": device, "runtime": runtime, "threads": threads, "precision": precision}
    found = [
        entry
        for entry in everything
        if wanted.items() <= entry.conditions.items()
        and str(entry.conditions["version"]).endswith(protocol)
    ]
    if not found:
        known = sorted(
            {f"{e.conditions['device']} in {e.conditions['runtime']}" for e in everything}
        )
        raise ValueError(
            f"measurement.device={device!r}: give cpu or cuda, which are this machine's, or a "
            f"device whose costs in {runtime} are kept (threads={threads}, "
            f"precision={precision}); {path} has those of "
            f"{', '.join(known) or 'none'}, and `python -m xflowrl.costs import FILE` adds more"
        )
    latest = max(found, key=lambda entry: (entry.last, entry.num_operators))
    if len(found) > 1:
        _log.info("%s: of %d sets of costs the latest is used: %s", device, len(found), latest)
    return Conditions(**{f.name: latest.conditions[f.name] for f in fields(Conditions)})  # type: ignore[arg-type]
