"""Where the networks come from: one file per family, plain functions that return models."""
