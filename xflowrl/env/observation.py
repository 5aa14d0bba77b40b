"""What an agent sees: a graph and its matches, as flat arrays of any length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from xflowrl._engine import State

Observation = Mapping[str, np.ndarray]
"""Arrays by name; see `OBSERVATION_COLUMNS`."""

# Name -> (dtype, columns after the first axis). N nodes and graph inputs, E edges, M matches.
OBSERVATION_COLUMNS: dict[str, tuple[str, tuple[int, ...]]] = {
    "node_op": ("int32", ()),  # [N] index into `operator_names()`; one past its end: unknown
    "node_flops": ("float64", ()),
    "node_bytes": ("float64", ()),
    "node_cost_ms": ("float64", ()),
    "node_num_constants": ("int32", ()),  # operands that are constants: no nodes of their own
    "node_activation": ("int32", ()),  # index into `activation_names()`
    "node_is_output": ("uint8", ()),
    "node_shape": ("int64", (4,)),  # of the first output, right-aligned, padded with 1
    "edge_src": ("int32", ()),  # [E] rows of nodes
    "edge_dst": ("int32", ()),
    "edge_operand": ("int32", ()),  # position among the consumer's operands
    "edge_shape": ("int64", (4,)),  # of the tensor that flows
    "match_rule": ("int32", ()),  # [M] index into the rule set
    "match_cost_ms": ("float64", ()),  # differences that taking the match makes
    "match_size": ("int32", ()),
    "match_flops": ("float64", ()),
    "match_bytes": ("float64", ()),
    "match_kernels": ("int32", ()),
    "match_node_ptr": ("int32", ()),  # [M + 1] match m has match_node[ptr[m]:ptr[m + 1]]
    "match_node": ("int32", ()),  # rows of matched nodes
    "graph": ("float64", ()),  # [4] see GRAPH_COLUMNS
}

GRAPH_COLUMNS = ("cost_ms", "initial_cost_ms", "num_nodes", "initial_num_nodes")

_PER_MATCH = (
    *("match_rule", "match_cost_ms", "match_size"),
    *("match_flops", "match_bytes", "match_kernels"),
)


class Rows(spaces.Space[np.ndarray]):
    """Arrays of one dtype with any number of rows, each of a fixed shape."""

    def __init__(self, dtype: str, columns: tuple[int, ...] = (), seed: int | None = None) -> None:
        super().__init__(None, np.dtype(dtype), seed)
        self.columns = columns

    @property
    def is_np_flattenable(self) -> bool:
        """Never: the number of rows differs."""
        return False

    def contains(self, x: Any) -> bool:
        """Whether dtype and row shape are right."""
        return isinstance(x, np.ndarray) and x.dtype == self.dtype and x.shape[1:] == self.columns

    def sample(self, mask: Any | None = None, probability: Any | None = None) -> np.ndarray:
        """Up to seven rows of zeros and ones; no graph need belong to them."""
        num_rows = int(self.np_random.integers(8))
        rows: np.ndarray = self.np_random.integers(2, size=(num_rows, *self.columns))
        return rows.astype(self.dtype)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) and (other.dtype, other.columns) == (
            self.dtype,
            self.columns,
        )

    def __repr__(self) -> str:
        return f"Rows({self.dtype}, {self.columns})"


def observation_space() -> spaces.Dict:
    """The space of observations; what belongs to one graph only `RewriteEnv` knows."""
    return spaces.Dict({name: Rows(*column) for name, column in OBSERVATION_COLUMNS.items()})


@dataclass(frozen=True)
class Position:
    """Where an episode is: a state, and the state it began with, by which costs are scaled.

    What a rollout keeps instead of feature tensors: states share structure, and observing one
    again takes microseconds.
    """

    state: State
    initial: State


def observe(position: Position) -> dict[str, np.ndarray]:
    """The observation at a position; all costs of matches must be known. Deterministic."""
    state, initial = position.state, position.initial
    arrays = state.observe()
    arrays["graph"] = np.array(
        [state.cost.ms, initial.cost.ms, state.num_nodes, initial.num_nodes], np.float64
    )
    return arrays


def keep_matches(observation: Observation, kept: np.ndarray) -> dict[str, np.ndarray]:
    """The observation with some of its matches.

    Args:
        kept: i64[K] indices of the matches to keep, ascending.
    """
    ptr = observation["match_node_ptr"]
    lengths = np.diff(ptr)[kept]
    chosen = np.zeros(len(ptr) - 1, bool)
    chosen[kept] = True
    arrays = dict(observation)
    arrays |= {name: observation[name][kept] for name in _PER_MATCH}
    arrays["match_node"] = observation["match_node"][np.repeat(chosen, np.diff(ptr))]
    arrays["match_node_ptr"] = np.concatenate([[0], np.cumsum(lengths)]).astype(ptr.dtype)
    return arrays
