"""Runs two model files on the same inputs and compares all that both compute.

Compared are the outputs and every inner tensor that both files have under one name: a rewrite
never gives a name to another value, and so an ArgMax or a mask hides nothing. After a rounding to
integers the result goes on with the original's integers: between quantised tensors the ordinary
tolerance holds, and a quantised tensor may differ by one step where the value lies at a boundary.
Where roundings add up beyond the tolerance the result is compared in pieces, and the whole with
what roundings make of the original (see `rounding`). What depends on noise is not compared. Last,
one number in a weight of the result is changed by 10%: if nothing notices that, the agreement is
weak evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from xflowrl.proof.comparison import Array, Difference
from xflowrl.proof.plan import Plan, Record
from xflowrl.proof.program import CannotRun, Program, Session
from xflowrl.proof.recording import Run, Shapes, record
from xflowrl.proof.rounding import Doubt

Values = Mapping[str, Array]

_MUTATION = 1.1
_MAX_MUTANTS = 8


@dataclass(frozen=True)
class Verdict:
    """Whether a result computes what its original computes.

    Attributes:
        status: "equal": every comparison agreed; "different"; or "undecided": nothing could be
            compared.
        max_abs_error: largest difference of two elements, over all comparisons.
        max_rel_error: the same in units of the tensor's standard deviation. Where roundings add
            up, both are of single pieces.
        detail: one line: on what the proof rests, or which tensor differs, or why it is undecided.
        weak: why the evidence is weak, "" if it is not; part of `detail`.
        first_difference: the tensor that differs, the first in the order of the result; "" if
            none does.
        pieces: all tensors, of either file, of the pieces that differ; empty if that is not known.
        failed: number of the pair (0: with its own weights; from 1 on, redrawn ones) and of
            the run that differ; None if it is not known.
    """

    status: Literal["equal", "different", "undecided"]
    max_abs_error: float
    max_rel_error: float
    detail: str
    weak: str = ""
    first_difference: str = ""
    pieces: frozenset[str] = frozenset()
    failed: tuple[int, int] | None = None

    @property
    def equal(self) -> bool:
        """Proven equal."""
        return self.status == "equal"


@dataclass
class _Finding:
    """What comparing a pair of files found."""

    difference: Difference = field(default_factory=Difference)
    pair: int = 0
    run: int = 0
    where: str = ""
    pieces: frozenset[str] = frozenset()
    sizes: set[str] = field(default_factory=set)
    compared: set[str] = field(default_factory=set)
    noisy: int = 0
    noticed: str = ""
    plan: Plan | None = None
    num_pieces: int = 0  # in which rounding made it necessary to compare
    reason: str = ""  # why nothing was compared


def prove(
    original: Path,
    result: Path,
    *,
    shapes: Sequence[Shapes],
    draws: int = 3,
    seed: int = 0,
    inputs: Mapping[str, Array] | None = None,
    redrawn: Callable[[int], tuple[Values, Values]] | None = None,
    only: tuple[int, int] | None = None,
) -> Verdict:
    """Compares two files in ONNX Runtime on the CPU, its optimisations off.

    They run one after the other, and only where weights can be redrawn are both in memory at a
    time. Deterministic in `seed`.

    Args:
        original: the reference.
        result: what was made of it.
        shapes: of the inputs by name, one mapping for each size to try.
        draws: how many draws of inputs at the first size, and of weights; other sizes get one.
        seed: of the draws.
        inputs: data to run on, instead of drawn inputs.
        redrawn: gives, for a seed, other values of the initialisers of each file, by name. What
            one of them lacks is ignored. None for large models.
        only: the pair and the run, as `Verdict.failed` has them, that alone are asked.

    Raises:
        ValueError: if `inputs` or `shapes` lack an input.
    """
    if inputs is not None:
        runs = [Run({}, 0, inputs)]
    else:
        sizes = shapes or [{}]
        runs = [Run(sizes[0], draw) for draw in range(draws)]
        runs += [Run(size, draw) for draw, size in enumerate(sizes[1:])]
    pairs = range(draws + 1 if redrawn is not None else 1)
    if only is not None:
        pairs = range(only[0], only[0] + 1)
        runs = runs[only[1] :][:1] if only[0] == 0 else runs
    first, second, is_small = Program(original), Program(result), redrawn is not None
    findings: list[_Finding] = []
    for pair in pairs:
        if pair == 0:
            findings.append(_compare_pair(first, second, runs, seed, is_small=is_small))
        else:
            assert redrawn is not None
            ours, theirs = redrawn(seed + pair - 1)
            programs = (first.with_weights(ours), second.with_weights(theirs))
            run, before = Run(runs[0].shapes, pair - 1, inputs), (findings or [_Finding()])[0]
            findings.append(
                _compare_pair(*programs, [run], seed + pair - 1, before, is_small=is_small)
            )
        findings[-1].pair = pair
        if findings[-1].difference.failure:
            break
    return _verdict(findings, is_on_data=inputs is not None)


def _verdict(findings: Sequence[_Finding], *, is_on_data: bool) -> Verdict:
    own, *others = findings
    total = Difference()
    for finding in findings:
        total.merge(finding.difference)
    if total.failure:
        failed = findings[-1]
        which = f"redrawn weights {failed.pair}" if failed.pair else "its own weights"
        detail = f"with {which}, {failed.where}: {total.failure}"
        return Verdict(
            *("different", total.absolute, total.relative, detail, "", total.tensor),
            pieces=failed.pieces,
            failed=(failed.pair, failed.run),
        )
    compared = set[str]().union(*(finding.compared for finding in findings))
    if not compared:
        reason = own.reason or "noise goes into every tensor that could be compared"
        return Verdict("undecided", 0.0, 0.0, reason)
    num_sizes = max(len(f.sizes) for f in findings)
    parts = ["on your data" if is_on_data else f"at {_count(num_sizes, 'size')}"]
    weights = ["its own weights"] * bool(own.compared)
    num_redrawn = sum(bool(other.compared) for other in others)
    weights += [f"{num_redrawn} redrawn ones"] * bool(num_redrawn)
    parts += [f"with {' and '.join(weights)}", f"{_count(len(compared), 'tensor')} compared"]
    if num_pieces := max(finding.num_pieces for finding in findings):
        parts.append(f"in {num_pieces} pieces, because roundings add up from one to the next")
    noticed = next((f.noticed for f in findings if f.noticed), "")
    weak = "" if noticed else "weak evidence: no changed weight made a compared tensor differ"
    parts.append(f"{noticed} changed by 10% is noticed" if noticed else weak)
    if own.noisy:
        parts.append(f"{_count(own.noisy, 'tensor')} not compared, noise goes into them")
    detail = f"proven equal {', '.join(parts)}"
    return Verdict("equal", total.absolute, total.relative, detail, weak)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


# One pair of files


def _compare_pair(
    first: Program,
    second: Program,
    runs: Sequence[Run],
    seed: int,
    before: _Finding | None = None,
    *,
    is_small: bool,
) -> _Finding:
    """Compares two files.

    Args:
        before: what was found of the same two with their own weights, if these are others. Runs at
            which an original with drawn ones is not steady tell nothing. Where that pair had to be
            compared in pieces, this one is at once: what rounding makes of the whole has been
            looked at.
        is_small: as for `record`.
    """
    difference = _compare_interfaces(first, second)
    if difference.failure:
        return _Finding(difference, where="before any run")
    finding = _Finding(noisy=len(first.noisy))
    try:
        like = before.plan if before else None
        plan, records = record(first, second, runs, seed, like=like, is_small=is_small)
    except CannotRun as error:
        finding.reason = f"ONNX Runtime cannot run the original: {error}"
        return finding
    finding.plan = plan
    doubt = Doubt(first, second, plan)
    is_in_pieces = before is not None and before.num_pieces > 0
    is_noticed = before is not None and before.noticed != ""
    session, num_runs = None, 0
    try:
        for run in records:
            finding.run, num_runs = num_runs, num_runs + 1
            finding.where = "your data" if run.is_given else f"draw {num_runs}"
            if session is None:
                session, weights = _open_result(second, plan, in_pieces=is_in_pieces)
            actual = session.run(run.feeds_of(plan, in_pieces=is_in_pieces), plan.compared)
            difference = found = plan.compare(run, actual)
            del actual
            if found.failure and not is_in_pieces:
                difference = doubt.difference(run, found)
            finding.difference.merge(difference)
            finding.compared.update(plan.compared)
            finding.sizes.add(str([run.feeds[n].shape for n in first.inputs]))
            if difference.failure:
                session = None
                if before is not None and not doubt.is_steady(run, difference.tensor):
                    return _Finding(reason="roundings alone change what the original computes")
                if is_in_pieces or difference is not found:
                    finding.pieces = doubt.pieces_of(difference)
                break
            if not is_noticed:
                is_noticed, feeds = True, run.feeds_of(plan, in_pieces=is_in_pieces)
                finding.noticed = _noticed_change(second, session, plan, run, feeds, weights)
                del feeds
            del run  # before the next one is made
    except CannotRun as error:
        finding.difference.merge(
            Difference(np.inf, np.inf, "", f"ONNX Runtime cannot run the result: {error}")
        )
        return finding
    finding.num_pieces = doubt.num_pieces
    if not finding.compared:
        finding.reason = plan.reason
    return finding


def _compare_interfaces(first: Program, second: Program) -> Difference:
    for kind in ("input", "output"):
        ours, theirs = first.interface(kind), second.interface(kind)
        is_same = list(ours) == list(theirs) and all(
            ours[name] == theirs[name] or not ours[name] or not theirs[name] for name in ours
        )
        if not is_same:
            what = f"the {kind}s of the result are {theirs}; the original has {ours}"
            return Difference(np.inf, np.inf, "", what)
    return Difference()


def _open_result(program: Program, plan: Plan, *, in_pieces: bool) -> tuple[Session, list[str]]:
    """A session of the result, and the weights that it can be fed."""
    shown, cuts = plan.shown(program), plan.cuts_of(in_pieces=in_pieces)
    weights = program.weights(_MAX_MUTANTS)
    try:
        return program.open(shown, wide=plan.wide, cuts=cuts, overridable=weights), weights
    except CannotRun:  # an operator that wants its weight to be constant
        return program.open(shown, wide=plan.wide, cuts=cuts), []


def _noticed_change(
    program: Program,
    session: Session,
    plan: Plan,
    record: Record,
    feeds: Mapping[str, Array],
    weights: Sequence[str],
) -> str:
    """What, changed by 10%, made a compared tensor differ; "" if nothing did."""
    kind, names = ("weight", weights) if weights else ("input", program.inputs)
    for name in names:
        for mutant in _mutants(program.weight(name) if weights else feeds[name]):
            try:
                actual = session.run({**feeds, name: mutant}, plan.compared)
            except CannotRun:
                continue
            if plan.compare(record, actual).failure:
                return f'{kind} "{name}"'
    return ""


def _mutants(array: Array) -> Iterator[Array]:
    """The array with its largest, then its smallest element changed: floats by 10%, others by one.

    Of both signs, because an activation may let only one through.
    """
    if not array.size or array.dtype == object:
        return
    for extreme in (np.argmax, np.argmin):
        position = np.unravel_index(int(extreme(array)), array.shape)
        mutant = array.copy()
        if array.dtype == bool:
            mutant[position] = not array[position]
        elif array.dtype.kind in "iu":
            mutant[position] = 0 if array[position] else 1
        else:
            with np.errstate(over="ignore"):  # the largest number of all becomes infinite
                mutant[position] = float(array[position]) * _MUTATION
        yield mutant
