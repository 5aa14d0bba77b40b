"""The metrics that agents log: one table, name to meaning, from which the documentation is made.

`<...>` stands for any name. Where a run has several graphs, `search/` is `search/<graph>/`.
"""

from __future__ import annotations

import re

SEARCH = {
    "search/iteration": "iterations spent so far",
    "search/seconds": "seconds of searching so far",
    "search/current_cost_ms": "cost of the state the agent is at",
    "search/best_cost_ms": "cost of the best state so far",
    "search/candidates": "matches whose cost was asked for, so far",
    "search/measurements": "operators timed so far",
    "search/real_measurements": "whole graphs executed so far, to be timed",
    "search/measure_s": "seconds it took to time operators and graphs",
    "search/memory_mb": "growth of resident memory",
    "search/num_walks": "`random_search`: walks begun",
    "search/queue_length": "`taso`: candidates waiting to be taken, several of which may lead to "
    "one graph. It logs its first 256 iterations, and then 128 in every doubling",
    "search/num_states": "`beam`, `exhaustive`, `mcts`: different graphs seen",
    "search/beam_depth": "`beam`: rewrites taken so far",
    "search/num_unexpanded": "`exhaustive`: graphs whose matches are not listed yet",
    "search/bound_ms": "`egraph`: no graph of the explored e-graph costs less",
    "search/extracted_ms": "`egraph`: cost of the cheapest graph found in it",
}

TRAINING = {
    "loss/policy": "the clipped surrogate; losses are means over the iteration's updates",
    "loss/value": "the squared error of values",
    "loss/total": "the weighted sum of both and the entropy",
    "train/iteration": "iterations of training so far: a rollout and the updates on it",
    "train/max_iterations": "their limit",
    "train/seconds": "seconds of training so far",
    "train/measure_s": "seconds it took to time operators and graphs; not in `train/seconds`",
    "train/env_steps": "steps of environments so far",
    "train/steps_per_s": "environment steps a second, updates included",
    "train/rollout_steps_per_s": "the same without the updates",
    "train/learning_rate": "of the updates",
    "train/gradient_norm": "before clipping",
    "train/num_updates": "in this iteration",
    "train/entropy": "of the policy",
    "train/approx_kl": "estimated divergence from the policy that acted, at the last update",
    "train/clipfrac": "share of samples beyond the clipping range",
    "train/explained_variance": "share of the returns' variance that the values explain",
    "train/episodes": "episodes that ended",
    "train/episode_return": "mean of their return, the fraction of the initial cost saved",
    "train/episode_length": "mean of their length",
    "train/episodes_stopped": "share that ended with STOP",
    "train/share_stop": "share of STOP among the actions",
    "rules/<rule>": "share of the rule among the actions",
    "train/best_cost_ms": "cost of the best graph seen in training",
    "train/<graph>/best_cost_ms": "the same, where a run has several graphs",
}

METRICS = SEARCH | TRAINING

# What runs are compared by: a row of `metrics.jsonl` has the axes, Weights & Biases all of these.
COMPARED = {
    "iteration": "states whose matches were listed since the run began, training included: the "
    "axis of all metrics but those of `by_seconds/`",
    "seconds": "of training and searching since the run began, timing not counted: the axis of "
    "`by_seconds/`",
    "search/best_cost_ms": "cost of the best so far, that training has seen included; of several "
    "graphs the total, once each one's is known",
    "search/saved": "share of the original's cost that is saved so far; of several graphs the mean",
    "by_seconds/best_cost_ms": "`search/best_cost_ms` over seconds",
    "by_seconds/saved": "`search/saved` over seconds",
    "graph/<graph>/best_cost_ms": "the same of one graph",
}


def meaning_of(name: str) -> str | None:
    """What the metric `name` means; None if it is in no table."""
    for known, text in METRICS.items():
        pattern = known.replace("search/", "search/(.+/)?")
        if re.fullmatch(re.sub("<[a-z]+>", ".+", pattern), name):
            return text
    return None
