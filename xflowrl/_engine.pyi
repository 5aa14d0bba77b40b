"""
The native engine: graphs, rules, matching, costs and the inner loops of search.
"""

from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy


class TensorType:
    """
    Element type and static shape of a tensor; no data. Hashable.

    Raises ValueError for an unknown element type, more than 8 dimensions, or a size that is negative or
    too large to count elements.
    """

    def __init__(self, dtype: str, shape: Sequence[int]) -> None: ...

    def __copy__(self) -> object: ...

    def __deepcopy__(self, memo: object) -> object: ...

    @property
    def dtype(self) -> str:
        """Element type by its NumPy name: "float32", "bfloat16", "int4"."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""

    @property
    def num_elements(self) -> int:
        """The product of the shape; 1 for a scalar."""

    @property
    def num_bytes(self) -> int:
        """Size of the data; half bytes of 4-bit types are rounded down."""

    @overload
    def __eq__(self, arg: TensorType, /) -> bool: ...

    @overload
    def __eq__(self, arg: object, /) -> bool: ...

    def __hash__(self) -> int: ...

    def __repr__(self) -> str: ...

    def __reduce__(self) -> tuple: ...

class OpSignature:
    """
    An operator with the types and constness of its operands: the key of its cost.
    """

    def __copy__(self) -> object: ...

    def __deepcopy__(self, memo: object) -> object: ...

    def __getstate__(self) -> bytes: ...

    def __setstate__(self, arg: bytes, /) -> None: ...

    @property
    def op_type(self) -> str:
        """The ONNX operator."""

    @property
    def domain(self) -> str:
        """The operator set; "" is ONNX's own."""

    @property
    def attributes(self) -> dict:
        """As `Node.attributes`."""

    @property
    def is_opaque(self) -> bool:
        """As `Node.is_opaque`."""

    @property
    def input_types(self) -> list[TensorType | None]:
        """One for each operand; None where it is omitted."""

    @property
    def input_is_constant(self) -> list[bool]:
        """
        Whether each operand depends on constants alone; False where it is omitted.
        """

    @property
    def output_types(self) -> list[TensorType]:
        """One for each output."""

    @property
    def flops(self) -> float:
        """Floating-point operations; 0 where they are not counted."""

    @property
    def bytes(self) -> float:
        """Bytes of all operands, weights included, and outputs."""

    @property
    def key(self) -> str:
        """Canonical text, equal in every process."""

    def __repr__(self) -> str: ...

class Node:
    """
    A read-only view of one operator of a graph, which it keeps alive. Cannot be pickled.
    """

    def __copy__(self) -> object: ...

    def __deepcopy__(self, memo: object) -> object: ...

    @property
    def id(self) -> int:
        """
        Slot in the graph; the same while rewrites leave the node alone, then used again.
        """

    @property
    def op_type(self) -> str:
        """The ONNX operator."""

    @property
    def domain(self) -> str:
        """The operator set; "" is ONNX's own."""

    @property
    def inputs(self) -> list[str]:
        """Tensor names; "" is an omitted optional operand."""

    @property
    def outputs(self) -> list[str]:
        """Tensor names, in the operator's order."""

    @property
    def input_types(self) -> list[TensorType | None]:
        """One for each of `inputs`; None where the operand is omitted."""

    @property
    def output_types(self) -> list[TensorType]:
        """One for each of `outputs`."""

    @property
    def attributes(self) -> dict:
        """
        By name: int, float, str, bytes (a serialised AttributeProto) or a list; of an operator that is not opaque in canonical form, defaults filled in.
        """

    @property
    def is_constant(self) -> bool:
        """Depends on constants alone: costs nothing and is folded at export."""

    @property
    def is_opaque(self) -> bool:
        """Not in canonical form: kept and priced, matched by no rule."""

    @property
    def signature(self) -> OpSignature:
        """The key of its cost."""

    def __repr__(self) -> str: ...

