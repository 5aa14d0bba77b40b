"""Do two models compute the same function? They are saved, and the files are compared.

With their own weights, and with several draws of weights: float parameters are drawn anew under
their names, so both models get the same ones, at a scale that keeps activations near unit size
(see `weights`); what is no parameter keeps its value.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from xflowrl._engine import Graph
from xflowrl.onnx_io import Model, save_onnx
from xflowrl.proof import Verdict, prove
from xflowrl.weights import RedrawnWeights

__all__ = ["Verdict", "prove", "verify"]


def verify(original: Model, result: Model, *, draws: int = 3, seed: int = 0) -> Verdict:
    """Compares two models with the same inputs and outputs. Deterministic in `seed`.

    Args:
        original: the reference.
        result: what was made of it; its weights are found by the original's names.
        draws: how many draws of weights and inputs.
        seed: of the draws.

    Raises:
        ValueError: if the inputs or outputs of the two differ in name, order or type.
    """
    _check_interfaces(original.graph, result.graph)
    graph = original.graph
    shapes = {name: graph.tensor_type(name).shape for name in graph.inputs}
    # Weights of other names (a folded model read from a file) cannot be drawn alike.
    is_shared = graph.weights.items() >= result.graph.weights.items()
    with tempfile.TemporaryDirectory() as folder:

        def saved(original: Model, result: Model) -> tuple[Path, Path]:
            files = Path(folder) / "original.onnx", Path(folder) / "result.onnx"
            save_onnx(original, files[0])
            save_onnx(result, files[1])
            return files

        def redrawn(seed: int) -> tuple[Path, Path]:
            weights = RedrawnWeights(original.weights, graph, seed)
            return saved(replace(original, weights=weights), replace(result, weights=weights))

        files = saved(original, result)
        is_drawn = is_shared and bool(graph.weights)
        return prove(
            *files, shapes=[shapes], draws=draws, seed=seed, redrawn=redrawn if is_drawn else None
        )


def _check_interfaces(original: Graph, result: Graph) -> None:
    for kind in ("inputs", "outputs"):
        ours, theirs = getattr(original, kind), getattr(result, kind)
        if ours != theirs:
            raise ValueError(f"the {kind} of the result are {theirs}; the original has {ours}")
    pairs = [(n, n) for n in original.inputs]
    pairs += list(zip(original.output_tensors, result.output_tensors, strict=True))
    for ours, theirs in pairs:
        if original.tensor_type(ours) != result.tensor_type(theirs):
            raise ValueError(
                f'tensor "{theirs}" of the result is {result.tensor_type(theirs)}; '
                f"the original has {original.tensor_type(ours)}"
            )
