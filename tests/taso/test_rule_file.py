"""Reading TASO's protobuf file, from bytes written here by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from xflowrl.taso.rule_file import TensorRef, read_taso_file
from xflowrl.taso.rule_text import rule_text
from xflowrl.taso.rules import load_taso

CONV, RELU, CONCAT, SPLIT, ADD, MATMUL = 3, 8, 12, 13, 16, 18
CONV_PARAMETERS = ((6, 1), (7, 1), (8, 0), (9, 0))


# The wire format: https://protobuf.dev/programming-guides/encoding
def varint(value: int) -> bytes:
    value %= 1 << 64  # a negative int32 is written as 64 bits
    out = bytearray()
    while value > 127:
        out.append(value % 128 | 128)
        value //= 128
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def operator(
    kind: int, inputs: Sequence[tuple[int, int] | int], parameters: Sequence[tuple[int, int]] = ()
) -> bytes:
    out = number(1, kind)
    for ref in inputs:
        op, output = ref if isinstance(ref, tuple) else (ref, 0)
        out += message(2, number(1, op) + number(2, output))
    for key, value in parameters:
        out += message(3, number(1, key) + number(2, value))
    return out


def mapped(source: int, target: int, source_output: int = 0, target_output: int = 0) -> bytes:
    return (
        number(1, source) + number(2, target) + number(3, source_output) + number(4, target_output)
    )


def rule(source: Sequence[bytes], target: Sequence[bytes], outputs: Sequence[bytes]) -> bytes:
    content = b"".join(message(1, op) for op in source)
    content += b"".join(message(2, op) for op in target)
    content += b"".join(message(3, output) for output in outputs)
    return message(1, content)


def associativity() -> bytes:
    return rule(
        [operator(ADD, [-1, -2]), operator(ADD, [-3, 0])],
        [operator(ADD, [-1, -3]), operator(ADD, [-2, 0])],
        [mapped(1, 1)],
    )


def siblings(target_output: int = 1) -> bytes:
    """Two matmuls of one left operand, side by side."""
    return rule(
        [operator(MATMUL, [-1, -4], [(9, 0)]), operator(MATMUL, [-1, -5], [(9, 0)])],
        [
            operator(CONCAT, [-4, -5], [(1, 2), (10, 2), (11, 1)]),
            operator(MATMUL, [-1, 0], [(9, 0)]),
            operator(SPLIT, [1], [(11, 1), (2, 2)]),
        ],
        [mapped(0, 2), mapped(1, 2, target_output=target_output)],
    )


def write(folder: Path, content: bytes) -> str:
    path = folder / "rules.pb"
    path.write_bytes(content)
    return str(path)


def test_a_rule_is_read_and_written_as_text(tmp_path: Path) -> None:
    first, second = read_taso_file(write(tmp_path, associativity() + siblings()))
    assert first.source[1].inputs == (TensorRef(-3), TensorRef(0))
    assert first.outputs == ((TensorRef(1), TensorRef(1)),)
    assert rule_text(first, "a") == "(rule a (Add ?v3 (Add ?v1 ?v2)) => (Add ?v2 (Add ?v1 ?v3)))"
    assert rule_text(second, "b") == (
        '(rule b (MatMul ?v1 ?v4 :activation "") (MatMul ?v1 ?v5 :activation "") => '
        "(Split@t2 (MatMul ?v1 (Concat ?v4 ?v5 :axis 1)) :axis 1 "
        ":split (list (dim ?v4 1) (dim ?v5 1))) @t2.1 "
        ":if (= (rank ?v1) 2) (= (rank ?v4) 2) (= (rank ?v5) 2))"
    )


def test_a_lost_variable_is_declared(tmp_path: Path) -> None:
    content = rule([operator(ADD, [-1, -2])], [operator(RELU, [-1])], [mapped(0, 0)])
    (read,) = read_taso_file(write(tmp_path, content))
    assert rule_text(read, "r") == "(rule r (Add ?v1 ?v2) => (Relu ?v1) :drops ?v2)"


def test_more_guards_follow_tasos_own(tmp_path: Path) -> None:
    content = rule(
        [operator(CONV, [-7, -10], CONV_PARAMETERS)],
        [operator(CONV, [-7, -10], [*CONV_PARAMETERS[:3], (9, 2)])],
        [mapped(0, 0)],
    )
    (read,) = read_taso_file(write(tmp_path, content))
    assert rule_text(read, "r", ["(= ?g0 1)"]) == (
        "(rule r (Conv ?v7 ?v10 :strides (list 1 1) :pads ?p0 :group ?g0 "
        ':activation "" :attrs ?a0) => (Conv ?v7 ?v10 :attrs ?a0 :activation "Relu") '
        ":if (or (= (drop (shape ?v10) 2) (list 1 1)) (not (all ?p0 0))) (= ?g0 1))"
    )


def test_what_is_no_rule_file(tmp_path: Path) -> None:
    whole = associativity() + siblings()
    bad = {
        b"": "is no TASO rule file",
        b"(rules mine)\n(rule r (Relu (Relu ?x)) => (Relu ?x))\n": "is no TASO rule file",
        whole[:-3]: "is no TASO rule file, or a truncated one",
        whole[: len(associativity()) + 20]: "is no TASO rule file, or a truncated one",
        number(7, 3) + whole: "no protobuf RuleCollection",
    }
    for content, text in bad.items():
        with pytest.raises(ValueError, match=text) as error:
            read_taso_file(write(tmp_path, content))
        assert str(tmp_path / "rules.pb") in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read_taso_file(str(tmp_path / "missing.pb"))


ONE_ADD = [operator(ADD, [-1, -2])]
BAD_RULES = {
    "target operator 0 (unknown): operator type 99 is not known": rule(
        ONE_ADD, [operator(99, [-1])], [mapped(0, 0)]
    ),
    "source operator 0 (transpose): operator type 15 is not known": rule(
        [operator(15, [-1])], ONE_ADD, [mapped(0, 0)]
    ),
    "source operator 0 (split): operator type 13 is not known in a source": rule(
        [operator(SPLIT, [-1], [(11, 1), (2, 2)])], ONE_ADD, [mapped(0, 0)]
    ),
    "source operator 1 (add): operator 3 does not exist": rule(
        [*ONE_ADD, operator(ADD, [3, 0])], ONE_ADD, [mapped(1, 0)]
    ),
    "source operator 0 (add): operator 0 does not exist before it": rule(
        [operator(ADD, [0, -1])], ONE_ADD, [mapped(0, 0)]
    ),
    "target operator 1 (relu): operator 0 has no output 1": rule(
        ONE_ADD, [*ONE_ADD, operator(RELU, [(0, 1)])], [mapped(0, 1)]
    ),
    "target operator 0 (add): uses variable -9, which the source does not bind": rule(
        ONE_ADD, [operator(ADD, [-1, -9])], [mapped(0, 0)]
    ),
    "target operator 0 (add): has 1 inputs, not 2": rule(
        ONE_ADD, [operator(ADD, [-1])], [mapped(0, 0)]
    ),
    "source operator 0 (concat): has 2 inputs, not 3": rule(
        [operator(CONCAT, [-1, -2], [(1, 3), (10, 4), (11, 1)])], ONE_ADD, [mapped(0, 0)]
    ),
    "source operator 0 (conv): has no padding": rule(
        [operator(CONV, [-1, -2], [(6, 1), (7, 1), (9, 0)])], ONE_ADD, [mapped(0, 0)]
    ),
    "source operator 0 (matmul): activation 7 is not known": rule(
        [operator(MATMUL, [-1, -2], [(9, 7)])], ONE_ADD, [mapped(0, 0)]
    ),
    "mapped output 0, target operator 5: operator 5 does not exist": rule(
        ONE_ADD, ONE_ADD, [mapped(0, 5)]
    ),
    "mapped output 1, target operator 2: operator 2 has no output 4": siblings(target_output=4),
    "source operator 1 (relu): no mapped output depends on it": rule(
        [*ONE_ADD, operator(RELU, [0])], ONE_ADD, [mapped(0, 0)]
    ),
    "target operator 0 (relu): no mapped output depends on it": rule(
        ONE_ADD, [operator(RELU, [-1]), *ONE_ADD], [mapped(0, 1)]
    ),
    "target operator 1 (add): no mapped output depends on it": rule(
        ONE_ADD, [operator(RELU, [-1]), operator(ADD, [0, -2])], [mapped(0, 0)]
    ),
    "source operator 0 (conv): padding 7 is not known": rule(
        [operator(CONV, [-1, -2], [*CONV_PARAMETERS[:2], (8, 7), (9, 0)])], ONE_ADD, [mapped(0, 0)]
    ),
    "mapped output 0, source operator 0: operator 0 has no output 1": rule(
        ONE_ADD, ONE_ADD, [mapped(0, 0, source_output=1)]
    ),
    "source operator 1 (add): operator 0 has no output -1": rule(
        [*ONE_ADD, operator(ADD, [(0, -1), -3])], ONE_ADD, [mapped(1, 0)]
    ),
    "mapped output 1: is mapped twice": rule(ONE_ADD, ONE_ADD, [mapped(0, 0), mapped(0, 0)]),
    "target operator 0 (split): cannot be stated: no concat of the target has joined": rule(
        ONE_ADD, [operator(SPLIT, [-1], [(11, 0), (2, 2)])], [mapped(0, 0)]
    ),
    "target operator 0 (conv): cannot be stated: the source has no such conv": rule(
        ONE_ADD, [operator(CONV, [-1, -2], CONV_PARAMETERS)], [mapped(0, 0)]
    ),
    "mapped output 0, source operator -1: is no operator": rule(ONE_ADD, ONE_ADD, [mapped(-1, 0)]),
}


def test_a_rule_without_outputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"rule 0 \(id 18\): maps no output"):
        read_taso_file(write(tmp_path, rule([], [], [])))


def test_a_rule_of_many_operators_is_refused(tmp_path: Path) -> None:
    chain = [operator(RELU, [index - 1]) for index in range(2000)]
    with pytest.raises(
        ValueError, match=r"rule 0 \(id 18\): its target has 2000 operators; at most"
    ):
        read_taso_file(write(tmp_path, rule(ONE_ADD, chain, [mapped(0, 1999)])))


def test_outputs_of_a_split_in_any_order(tmp_path: Path) -> None:
    content = rule(
        [operator(RELU, [-1]), operator(RELU, [-2])],
        [
            operator(CONCAT, [-2, -1], [(1, 2), (10, 2), (11, 0)]),
            operator(RELU, [0]),
            operator(SPLIT, [1], [(11, 0), (2, 2)]),
        ],
        [mapped(0, 2, target_output=1), mapped(1, 2)],
    )
    rules = load_taso(write(tmp_path, content))
    assert rules.rules[18].text == (
        "(rule taso-018-relu-relu-to-concat-relu-split (Relu ?v1) (Relu ?v2) => "
        "(outs (Split@t2 (Relu (Concat ?v2 ?v1 :axis 0)) :axis 0 "
        ":split (list (dim ?v2 0) (dim ?v1 0))) 1 2) @t2 :if (= (rank ?v2) 2) (= (rank ?v1) 2))"
    )


@pytest.mark.parametrize("text", BAD_RULES)
def test_a_wrong_rule_is_named_with_its_operator(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, associativity() + BAD_RULES[text])
    with pytest.raises(ValueError, match="id 19") as error:
        load_taso(path)
    assert str(error.value).startswith(f"{path}: rule 1 (id 19), {text}")
    assert "\n" not in str(error.value)


def test_the_shipped_file(shared_dir: Path) -> None:
    rules = read_taso_file(str(shared_dir / "taso" / "graph_subst.pb"))
    assert len(rules) == 133
    assert [len(rule.outputs) for rule in rules].count(1) == 120
    assert [len(rule.outputs) for rule in rules].count(2) == 13
    kinds = {op.kind for rule in rules for op in rule.source}
    assert kinds == {"add", "matmul", "concat", "mul", "conv", "relu"}