class Graph:
    """
    An immutable network: a DAG of operators. Holds no weights.

    Pickled in about 100 bytes a node, exactly as it is: names, order, creation numbers and value ids.
    """

    def __copy__(self) -> object: ...

    def __deepcopy__(self, memo: object) -> object: ...

    def __getstate__(self) -> bytes: ...

    def __setstate__(self, arg: bytes, /) -> None: ...

    @property
    def name(self) -> str:
        """The network's name."""

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs in the model's order; none is ever removed."""

    @property
    def outputs(self) -> list[str]:
        """Public names; they survive every rewrite."""

    @property
    def output_tensors(self) -> list[str]:
        """The tensor that each output reads."""

    @property
    def weights(self) -> dict[str, TensorType]:
        """
        Types of the constants whose values lie outside the graph, by name, in order of creation.
        """

    @property
    def literals(self) -> dict[str, tuple[TensorType, list[float]]]:
        """
        Constants of at most 64 elements that are part of the graph: type and values, flattened, by name in order of creation.
        """

    def nodes(self) -> list[Node]:
        """Operators in topological order, those of constants included."""

    def tensor_type(self, name: str) -> TensorType:
        """
        The type of a tensor, leaves included. Linear in the graph's size.

        Raises ValueError if there is no tensor of that name.
        """

    @property
    def hash(self) -> str:
        """
        128 bits in hexadecimal: equal for graphs that compute equal values by equal nodes.

        It does not depend on order or process, and is kept up to date by every rewrite. A tensor that a
        rewrite replaces hands its id on, so equal structures reached on different ways may differ.
        """

    @property
    def merkle_hash(self) -> str:
        """
        128 bits in hexadecimal of what the outputs compute, by structure and names of leaves alone.

        Linear in the graph's size.
        """

    def made_names(self, since: int = 0) -> list[str]:
        """
        Names that rewrites have made on the way to this graph, in order, without the first `since`.
        """

    @property
    def num_nodes(self) -> int:
        """
        Number of nodes, leaves and operators on constants included; `len` leaves both out.
        """

    def __len__(self) -> int: ...

    def __repr__(self) -> str: ...

class GraphBuilder:
    """
    Builds a Graph by tensor names, operands before their readers. Cannot be pickled.
    """

    def __init__(self, name: str = 'graph') -> None: ...

    def add_input(self, name: str, type: TensorType) -> str:
        """
        Adds an input of the network; returns its name.

        Raises ValueError if the name is empty or taken.
        """

    def add_weight(self, name: str, type: TensorType) -> str:
        """
        Adds a constant whose value lies outside the graph; returns its name.

        Raises ValueError if the name is empty or taken.
        """

    def add_literal(self, name: str, type: TensorType, values: Sequence[float]) -> str:
        """
        Adds a constant of at most 64 elements with its values, flattened; returns its name.

        Raises ValueError if the name is empty or taken, or the number of values is wrong.
        """

    def add_node(self, op_type: str, inputs: Sequence[str], outputs: Sequence[str], attributes: dict = {}, *, domain: str = '', output_types: Sequence[TensorType] | None = None, opaque: bool = False) -> list[str]:
        """
        Adds an operator; returns `outputs`.

        Args:
            inputs: names defined before; "" omits an optional operand.
            outputs: new names; "" is an output nobody reads, and gets a name.
            attributes: in canonical form, defaults may be left out; any, if opaque.
            output_types: inferred if None, which an opaque operator does not allow.
            opaque: keep it as it is; no rule matches it. So is every operator that the table does not have.

        Raises ValueError naming the node: an unknown or taken name, attributes or operands that do not
        fit the operator, other types than it has. The builder stays as it was.
        """

    def set_outputs(self, names: Sequence[str], tensors: Sequence[str] | None = None) -> None:
        """
        Declares the outputs, once: `names` are public, `tensors` (None: the same) what they read.

        Raises ValueError for a tensor that does not exist, a repeated name, or none at all.
        """

    def price_at(self, sizes: Mapping[int, int], factors: Mapping[int, int]) -> None:
        """
        Prices the graph at other sizes than it has, for dimensions that are dynamic.

        Args:
            sizes: what a dimension of a size counts as.
            factors: what each of these counts as in the other dimensions that it divides.

        Raises ValueError for a size below 2, or a price at one below 0.
        """

    def build(self) -> Graph:
        """
        The graph, without nodes that nothing reads; the builder is used up.

        Raises ValueError without outputs or when called again.
        """

def infer_types(op_type: str, input_types: Sequence[TensorType | None], attributes: dict = {}) -> list[TensorType]:
    """
    The output types of an operator in canonical form.

    Raises ValueError if the engine does not infer this operator, or attributes or types do not fit it.
    """

def inferable_operators() -> list[str]:
    """
    Operators whose types the engine infers, in the table's order; all others are opaque.
    """

