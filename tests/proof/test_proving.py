"""Equal files are proven equal, and whatever is subtly wrong in one of two files is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest

from xflowrl.proof import Verdict, prove, recording

HEAD = '<ir_version: 8, opset_import: ["" : 18, "com.microsoft" : 1]>\n'
Write = Callable[..., Path]
generator = np.random.default_rng(0)
W = generator.standard_normal((8, 8)).astype(np.float32)
B = generator.standard_normal(8).astype(np.float32)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a model's text, with initialisers by name, to a file of its own."""

    def write(text: str, **weights: Any) -> Path:
        model = onnx.parser.parse_model(HEAD + text)
        for name, array in weights.items():
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.onnx"
        onnx.save(model, path)
        return path

    return write


def compared(one: Path, other: Path, *sizes: Sequence[int], **options: Any) -> Verdict:
    return prove(one, other, shapes=[{"x": list(size)} for size in sizes or [[4, 8]]], **options)


def changed(array: np.ndarray, factor: float = 1.1) -> np.ndarray:
    other = array.copy()
    other.flat[3] *= factor
    return other


LABEL = (
    "g (float[N,8] x) => (int64[N] y) "
    "{ t = MatMul(x, w) s = Add(t, b) y = ArgMax<axis=1, keepdims=0>(s) }"
)
FUSED_LABEL = (
    "g (float[N,8] x) => (int64[N] y) { s = Gemm(x, w, b) y = ArgMax<axis=1, keepdims=0>(s) }"
)


def test_what_the_proof_rests_on(write: Write) -> None:
    one, other = write(LABEL, w=W, b=B), write(FUSED_LABEL, w=W, b=B)
    verdict = compared(one, other, [4, 8], [1, 8], [7, 8], redrawn=lambda _: ({"w": 2 * W},) * 2)
    assert verdict.equal
    assert not verdict.weak
    assert verdict.detail.startswith(
        "proven equal at 3 sizes, with its own weights and 3 redrawn ones, 2 tensors compared, "
    )
    assert 'weight "b" changed by 10% is noticed' in verdict.detail
    assert compared(one, other) == compared(one, other)


def test_a_wrong_weight_behind_an_argmax(write: Write) -> None:
    one, other = write(LABEL, w=W, b=B), write(FUSED_LABEL, w=W, b=changed(B, 1.001))
    verdict = compared(one, other)
    assert verdict.status == "different"
    assert verdict.first_difference == "s"
    assert verdict.detail.startswith('with its own weights, draw 1: tensor "s" differs by')


def test_the_first_difference_in_the_order_of_the_result(write: Write) -> None:
    text = "g (float[4,8] x) => (float[4,8] z) {{ {} }}"
    nodes = ["z = Exp(y)", "y = Add(u, b)", "u = Mul(t, {})", "t = MatMul(x, w)"]
    one, other = (
        write(text.format(" ".join(nodes).format(factor)), w=W, b=B, c=np.float32(1.01))
        for factor in ("t", "c")
    )
    assert compared(one, other).first_difference == "u"
    assert compared(one, one).equal


def test_a_difference_that_only_another_size_has(write: Write) -> None:
    text = "g (float[N,8] x) => (float[M,8] y) {{ y = {} }}"
    one = write(text.format("Reshape(x, s)"), s=np.array([-1, 8]))
    other = write(text.format("Slice(x, a, e, a)"), a=np.array([0]), e=np.array([4]))
    assert compared(one, other, [4, 8]).equal
    assert compared(one, other, [4, 8], [5, 8]).status == "different"


