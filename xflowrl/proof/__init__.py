"""Do two model files compute the same function? Both are run, and what they compute is compared."""

from xflowrl.proof.program import CannotRun
from xflowrl.proof.proving import Verdict, prove
from xflowrl.proof.recording import check_inputs, draw_feeds, runs

__all__ = ["CannotRun", "Verdict", "check_inputs", "draw_feeds", "prove", "runs"]
