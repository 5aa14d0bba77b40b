"""Random operands of convolutions, matrix products, normalisations and pools; see operands.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xflowrl.soundness.operands import Attributes, Draw, Drawing, Drawn, Shape

_ACTIVATIONS: list[tuple[str, list[float]]] = [
    ("Relu", []),
    ("Clip", [-2.0, 3.0]),
    ("LeakyRelu", [0.25]),
    ("HardSigmoid", [0.25, 0.5]),
    ("Sigmoid", []),
    ("HardSwish", []),
    ("Swish", [0.5]),
    ("Gelu", []),
]


def activation(draw: Draw, op_type: str, fixed: Mapping[str, Any]) -> Attributes:
    """A fused activation and its parameters; none more often than not."""
    seen = draw.earlier.get(op_type, [])
    if "activation" in fixed:
        name = fixed["activation"]
        params = next((p for a, p in _ACTIVATIONS if a == name), [])
    elif "activation_params" in fixed:
        count = len(fixed["activation_params"])
        name, params = draw.rng.choice(
            [("", []), *_ACTIVATIONS]
            if count == 0
            else [a for a in _ACTIVATIONS if len(a[1]) == count]
        )
        if count == 0 and params:
            name, params = "", []
    elif seen and draw.chance(0.8):
        name, params = (seen[-1][1][key] for key in ("activation", "activation_params"))
    elif draw.chance(0.6):
        name, params = "", []
    else:
        name, params = draw.rng.choice(_ACTIVATIONS[:2] if draw.is_whole else _ACTIVATIONS)
    return {"activation": name, "activation_params": fixed.get("activation_params", list(params))}


def conv(draw: Draw, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Drawn:
    """x [N, C, spatial...], w [O, C / group, kernel...], optional bias [O]."""
    rng = draw.rng
    x, w = known[0], known[1]
    seen = draw.earlier.get("Conv", [])
    old_shapes, old = seen[-1] if seen else ([], {})
    if w is None and seen and draw.chance(0.5):
        w = old_shapes[1]
        if draw.chance(0.5):
            w = (w[1] * rng.randint(1, 3) if draw.chance(0.3) else rng.randint(1, 4), *w[1:])
    if x is None and seen and draw.chance(0.6):
        x = old_shapes[0]
        if draw.chance(0.3):
            x = (x[0], rng.randint(1, 4), *x[2:])
        if draw.chance(0.2):
            x = (*x[:2], *(rng.choice([1, size]) for size in x[2:]))
    spatial = len(x) - 2 if x is not None else len(w) - 2 if w is not None else 0
    if spatial < 1:
        spatial = (
            len(fixed["strides"]) if "strides" in fixed else rng.choices([1, 2, 3], [3, 7, 1])[0]
        )
    group = fixed.get("group") or _group(draw, x, w, old)
    some = draw.fixed_dim or rng.randint(1, 3)
    per_group = w[1] if w is not None else x[1] // group if x is not None else some
    if w is None:
        kernel = [rng.choices([1, 2, 3], [3, 2, 4])[0] for _ in range(spatial)]
        w = (group * (draw.fixed_dim or rng.randint(1, 3)), max(1, per_group), *kernel)
    if x is None:
        x = (rng.randint(1, 2), group * per_group, *(rng.randint(2, 5) for _ in range(spatial)))
    kept = {k: old[k] for k in ("strides", "dilations") if seen and draw.chance(0.8)}
    attributes: Attributes = {
        "group": group,
        "strides": [rng.choices([1, 2, 3], [6, 3, 1])[0] for _ in range(spatial)],
        "dilations": [rng.choices([1, 2], [3, 1])[0] for _ in range(spatial)],
        **{name: value for name, value in kept.items() if len(value) == spatial},
        **fixed,
        **activation(draw, "Conv", fixed),
    }
    if "pads" not in fixed:
        attributes["pads"] = _pads(draw, w[2:], attributes["dilations"], old_shapes, old)
    return [x, w, *((w[0],) if b is None else b for b in known[2:])], attributes


def _group(draw: Draw, x: Shape | None, w: Shape | None, old: Attributes) -> int:
    rng = draw.rng
    if x is not None and w is not None and len(x) > 1 and len(w) > 1:
        return max(1, x[1] // max(1, w[1]))
    if old and draw.chance(0.6):
        return int(old["group"])
    total = x[1] if x is not None and len(x) > 1 else w[0] if w is not None else 12
    choices = [g for g in (1, 2, 3, 4, 6) if total % g == 0]
    return rng.choices(choices, [3 if g == 1 else 1 for g in choices])[0]


def _pads(
    draw: Draw, kernel: Shape, dilations: Sequence[int], old_shapes: list[Shape], old: Attributes
) -> list[int]:
    """Pads at the beginnings, then at the ends; often such that an earlier Conv's result fits."""
    rng = draw.rng
    n = len(kernel)
    if old and len(old["pads"]) == 2 * n and len(dilations) == n and draw.chance(0.85):
        begins, ends = old["pads"][:n], old["pads"][n:]
        grow = [
            d * (new - k) for d, new, k in zip(dilations, kernel, old_shapes[1][2:], strict=True)
        ]
        step = [d if draw.chance(0.8) else 1 for d in dilations]
        shift = [
            s * rng.randint(min(0, g // s), max(0, g // s)) for s, g in zip(step, grow, strict=True)
        ]
        if draw.chance(0.15):
            shift = [s + rng.randint(-1, 1) for s in shift]
        begins = [max(0, b + s) for b, s in zip(begins, shift, strict=True)]
        ends = [max(0, e + g - s) for e, g, s in zip(ends, grow, shift, strict=True)]
        return [*begins, *ends]
    if draw.chance(0.3):
        return [(k - 1) // 2 for k in kernel] + [k // 2 for k in kernel]
    return [rng.choices([0, 1, 2], [4, 4, 1])[0] for _ in range(2 * n)]


def matmul(draw: Draw, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Drawn:
    """a [..., M, K] or [K], b [..., K, N] or [K]; batch axes broadcast."""
    a, b = known
    if a is None and b is None:
        a = draw.like_earlier("MatMul", 0) or draw.shape(_matrix_rank(draw))
    if a is None:
        assert b is not None
        inner = b[-2] if len(b) > 1 else b[-1] if b else draw.dim()
        a = draw.like_earlier("MatMul", 0) or (0,)
        if a[-1:] != (inner,):
            rank = _matrix_rank(draw)
            a = (*_batch(draw, b[:-2], rank - 2), draw.dim(), inner)[-rank:]
    if b is None:
        inner = a[-1] if a else draw.dim()
        b = draw.like_earlier("MatMul", 1) or (0,)
        if b[-2:-1] != (inner,):
            rank = _matrix_rank(draw)
            b = (inner,) if rank == 1 else (*_batch(draw, a[:-2], rank - 2), inner, draw.dim())
    return [a, b], {**fixed, **activation(draw, "MatMul", fixed)}


def _matrix_rank(draw: Draw) -> int:
    return draw.rng.choices([1, 2, 3, 4], [2, 5, 3, 2])[0]


def _batch(draw: Draw, other: Shape, rank: int) -> Shape:
    """Batch axes that broadcast with those of the other operand."""
    rank = max(0, rank)
    aligned = ((draw.dim(),) * rank + tuple(other))[len(other) :] if rank > len(other) else other
    aligned = aligned[len(aligned) - rank :]
    return tuple(1 if draw.chance(0.2) else size for size in aligned)


def gemm(draw: Draw, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Drawn:
    """a [M, K], b [K, N], each possibly transposed; c broadcasts to [M, N]."""
    rng = draw.rng
    scales = [1.0, 1.0, 2.0, -1.0] if draw.is_whole else [1.0, 1.0, 0.5, 2.0, -1.0]
    old = draw.attributes_like_earlier("Gemm")
    attributes: Attributes = {
        "alpha": rng.choice(scales),
        "beta": rng.choice(scales),
        "transA": rng.randint(0, 1),
        "transB": rng.randint(0, 1),
        **old,
        **fixed,
        **activation(draw, "Gemm", fixed),
    }
    a, b = known[0], known[1]
    rows, inner, columns = draw.dim(), draw.dim(), draw.dim()
    if a is not None and len(a) == 2:
        rows, inner = a[::-1] if attributes["transA"] else a
    if b is not None and len(b) == 2:
        inner_b, columns = b[::-1] if attributes["transB"] else b
        inner = inner_b if a is None else inner
    a = a if a is not None else (inner, rows) if attributes["transA"] else (rows, inner)
    b = b if b is not None else (columns, inner) if attributes["transB"] else (inner, columns)
    biases: list[Shape] = [
        (columns,),
        (columns,),
        (1, columns),
        (rows, columns),
        (rows, 1),
        (1,),
        (),
    ]
    return [a, b, *(rng.choice(biases) if c is None else c for c in known[2:])], attributes


def batch_normalization(
    draw: Draw, known: Sequence[Shape | None], fixed: Mapping[str, Any]
) -> Drawn:
    """x [N, C, ...] and four operands [C]."""
    x = known[0]
    if x is None:
        channels = next((p[0] for p in known[1:] if p), draw.dim())
        x = draw.shape(draw.rng.choice([2, 3, 4, 4]))
        x = (x[0], channels, *x[2:])
    channels = x[1] if len(x) > 1 else 1
    epsilon = draw.rng.choice([0.25, 0.5, 1.0, 2.0])
    shapes = [x, *((channels,) if p is None else p for p in known[1:])]
    return shapes, {"epsilon": epsilon, **fixed}


def pool(op_type: str) -> Drawing:
    """x [N, C, spatial...]; windows hold a power of two of elements, so that averages are exact."""

    def drawing(draw: Draw, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Drawn:
        rng = draw.rng
        x = known[0] if known[0] is not None else draw.like_earlier(op_type, 0)
        if x is None:
            x = (rng.randint(1, 2), rng.randint(1, 3), rng.randint(2, 5), rng.randint(2, 5))
        spatial = max(1, len(x) - 2)
        attributes: Attributes = {
            "kernel_shape": [rng.choice([1, 2]) for _ in range(spatial)],
            "strides": [rng.choice([1, 2]) for _ in range(spatial)],
            "dilations": [1] * spatial,
            "pads": [0] * (2 * spatial),
        }
        return [x], {**attributes, **draw.attributes_like_earlier(op_type), **fixed}

    return drawing
