"""Do two model files compute the same function? Both are run, and what they compute is compared."""

from xflowrl.proof.proving import Verdict, prove

__all__ = ["Verdict", "prove"]