def test_a_difference_that_only_redrawn_weights_have(write: Write) -> None:
    good = write(LABEL, w=W, b=B)
    seeds = []

    def redrawn(seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        seeds.append(seed)
        return {"b": 3 * B}, {"b": (2 if seed == 6 else 3) * B}

    verdict = compared(good, good, redrawn=redrawn, seed=5)
    assert verdict.status == "different"
    assert verdict.detail.startswith('with redrawn weights 2, draw 1: tensor "s"')
    assert seeds == [5, 6]


def test_where_memory_is_short_what_was_rewritten_is_compared(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "g (float[4,8] x) => (float[4,8] y) {{ {} y = Sign(t8) }}"
    nodes = ["t0 = MatMul(x, w)", *(f"t{i + 1} = Add(t{i}, b)" for i in range(8))]
    wrong = [*nodes[:3], "t3 = Sub(t2, c)", *nodes[4:]]
    one, other = (
        write(text.format(" ".join(lines)), w=W, b=B, c=-1.001 * B) for lines in (nodes, wrong)
    )
    monkeypatch.setattr(recording, "_INNER_BYTES", 3 * 4 * 32)  # one tensor in each run
    assert compared(one, other).first_difference == "t3"
    assert "2 tensors compared" in compared(one, one).detail


def test_weights_that_cannot_be_fed_are_redrawn_as_constants(write: Write) -> None:
    """Of a type that NumPy cannot give."""
    dtype: Any = ml_dtypes.bfloat16
    text = "g (float[4,8] x) => (float[4,8] y) { f = Cast<to=1>(w) y = MatMul(x, f) }"
    one = write(text, w=W.astype(dtype))

    def redrawn(factor: float) -> Any:
        return lambda _: ({"w": (2 * W).astype(dtype)}, {"w": (factor * W).astype(dtype)})

    assert "3 redrawn ones" in compared(one, one, redrawn=redrawn(2.0)).detail
    assert compared(one, one, redrawn=redrawn(3.0)).status == "different"


@pytest.mark.parametrize(
    ("scores", "scale", "wrong", "own", "redrawn"),
    [
        ("s", 1.0, 1.0, "equal", "3 redrawn"),
        ("s", 1.0, 1.1, "different", "different"),
        ("s", 1e6, 1.0, "equal", "3 redrawn"),  # what is before the Softmax is, and what is behind
        ("s", 1e6, 1.1, "different", "different"),
        ("r", 1e6, 1.0, "different", "equal"),  # drawn weights tell nothing then
    ],
)
def test_where_the_last_places_decide_pieces_are_compared(
    write: Write, scores: str, scale: float, wrong: float, own: str, redrawn: str
) -> None:
    """Scores so large that a rounding is larger than what a Softmax tells apart."""
    almost_equal = W[:, :1] * (1 + 2.0**-20 * np.arange(8, dtype=np.float32))
    text = "g (float[N,8] x) => (float[N,8] y) {{ {} y = Softmax({}) }}"
    texts = [
        text.format("m = MatMul(x, w) s = Mul(m, c)", "s"),
        text.format(f"{scores} = MatMul(x, w)", scores),
    ]
    drawn = [
        {"w": almost_equal * np.float32(factor), "c": np.float32(scale)}
        for factor in (1.0, scale * wrong)
    ]
    verdict = compared(
        *(write(text, w=W, c=np.float32(1)) for text in texts), redrawn=lambda _: tuple(drawn)
    )
    assert redrawn in (verdict.status, "3 redrawn" * ("3 redrawn" in verdict.detail))
    assert ("3 redrawn" in verdict.detail) == (redrawn == "3 redrawn")
    assert (" pieces, " in verdict.detail) == (scale > 1.0 and redrawn == "3 redrawn")
    verdict = compared(*(write(text, **values) for text, values in zip(texts, drawn, strict=True)))
    assert verdict.status == own
    assert (" in 2 pieces, " in verdict.detail) == (scale > 1.0 and own == "equal")


def test_swapped_branches(write: Write) -> None:
    text = (
        "g (float[4,8] x, bool flag) => (float[4,8] y) {{ y = If(flag) "
        "<{} = g () => (float[4,8] p) {{ p = MatMul(x, w) }}, "
        "{} = h () => (float[4,8] q) {{ q = Add(x, b) }}> }}"
    )
    names = ("then_branch", "else_branch")
    one, swapped = (write(text.format(*order), w=W, b=B) for order in (names, names[::-1]))
    same, wrong = (write(text.format(*names), w=W, b=b) for b in (B, changed(B)))
    for other, status in ((same, "equal"), (wrong, "different"), (swapped, "different")):
        verdict = prove(one, other, shapes=[{"x": [4, 8], "flag": []}])
        assert verdict.status == status


MASKED = (
    "g (float[4,8] x) => (float[4,8] y) "
    "{ t = MatMul(x, w) p = Greater(t, zero) y = Where(p, t, low) }"
)


@pytest.mark.parametrize("low", [-np.inf, np.inf, np.nan])
def test_a_wrong_value_beside_masks(write: Write, low: float) -> None:
    def masked(w: np.ndarray, value: float = low) -> Path:
        return write(MASKED, w=w, zero=np.float32(0), low=np.float32(value))

    assert compared(masked(W), masked(W)).equal
    assert compared(masked(W), masked(changed(W))).status == "different"
    assert compared(masked(W), masked(W, -1.0)).status == "different"
    renamed = MASKED.replace("t =", "u =").replace("(t,", "(u,").replace(" t,", " u,")
    hidden = write(renamed, w=changed(W), zero=np.float32(0), low=np.float32(low))
    assert compared(masked(W), hidden).status == "different"


QUANTISED = (
    "g (float[64,8] x) => (float[64,8] y) { t = MatMul(x, w) q = QuantizeLinear(t, s, z) "
    "d = DequantizeLinear(q, s, z) u = MatMul(d, v) p = QuantizeLinear(u, s, z) "
    "e = DequantizeLinear(p, s, z) y = Relu(e) }"
)
INT8 = {"s": np.float32(0.5), "z": np.int8(0)}


def test_a_rounding_on_the_other_side_is_no_difference(write: Write) -> None:
    """Of 1536 elements, moved by 1e-4 of their size, some cross a boundary; the rest agrees."""
    one = write(QUANTISED, w=W, v=W, **INT8)
    other = write(QUANTISED, w=W * np.float32(1.0001), v=W, **INT8)
    assert compared(one, other, [64, 8]).equal
    import onnxruntime

    x = np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32) * 10
    results = [
        onnxruntime.InferenceSession(p, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for p in (one, other)
    ]
    assert np.abs(results[0] - results[1]).max() >= 0.4  # a whole step of 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"w": W, "v": changed(W), **INT8},
        {"w": changed(W), "v": W, **INT8},
        {"w": W, "v": W, "s": np.float32(0.51), "z": np.int8(0)},
        {"w": W, "v": W, "s": np.float32(0.5), "z": np.int8(1)},
    ],
    ids=["weight behind", "weight before", "scale", "zero point"],
)
def test_what_is_wrong_around_quantised_tensors(write: Write, wrong: dict[str, Any]) -> None:
    one = write(QUANTISED, w=W, v=W, **INT8)
    assert compared(one, write(QUANTISED, **wrong), [64, 8]).status == "different"


