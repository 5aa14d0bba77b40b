"""Monte Carlo tree search with the trained policy as a prior; `tree.py` is the algorithm."""
