"""Speed of the environment, of training and of the policy. One core; not a timed test.

    python scripts/benchmark_env.py [--steps 10000]

Prints, for SqueezeNet and nasbench_3x3 under rules=core and measurement=roofline: environment
steps/s with random valid actions, observation and feature tensors included; growth of resident
memory over all steps; training steps/s (rollout, updates); and the time of one forward pass of the
policy on a state of about a thousand matches.
"""

from __future__ import annotations

import argparse
import platform
import time

import numpy as np
import torch

from xflowrl import run
from xflowrl.agents.ppo.agent import PPO
from xflowrl.agents.ppo.checkpoint import new_policy
from xflowrl.agents.ppo.policy import Policy, PolicySettings
from xflowrl.env import Observation, RewriteEnv
from xflowrl.features import make_batch
from xflowrl.problem import Budget, Problem, resident_bytes

MAX_EPISODE_STEPS = 300
REPEATS = 20


def problem_of(graph: str, **options: object) -> Problem:
    """A built-in graph under the core rules and the default price list."""
    return Problem(
        model=run.build(run.load_option("graph", graph, options, seed=0)),
        rules=run.build(run.load_option("rules", "core", {}, seed=0)),
        cost_model=run.build(run.load_option("measurement", "roofline", {}, seed=0)),
        budget=Budget(max_iterations=MAX_EPISODE_STEPS),
    )


def environment(problem: Problem, num_steps: int) -> None:
    """Random valid actions; STOP is left out, it would only make episodes short."""
    env, rng = RewriteEnv(problem), np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    num_matches, before, memory = 0, time.perf_counter(), 0
    for step in range(num_steps):
        if step == num_steps // 10:  # allocators and caches have settled
            memory = resident_bytes()
        num_matches += env.num_matches
        action = int(rng.integers(max(env.num_matches, 1)))
        observation, _, terminated, truncated, _ = env.step(action)
        make_batch([observation])
        if terminated or truncated:
            observation, _ = env.reset()
    seconds = time.perf_counter() - before
    grown = (resident_bytes() - memory) / 2**20
    print(
        f"{problem.name}: {num_steps / seconds:.0f} steps/s over {num_steps} steps, "
        f"{num_matches / num_steps:.0f} matches on average, memory grew by {grown:.1f} MB"
    )


def training(problem: Problem, num_iterations: int) -> None:
    """PPO with its defaults."""
    speeds: list[tuple[float, float]] = []

    def log(metrics: object, step: int) -> None:
        if isinstance(metrics, dict) and "train/steps_per_s" in metrics:
            names = ("train/rollout_steps_per_s", "train/steps_per_s")
            speeds.append((metrics[names[0]], metrics[names[1]]))

    agent = PPO(train_iterations=num_iterations, train_s=None, num_samples=0)
    agent.optimize([problem], log)
    rollout, both = np.median(speeds, axis=0)
    print(f"{problem.name}: training {both:.0f} steps/s, its rollouts alone {rollout:.0f} steps/s")


def forward_ms(policy: Policy, observation: Observation) -> float:
    """Median time of one forward pass, tensors included."""
    samples = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        with torch.no_grad():
            policy(make_batch([observation]))
        samples.append(1000 * (time.perf_counter() - began))
    return float(np.median(samples))


def main() -> None:
    """Runs everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--iterations", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")
    squeezenet, nasbench = problem_of("squeezenet"), problem_of("nasbench_3x3")
    for problem in (squeezenet, nasbench):
        environment(problem, options.steps)
    for problem in (squeezenet, nasbench):
        training(problem, options.iterations)
    large = problem_of("nasbench_3x3", num_modules_per_stack=8)
    observation, _ = RewriteEnv(large).reset(seed=0)
    policy = new_policy(PolicySettings(), large.rules)
    print(
        f"one forward pass on {len(observation['match_rule'])} matches of "
        f"{len(observation['node_op'])} nodes: {forward_ms(policy, observation):.1f} ms"
    )


if __name__ == "__main__":
    main()
