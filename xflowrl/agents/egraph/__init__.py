"""Recombines what a search has found, and bounds what could be found in what it has seen."""