def canonical_attributes(op_type: str) -> dict:
    """
    Attribute names and defaults of the canonical form; None: required.

    Raises ValueError for an operator that the table does not have.
    """

def operator_names() -> list[str]:
    """
    The operator table, leaves first: what `node_op` of `State.observe` indexes.
    """

def activation_names() -> list[str]:
    """The fused activations; the first, "", is none."""

class Rule:
    """
    A source pattern, a target pattern and the guards under which they are equal.
    """

    def __copy__(self) -> object: ...

    def __deepcopy__(self, memo: object) -> object: ...

    def __getstate__(self) -> bytes: ...

    def __setstate__(self, arg: bytes, /) -> None: ...

    @property
    def name(self) -> str:
        """Unique within a file."""

    @property
    def text(self) -> str:
        """The rule as it is written, :for values filled in."""

    @property
    def filename(self) -> str:
        """Where it was read, as given to `RuleSet.parse`."""

    @property
    def opset(self) -> int:
        """The first of ONNX that has what the rule writes; 0: any."""

    @property
    def line(self) -> int:
        """Where it begins in the file, from 1."""

    def __repr__(self) -> str: ...

class RuleSet:
    """
    Rules in order; a rule's index is its id. Immutable; pickled as the texts of its rules.
    """

    def __copy__(self) -> object: ...

    def __deepcopy__(self, memo: object) -> object: ...

    def __getstate__(self) -> bytes: ...

    def __setstate__(self, arg: bytes, /) -> None: ...

    @staticmethod
    def parse(text: str, filename: str = '<rules>') -> RuleSet:
        """Reads rule text. Raises ValueError "file:line:column: message"."""

    @staticmethod
    def join(sets: Sequence[RuleSet], name: str = 'core') -> RuleSet:
        """
        All rules of several sets, in order.

        Raises ValueError if a name occurs twice, or the sets differ in being commutative or faithful.
        """

    @property
    def name(self) -> str:
        """As in the file's header, or as given to `join`."""

    @property
    def commutative(self) -> bool:
        """
        Whether operands of Add, Mul and their like match, and hash, in any order.
        """

    @property
    def faithful(self) -> bool:
        """
        Rules as TASO has them, some of them unsound; also applied to constants.
        """

    @property
    def rules(self) -> list[Rule]:
        """All rules, by index."""

    @property
    def names(self) -> list[str]:
        """Names of all rules, by index."""

    def select(self, names: Sequence[str]) -> RuleSet:
        """
        The named rules alone, in the order given. Raises ValueError for a name it does not have.
        """

    def for_opset(self, opset: int) -> RuleSet:
        """
        The same rules with the same ids, for a model of an opset of ONNX: those that need a later one match nowhere.
        """

    def __len__(self) -> int: ...

class Cost:
    """What a graph costs; `ms` is NaN while a price is unknown."""

    @property
    def ms(self) -> float:
        """Milliseconds."""

    @property
    def flops(self) -> float:
        """Floating-point operations."""

    @property
    def bytes(self) -> float:
        """Bytes that operators read and write."""

    @property
    def num_kernels(self) -> int:
        """Operators that take time."""

    def __repr__(self) -> str: ...

    def __getstate__(self) -> tuple[float, float, float, int]: ...

    def __setstate__(self, arg: tuple[float, float, float, int], /) -> None: ...

