"""A network as TASO reads it."""

from __future__ import annotations

from itertools import product

from xflowrl._engine import CostTable, Graph, RuleSet, State

# TASO's importer makes a Gemm a matmul of a transposed weight and an addition; it does not look at
# alpha and beta, so that a Gemm that uses them stays what it is here.
_GEMM = '(Gemm ?x ?w{bias} :alpha 1.0{beta} :transA 0 :transB {transposed} :activation "")'


def _opening_rule(has_bias: bool, is_transposed: bool) -> str:
    bias, beta = (" ?b", " :beta 1.0") if has_bias else ("", "")
    source = _GEMM.format(bias=bias, beta=beta, transposed=int(is_transposed))
    weight = "(Transpose ?w :perm (list 1 0))" if is_transposed else "?w"
    matmul = f"(MatMul ?x {weight})"
    target = f"(Add {matmul} ?b)" if has_bias else matmul
    return f"(rule gemm-{int(has_bias)}-{int(is_transposed)} {source} => {target})"


OPENING_RULES = tuple(_opening_rule(*case) for case in product((True, False), repeat=2))
"""Text of the rules that make a Gemm several nodes."""


def read_by(rules: RuleSet, graph: Graph) -> Graph:
    """The graph as these rules take it: with open Gemms if they are TASO's, else as it is."""
    return open_gemms(graph) if rules.name == "taso" else graph


def open_gemms(graph: Graph) -> Graph:
    """The same function, every Gemm being a MatMul and an Add, its weight transposed before.

    A Gemm with factors, a transposed left operand or a fused activation is left as it is, and so is
    one on constants alone.
    """
    rules = RuleSet.parse("\n".join(OPENING_RULES), "open-gemm")
    state = State(graph, rules, CostTable.roofline(1.0, 1.0, 0.0))
    while len(state):
        state = state.apply(0)
    return state.graph
