"""Proximal policy optimisation over a graph neural network; `algorithm.py` is the algorithm."""
