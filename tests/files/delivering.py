"""The one way in which these tests have a file optimised."""

from __future__ import annotations

from pathlib import Path


def deliver(path: Path, out: Path, *, agent: str = "greedy", seed: int = 0) -> None:
    """Optimises `path` into `out` without timing anything. Deterministic in `seed`.

    Raises:
        ValueError: it is refused.
    """
    import xflowrl

    if hasattr(xflowrl, "optimize_file"):
        settings = {"measurement": "roofline", "judge.measure": False}
        xflowrl.optimize_file(path, out, agent=agent, seconds=5, settings=settings, seed=seed)
        return
    from xflowrl.onnx_io import save_onnx

    result = xflowrl.optimize(path, agent, measurement="roofline", seed=seed)
    save_onnx(result.model, out)
