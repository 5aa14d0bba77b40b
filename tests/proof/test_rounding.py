"""Roundings that add up in a deep network are no difference; anything else in it still is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from xflowrl.proof import Verdict, prove

DEPTH = 24
WIDTH = 16
HEAD = '<ir_version: 8, opset_import: ["" : 18]>\n'
Write = Callable[..., Path]
Values = Mapping[str, np.ndarray]
random = np.random.default_rng(0)
ROTATIONS = [np.linalg.qr(random.standard_normal((WIDTH, WIDTH)))[0] for _ in range(DEPTH)]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a network of many layers, each a matrix times 1.1, to a file of its own.

    The result multiplies matrices before, so that it rounds otherwise. With a gain of 3 in front of
    a sine two networks that differ in the last place of the first layer differ in the first place
    of the last one.
    """

    def write(
        *,
        is_result: bool,
        gain: float = 3.0,
        factors: Sequence[float] = (),
        element: str = "float",
    ) -> Path:
        activation = "Sin" if gain > 1 else "Identity"
        nodes = ["f = Cast<to=1>(x)"]
        weights = [onnx.numpy_helper.from_array(np.float32(1.1), "c")]
        for i, rotation in enumerate(ROTATIONS):
            x = f"t{i - 1}" if i else "f"
            layer = f"m{i} = MatMul({x}, w{i}) s{i} = Mul(m{i}, c)"
            nodes += [f"s{i} = MatMul({x}, w{i})" if is_result else layer]
            nodes += [f"t{i} = {activation}(s{i})"]
            weight = (gain * rotation).astype(np.float32) / np.float32(1.1)
            if is_result:
                weight = weight * np.float32(1.1) * np.float32(factors[i] if factors else 1)
            weights.append(onnx.numpy_helper.from_array(weight, f"w{i}"))
        inputs = f"{element}[8,{WIDTH}] x"
        text = f"g ({inputs}) => (float[8,{WIDTH}] y) {{ {' '.join(nodes)} y = Neg(t{i}) }}"
        model = onnx.parser.parse_model(HEAD + text)
        model.graph.initializer.extend(weights)
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.onnx"
        onnx.save(model, path)
        return path

    return write


def compared(
    one: Path, other: Path, redrawn: Callable[[int], tuple[Values, Values]] | None = None
) -> Verdict:
    return prove(one, other, shapes=[{"x": [8, WIDTH]}], redrawn=redrawn)


def values(file: Path) -> Values:
    return {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(file).graph.initializer}


def wrong_in(layer: int, factor: float) -> list[float]:
    return [factor if i == layer else 1.0 for i in range(DEPTH)]


def test_roundings_that_add_up_are_no_difference(write: Write) -> None:
    one, other = write(is_result=False), write(is_result=True)
    verdict = compared(one, other, lambda _: (values(one), values(other)))
    assert verdict.equal
    assert f"with its own weights and 3 redrawn ones, {2 * DEPTH + 2} tensors" in verdict.detail
    assert f"in {2 * DEPTH + 2} pieces, because roundings add up" in verdict.detail
    assert verdict.max_rel_error < 1e-4
    assert not verdict.weak


def test_kernels_round_where_inputs_do_not(write: Write) -> None:
    one, other = (write(is_result=is_result, element="int64") for is_result in (False, True))
    verdict = compared(one, other)
    assert verdict.equal
    assert " pieces, because roundings add up" in verdict.detail


@pytest.mark.parametrize("layer", [0, 12, DEPTH - 1])
def test_a_wrong_layer_is_found_where_it_is(write: Write, layer: int) -> None:
    """By 0.2%: behind layer 12 roundings alone are more."""
    verdict = compared(
        write(is_result=False), write(is_result=True, factors=wrong_in(layer, 1.002))
    )
    assert verdict.status == "different"
    assert verdict.first_difference == f"s{layer}"
    assert {name for name in verdict.pieces if name[0] in "mst"} == {f"s{layer}", f"m{layer}"}
    assert verdict.failed == (0, 0)


def test_a_wrong_layer_that_only_redrawn_weights_show(write: Write) -> None:
    """That the whole is not steady excuses none of its pieces."""
    drawn = values(write(is_result=False))
    wrong = values(write(is_result=True, factors=wrong_in(20, 1.002)))
    for gain in (1.01, 3.0):  # with its own weights compared as a whole, or in pieces
        one, other = (write(is_result=is_result, gain=gain) for is_result in (False, True))
        assert (" pieces, " in compared(one, other).detail) == (gain == 3.0)
        verdict = compared(one, other, lambda _: (drawn, wrong))
        assert verdict.status == "different"
        assert (verdict.first_difference, verdict.failed) == ("s20", (1, 0))
        assert {"s20", "m20"} <= verdict.pieces


def test_what_is_a_little_wrong_everywhere_is_found_in_the_whole(write: Write) -> None:
    """By 0.01% in each layer, within the limit of its piece; nothing here makes roundings grow."""
    one, other = write(is_result=False, gain=1.0), write(is_result=True, gain=1.0)
    assert compared(one, other).equal
    assert " pieces" not in compared(one, other).detail
    once = write(is_result=True, gain=1.0, factors=wrong_in(12, 1.0001))
    assert compared(one, once).equal
    drifting = write(is_result=True, gain=1.0, factors=[1.0001] * DEPTH)
    verdict = compared(one, drifting)
    assert verdict.status == "different"
    assert not verdict.pieces  # no single one is at fault


def test_one_run_of_one_pair_can_be_asked_alone(write: Write) -> None:
    one, other = write(is_result=False), write(is_result=True)
    wrong = write(is_result=True, factors=wrong_in(20, 1.002))
    seeds = list[int]()

    def redrawn(seed: int) -> tuple[Values, Values]:
        seeds.append(seed)
        return values(one), values(wrong if seed == 2 else other)

    def asked(only: tuple[int, int]) -> str:
        shapes = [{"x": [8, WIDTH]}]
        return prove(one, other, shapes=shapes, redrawn=redrawn, seed=1, only=only).status

    assert [asked((0, 0)), asked((0, 2)), asked((1, 0)), asked((2, 0))] == [
        "equal", "equal", "equal", "different"
    ]  # fmt: skip
    assert seeds == [1, 2]
