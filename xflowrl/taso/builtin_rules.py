"""The 18 rules that TASO builds in code, ids 0 to 17, as text.

The templates end in a guard, so that further guards can follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product

from xflowrl.taso.rule_text import is_same, is_valid

_ACTIVATIONS = {"none": "", "relu": "Relu"}


def builtin_rules(*, epsilon: bool, guards: Mapping[int, Sequence[str]]) -> list[str]:
    """One text a rule, in order of the ids.

    Args:
        epsilon: folding a batch normalisation adds its epsilon to the variance. TASO does not.
        guards: by id, conditions beyond those that TASO makes.
    """
    parts: list[tuple[str, Callable[[str], str]]] = []
    for stride, (padding, test) in product((1, 2), (("same", is_same), ("valid", is_valid))):
        conv = _conv(stride, "")
        name = f"{padding}-s{stride}"
        guard = test("?w", "?p")
        parts += [
            (f"conv-relu-fuse-{name}", _fuse_relu(conv, guard)),
            (f"conv-batchnorm-fold-{name}", _fold_batchnorm(conv, guard, epsilon=epsilon)),
            (f"conv-mul-drop-{name}", _drop_factor(conv, guard)),
        ]
    for label, activation in _ACTIVATIONS.items():
        parts.append((f"conv-enlarge-merge-{label}", _enlarge(activation)))
    for stride, (label, activation) in product((1, 2), _ACTIVATIONS.items()):
        parts.append((f"merge-gconv-{label}-s{stride}", _merge_groups(stride, activation)))
    texts = []
    for index, (name, write) in enumerate(parts):
        extra = " ".join(["", *guards.get(index, ())])
        texts.append(f"(rule taso-{index:03d}-{name} {write(extra)})")
    return texts


def _conv(stride: int, activation: str) -> str:
    """A source convolution with variables ?x, ?w, ?p (pads), ?g (group), ?a (all attributes)."""
    strides = f":strides (list {stride} {stride})"
    return f'(Conv ?x ?w {strides} :pads ?p :group ?g :activation "{activation}" :attrs ?a)'


def _fuse_relu(conv: str, guard: str) -> Callable[[str], str]:
    target = '(Conv ?x ?w :attrs ?a :activation "Relu")'
    return lambda extra: f"(Relu {conv}) => {target} :if {guard}{extra}"


def _fold_batchnorm(conv: str, guard: str, *, epsilon: bool) -> Callable[[str], str]:
    """The bias stays outside the convolution. TASO's name for that is broadcast_add: no rule for
    `add` speaks of it, hence a Sum."""
    variance = "(Add ?v (scalar ?e ?v))" if epsilon else "?v"
    bound = " :epsilon ?e" if epsilon else ""
    factor = f"(Reshape (Div@k ?s (Sqrt {variance})) :shape (list (dim ?w 0) 1 1 1))"
    bias = "(Reshape (Sub ?b (Mul ?m @k)) :shape (list 1 (dim ?w 0) 1 1))"
    source = f"(BatchNormalization {conv} ?s ?b ?m ?v{bound})"
    target = f"(Sum (Conv ?x (Mul ?w {factor}) :attrs ?a) {bias})"
    return lambda extra: f"{source} => {target} :if {guard}{extra}"


def _drop_factor(conv: str, guard: str) -> Callable[[str], str]:
    return lambda extra: f"(Mul {conv} ?y) => (Conv ?x ?w :attrs ?a) :if {guard}{extra} :drops ?y"


def _enlarge(activation: str) -> Callable[[str], str]:
    """Siblings; zeros around the first kernel make it as large as the second."""

    def sibling(k: int) -> str:
        bound = f":strides (list 1 1) :pads ?p{k} :dilations ?d{k} :group ?g{k}"
        return f'(Conv ?x ?w{k} {bound} :activation "{activation}" :attrs ?a{k})'

    grown = "(- (drop (shape ?w1) 2) (drop (shape ?w0) 2))"
    before = f"(/ {grown} 2)"
    pads = f"(cat (list 0 0) {before} (list 0 0) (- {grown} {before}))"
    weight = f"(Concat (Pad ?w0 :pads {pads}) ?w1 :axis 0)"
    conv = f"(Conv ?x {weight} :attrs ?a1 :group (/ (dim ?x 1) (dim ?w1 1)))"
    target = f"(outs (Split {conv} :axis 1 :split (list (dim ?w0 0) (dim ?w1 0))))"
    guards = f"{is_same('?w0', '?p0')} {is_same('?w1', '?p1')}"
    fits = "(<= (drop (shape ?w0) 2) (drop (shape ?w1) 2))"
    return lambda extra: f"{sibling(0)} {sibling(1)} => {target} :if {guards} {fits}{extra}"


def _merge_groups(stride: int, activation: str) -> Callable[[str], str]:
    """Two neighbouring groups become one; each output reads zeros outside its own half."""
    size = "(prod (drop (shape ?w) 1))"
    halves = f"(Reshape ?w :shape (list (/ ?g 2) 2 (/ (dim ?w 0) ?g) {size}))"
    first = f"(Pad (Split@h {halves} :axis 1 :split (list 1 1)) :pads (list 0 0 0 0 0 0 0 {size}))"
    second = f"(Pad @h.1 :pads (list 0 0 0 {size} 0 0 0 0))"
    shape = "(cat (list (dim ?w 0) (* 2 (dim ?w 1))) (drop (shape ?w) 2))"
    weight = f"(Reshape (Concat {first} {second} :axis 1) :shape {shape})"
    conv = _conv(stride, activation)
    target = f"(Conv ?x {weight} :attrs ?a :group (/ ?g 2))"
    return lambda extra: f"{conv} => {target} :if {is_same('?w', '?p')}{extra}"
