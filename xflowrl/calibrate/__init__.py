"""How far estimates are from the truth: a network and its rewrites, estimated and executed."""