def test_a_shifted_quantised_value(write: Write) -> None:
    """The floats around it agree: half a step is added right before the rounding."""
    text = QUANTISED.replace("q = QuantizeLinear(t,", "r = Add(t, h) q = QuantizeLinear(r,")
    one, same, other = (write(text, w=W, v=W, h=np.float32(h), **INT8) for h in (0, 1e-6, 0.25))
    assert compared(one, same, [64, 8]).equal
    renamed = write(text.replace("r = ", "k = ").replace("(r,", "(k,"), w=W, v=W,
                    h=np.float32(0.25), **INT8)  # fmt: skip
    plain = write(QUANTISED, w=W, v=W, **INT8)
    assert compared(one, other, [64, 8]).status == "different"
    assert compared(plain, renamed, [64, 8]).first_difference == "q"


def test_quantised_per_channel_and_dynamically(write: Write) -> None:
    text = QUANTISED.replace("QuantizeLinear(t, s, z)", "QuantizeLinear<axis=1>(t, c, k)")
    text = text.replace("DequantizeLinear(q, s, z)", "DequantizeLinear<axis=1>(q, c, k)")
    channels = {"c": np.linspace(0.1, 0.9, 8).astype(np.float32), "k": np.arange(8).astype(np.int8)}
    one, near, far = (
        write(text, w=W * np.float32(f), v=W, **INT8, **channels) for f in (1, 1.0001, 1.01)
    )
    assert compared(one, near, [64, 8]).equal
    assert compared(one, far, [64, 8]).status == "different"
    text = (
        "g (float[64,8] x) => (float[64,8] y) { t = MatMul(x, w) "
        "q, s, z = DynamicQuantizeLinear(t) y = DequantizeLinear(q, s, z) }"
    )
    one, near, far = (write(text, w=w) for w in (W, W * np.float32(1.000001), changed(W)))
    assert compared(one, near, [64, 8]).equal
    assert compared(one, far, [64, 8]).status == "different"


NOISY = (
    "g (float[4,8] x) => (float[4,8] y) { t = MatMul(x, w) n = RandomNormalLike(t) y = Add(t, n) }"
)


def test_noise_is_not_compared_and_what_stands_before_it_is(write: Write) -> None:
    verdict = compared(write(NOISY, w=W), write(NOISY, w=W))
    assert verdict.equal
    assert "2 tensors not compared, noise goes into them" in verdict.detail
    assert compared(write(NOISY, w=W), write(NOISY, w=changed(W))).first_difference == "t"
    alone = write("g (float[4,8] x) => (float[4,8] y) { y = RandomNormalLike(x) }")
    assert compared(alone, alone).status == "undecided"


