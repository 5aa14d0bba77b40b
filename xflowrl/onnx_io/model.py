"""A model: an immutable graph, and where the values of its constants are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xflowrl._engine import Graph
from xflowrl.weights import Array, Weights

if TYPE_CHECKING:
    from xflowrl.onnx_io.source import Source

__all__ = ["Array", "Model", "StoredWeights", "Weights"]


class StoredWeights:
    """Constants of a model file: arrays, or functions that read or compute one on demand.

    It can be pickled as far as the functions can; those of `load_onnx` can: external data are
    mapped again, from the same file, where the copy is used.
    """

    def __init__(self, sources: Mapping[str, Array | Callable[[], Array]]) -> None:
        self._sources = dict(sources)

    def get(self, name: str) -> Array:
        if name not in self._sources:
            raise ValueError(f'weight "{name}" is not in the model; use a name of graph.weights')
        source = self._sources[name]
        return source() if callable(source) else source


@dataclass(frozen=True)
class Model:
    """A graph beside its weights.

    Attributes:
        graph: what the rewrites change.
        weights: values of `graph.weights`, found by name; shared by every rewritten graph.
        source: the file it was read from, which results are written back into.
    """

    graph: Graph
    weights: Weights
    source: Source | None = None

    @property
    def name(self) -> str:
        return self.graph.name

    @property
    def opset(self) -> int:
        """The opset that results are written in."""
        return self.source.opset if self.source is not None else 18

    @property
    def file(self) -> Path | None:
        """The user's file; None for a model with other weights than its file."""
        return self.source.path if self.source is not None and self.has_own_weights else None

    @property
    def outputs(self) -> list[str]:
        """Public names of the outputs."""
        names: list[str] = self.graph.outputs
        return names[: self.source.outputs] if self.source is not None else names

    @property
    def has_own_weights(self) -> bool:
        """Whether the weights are those of the file."""
        return isinstance(self.weights, StoredWeights)

    @property
    def num_sizes(self) -> int:
        """How many numbers `input_shapes` takes."""
        return 1 + len(self.source.bindings.further) if self.source is not None else 1

    def input_shapes(self, number: int = 0) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs: 0, at which the costs are taken; from 1 on, further ones."""
        if self.source is not None:
            return self.source.input_shapes(number)
        return {name: self.graph.tensor_type(name).shape for name in self.graph.inputs}

    def with_graph(self, graph: Graph) -> Model:
        """The same weights and file under a rewritten graph."""
        return replace(self, graph=graph)
