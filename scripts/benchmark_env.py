"""Speed of the environment, of training and of the policy. Two cores; not a timed test.

    python scripts/benchmark_env.py [--steps 10000] [--accelerator gpu] [--csv PATH]

Prints, for SqueezeNet and nasbench_3x3 under rules=core and measurement=roofline: environment
steps per second of processor time with random valid actions, observation and feature tensors
included; growth of resident memory over all steps. Then training steps/s, on a random network too,
with 8 and with 32 environments in each of one and of two processes: on the wall and, of one
process, by the processor's time, which others on the machine disturb less. At last where the time
of one look of the policy at a random network goes, after each of a few rewrites.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch

from xflowrl.agents.ppo.agent import PPO
from xflowrl.agents.ppo.checkpoint import new_policy
from xflowrl.agents.ppo.eyes import Eyes
from xflowrl.agents.ppo.gallery import Gallery
from xflowrl.agents.ppo.policy import PolicySettings
from xflowrl.agents.ppo.settings import LearningSettings
from xflowrl.env import Position, RewriteEnv, observe
from xflowrl.options import build_option, make_problems
from xflowrl.problem import Budget, Problem, resident_bytes
from xflowrl.report import write_csv

MAX_EPISODE_STEPS = 300
REPEATS = 20

Row = dict[str, str]
A = TypeVar("A")
T = TypeVar("T")


def row(graph: str, what: str, value: float, unit: str) -> Row:
    """One figure, printed."""
    print(f"{graph}: {what} {value:.4g} {unit}", flush=True)
    return {"graph": graph, "what": what, "value": f"{value:.4g}", "unit": unit}


def problem_of(graph: str, **options: object) -> Problem:
    """A built-in graph under the core rules and the default price list."""
    (problem,) = make_problems(
        [build_option("graph", graph, options)],
        build_option("rules", "core"),
        build_option("measurement", "roofline"),
        Budget(max_iterations=MAX_EPISODE_STEPS),
        seed=0,
    )
    return problem


def environment(problem: Problem, num_steps: int) -> list[Row]:
    """Random valid actions; STOP is left out, it would only make episodes short."""
    env, rng = RewriteEnv(problem), np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    gallery = Gallery(num_layers=2)  # as a rollout has one
    num_matches, before, memory = 0, time.thread_time(), 0
    for step in range(num_steps):
        if step == num_steps // 10:  # allocators and caches have settled
            memory = resident_bytes()
        num_matches += env.num_matches
        action = int(rng.integers(max(env.num_matches, 1)))
        observation, _, terminated, truncated, _ = env.step(action)
        gallery.batch(gallery.add([observation]))
        if terminated or truncated:
            observation, _ = env.reset()
    seconds = time.thread_time() - before
    grown = (resident_bytes() - memory) / 2**20
    return [
        row(problem.name, "environment, random actions", num_steps / seconds, "steps/s"),
        row(problem.name, "matches, mean", num_matches / num_steps, "matches"),
        row(problem.name, f"growth of memory over {num_steps} steps", grown, "MB"),
    ]


def training(
    problem: Problem,
    num_iterations: int,
    accelerator: Literal["cpu", "gpu"],
    *,
    num_processes: int,
    num_envs: int,
) -> list[Row]:
    """PPO with its defaults, or with more environments and minibatches as much larger."""
    speeds: list[tuple[float, float]] = []
    processor_s: list[float] = []

    def log(metrics: object, step: int) -> None:
        if isinstance(metrics, dict) and "train/steps_per_s" in metrics:
            names = ("train/rollout_steps_per_s", "train/steps_per_s")
            speeds.append((metrics[names[0]], metrics[names[1]]))
            processor_s.append(time.thread_time())

    learning = LearningSettings(num_envs=num_envs, minibatch_size=8 * num_envs)
    agent = PPO(
        train_iterations=num_iterations,
        train_s=None,
        num_samples=0,
        learning=learning,
        trainer={"accelerator": accelerator, "devices": num_processes},
    )
    agent.optimize([problem], log)
    rollout, both = np.median(speeds, axis=0)
    steps_per_s = num_envs * learning.num_steps / np.median(np.diff(processor_s))
    what = f"training, {num_processes} x {num_envs} environments, "
    rows = [
        row(problem.name, what + "updates included", both, "steps/s"),
        row(problem.name, what + "rollouts alone", rollout, "steps/s"),
    ]
    if num_processes == 1:
        rows += [row(problem.name, what + "by processor time", float(steps_per_s), "steps/s")]
    return rows


def look(problem: Problem) -> list[Row]:
    """The parts of one look, medians by processor time; what was seen before is known."""
    policy, rng = new_policy(PolicySettings(), problem.rules), np.random.default_rng(0)
    gallery, eyes = Gallery(policy.settings.num_layers), Eyes(policy)
    spent: dict[str, list[float]] = defaultdict(list)

    def timed(part: str, do: Callable[[A], T], argument: A) -> T:
        began = time.thread_time()
        result = do(argument)
        spent[part].append(1000 * (time.thread_time() - began))
        return result

    initial = state = problem.initial_state()
    with torch.inference_mode():
        for _ in range(REPEATS):
            observation = timed("observing", observe, Position(state, initial))
            sights = timed("kinds", gallery.add, [observation])
            batch = timed("tensors", gallery.batch, sights)
            timed("encoder and heads", policy, batch)
            timed("all but observing, weights fixed", eyes.look, [observation])
            matches = state.matches()
            state = state.apply(matches[int(rng.integers(len(matches)))])
    of = f"{problem.name} of {len(problem.model.graph)} nodes"
    # The first look sees everything for the first time.
    return [row(of, f"a look: {p}", float(np.median(ms[1:])), "ms") for p, ms in spent.items()]


def main() -> None:
    """Runs everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--accelerator", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--csv", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")
    squeezenet, nasbench = problem_of("squeezenet"), problem_of("nasbench_3x3")
    table = []
    for problem in (squeezenet, nasbench):
        table += environment(problem, options.steps)
    for problem in (squeezenet, nasbench, problem_of("random", num_nodes=200, trap=0.5)):
        for num_processes, num_envs in ((1, 8), (1, 32), (2, 8), (2, 32)):
            table += training(
                problem,
                options.iterations,
                options.accelerator,
                num_processes=num_processes,
                num_envs=num_envs,
            )
    for num_nodes in (200, 1000, 5000):
        table += look(problem_of("random", num_nodes=num_nodes, trap=0.5))
    if options.csv:
        write_csv(table, options.csv)


if __name__ == "__main__":
    main()
