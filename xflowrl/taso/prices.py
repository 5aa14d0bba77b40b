"""What TASO thinks that graphs cost."""

from __future__ import annotations

from xflowrl._engine import CostTable
from xflowrl.measurement.analytic import price_list
from xflowrl.measurement.cost_model import CostModel


def taso(device: str = "a100_fp32") -> CostModel:
    """TASO's own charging, for comparison with its figures; not an honest cost.

    The roofline formula, except that what TASO prices at zero is free here too, and operators
    on constants alone are charged, as in TASO's search.

    Raises:
        ValueError: unknown device; the message lists the known ones.
    """
    return price_list("taso", CostTable.taso, device)
