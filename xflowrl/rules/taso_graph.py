"""A network as TASO reads it."""

from __future__ import annotations

from xflowrl._engine import CostTable, Graph, RuleSet, State

# TASO's importer makes a Gemm a matmul of a transposed weight and an addition; it does not look at
# alpha and beta, so that a Gemm that uses them stays what it is here.
_GEMM = '(Gemm ?x ?w{bias} :alpha 1.0{beta} :transA 0 :transB {transposed} :activation "")'


def _opening_rules() -> str:
    rules = ["(rules open-gemm)"]
    for has_bias in (True, False):
        bias, beta = (" ?b", " :beta 1.0") if has_bias else ("", "")
        for transposed, weight in ((0, "?w"), (1, "(Transpose ?w :perm (list 1 0))")):
            source = _GEMM.format(bias=bias, beta=beta, transposed=transposed)
            product = f"(MatMul ?x {weight})"
            target = f"(Add {product} ?b)" if has_bias else product
            rules.append(f"(rule gemm-{has_bias}-{transposed} {source} => {target})")
    return "\n".join(rules)


def open_gemms(graph: Graph) -> Graph:
    """The same function, every Gemm being a MatMul and an Add, its weight transposed before.

    A Gemm with factors, a transposed left operand or a fused activation is left as it is, and so is
    one on constants alone.
    """
    rules = RuleSet.parse(_opening_rules(), "open-gemm")
    state = State(graph, rules, CostTable.roofline(1.0, 1.0, 0.0))
    while len(state):
        state = state.apply(0)
    return state.graph
