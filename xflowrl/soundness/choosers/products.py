"""Random operands of convolutions, matrix products, normalisations and pools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xflowrl.soundness.choosers.dice import Attributes, Chooser, Chosen, Dice, Shape

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


def activation(dice: Dice, op_type: str, fixed: Mapping[str, Any]) -> Attributes:
    """A fused activation and its parameters; none more often than not."""
    seen = dice.earlier.get(op_type, [])
    if "activation" in fixed:
        name = fixed["activation"]
        params = next((p for a, p in _ACTIVATIONS if a == name), [])
    elif "activation_params" in fixed:
        count = len(fixed["activation_params"])
        name, params = dice.rng.choice(
            [("", []), *_ACTIVATIONS]
            if count == 0
            else [a for a in _ACTIVATIONS if len(a[1]) == count]
        )
        if count == 0 and params:
            name, params = "", []
    elif seen and dice.chance(0.8):
        name, params = (seen[-1][1][key] for key in ("activation", "activation_params"))
    elif dice.chance(0.6):
        name, params = "", []
    else:
        name, params = dice.rng.choice(_ACTIVATIONS[:2] if dice.is_whole else _ACTIVATIONS)
    return {"activation": name, "activation_params": fixed.get("activation_params", list(params))}


def conv(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
    """x [N, C, spatial...], w [O, C / group, kernel...], optional bias [O]."""
    rng = dice.rng
    x, w = known[0], known[1]
    seen = dice.earlier.get("Conv", [])
    old_shapes, old = seen[-1] if seen else ([], {})
    if w is None and seen and dice.chance(0.5):
        w = old_shapes[1]
        if dice.chance(0.5):
            w = (w[1] * rng.randint(1, 3) if dice.chance(0.3) else rng.randint(1, 4), *w[1:])
    if x is None and seen and dice.chance(0.6):
        x = old_shapes[0]
        if dice.chance(0.3):
            x = (x[0], rng.randint(1, 4), *x[2:])
        if dice.chance(0.2):
            x = (*x[:2], *(rng.choice([1, size]) for size in x[2:]))
    spatial = len(x) - 2 if x is not None else len(w) - 2 if w is not None else 0
    if spatial < 1:
        spatial = (
            len(fixed["strides"]) if "strides" in fixed else rng.choices([1, 2, 3], [3, 7, 1])[0]
        )
    group = fixed.get("group") or _group(dice, x, w, old)
    some = dice.fixed_dim or rng.randint(1, 3)
    per_group = w[1] if w is not None else x[1] // group if x is not None else some
    if w is None:
        kernel = [rng.choices([1, 2, 3], [3, 2, 4])[0] for _ in range(spatial)]
        w = (group * (dice.fixed_dim or rng.randint(1, 3)), max(1, per_group), *kernel)
    if x is None:
        x = (rng.randint(1, 2), group * per_group, *(rng.randint(2, 5) for _ in range(spatial)))
    kept = {k: old[k] for k in ("strides", "dilations") if seen and dice.chance(0.8)}
    attributes: Attributes = {
        "group": group,
        "strides": [rng.choices([1, 2, 3], [6, 3, 1])[0] for _ in range(spatial)],
        "dilations": [rng.choices([1, 2], [3, 1])[0] for _ in range(spatial)],
        **{name: value for name, value in kept.items() if len(value) == spatial},
        **fixed,
        **activation(dice, "Conv", fixed),
    }
    if "pads" not in fixed:
        attributes["pads"] = _pads(dice, w[2:], attributes["dilations"], old_shapes, old)
    return [x, w, *((w[0],) if b is None else b for b in known[2:])], attributes


def conv_transpose(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
    """x [N, C, spatial...], w [C, O / group, kernel...], optional bias [O]."""
    rng, x = dice.rng, known[0]
    spatial = max(1, len(x) - 2) if x is not None else rng.choices([1, 2], [3, 5])[0]
    group = rng.choices([1, 2, 3], [4, 3, 2])[0]
    if x is None:
        channels = group * (dice.fixed_dim or rng.randint(1, 3))
        x = (rng.randint(1, 2), channels, *(rng.randint(1, 3) for _ in range(spatial)))
    w = (x[1], dice.fixed_dim or rng.randint(1, 3), *(rng.randint(1, 3) for _ in range(spatial)))
    w = w if known[1] is None else known[1]
    attributes: Attributes = {
        "group": group,
        "strides": [rng.choices([1, 2, 3], [4, 4, 1])[0] for _ in range(spatial)],
        "dilations": [rng.choices([1, 2], [3, 1])[0] for _ in range(spatial)],
        "pads": [rng.choices([0, 1], [2, 1])[0] for _ in range(2 * spatial)],
        "output_padding": [rng.choices([0, 1], [3, 1])[0] for _ in range(spatial)],
        **fixed,
    }
    bias = (w[1] * attributes["group"],)
    return [x, w, *(bias if b is None else b for b in known[2:])], attributes


def _group(dice: Dice, x: Shape | None, w: Shape | None, old: Attributes) -> int:
    rng = dice.rng
    if x is not None and w is not None and len(x) > 1 and len(w) > 1:
        return max(1, x[1] // max(1, w[1]))
    if old and dice.chance(0.6):
        return int(old["group"])
    total = x[1] if x is not None and len(x) > 1 else w[0] if w is not None else 12
    choices = [g for g in (1, 2, 3, 4, 6) if total % g == 0]
    return rng.choices(choices, [3 if g == 1 else 1 for g in choices])[0]


def _pads(
    dice: Dice, kernel: Shape, dilations: Sequence[int], old_shapes: list[Shape], old: Attributes
) -> list[int]:
    """Pads at the beginnings, then at the ends; often such that an earlier Conv's result fits."""
    rng = dice.rng
    n = len(kernel)
    if old and len(old["pads"]) == 2 * n and len(dilations) == n and dice.chance(0.85):
        begins, ends = old["pads"][:n], old["pads"][n:]
        grow = [
            d * (new - k) for d, new, k in zip(dilations, kernel, old_shapes[1][2:], strict=True)
        ]
        step = [d if dice.chance(0.8) else 1 for d in dilations]
        shift = [
            s * rng.randint(min(0, g // s), max(0, g // s)) for s, g in zip(step, grow, strict=True)
        ]
        if dice.chance(0.15):
            shift = [s + rng.randint(-1, 1) for s in shift]
        begins = [max(0, b + s) for b, s in zip(begins, shift, strict=True)]
        ends = [max(0, e + g - s) for e, g, s in zip(ends, grow, shift, strict=True)]
        return [*begins, *ends]
    if dice.chance(0.3):
        return [(k - 1) // 2 for k in kernel] + [k // 2 for k in kernel]
    return [rng.choices([0, 1, 2], [4, 4, 1])[0] for _ in range(2 * n)]


def matmul(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
    """a [..., M, K] or [K], b [..., K, N] or [K]; batch axes broadcast."""
    a, b = known
    if a is None and b is None:
        a = dice.like_earlier("MatMul", 0) or dice.shape(_matrix_rank(dice))
    if a is None:
        assert b is not None
        inner = b[-2] if len(b) > 1 else b[-1] if b else dice.dim()
        a = dice.like_earlier("MatMul", 0) or (0,)
        if a[-1:] != (inner,):
            rank = _matrix_rank(dice)
            a = (*_batch(dice, b[:-2], rank - 2), dice.dim(), inner)[-rank:]
    if b is None:
        inner = a[-1] if a else dice.dim()
        b = dice.like_earlier("MatMul", 1) or (0,)
        if b[-2:-1] != (inner,):
            rank = _matrix_rank(dice)
            b = (inner,) if rank == 1 else (*_batch(dice, a[:-2], rank - 2), inner, dice.dim())
    return [a, b], {**fixed, **activation(dice, "MatMul", fixed)}


def _matrix_rank(dice: Dice) -> int:
    return dice.rng.choices([1, 2, 3, 4], [2, 5, 3, 2])[0]


def _batch(dice: Dice, other: Shape, rank: int) -> Shape:
    """Batch axes that broadcast with those of the other operand."""
    rank = max(0, rank)
    aligned = ((dice.dim(),) * rank + tuple(other))[len(other) :] if rank > len(other) else other
    aligned = aligned[len(aligned) - rank :]
    return tuple(1 if dice.chance(0.2) else size for size in aligned)


def gemm(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
    """a [M, K], b [K, N], each possibly transposed; c broadcasts to [M, N]."""
    rng = dice.rng
    scales = [1.0, 1.0, 2.0, -1.0] if dice.is_whole else [1.0, 1.0, 0.5, 2.0, -1.0]
    old = dice.attributes_like_earlier("Gemm")
    attributes: Attributes = {
        "alpha": rng.choice(scales),
        "beta": rng.choice(scales),
        "transA": rng.randint(0, 1),
        "transB": rng.randint(0, 1),
        **old,
        **fixed,
        **activation(dice, "Gemm", fixed),
    }
    a, b = known[0], known[1]
    rows, inner, columns = dice.dim(), dice.dim(), dice.dim()
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
    dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]
) -> Chosen:
    """x [N, C, ...] and four operands [C]."""
    x = known[0]
    if x is None:
        channels = next((p[0] for p in known[1:] if p), dice.dim())
        x = dice.shape(dice.rng.choice([2, 3, 4, 4]))
        x = (x[0], channels, *x[2:])
    channels = x[1] if len(x) > 1 else 1
    epsilon = dice.rng.choice([0.25, 0.5, 1.0, 2.0])
    shapes = [x, *((channels,) if p is None else p for p in known[1:])]
    return shapes, {"epsilon": epsilon, **fixed}


def instance_normalization(
    dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]
) -> Chosen:
    """x [N, C, ...], scale [C], bias [C]."""
    (x, *_), attributes = batch_normalization(dice, known[:1], fixed)
    return [x, *((x[1],) if p is None else p for p in known[1:])], attributes


def layer_normalization(
    dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]
) -> Chosen:
    """x of any rank; scale and bias of its axes from `axis` on."""
    x = known[0] if known[0] is not None else dice.shape(dice.rng.choice([2, 3, 4]))
    axis = fixed.get("axis", dice.rng.randrange(max(1, len(x))))
    epsilon = dice.rng.choice([0.25, 0.5, 1.0, 2.0])
    shapes = [x, *(x[axis:] if p is None else p for p in known[1:])]
    return shapes, {"axis": axis, "epsilon": epsilon, **fixed}


def lrn(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
    """x [C, C, H, W]: the evaluator takes the batch for the channels."""
    channels = dice.dim()
    x = known[0] if known[0] is not None else (channels, channels, dice.dim(), dice.dim())
    chosen: dict[str, list[Any]] = {
        "size": [1, 3],
        "alpha": [0.5, 1.0],
        "beta": [0.5, 0.75],
        "bias": [1.0, 2.0],
    }
    return [x], {**{name: dice.rng.choice(values) for name, values in chosen.items()}, **fixed}


def pool(op_type: str) -> Chooser:
    """x [N, C, spatial...]; windows hold a power of two of elements, so that averages are exact."""

    def choose(dice: Dice, known: Sequence[Shape | None], fixed: Mapping[str, Any]) -> Chosen:
        rng = dice.rng
        x = known[0] if known[0] is not None else dice.like_earlier(op_type, 0)
        if x is None:
            x = (rng.randint(1, 2), rng.randint(1, 3), rng.randint(2, 5), rng.randint(2, 5))
        spatial = max(1, len(x) - 2)
        attributes: Attributes = {
            "kernel_shape": [rng.choice([1, 2]) for _ in range(spatial)],
            "strides": [rng.choice([1, 2]) for _ in range(spatial)],
            "dilations": [1] * spatial,
            "pads": [0] * (2 * spatial),
        }
        if dice.chance(0.5):  # a window of two may stand half outside
            kernel = attributes["kernel_shape"]
            attributes["pads"] = [rng.choice([0, size - 1]) for size in (*kernel, *kernel)]
        if op_type == "AveragePool":
            attributes["count_include_pad"] = rng.choice([0, 1])
        return [x], {**attributes, **dice.attributes_like_earlier(op_type), **fixed}

    return choose
