"""Is a rule sound? Tried on random instances of its source, where every step is exact."""
