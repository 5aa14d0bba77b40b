"""LSTM and GRU by PyTorch's own kernels, whose gates are in another order than ONNX's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xflowrl.measurement.runtimes.onnx_to_torch.operator import NotSupported

_LSTM_GATES = (0, 2, 3, 1)  # input, forget, cell, output; ONNX has the output second
_GRU_GATES = (1, 0, 2)  # reset, update, new; ONNX has the update first


def lstm(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    h: Tensor | None = None,
    c: Tensor | None = None,
    peepholes: Tensor | None = None,
    *,
    direction: str = "forward",
    hidden_size: int = 0,
    input_forget: int = 0,
    layout: int = 0,
) -> tuple[Tensor, ...]:
    """Without peepholes; all sequences of a batch are of the whole length."""
    if peepholes is not None or input_forget:
        raise NotSupported("peepholes or input_forget")
    x, h = _begin(x, w, r, lengths, h, direction, layout)
    c = torch.zeros_like(h) if c is None else c
    parameters, is_both = _parameters(w, r, bias, _LSTM_GATES), direction == "bidirectional"
    y, h, c = torch.lstm(x, (h, c), parameters, bias is not None, 1, 0.0, False, is_both, False)
    return _by_direction(y, h, direction), h, c


def gru(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    h: Tensor | None = None,
    *,
    direction: str = "forward",
    hidden_size: int = 0,
    layout: int = 0,
    linear_before_reset: int = 0,
) -> tuple[Tensor, ...]:
    """With the reset gate behind the product, as PyTorch has it."""
    if not linear_before_reset:
        raise NotSupported("linear_before_reset=0")
    x, h = _begin(x, w, r, lengths, h, direction, layout)
    parameters, is_both = _parameters(w, r, bias, _GRU_GATES), direction == "bidirectional"
    y, h = torch.gru(x, h, parameters, bias is not None, 1, 0.0, False, is_both, False)
    return _by_direction(y, h, direction), h


def _begin(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    lengths: Tensor | None,
    h: Tensor | None,
    direction: str,
    layout: int,
) -> tuple[Tensor, Tensor]:
    """The sequence [time, batch, size] as it is read, and the state [directions, batch, hidden]."""
    if layout or (lengths is not None and bool((lengths != len(x)).any())):
        raise NotSupported("layout=1, or sequences of several lengths")
    h = x.new_zeros(len(w), x.shape[1], r.shape[-1]) if h is None else h
    return x.flip(0) if direction == "reverse" else x, h


def _parameters(w: Tensor, r: Tensor, bias: Tensor | None, gates: Sequence[int]) -> list[Tensor]:
    """What the kernels take: for each direction two weights and two biases."""
    found: list[Tensor] = []
    for direction in range(len(w)):
        parts = [w[direction], r[direction]]
        if bias is not None:
            parts += bias[direction].chunk(2)
        for part in parts:
            of_gate = part.chunk(len(gates))
            found.append(torch.cat([of_gate[gate] for gate in gates]))
    return found


def _by_direction(y: Tensor, h: Tensor, direction: str) -> Tensor:
    """[time, batch, directions * hidden] as [time, directions, batch, hidden]."""
    y = y.unflatten(-1, (len(h), -1)).transpose(1, 2)
    return y.flip(0) if direction == "reverse" else y