class CostTable:
    """
    Milliseconds per operator signature; shared by the states that it prices.

    Copying gives the table itself. Pickled, it takes along what it knows and was asked for.
    """

    def __copy__(self) -> object: ...

    def __deepcopy__(self, memo: object) -> object: ...

    def __getstate__(self) -> bytes: ...

    def __setstate__(self, arg: bytes, /) -> None: ...

    @staticmethod
    def roofline(flops_per_s: float, bytes_per_s: float, overhead_ms: float, correction: Mapping[str, float] = {}) -> CostTable:
        """
        overhead_ms + 1000 * max(flops / flops_per_s, bytes / bytes_per_s) an operator.

        Copies pay for their bytes; Reshape and its like, and what depends on constants alone, are free.
        correction: by class of operators, as `ms_by_class` names them, what its prices are multiplied
        by; 1 for the others. Raises ValueError for a class that does not exist.
        """

    @staticmethod
    def taso(flops_per_s: float, bytes_per_s: float, overhead_ms: float) -> CostTable:
        """
        The same formula as TASO charges it, for comparison.

        Operators on constants are charged; copies and what TASO has as free operators of its own are not.
        """

    @staticmethod
    def measured(correction: Mapping[str, float] = {}) -> CostTable:
        """
        Knows what `set` told it; asked for anything else, it notes that and answers NaN.

        correction: as for `roofline`.
        """

    def unknown(self) -> list[OpSignature]:
        """Asked for and not known, in order of first asking."""

    def set(self, key: str, ms: float) -> None:
        """
        Tells what an operator of this `OpSignature.key` costs; states that lacked it take it from here.
        """

    def get(self, key: str) -> float | None:
        """Milliseconds that `set` told, or None."""

    def price(self, graph: Graph) -> Cost:
        """
        The cost of a graph: the sum over its operators in topological order, so equal graphs cost bitwise the same.

        ms is NaN if an operator's price is unknown. Linear in the graph's size.
        """

    def ms_by_class(self, graph: Graph) -> dict[str, float]:
        """
        What the operators of each class cost together, milliseconds without the correction: "Conv:depthwise",
        "Relu:after_product", ... Only those that cost; NaN where a price is unknown.
        """

    def __len__(self) -> int: ...

class EGraph:
    """
    What a search has seen of the ways to compute each value: the nodes of all states it was shown,
    and of all rewrites that these offer.

    Values, nodes and rewrites are numbered in the order in which they were first seen. A value keeps its
    number when a rewrite computes it by other nodes. Not safe for use by several threads; cannot be pickled.
    """

    def __init__(self) -> None:
        """It has seen nothing."""

    def add(self, state: State) -> tuple[list[int], list[int], list[int]]:
        """
        Takes in a state, which must be priced.

        Returns its nodes, leaves and constants included; the rewrite that each of its matches is, as listed;
        and the value of each output.
        """

    def nodes(self, since: int = 0) -> list[tuple[str, str, bool, float, list[int], list[int]]]:
        """
        Operator, a key of operator and attributes, whether the order of its operands is of no meaning, ms,
        values it reads (-1: an omitted operand), values it computes; without the first `since`.
        """

    def rewrites(self, since: int = 0) -> list[tuple[list[int], list[int]]]:
        """
        Nodes that each finds, and nodes that it makes of them; without the first `since`.
        """

    def equalities(self) -> list[tuple[int, int]]:
        """Pairs of values that a rewrite puts in each other's place."""

    def __len__(self) -> int: ...

class KindIndex:
    """
    Kinds of nodes and matches that an encoder of so many layers cannot tell apart.

    Numbered as they are first seen, told apart by 64-bit hashes; it only grows.
    """

    def __init__(self, num_layers: int, *, max_operands: int) -> None:
        """Operand positions from `max_operands` - 1 on look alike."""

    def add(self, observation: Mapping[str, numpy.ndarray], *, scale_ms: float) -> dict[str, numpy.ndarray]:
        """
        A graph in kinds, in the order of first appearance, costs being told apart in units of `scale_ms`.

        `kind_node` [D] and `kind_share`: kinds of its nodes, and of how many of them; `choice_match` [C], `choice_group`, `choice_count`: kinds of its matches, place of their rule, how many; `match_choice` [M]; `group_rule` [K], `group_count`: rules of its matches, how many. `new_nodes`, `new_edges`, `new_matches`: rows of an example of each kind not seen before, by number, of nodes by themselves.

        Raises ValueError for columns that do not fit together. Linear.
        """

    def kinds(self, nodes: numpy.ndarray, matches: numpy.ndarray) -> dict[str, Any]:
        """
        What these kinds are made of, with those of nodes that the matches bind.

        `node_row`, `match_row`: where each is; `levels`, bottom up, of `own` [U], `edge_from` [E], `edge_kind`, `edge_slot`; `pair_match` [P], `pair_node`, `pair_share`; `nodes`, `edges`, `matches`: numbers of those that occur, of nodes by themselves.
        """

    @property
    def num_nodes(self) -> int:
        """Kinds of nodes."""

    @property
    def num_matches(self) -> int:
        """Kinds of matches."""

class Place:
    """
    Where a match is, by its rule and the values it binds: found again after other rewrites, in
    another order, of the same original, where names would differ.
    """

