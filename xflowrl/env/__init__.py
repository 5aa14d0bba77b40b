"""The environment: rewriting a graph, match by match. See `RewriteEnv`.

Importing it registers `xflowrl/Rewrite-v0` with Gymnasium:
`gymnasium.make("xflowrl.env:xflowrl/Rewrite-v0", problems=problem)`.
"""

from gymnasium.envs.registration import register

from xflowrl.env.fixed_size import FixedSizeEnv
from xflowrl.env.hierarchical import HierarchicalRewriteEnv
from xflowrl.env.observation import (
    GRAPH_COLUMNS,
    OBSERVATION_COLUMNS,
    Observation,
    Position,
    observation_space,
    observe,
)
from xflowrl.env.reward import (
    Final,
    Incremental,
    RewardFn,
    RewardWeights,
    Transition,
    reward_from_name,
)
from xflowrl.env.rewrite import RewriteEnv
from xflowrl.env.vector import VectorRewriteEnv

__all__ = [
    "GRAPH_COLUMNS",
    "OBSERVATION_COLUMNS",
    "Final",
    "FixedSizeEnv",
    "HierarchicalRewriteEnv",
    "Incremental",
    "Observation",
    "Position",
    "RewardFn",
    "RewardWeights",
    "RewriteEnv",
    "Transition",
    "VectorRewriteEnv",
    "observation_space",
    "observe",
    "reward_from_name",
]

register("xflowrl/Rewrite-v0", entry_point="xflowrl.env.rewrite:RewriteEnv")
