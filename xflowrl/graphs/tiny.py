"""A network small enough to check by hand, in which greedy search gets stuck."""

from __future__ import annotations

from xflowrl.graphs.layers import LayerBuilder
from xflowrl.onnx_io import Model


def tiny(*, seed: int = 0) -> Model:
    """Two 3x3 convolutions of one image, each with its relu, concatenated: one convolution really.

        x [1,8,64,64] -> conv a [64,8,3,3] -> relu -> concat [1,128,64,64] -> output
                      -> conv b [64,8,3,3] -> relu ---^

    Under `measurement=roofline` (A100, fp32: 5 us a kernel, 19.5 Tflop/s, 1.555 TB/s) and
    `rules=core` the prices are, in us, launch included:

        conv to 64 channels    5 + 2*64*4096*72 / 19.5e6    =  6.936   (with its relu fused, too)
        conv to 128 channels   5 + 2*128*4096*72 / 19.5e6   =  8.872
        relu of 64 channels    5 + 4*2*262144 / 1.555e6     =  6.349
        concat to 128          5 + 4*2*524288 / 1.555e6     =  7.697
        split of 128           5 + 4*2*524288 / 1.555e6     =  7.697

    The original costs 2*6.936 + 2*6.349 + 7.697 = 34.266. The best is a single convolution of
    [128,8,3,3] with its relu: 8.872. It cannot be beaten: no rule lowers the 75.5 Mflop, and at
    least one kernel is launched.

    Greedy fuses the two relus, 34.266 -> 27.918 -> 21.569, and stops: what is left is two
    convolutions and a concat, and the one rewrite that leads on replaces the convolutions by a
    convolution of 128 channels *and a split*, 8.872 + 7.697 + 7.697 = 24.267, 12.5% dearer.
    From there a split that is concatenated again cancels: 8.872. Backtracking with alpha = 1.5
    admits the step and finds the best; with alpha = 1.05 it does not.
    """
    net = LayerBuilder("tiny")
    x = net.input("input", [1, 8, 64, 64])
    branches = []
    for name in ("a", "b"):
        y = net.conv(x, f"{name}/conv", 64, 3, padding=1)
        branches.append(net.relu(y, f"{name}/relu"))
    return net.model({"output": net.concat(branches, "concat")}, seed=seed)