class Match:
    """A rule bound to one place of a state's graph."""

    def __copy__(self) -> object: ...

    def __deepcopy__(self, memo: object) -> object: ...

    @property
    def rule(self) -> str:
        """The rule's name."""

    @property
    def rule_index(self) -> int:
        """The rule's index in the rule set."""

    @property
    def tensors(self) -> list[str]:
        """
        Names of the tensors it binds; with the rule's name its identity in a trace.
        """

    @property
    def index(self) -> int:
        """Its place among the state's `matches()`."""

    @property
    def nodes(self) -> list[int]:
        """Slots of the matched nodes."""

    @property
    def created(self) -> list[int]:
        """
        Creation numbers of the matched nodes, which no other node has in a line of rewrites: a
        rewrite gives the nodes that it makes the next ones.
        """

    @property
    def cost_difference_ms(self) -> float:
        """
        What applying it adds to the graph's cost; NaN while a price is unknown.
        """

    @property
    def size_difference(self) -> int:
        """What applying it adds to `State.num_nodes`."""

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

class Taken:
    """One of the matches that `State.apply_each` took."""

    def __copy__(self) -> object: ...

    def __deepcopy__(self, memo: object) -> object: ...

    @property
    def index(self) -> int:
        """Among those given."""

    @property
    def rule(self) -> str:
        """The rule's name."""

    @property
    def tensors(self) -> list[str]:
        """Names of the tensors it bound, as `Match.tensors`."""

    @property
    def place(self) -> Place:
        """Where it was, for `State.find`."""

    @property
    def nodes(self) -> list[int]:
        """Creation numbers of the nodes that it bound and of those that it made."""

    @property
    def cost_difference_ms(self) -> float:
        """What it added to the graph's cost; NaN where a price was unknown."""

    @property
    def cost_ms(self) -> float:
        """The graph's cost after it, as `State.cost`."""

class State:
    """
    A graph under rules and costs, with its matches. Immutable.

    Pickled, it is its graph, rules and costs; the copy looks for all matches anew, which takes as
    long as making the state did.
    """

    def __init__(self, graph: Graph, rules: RuleSet, costs: CostTable, *, taso_hash: bool = False) -> None:
        """Looks for all matches. taso_hash: keep TASO's hash too."""

    def __copy__(self) -> object: ...

    def __deepcopy__(self, memo: object) -> object: ...

    @property
    def graph(self) -> Graph:
        """The graph."""

    @property
    def cost(self) -> Cost:
        """
        The graph's cost, NaN where a price was unknown when the state was made.

        Followed difference by difference through `apply`.
        """

    @property
    def hash(self) -> str:
        """The graph's hash."""

    @property
    def taso_hash(self) -> int:
        """
        TASO's 64-bit hash of the graph; 0 unless the state was made with taso_hash=True.
        """

    @property
    def num_nodes(self) -> int:
        """
        Number of operators that are not on constants alone, as `len` of the graph.
        """

    def __len__(self) -> int:
        """Number of matches."""

    def matches(self) -> list[Match]:
        """
        All places where a rule applies, ordered by rule and then by creation of the nodes.

        What each costs is known without building it, or NaN: see `is_priced`.
        """

    def best(self, k: int, *, rounding_ms: float = 0.0) -> list[Match]:
        """
        The first k matches by cost difference, then by size difference, then as listed.

        The one order in which searches take matches, and so what decides between equals. Differences
        up to `rounding_ms` count as none; unknown ones come last. Kept by `apply`: linear in k, and where
        fewer lower the cost in those that leave it as it is.
        Raises ValueError for a negative k.
        """

    @overload
    def find(self, rule: str, tensors: Sequence[str]) -> Match | None:
        """
        The match of a rule that binds tensors of these names, or None. Linear in the rule's matches.
        """

    @overload
    def find(self, place: Place) -> Match | None:
        """
        A match there, or None; the states have the same rules and original. Linear in the rule's matches.
        """

    def match(self, index: int) -> Match:
        """One of `matches()`. Raises ValueError for an index out of range."""

    @property
    def num_created(self) -> int:
        """
        So many nodes its graph and those that it was made of ever had: the number of the next.
        """

    def observe(self) -> dict[str, numpy.ndarray]:
        """
        Graph and matches as arrays by name; `xflowrl.env` says what each column means.

        Rows of nodes are in order of creation. The arrays are the caller's own. Linear in the size of graph and matches.
        """

    def repriced(self) -> State:
        """
        The same graph, with the prices that the cost table knows by now.

        Only what was unknown is priced again; matches of either state fit the other.
        """

    @property
    def is_priced(self) -> bool:
        """Are the cost and what each match changes known, not NaN?"""

    @overload
    def apply(self, match: int) -> State:
        """
        The state after a match, given by its index or itself; this one stays as it is.

        Costs what the rewrite changes, not what the graph is: rules are matched again near it alone.
        Raises ValueError for an index out of range, or a match of another state.
        """

    @overload
    def apply(self, match: Match) -> State:
        """The same, for the match itself."""

    def apply_each(self, matches: Sequence[Match]) -> tuple[State, list[Taken]]:
        """
        The state after several matches, one after the other, and those that were taken.

        They are this state's, or of states that it was made of, and taken if they are still there: a rule
        binds the same nodes, and tensors of the same names. It is the state that `apply` would come to step
        by step, but matches are looked for once. Ends before one whose price is not known by then, unless
        none was taken. Raises ValueError for a match of a state of another original.
        """

    def explain(self, rule: str) -> dict[str, int]:
        """
        Why places that begin to match the rule fail: reason -> count. Raises ValueError for an unknown rule.
        """

    def __getstate__(self) -> tuple[Graph, RuleSet, CostTable, Cost, bool]: ...

    def __setstate__(self, arg: tuple[Graph, RuleSet, CostTable, Cost, bool], /) -> None: ...

