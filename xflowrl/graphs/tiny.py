"""A network small enough to check by hand, in which greedy search gets stuck."""

from __future__ import annotations

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.onnx_io import Model


def tiny(*, seed: int = 0) -> Model:
    """relu(((a b) c) d), a product of four inputs that is better bracketed otherwise.

    a [128, 512], b [512, 1024], c [1024, 160], d [160, 96]. There are no weights, so nothing folds,
    and no operand is shared, so nothing merges: all that `rules=core` can do is move one pair of
    brackets (associativity) and let the last product take up the relu. That makes ten states: the
    five bracketings, which form a ring, with the relu apart or fused.

    Under `measurement=roofline` (A100, fp32: 5 us a kernel, 19.5 Tflop/s; every product is bound
    by arithmetic) three products cost 15 us and their multiply-adds, [m, k] times [k, n] having
    m k n. In units of 32^3, sizes are a 4x16, b 16x32, c 32x5, d 5x3, and a unit is 0.00336 us:

        bracketing       units                              us
        ((a b) c) d      2048 + 640 + 60     = 2748      24.236      the original
        (a (b c)) d      2560 + 320 + 60     = 2940      24.881
        a ((b c) d)      2560 + 240 + 192    = 2992      25.056
        a (b (c d))       480 + 1536 + 192   = 2208      22.421      the best
        (a b) (c d)      2048 + 480 + 384    = 2912      24.787      and round to the original

    The relu apart costs 5.063 us more, so the original is 29.299 and the optimum is 22.421: two
    moves and the fusion. Greedy fuses the relu, 24.236, and stops, for both neighbours on the ring
    are dearer. Backtracking with alpha = 1.5 goes over (a b) (c d), 2.3% dearer, and finds the
    optimum; with alpha = 1.0 it does not. What holds for the units holds on any device on which
    arithmetic decides.
    """
    net = LayerBuilder("tiny")
    sizes = (128, 512, 1024, 160, 96)
    a, b, c, d = (net.input(x, sizes[i : i + 2]) for i, x in enumerate("abcd"))
    ab = net.node("MatMul", [a, b], "ab")
    abc = net.node("MatMul", [ab, c], "abc")
    abcd = net.node("MatMul", [abc, d], "abcd")
    return net.model({"output": net.relu(abcd, "relu")}, seed=seed)
