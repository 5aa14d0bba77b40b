"""
The native engine: graphs, rules, matching, costs and the inner loops of search.
"""

from collections.abc import Sequence
from typing import Any, overload

import numpy


class TensorType:
    """Element type and static shape of a tensor; no data."""

    def __init__(self, dtype: str, shape: Sequence[int]) -> None: ...

    def __copy__(self) -> object: ...

    def __deepcopy__(self, memo: object) -> object: ...

    @property
    def dtype(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def num_elements(self) -> int: ...

    @property
    def num_bytes(self) -> int: ...

    @overload
    def __eq__(self, arg: TensorType, /) -> bool: ...

    @overload
    def __eq__(self, arg: object, /) -> bool: ...

    def __hash__(self) -> int: ...

    def __repr__(self) -> str: ...

    def __reduce__(self) -> tuple: ...

class OpSignature:
    """The key under which the cost of an operator is kept."""

    def __copy__(self) -> object: ...

    def __deepcopy__(self, memo: object) -> object: ...

    @property
    def op_type(self) -> str: ...

    @property
    def domain(self) -> str: ...

    @property
    def attributes(self) -> dict: ...

    @property
    def is_opaque(self) -> bool: ...

    @property
    def input_types(self) -> list[TensorType | None]: ...

    @property
    def input_is_constant(self) -> list[bool]: ...

    @property
    def output_types(self) -> list[TensorType]: ...

    @property
    def flops(self) -> float: ...

    @property
    def bytes(self) -> float: ...

    @property
    def key(self) -> str:
        """Canonical text, equal in every process."""

    def __repr__(self) -> str: ...

class Node:
    """A read-only view of one operator of a graph."""

    def __copy__(self) -> object: ...

    def __deepcopy__(self, memo: object) -> object: ...

    @property
    def id(self) -> int:
        """Slot in the graph."""

    @property
    def op_type(self) -> str: ...

    @property
    def domain(self) -> str: ...

    @property
    def inputs(self) -> list[str]:
        """Tensor names; "" is an omitted optional operand."""

    @property
    def outputs(self) -> list[str]: ...

    @property
    def input_types(self) -> list[TensorType | None]: ...

    @property
    def output_types(self) -> list[TensorType]: ...

    @property
    def attributes(self) -> dict: ...

    @property
    def is_constant(self) -> bool:
        """Depends on constants alone: costs nothing and is folded at export."""

    @property
    def is_opaque(self) -> bool:
        """Not in canonical form: kept and priced, matched by no rule."""

    @property
    def value_ids(self) -> list[str]: ...

    @property
    def signature(self) -> OpSignature: ...

    def __repr__(self) -> str: ...

class Graph:
    """An immutable network: a DAG of operators."""

    def __copy__(self) -> object: ...

    def __deepcopy__(self, memo: object) -> object: ...

    @property
    def name(self) -> str: ...

    @property
    def inputs(self) -> list[str]: ...

    @property
    def outputs(self) -> list[str]:
        """Public names; they survive every rewrite."""

    @property
    def output_tensors(self) -> list[str]:
        """The tensor that each output reads."""

    @property
    def weights(self) -> dict[str, TensorType]: ...

    @property
    def literals(self) -> dict[str, tuple[TensorType, list[float]]]: ...

    def nodes(self) -> list[Node]:
        """Operators in topological order, those of constants included."""

    def tensor_type(self, name: str) -> TensorType: ...

    @property
    def hash(self) -> str:
        """
        Value-id hash: equal for graphs that compute equal values by equal nodes.
        """

    @property
    def merkle_hash(self) -> str:
        """Hash of the structure alone."""

    @property
    def num_nodes(self) -> int:
        """Leaves and constants' operators included."""

    def rebuilt(self) -> Graph:
        """The same graph built anew, node by node."""

    def __len__(self) -> int: ...

    def __repr__(self) -> str: ...

class GraphBuilder:
    """Builds a Graph by tensor names."""

    def __init__(self, name: str = 'graph') -> None: ...

    def add_input(self, name: str, type: TensorType) -> str: ...

    def add_weight(self, name: str, type: TensorType) -> str: ...

    def add_literal(self, name: str, type: TensorType, values: Sequence[float]) -> str: ...

    def add_node(self, op_type: str, inputs: Sequence[str], outputs: Sequence[str], attributes: dict = {}, *, domain: str = '', output_types: Sequence[TensorType] | None = None, opaque: bool = False) -> list[str]: ...

    def set_outputs(self, names: Sequence[str], tensors: Sequence[str] | None = None) -> None: ...

    def build(self) -> Graph: ...

def infer_types(op_type: str, input_types: Sequence[TensorType | None], attributes: dict = {}) -> list[TensorType]: ...

def inferable_operators() -> list[str]: ...

def canonical_attributes(op_type: str) -> dict:
    """Attribute names and defaults of the canonical form; None: required."""

def operator_names() -> list[str]: ...

def activation_names() -> list[str]: ...

class Rule:
    """
    A source pattern, a target pattern and the guards under which they are equal.
    """

    def __copy__(self) -> object: ...

    def __deepcopy__(self, memo: object) -> object: ...

    @property
    def name(self) -> str: ...

    @property
    def text(self) -> str:
        """The rule as it is written, :for values filled in."""

    @property
    def filename(self) -> str: ...

    @property
    def line(self) -> int: ...

    def describe(self) -> dict[str, Any]:
        """The parsed rule as plain dicts and lists."""

    def __repr__(self) -> str: ...

class RuleSet:
    """Rules in order; a rule's index is its id."""

    def __copy__(self) -> object: ...

    def __deepcopy__(self, memo: object) -> object: ...

    @staticmethod
    def parse(text: str, filename: str = '<rules>') -> RuleSet:
        """Reads rule text. Raises ValueError "file:line:column: message"."""

    @staticmethod
    def join(sets: Sequence[RuleSet], name: str = 'core') -> RuleSet:
        """All rules of several sets; they must agree on being commutative."""

    @property
    def name(self) -> str: ...

    @property
    def commutative(self) -> bool: ...

    @property
    def faithful(self) -> bool:
        """
        Rules as TASO has them, some of them unsound; also applied to constants.
        """

    @property
    def rules(self) -> list[Rule]: ...

    @property
    def names(self) -> list[str]: ...

    def select(self, names: Sequence[str]) -> RuleSet:
        """The named rules alone, in the order given."""

    def __len__(self) -> int: ...

class Cost:
    """What a graph costs. ms is NaN while a signature is unknown."""

    @property
    def ms(self) -> float: ...

    @property
    def flops(self) -> float: ...

    @property
    def bytes(self) -> float: ...

    @property
    def num_kernels(self) -> int: ...

    def __repr__(self) -> str: ...

class CostTable:
    """Milliseconds per operator signature."""

    def __copy__(self) -> object: ...

    def __deepcopy__(self, memo: object) -> object: ...

    @staticmethod
    def roofline(flops_per_s: float, bytes_per_s: float, overhead_ms: float) -> CostTable: ...

    @staticmethod
    def taso(flops_per_s: float, bytes_per_s: float, overhead_ms: float) -> CostTable: ...

    @staticmethod
    def measured() -> CostTable: ...

    def unknown(self) -> list[OpSignature]:
        """Asked for and not known, in order of first asking."""

    def set(self, key: str, ms: float) -> None: ...

    def get(self, key: str) -> float | None: ...

    def price(self, graph: Graph) -> Cost: ...

    def __len__(self) -> int: ...

class Match:
    """A rule bound to one place of a state's graph."""

    def __copy__(self) -> object: ...

    def __deepcopy__(self, memo: object) -> object: ...

    @property
    def rule(self) -> str: ...

    @property
    def rule_index(self) -> int: ...

    @property
    def tensors(self) -> list[str]:
        """
        Names of the tensors it binds; with the rule's name its identity in a trace.
        """

    @property
    def nodes(self) -> list[int]:
        """Slots of the matched nodes."""

    @property
    def cost_difference_ms(self) -> float: ...

    @property
    def size_difference(self) -> int: ...

    @property
    def hash(self) -> str:
        """Hash of the graph that applying it gives."""

    @property
    def taso_hash(self) -> int:
        """
        TASO's hash of that graph; the state must have been made with taso_hash=True.
        """

    @property
    def graph(self) -> Graph:
        """The graph that applying it gives, its matches not looked for."""

    def __repr__(self) -> str: ...

class State:
    """A graph under rules and costs, with its matches. Immutable."""

    def __init__(self, graph: Graph, rules: RuleSet, costs: CostTable, *, taso_hash: bool = False) -> None: ...

    def __copy__(self) -> object: ...

    def __deepcopy__(self, memo: object) -> object: ...

    @property
    def graph(self) -> Graph: ...

    @property
    def cost(self) -> Cost: ...

    @property
    def hash(self) -> str: ...

    @property
    def taso_hash(self) -> int: ...

    @property
    def num_nodes(self) -> int: ...

    def __len__(self) -> int:
        """Number of matches."""

    def matches(self) -> list[Match]:
        """
        All places where a rule applies, ordered by rule and then by creation of the nodes.
        """

    def observe(self) -> dict[str, numpy.ndarray]: ...

    def repriced(self) -> State:
        """The same graph, with the prices that the cost table knows by now."""

    @property
    def is_priced(self) -> bool:
        """Are the cost and what each match changes known, not NaN?"""

    @overload
    def apply(self, match: int) -> State:
        """The state after a match, given by its index or itself."""

    @overload
    def apply(self, match: Match) -> State: ...

    def explain(self, rule: str) -> dict[str, int]:
        """Why places that begin to match the rule fail: reason -> count."""

def taso_hash(graph: Graph) -> int: ...

class BacktrackingSearch:
    """TASO's cost-based backtracking search."""

    def __init__(self, state: State, *, alpha: float = 1.05, size_limit: float = 2.0, hash: str = 'exact', rounding_ms: float = 0.0) -> None: ...

    def run(self, *, iterations: int | None = None, candidates: int | None = None, idle_iterations: int | None = None, seconds: float | None = None) -> bool:
        """
        Expands graphs, at least one, until a limit of this call is reached, or before a graph that asks for unknown prices. False: the queue is empty.
        """

    def drop_dearest(self, share: float) -> int:
        """Drops this share of the queue, the dearest entries; returns how many."""

    @property
    def best(self) -> State:
        """The cheapest state that was expanded."""

    @property
    def best_cost_ms(self) -> float: ...

    @property
    def current_cost_ms(self) -> float: ...

    @property
    def num_expanded(self) -> int: ...

    @property
    def num_candidates(self) -> int: ...

    @property
    def queue_length(self) -> int: ...

    def take_improvements(self) -> list[tuple[int, float, float, float, int, int]]:
        """
        (iteration, seconds in run, cost of the graph expanded in ms, best cost in ms, candidates, queue length); each is handed out once.
        """

    def take_history(self) -> list[tuple[int, float, float, float, int, int]]:
        """
        (iteration, seconds in run, cost of the graph expanded in ms, best cost in ms, candidates, queue length); each is handed out once.
        """

    def best_steps(self) -> list[tuple[str, list[str], float]]:
        """
        Rule, bound tensors and cost after each step on the way to the best graph.
        """
