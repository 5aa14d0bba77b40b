"""A model: an immutable graph, and where the values of its constants are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from xflowrl._engine import Graph
from xflowrl.weights import Array, Weights

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
        node_names: names of imported nodes by (operator, first output), given back at export.
        custom_opsets: versions of the operator sets that are not ONNX's own, by domain.
        file: the user's file that it was read from.
    """

    graph: Graph
    weights: Weights
    node_names: Mapping[tuple[str, str], str] = field(default_factory=dict)
    custom_opsets: Mapping[str, int] = field(default_factory=dict)
    file: Path | None = None

    @property
    def name(self) -> str:
        return self.graph.name

    def with_graph(self, graph: Graph) -> Model:
        """The same weights and names under a rewritten graph."""
        return replace(self, graph=graph)
