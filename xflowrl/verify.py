"""Do two models compute the same function? They are saved, and the files are compared.

With their own weights, and with several draws of weights: float parameters are drawn anew under
their names, so both models get the same ones, at a scale that keeps activations near unit size
(see `weights`); what is no parameter keeps its value.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from xflowrl._engine import Graph
from xflowrl.onnx_io import Model, initializers, save_onnx
from xflowrl.proof import CannotRun, Verdict, draw_feeds, prove
from xflowrl.weights import Array, RedrawnWeights

_LARGE_BYTES = 2**29

__all__ = ["Verdict", "prove", "verify", "verify_file"]


def verify(
    original: Model,
    result: Model,
    *,
    draws: int = 3,
    seed: int = 0,
    inputs: Mapping[str, Array] | None = None,
) -> Verdict:
    """Compares two models with the same inputs and outputs. Deterministic in `seed`.

    Of a model that was read from a file that file is compared, at every size the model names.

    Args:
        original: the reference.
        result: what was made of it; its weights are found by the original's names.
        draws: how many draws of weights and inputs.
        seed: of the draws.
        inputs: data to compare on, instead of drawn inputs.

    Raises:
        ValueError: if the inputs or outputs of the two differ in name, order or type, or the
            result cannot be written.
    """
    _check_interfaces(original.graph, result.graph)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result.onnx"
        save_onnx(result, file)
        return verify_file(original, result, file, draws=draws, seed=seed, inputs=inputs)


def verify_file(
    original: Model,
    result: Model,
    file: Path,
    *,
    draws: int = 3,
    seed: int = 0,
    inputs: Mapping[str, Array] | None = None,
    reference: Path | None = None,
    only: tuple[int, int] | None = None,
) -> Verdict:
    """As `verify`; `file` is the result as it was written.

    `reference` is the original's file, if it was written; `only` is as for `prove`.
    """
    graph, source = original.graph, original.source if original.has_own_weights else None
    shapes = [original.input_shapes(number) for number in range(original.num_sizes)]
    # Weights of other names (a folded model read from a file) cannot be drawn alike.
    num_bytes = sum(tensor_type.num_bytes for tensor_type in graph.weights.values())
    is_small = num_bytes < _LARGE_BYTES  # of large ones there is no room for other weights
    is_shared = (
        is_small and bool(graph.weights) and graph.weights.items() >= result.graph.weights.items()
    )
    with tempfile.TemporaryDirectory() as folder:

        def redrawn(seed: int) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
            free = source.free_initializers() if source is not None else None
            weights = RedrawnWeights(original.weights, graph, seed, among=free)
            if source is not None:  # the file computes from them what it computes
                ours = {name: weights.get(name) for name in weights.parameters}
            else:
                ours = initializers(replace(original, weights=weights))
            return ours, initializers(replace(result, weights=weights))

        first = source.path if source is not None else reference
        if first is None:
            first = Path(folder) / "file.onnx"
            save_onnx(original, first)
        verdict = prove(
            *(first, file),
            shapes=shapes,
            draws=draws,
            seed=seed,
            inputs=inputs,
            redrawn=redrawn if is_shared and is_small else None,
            only=only,
        )
    if verdict.equal and inputs is None and only is None:
        # With inner tensors shown a runtime may do otherwise than with the file as it is.
        try:
            draw_feeds(file, shapes[0], seed)
        except CannotRun as error:
            return Verdict("different", float("inf"), float("inf"), f"as it is: {error}")
    return verdict


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
