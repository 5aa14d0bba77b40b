"""What a run logs: rows of `metrics.jsonl`, and the same in Weights & Biases."""

from xflowrl.tracking.tracker import Label, Tracker, WandbSettings

__all__ = ["Label", "Tracker", "WandbSettings"]