def taso_hash(graph: Graph) -> int:
    """
    TASO's 64-bit hash of a graph, computed anew: coarse, but its search depends on it. Linear in the graph's size.
    """

class BacktrackingSearch:
    """
    TASO's cost-based backtracking search (Jia et al. 2019, algorithm 2).

    Deterministic, but for `seconds` limits. Not safe for use by several threads; cannot be pickled.
    """

    def __init__(self, state: State, *, alpha: float = 1.05, size_limit: float = 2.0, hash: str = 'exact', rounding_ms: float = 0.0) -> None:
        """
        Begins at `state`, its prices known or not.

        Args:
            alpha: a candidate costs less than alpha times the best so far; at least 1.
            size_limit: and has fewer nodes than this many times the initial graph's; above 1.
            hash: by which a graph is known again, "exact" or "taso".
            rounding_ms: a difference of costs up to which nothing has improved.

        Raises ValueError for other values, or "taso" with a state made without taso_hash=True.
        """

    def run(self, *, iterations: int | None = None, candidates: int | None = None, idle_iterations: int | None = None, seconds: float | None = None) -> bool:
        """
        Expands graphs, at least one, until a limit of this call is reached, or before a graph that asks for unknown prices. False: the queue is empty.
        """

    def record(self, egraph: EGraph) -> None:
        """Shows every graph that is expanded from now on to an e-graph."""

    def drop_dearest(self, share: float) -> int:
        """
        Drops this share (0 to 1) of the expanded graphs whose candidates wait, rounded down: those whose cheapest candidate is dearest, and all their candidates.

        Returns how many candidates that are. Raises ValueError for another share. Linear in the number of these graphs.
        """

    @property
    def best(self) -> State:
        """The cheapest state that was expanded."""

    @property
    def best_cost_ms(self) -> float:
        """Cost of the cheapest state that was expanded."""

    @property
    def current_cost_ms(self) -> float:
        """Cost of the state expanded last."""

    @property
    def num_expanded(self) -> int:
        """States whose matches were listed: iterations."""

    @property
    def num_candidates(self) -> int:
        """Matches whose cost was asked for."""

    @property
    def seconds(self) -> float:
        """The clock of the history. It stands still outside of `run`."""

    @seconds.setter
    def seconds(self, arg: float, /) -> None:
        """Puts it forward, to count what goes on there too."""

    @property
    def queue_length(self) -> int:
        """
        Candidates that wait, and the graph to be expanded next.

        Several may lead to one graph: they are told apart when they are taken.
        """

    def take_improvements(self) -> list[tuple[int, float, float, float, int, int]]:
        """
        The iterations since the last call that found a new best beyond `rounding_ms`, as in `take_history`.
        """

    def take_history(self) -> list[tuple[int, float, float, float, int, int]]:
        """
        Iterations since the last call: (iteration, `seconds`, cost of the graph expanded in ms, best cost in ms, candidates, queue length).

        Thinned: all of the first, and of every doubling from then on as many again, and every improvement.
        """

    def best_steps(self) -> list[tuple[str, list[str], float]]:
        """
        Rule, bound tensors and cost after each step on the way to the best graph.
        """
