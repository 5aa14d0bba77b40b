"""The cheapest graph of an e-graph, by integer programming, with a bound on its cost."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import highspy
import numpy as np

from xflowrl.agents.egraph.space import ENode, Space, derived

# What the warm start costs in the program's unit, so that the solver's tolerances are small.
_UNIT = 1000.0


@dataclass(frozen=True)
class Extraction:
    """A graph of an e-graph.

    Attributes:
        nodes: those of it that cost anything, or depend on one that does.
        bound_ms: no graph of the e-graph costs less.
        is_optimal: this one costs no more than that, but for rounding.
    """

    nodes: frozenset[int]
    cost_ms: float
    bound_ms: float

    @property
    def is_optimal(self) -> bool:
        """Whether no graph of the e-graph is cheaper, but for rounding."""
        return self.cost_ms <= self.bound_ms * (1 + 1e-6)


def extract(space: Space, known: Collection[int], *, time_limit_s: float) -> Extraction:
    """The cheapest graph of an e-graph, as far as it is found in time, and a bound on it.

    The integer program chooses nodes: some node has to compute each output, and each operand of a
    chosen node; a node is paid for once, however many read it. Equal nodes are one, so that a graph
    that computes something twice has a cheaper one here, to which no rewrite need lead. Solutions
    in which values depend on themselves are cut off as they come up: of each set of classes that
    compute each other, one has to be computed from outside (the loop formulas of Lin and Zhao,
    2004). Every program is a relaxation, so each one's bound holds.

    Deterministic, unless `time_limit_s` ends it.

    Args:
        known: nodes of a graph, which the search begins with.
        time_limit_s: of all programs together; at 0 the graph is `known`, and the bound is 0.
    """
    program = _Program(space, known)
    best = program.chosen(known)
    bound_ms = 0.0
    ends_s = time.monotonic() + time_limit_s
    while bound_ms < _cost_ms(space, best):
        left_s = ends_s - time.monotonic()
        if left_s <= 0:
            break
        solution, program_bound_ms = program.solve(best, left_s)
        bound_ms = max(bound_ms, program_bound_ms)
        if solution is None:
            break
        loops = [*program.loops(solution)]
        # What loops leave uncomputed, the best so far computes.
        found = program.chosen([*solution, *best] if loops else solution)
        best = min(best, found, key=lambda nodes: _cost_ms(space, nodes))
        if not loops:
            break
        program.cut(loops)
    cost_ms = _cost_ms(space, best)
    return Extraction(best, cost_ms, min(bound_ms, cost_ms))


def _cost_ms(space: Space, nodes: Iterable[int]) -> float:
    return math.fsum(space.nodes[index].cost_ms for index in nodes)


class _Program:
    """The integer program of an e-graph: a column for each node to choose from and each class."""

    def __init__(self, space: Space, known: Collection[int]) -> None:
        self._space = space
        free = derived(space.nodes, [i for i, n in enumerate(space.nodes) if n.cost_ms == 0])
        self._free = frozenset(c for index in free for c in space.nodes[index].outputs)
        self._roots = sorted(space.roots - self._free)
        self._needs, self._gives, self._stands_for = _choices(space.nodes, self._roots, self._free)
        self._makers: dict[int, list[int]] = defaultdict(list)
        for index, gives in self._gives.items():
            for made in gives:
                self._makers[made].append(index)
        self._column = {index: column for column, index in enumerate(self._gives)}
        classes = sorted({*self._roots, *(c for needs in self._needs.values() for c in needs)})
        self._class_column = {c: len(self._column) + k for k, c in enumerate(classes)}
        self._scale = _UNIT / (_cost_ms(space, self.chosen(known)) or 1.0)
        self._solver = self._build()

    def _build(self) -> highspy.Highs:
        solver = highspy.Highs()
        solver.silent()
        solver.setOptionValue("threads", 1)
        solver.setOptionValue("mip_rel_gap", 0.0)
        solver.setOptionValue("mip_abs_gap", _UNIT * 1e-9)
        solver.setOptionValue("mip_allow_restart", False)  # takes up to twice as long with them
        costs = [self._space.nodes[index].cost_ms * self._scale for index in self._column]
        for cost in costs:
            solver.addCol(cost, 0.0, 1.0, 0, [], [])
        for made in self._class_column:
            solver.addCol(0.0, float(made in self._space.roots), 1.0, 0, [], [])
        columns = np.arange(len(costs), dtype=np.int32)
        solver.changeColsIntegrality(
            len(costs), columns, np.full(len(costs), highspy.HighsVarType.kInteger)
        )
        self._solver = solver
        for index, needs in self._needs.items():
            for needed in needs:
                self._at_least([self._class_column[needed]], self._column[index])
        for made, column in self._class_column.items():
            self._at_least([self._column[index] for index in self._makers[made]], column)
        return solver

    def _at_least(self, columns: Sequence[int], column: int) -> None:
        """The sum of some columns is at least another one."""
        indices = np.array([*columns, column], dtype=np.int32)
        values = np.array([1.0] * len(columns) + [-1.0])
        self._solver.addRow(0.0, highspy.kHighsInf, len(indices), indices, values)

    def solve(self, start: Iterable[int], time_limit_s: float) -> tuple[set[int] | None, float]:
        """The nodes of the best solution found, loops included, and a bound in ms on every one."""
        solver = self._solver
        chosen = {self._column[index] for index in start}
        chosen |= {
            self._class_column[c]
            for index in start
            for c in (*self._needs[index], *self._gives[index])
            if c in self._class_column
        }
        columns = np.array(sorted(chosen), dtype=np.int32)
        rest = sorted({*range(solver.getNumCol())} - chosen)
        solver.setSolution(
            solver.getNumCol(),
            np.array([*columns, *rest], dtype=np.int32),
            np.array([1.0] * len(columns) + [0.0] * len(rest)),
        )
        solver.setOptionValue("time_limit", solver.getRunTime() + time_limit_s)
        solver.run()
        bound_ms = solver.getInfo().mip_dual_bound / self._scale
        if (
            solver.getInfo().primal_solution_status
            != highspy.SolutionStatus.kSolutionStatusFeasible
        ):
            return None, bound_ms
        values = solver.getSolution().col_value
        return {index for index, column in self._column.items() if values[column] > 0.5}, bound_ms

    def chosen(self, nodes: Collection[int]) -> frozenset[int]:
        """Those of some nodes, or what stands for them, that the outputs are computed by."""
        usable = dict.fromkeys(self._stands_for.get(index, index) for index in nodes)
        order = derived(self._space.nodes, [n for n in usable if n in self._gives], self._free)
        maker: dict[int, int] = {}
        for index in order:
            for made in self._gives[index]:
                maker.setdefault(made, index)
        wanted, waiting = set[int](), list(self._roots)
        while waiting:
            index = maker[waiting.pop()]
            if index not in wanted:
                wanted.add(index)
                waiting.extend(self._needs[index])
        return frozenset(wanted)

    def loops(self, solution: Collection[int]) -> Iterator[list[int]]:
        """Sets of classes that the nodes of a solution compute from each other alone."""
        usable = sorted(solution)
        order = derived(self._space.nodes, usable, self._free)
        have = {c for index in order for c in self._gives[index]}
        lacking = set(usable) - set(order)
        reads: dict[int, set[int]] = defaultdict(set)
        for index in sorted(lacking):
            for made in self._gives[index] - have:
                reads[made] |= self._needs[index] - have
        for component in _components(reads):
            if set().union(*(reads[c] for c in component)) <= set(component):
                yield component

    def cut(self, loops: Iterable[Sequence[int]]) -> None:
        """Of each loop one class has to be computed from outside, if any is needed."""
        for loop in loops:
            inside = set(loop)
            makers = {m for c in loop for m in self._makers[c] if not self._needs[m] & inside}
            columns = [self._column[index] for index in sorted(makers)]
            for needed in loop:
                self._at_least(columns, self._class_column[needed])


def _choices(
    nodes: Sequence[ENode], roots: Iterable[int], free: Collection[int]
) -> tuple[dict[int, frozenset[int]], dict[int, frozenset[int]], dict[int, int]]:
    """What each node needs and gives that the outputs may be computed by, but for free classes.

    Left out is a node if another one needs no more, gives no less and is no dearer: the third
    mapping has that one.
    """
    makers: dict[int, list[int]] = defaultdict(list)
    needs, gives = dict[int, frozenset[int]](), dict[int, frozenset[int]]()
    for index, node in enumerate(nodes):
        needs[index] = frozenset(c for c in node.inputs if c >= 0 and c not in free)
        # Of what a node reads itself it is no way to compute it.
        gives[index] = frozenset(c for c in node.outputs if c not in free) - needs[index]
        for made in gives[index]:
            makers[made].append(index)
    stands_for: dict[int, int] = {}

    def is_better(one: int, other: int) -> bool:
        ranks = [(nodes[index].cost_ms, index) for index in (one, other)]
        return needs[one] <= needs[other] and gives[one] >= gives[other] and ranks[0] < ranks[1]

    kept, waiting = set[int](), list(roots)
    seen = set(waiting)
    while waiting:
        rivals = makers[waiting.pop()]
        for index in rivals:
            better = next((other for other in rivals if is_better(other, index)), None)
            if better is not None:
                stands_for[index] = better
                continue
            kept.add(index)
            fresh = sorted(needs[index] - seen)
            seen.update(fresh)
            waiting.extend(fresh)
    order = sorted(kept - stands_for.keys())
    for index in stands_for:
        while (better := stands_for.get(stands_for[index])) is not None:
            stands_for[index] = better
    return {n: needs[n] for n in order}, {n: gives[n] for n in order}, stands_for


def _components(reads: dict[int, set[int]]) -> Iterator[list[int]]:
    """The strongly connected components of a graph (Tarjan 1972), without recursion."""
    index, low = dict[int, int](), dict[int, int]()
    stack, on_stack = list[int](), set[int]()
    for start in sorted(reads):
        if start in index:
            continue
        work = [(start, iter(sorted(reads[start])))]
        index[start] = low[start] = len(index)
        stack.append(start)
        on_stack.add(start)
        while work:
            here, others = work[-1]
            for other in others:
                if other not in index:
                    index[other] = low[other] = len(index)
                    stack.append(other)
                    on_stack.add(other)
                    work.append((other, iter(sorted(reads.get(other, ())))))
                    break
                if other in on_stack:
                    low[here] = min(low[here], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[here])
                if low[here] == index[here]:
                    component = list[int]()
                    while not component or component[-1] != here:
                        component.append(stack.pop())
                    on_stack -= set(component)
                    yield component
