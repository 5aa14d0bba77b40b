"""TASO's own search with TASO's own rules, costs and hash ends where TASO's ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xflowrl._engine import BacktrackingSearch
from xflowrl.graphs import bert, resnet, squeezenet
from xflowrl.taso.prices import taso
from xflowrl.taso.rules import load_taso

# shared/taso/README.md, "TASO's own search, measured": alpha 1.0, budget 1000, five digits.
MEASURED: dict[str, tuple[Callable[[], Any], float, float]] = {
    "squeezenet": (squeezenet.squeezenet, 0.38349, 0.21067),
    "resnet18": (resnet.resnet18, 0.56569, 0.45287),
    "bert": (bert.build_graph_bert, 0.47368, 0.35368),
}


@pytest.mark.parametrize("name", MEASURED)
def test_tasos_best_cost(shared_dir: Path, name: str) -> None:
    build, initial_ms, best_ms = MEASURED[name]
    rules = load_taso(str(shared_dir / "taso" / "graph_subst.pb"), faithful=True)
    state = taso().state(build().graph, rules, taso_hash=True)
    assert state.cost.ms == pytest.approx(initial_ms, abs=5e-6)  # its digits
    search = BacktrackingSearch(state, alpha=1.0, hash="taso")
    search.run(iterations=1001)
    assert search.best_cost_ms == pytest.approx(best_ms, abs=5e-6)
