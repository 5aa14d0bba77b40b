"""TASO's own charging, for comparison with its figures; not an honest cost."""

from __future__ import annotations

from xflowrl._engine import CostTable
from xflowrl.measurement.objective import Objective
from xflowrl.measurement.roofline import price_list


def taso(prices: str = "a100_fp32") -> Objective:
    """The roofline formula, except that what TASO prices at zero is free here too.

    Operators on constants alone are charged, as in TASO's search.

    Raises:
        ValueError: no such price list; the message lists the known ones.
    """
    found = price_list(prices)
    table = CostTable.taso(found.flops_per_s, found.bytes_per_s, found.overhead_ms)
    return Objective(table, device=prices)