@pytest.mark.parametrize(("training", "num_noisy"), [(True, 2), (False, 0)])
def test_dropout_is_noise_in_training(write: Write, training: bool, num_noisy: int) -> None:
    text = "g (float[4,8] x) => (float[4,8] y) { t = Relu(x) u = Dropout(t, r, m) y = Neg(u) }"
    path = write(text, r=np.float32(0.5), m=np.array(training))
    verdict = compared(path, path)
    assert verdict.equal
    assert (f"{num_noisy} tensors not compared" in verdict.detail) == training


def test_your_own_data(write: Write) -> None:
    """With x negative, only the slope differs."""
    one, other = (
        write(f"g (float[2,8] x) => (float[2,8] y) {{ y = LeakyRelu<alpha={a}>(x) }}")
        for a in (0.1, 0.2)
    )
    data = {"x": np.ones((2, 8), np.float32)}
    verdict = prove(one, other, shapes=[], inputs=data)
    assert verdict.equal
    assert verdict.detail.startswith("proven equal on your data, ")
    verdict = prove(one, other, shapes=[], inputs={"x": -data["x"]})
    assert verdict.detail.startswith('with its own weights, your data: output "y" differs')
    with pytest.raises(ValueError, match='the data lack the input "x"; they have z'):
        prove(one, other, shapes=[], inputs={"z": data["x"]})


def test_what_cannot_run_is_undecided_and_a_broken_result_is_not(write: Write) -> None:
    good = write("g (float[4,8] x) => (float[4,8] y) { y = Relu(x) }")
    bad = write("g (float[4,8] x) => (float[4,8] y) { y = com.microsoft.Nothing(x) }")
    verdict = compared(bad, good)
    assert verdict.status == "undecided"
    assert verdict.detail.startswith("ONNX Runtime cannot run the original: ")
    verdict = compared(good, bad)
    assert verdict.status == "different"
    assert "ONNX Runtime cannot run the result: " in verdict.detail
    assert compared(good, good, [4, 9]).status == "undecided"


def test_a_rejected_draw_is_tried_anew(write: Write) -> None:
    """Nothing tells that the integers index a table of two rows: first they are too large."""
    text = (
        "g (int64[4] x) => (float[4,8] y) { f = Cast<to=1>(x) g = Abs(f) i = Cast<to=7>(g) "
        "y = Gather(w, i) }"
    )
    one = write(text, w=W[:2])
    assert compared(one, one, [4]).equal
    assert compared(one, write(text, w=changed(W[:2])), [4]).status == "different"


def test_nothing_finite_is_undecided(write: Write) -> None:
    text = "{ a = Abs(x) n = Neg(a) m = Sub(n, b) y = Log(m) }"
    path = write(f"g (float[4,8] x) => (float[4,8] y) {text}", b=np.abs(B))
    verdict = compared(path, path)
    assert verdict.status == "undecided"
    assert "not finite for any inputs that were drawn; give some" in verdict.detail


def test_sequences_and_types_that_numpy_lacks(write: Write) -> None:
    text = (
        "g (float[4,8] x) => (seq(float[4,4]) y, bfloat16[4,8] z) "
        "{ t = MatMul(x, w) s = SplitToSequence<axis=1>(t, k) h = SequenceAt(s, i) "
        "n = Neg(h) y = SequenceConstruct(n, h) z = Cast<to=16>(t) }"
    )
    options = {"k": np.array(4), "i": np.array(1)}
    # Where bfloat16 computes, 10% of the standard deviation are allowed.
    one, same, wrong = (write(text, w=w, **options) for w in (W, W, 2 * W))
    assert compared(one, same).equal
    assert compared(one, wrong).status == "different"
    other = write(text.replace("Neg(h)", "Neg(m) m = Abs(h)"), w=W, **options)
    assert compared(one, other).status == "different"


def test_a_coarse_type_loosens_what_it_goes_into_alone(write: Write) -> None:
    text = (
        "g (float[4,8] x) => (float[4,8] fine, float[4,8] coarse) "
        "{ fine = MatMul(x, w) h = Cast<to=10>(x) t = Cast<to=1>(h) coarse = MatMul(t, v) }"
    )
    one = write(text, w=W, v=W)
    slightly = W * (1 + 0.004 * generator.standard_normal(W.shape)).astype(np.float32)
    assert compared(one, write(text, w=W, v=slightly)).equal
    assert compared(one, write(text, w=slightly, v=W)).first_difference == "fine"


