"""Is a difference more than what rounding makes of the original itself?

In a network of some hundred layers a rounding of the first ones is 1e-4 to 5e-3 of a standard
deviation in the last ones, in whatever order is summed: at 20,000 operators the original, in single
precision, is as far from itself in double precision as from its rewritten form. One limit for all
depths would then either refuse what is right or accept what is wrong in the first layers. So where
the limit is exceeded two questions are asked, and both must be answered with yes:

1. *Is every piece the same?* The result is cut at all tensors that are compared, and goes on from
   each with the original's value. Nothing accumulates; the ordinary limit holds for what is between
   two cuts. What is equal in every piece, on the values that the original has there, is equal as a
   whole, up to differences as small as roundings, made at the cuts.
2. *Is the whole as near as rounding allows?* The original is run again with all of its kernels and
   inputs moved by 8 units in the last place, which is what sums of some hundred numbers are off. It
   moves by a *width*; no tensor of the result may be off by more than 16 times that. Thousands of
   rewrites that are each a little wrong, and one that makes more of a small difference than the
   original does, are found by this.

Source of the second: Parker 1997, Monte Carlo arithmetic (operands moved at random to see how many
digits of a result are left). Departures: operands of a run are moved once, not those of each sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xflowrl.onnx_io.inlining import reads
from xflowrl.proof.comparison import Array, Difference
from xflowrl.proof.plan import Plan, Record
from xflowrl.proof.program import CannotRun, Program, Session, nudged

NUDGE_UNITS = 8.0
MAX_WIDTHS = 16.0


@dataclass
class Doubt:
    """What is asked about a pair of files whose difference is beyond the limit.

    Attributes:
        num_pieces: that were equal; 0 as long as nothing was asked.
    """

    first: Program
    second: Program
    plan: Plan
    num_pieces: int = 0
    _pieces: Session | None = field(default=None, repr=False)
    _moved: Session | None = field(default=None, repr=False)

    def difference(self, record: Record, found: Difference) -> Difference:
        """What differs where rounding does not add up: that of the piece that is at fault, if any.

        What cannot be cut or moved is as different as it was found to be.
        """
        if not self.plan.pieces:
            return found
        try:
            local = self._piecewise(record)
            if local.failure:
                return local
            widths = self._widths(record, found.beyond)
        except CannotRun:
            return found
        beyond = [name for name, size in found.beyond.items() if size > MAX_WIDTHS * widths[name]]
        if beyond:
            return found
        self.num_pieces = len(self.plan.pieces) + 1
        return local

    def pieces_of(self, difference: Difference) -> frozenset[str]:
        """All tensors, of either file, in the pieces that end in one that differs."""
        cuts = self.plan.cuts_of(in_pieces=True)
        found, pending = set[str](), list(difference.beyond)
        while pending:
            name = pending.pop()
            if name not in found:
                found.add(name)
                nodes = [p.produced[name] for p in (self.first, self.second) if name in p.produced]
                pending.extend(n for node in nodes for n in reads(node) if n not in cuts)
        return frozenset(found)

    def is_steady(self, record: Record, name: str) -> bool:
        """Whether a tensor of the original stays, in its piece, when that is moved by a rounding.

        Weights drawn at random may give an attention scores of which the next to largest are far
        below: then the last places decide, and no other order of summation gives the same.
        """
        try:
            session = self._open(self.first.moved(NUDGE_UNITS), in_pieces=True)
            actual = session.run(_moved(record.feeds_of(self.plan, in_pieces=True)), [name])
        except CannotRun:
            return True
        return not self.plan.compare_one(name, record, actual[name]).failure

    def _piecewise(self, record: Record) -> Difference:
        if self._pieces is None:
            self._pieces = self._open(self.second.with_weights({}), in_pieces=True)
        feeds = record.feeds_of(self.plan, in_pieces=True)
        return self.plan.compare(record, self._pieces.run(feeds, self.plan.compared))

    def _widths(self, record: Record, names: Mapping[str, float]) -> dict[str, float]:
        """How far tensors of the original move by a rounding."""
        if self._moved is None:
            self._moved = self._open(self.first.moved(NUDGE_UNITS), in_pieces=False)
        feeds = {**record.feeds_of(self.plan), **_moved(record.feeds)}
        actual = self._moved.run(feeds, list(names))
        return {name: self.plan.compare_one(name, record, actual[name]).absolute for name in names}

    def _open(self, program: Program, *, in_pieces: bool) -> Session:
        cuts = self.plan.cuts_of(in_pieces=in_pieces)
        return program.open(self.plan.shown(program), wide=self.plan.wide, cuts=cuts)


def _moved(feeds: Mapping[str, Array]) -> dict[str, Array]:
    return {name: nudged(array, NUDGE_UNITS) for name, array in feeds.items()}
