"""A recurrent network of the cell that architecture search found (Zoph & Le 2017, figure 8)."""

from __future__ import annotations

from xflowrl.graphs.layers import LayerBuilder, require_positive
from xflowrl.onnx_io import Model


def nasrnn(
    *, num_steps: int = 5, hidden_size: int = 512, batch_size: int = 1, seed: int = 0
) -> Model:
    """The cell unrolled: inputs `x0`, ... and states [N, hidden] to the last output and state.

    Every step multiplies its input and the previous output by eight matrices each: eight sibling
    products twice. Five steps of 512 units are the sizes TASO uses. The steps share their weights.

    Departures from the paper: the input is as wide as the state; no bias and no embedding.
    """
    require_positive(num_steps=num_steps, hidden_size=hidden_size, batch_size=batch_size)
    net = LayerBuilder("nasrnn")
    shape = [batch_size, hidden_size]
    xs = [net.input(f"x{step}", shape) for step in range(num_steps)]
    output, cell = net.input("initial_output", shape), net.input("initial_cell", shape)
    square = [hidden_size, hidden_size]
    x_weights = [net.weight(f"gate{gate}/input_weight", square) for gate in range(8)]
    h_weights = [net.weight(f"gate{gate}/recurrent_weight", square) for gate in range(8)]
    for step, x in enumerate(xs):
        gates = []
        for gate, (w, u) in enumerate(zip(x_weights, h_weights, strict=True)):
            name = f"step{step}/gate{gate}"
            of_input = net.node("MatMul", [x, w], f"{name}/input")
            of_output = net.node("MatMul", [output, u], f"{name}/recurrent")
            op_type, activation = _GATES[gate]
            y = net.node(op_type, [of_input, of_output], f"{name}/{op_type.lower()}")
            gates.append(net.node(activation, [y], f"{name}/{activation.lower()}"))
        output, cell = _combined(net, gates, cell, f"step{step}")
    return net.model({"output": output, "cell": cell}, seed=seed)


# how a gate joins what it makes of input and output, and its activation
_GATES = (
    ("Add", "Sigmoid"),
    ("Add", "Relu"),
    ("Add", "Sigmoid"),
    ("Mul", "Relu"),
    ("Add", "Tanh"),
    ("Add", "Sigmoid"),
    ("Add", "Tanh"),
    ("Add", "Sigmoid"),
)


def _combined(net: LayerBuilder, gates: list[str], cell: str, name: str) -> tuple[str, str]:
    """The new output and the new cell state of one step."""

    def join(op_type: str, activation: str, a: str, b: str, part: str) -> str:
        y = net.node(op_type, [a, b], f"{name}/{part}/{op_type.lower()}")
        return net.node(activation, [y], f"{name}/{part}/{activation.lower()}")

    first = join("Mul", "Tanh", gates[0], gates[1], "pair0")
    second = join("Add", "Tanh", gates[2], gates[3], "pair1")
    third = join("Mul", "Tanh", gates[4], gates[5], "pair2")
    fourth = join("Add", "Sigmoid", gates[6], gates[7], "pair3")
    injected = join("Add", "Tanh", first, cell, "inject")
    new_cell = net.node("Mul", [injected, second], f"{name}/cell")
    right = join("Add", "Tanh", third, fourth, "right")
    return join("Mul", "Tanh", new_cell, right, "output"), new_cell