def test_bfloat16_inputs(write: Write) -> None:
    text = "g (bfloat16[4,8] x) => (float[4,8] y) {{ t = Cast<to=1>(x) y = Mul(t, c) }}"
    one, other = (write(text.format(), c=np.float32(c)) for c in (1, 1.5))
    assert compared(one, one).equal
    assert compared(one, other).status == "different"


def test_external_data_and_a_relative_path(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write(LABEL, w=W, b=B)
    for name, bias in (("one", B), ("other", changed(B))):
        (tmp_path / name).mkdir()
        model = onnx.load(write(LABEL, w=W, b=bias))
        onnx.save(model, tmp_path / name / "m.onnx", save_as_external_data=True,
                  location="weights", size_threshold=0)  # fmt: skip
    monkeypatch.chdir(tmp_path)
    verdict = compared(path, Path("one/m.onnx"))
    assert verdict.equal
    assert not verdict.weak
    assert compared(path, Path("other/m.onnx")).first_difference == "s"


def test_few_inner_tensors_where_memory_is_short(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = " ".join(f"t{i + 1} = Neg(t{i})" for i in range(40))
    path = write(f"g (float[N,8] t0) => (float[N,8] t40) {{ {nodes} }}")
    monkeypatch.setattr("xflowrl.proof.recording._INNER_BYTES", 10 * 3 * 4 * 32)
    verdict = prove(path, path, shapes=[{"t0": [4, 8]}])
    assert verdict.equal
    assert "11 tensors compared" in verdict.detail


def test_other_interfaces(write: Write) -> None:
    one = write("g (float[4,8] x) => (float[4,8] y) { y = Relu(x) }")
    for text in ("g (float[4,8] x) => (float[4,8] z) { z = Relu(x) }",
                 "g (double[4,8] x) => (double[4,8] y) { y = Relu(x) }"):  # fmt: skip
        verdict = compared(one, write(text))
        assert verdict.status == "different"
        assert "puts of the result are" in verdict.detail


def test_a_default_that_was_folded_away(write: Write) -> None:
    """Who gives the input another value than its default must not get another result."""
    text = "g (float[4,8] x, float[8] b) => (float[4,8] y) {{ y = Add(x, {}) }}"
    one = write(text.format("b"), b=B)
    other = write(text.format("folded"), b=B, folded=B)
    assert compared(one, one).equal
    assert compared(one, other).status == "different"


WEAK = {"add_zero_negzero", "no_match_argmax", "no_match_slice", "padconst_float32_constant_-1"}


def test_every_difficult_model_equals_itself(shared_dir: Path) -> None:
    paths = sorted((shared_dir / "cases").glob("*.onnx"))
    assert len(paths) > 50
    for path in paths:
        graph = onnx.load(path).graph
        defaults = {tensor.name for tensor in graph.initializer}
        shapes = {
            info.name: [dim.dim_value or 6 for dim in info.type.tensor_type.shape.dim]
            for info in graph.input
            if info.name not in defaults
        }
        verdict = prove(path, path, shapes=[shapes])
        assert verdict.equal, (path.name, verdict.detail)
        assert bool(verdict.weak) == (path.stem in WEAK), (path.name, verdict.detail)


@pytest.mark.parametrize(
    "name", ["classifier_label", "classifier_argmax_big", "step_output", "masked_logits",
             "mask_finfo_min", "uint8_image", "scalar_bool_input", "random_like", "qdq_conv_bn",
             "qdq_siblings", "dynamic_quant_lstm_like"]
)  # fmt: skip
def test_a_wrong_weight_of_a_difficult_model(shared_dir: Path, tmp_path: Path, name: str) -> None:
    path = shared_dir / "cases" / f"{name}.onnx"
    model = onnx.load(path)
    defaults = [t for t in model.graph.initializer if t.data_type == 1 and np.prod(t.dims) > 1]
    tensor = defaults[0] if defaults else model.graph.initializer[0]
    values = onnx.numpy_helper.to_array(tensor) * np.float32(1.1)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), tensor.name))
    onnx.save(model, tmp_path / "wrong.onnx")
    names = {t.name for t in model.graph.initializer}
    shapes = {
        info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        for info in model.graph.input
        if info.name not in names
    }
    assert prove(path, tmp_path / "wrong.onnx", shapes=[shapes]).status == "different"
