"""The Gymnasium view of a problem."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium import spaces

from xflowrl.env.observation import Position, keep_matches, observation_space, observe
from xflowrl.env.reward import Incremental, RewardFn, Transition
from xflowrl.problem import Budget, Meter, Problem, Step, Trace, replay

if TYPE_CHECKING:
    from xflowrl._engine import State
    from xflowrl.onnx_io import Model

_WORST = 2.0  # times the original's latency: rewards stay finite

MeasureFn = Callable[["Model", "State"], float]
"""The real latency of a state's graph in milliseconds."""


class RewriteEnv(gymnasium.Env[dict[str, np.ndarray], int]):
    """Rewriting a graph, match by match, as a Markov decision process.

    State: a graph (`xflowrl._engine.State`: graph, rules, costs). Deterministic transitions.

    Observation: a dict of flat numpy arrays, `xflowrl.env.OBSERVATION_COLUMNS`: nodes that are
    not constant, edges between them, matches with what each changes, and the graph's cost beside
    the initial one. Sizes differ from step to step.

    Action: the index of a match in the observation's order, or STOP, the last action:
    `action_space` is `Discrete(num_matches + 1)`, renewed at reset and step. Every such action is
    valid, so the mask `info["action_mask"]` is all true; any other action raises. With
    `max_matches`, the first ones by `State.best` are kept, in their order, and
    `info["num_dropped_matches"]` counts the others.

    Reward: `reward_fn` of the `Transition`; by default (cost before - cost after) / initial cost,
    positive where the graph becomes cheaper, so that the return is the fraction of the initial
    cost saved. STOP changes nothing and pays 0. Discount 1. Where the objective's costs are
    latencies (`measurement.real`), so are those in rewards, in `info["cost_ms"]` and in the trace,
    while observations show prices; a graph that cannot be executed counts as twice the original.

    Terminated: STOP was taken, or no match is left. Truncated: a limit of the problem's budget is
    reached, an iteration being a step (`info["stop_reason"]`); the value of the last observation
    should then be bootstrapped. If both, it is terminated.

    Reset: begins with the original graph of a problem: the one of `options={"problem": index}`,
    else one drawn at random where there are several.

    Info: `action_mask` bool[num_matches + 1], `cost_ms`, `problem` (index), `num_dropped_matches`,
    `rule` (the rule applied, "" for STOP and after reset), and `stop_reason` where truncated.

    Args:
        problems: a problem, or several to draw from.
        max_matches: the most matches to offer; None: all.
        measure_fn: another cost than the objective's in rewards, a real one: `original, state` to
            ms; called once for every graph, and counted by `budget.max_real_measurements`.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own declaration)

    def __init__(
        self,
        problems: Problem | Sequence[Problem],
        *,
        reward_fn: RewardFn | None = None,
        max_matches: int | None = None,
        measure_fn: MeasureFn | None = None,
        render_mode: None = None,
    ) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        if not self.problems:
            raise ValueError("RewriteEnv needs a problem: give one or several")
        if max_matches is not None and max_matches < 1:
            raise ValueError(f"max_matches is {max_matches}: give a number >= 1, or None for all")
        self.render_mode = render_mode
        self.observation_space = observation_space()
        self._reward_fn = reward_fn or Incremental()
        self._max_matches = max_matches
        self._measure_fn = measure_fn
        self._initial = [problem.initial_state() for problem in self.problems]
        self._over = False
        self._rule_names = self.problems[0].rules.names
        self._measured_ms: dict[str, float] = {}
        self._begin(0)

    # The episode ------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins an episode; `options={"problem": index}` says on which graph."""
        super().reset(seed=seed)
        index = (options or {}).get("problem")
        if index is None:
            several = len(self.problems) > 1
            index = int(self.np_random.integers(len(self.problems))) if several else 0
        elif not 0 <= index < len(self.problems):
            raise ValueError(f"problem {index}: there are {len(self.problems)}, counted from 0")
        self._begin(index)
        return self._observation, self._info("")

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Applies a match, or stops.

        Raises:
            ValueError: not an action of this state, or the episode is over.
        """
        if self._over:
            raise ValueError("the episode is over: call reset() before step()")
        if not 0 <= action < self.action_space.n:
            raise ValueError(
                f"action {action} is invalid: this state has {self.num_matches} matches, "
                f"give 0..{self.num_matches}, the last of which is STOP"
            )
        before, stopped = self.state, action == self.num_matches
        rule = self._stay() if stopped else self._apply(int(action))
        self._meter.spend(iterations=1, candidates=self.num_matches)
        after_ms = self._ms(self.state)
        limit = self._meter.exceeded()
        terminated = bool(stopped or self.num_matches == 0)
        truncated = limit is not None and not terminated
        self._over = terminated or truncated
        reward = self._reward(before, after_ms, terminated, truncated)
        info = self._info(rule)
        if truncated:
            info["stop_reason"] = str(limit)
        return self._observation, reward, terminated, truncated, info

    @property
    def state(self) -> State:
        """The current state."""
        return self.position.state

    @property
    def problem(self) -> Problem:
        """The problem of this episode."""
        return self.problems[self.problem_index]

    @property
    def observation(self) -> dict[str, np.ndarray]:
        """What `reset` or `step` returned last."""
        return self._observation

    @property
    def num_matches(self) -> int:
        """Matches offered now; also the index of STOP."""
        return len(self._observation["match_rule"])

    @property
    def actions(self) -> tuple[int, ...]:
        """The matches taken so far, by their index among all matches of their state."""
        return tuple(action for _, action in self._taken)

    @property
    def trace(self) -> Trace:
        """The steps of the episode so far."""
        initial = self._initial[self.problem_index]
        return trace_of(initial, self._taken, self.state, cost_fn=self._cost_ms)

    def action_masks(self) -> np.ndarray:
        """bool[num_matches + 1], all true: what is offered is valid."""
        return np.ones(self.num_matches + 1, bool)

    # Beyond Gymnasium -------------------------------------------------------------------------

    def fork(self) -> RewriteEnv:
        """An independent environment at the same place; states are shared, being immutable."""
        twin = copy.copy(self)
        twin.action_space = spaces.Discrete(self.num_matches + 1)
        twin._taken = list(self._taken)
        twin._meter = copy.copy(self._meter)
        twin._np_random = copy.deepcopy(self._np_random)
        return twin

    def replay(self, trace: Trace) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins an episode on the trace's graph and takes its steps.

        Raises:
            ValueError: no problem has that graph, or a step's match does not exist.
        """
        graphs = [problem.model.graph.hash for problem in self.problems]
        if trace.graph_hash not in graphs:
            raise ValueError(f"trace of graph {trace.graph_hash}: no problem has that graph")
        self._begin(graphs.index(trace.graph_hash))
        for index, step in enumerate(trace.steps):
            wanted = (step.rule, step.tensors)
            for action, match in enumerate(self.problem.objective.matches(self.state)):
                if (match.rule, tuple(match.tensors)) == wanted:
                    self._move(action)
                    break
            else:
                raise ValueError(
                    f"trace step {index}: rule {step.rule!r} does not match at "
                    f"{', '.join(step.tensors)}; replay it with the rules it was recorded with"
                )
            self._meter.spend(iterations=1, candidates=self.num_matches)
        self._over = self.num_matches == 0
        return self._observation, self._info("")

    def validate(self) -> None:
        """Takes the episode's steps again from the original graph, and compares.

        Raises:
            ValueError: another graph or another cost comes out.
        """
        again = replay(self.problem, self.trace)
        here = self.state
        if again.hash != here.hash or again.cost.ms != here.cost.ms:
            raise ValueError(
                f"{self.problem.name}: the trace leads to graph {again.hash} of {again.cost.ms} "
                f"ms, the episode to {here.hash} of {here.cost.ms} ms"
            )

    def snapshot(self) -> dict[str, Any]:
        """The environment as plain data: what `restore` needs to go on exactly from here."""
        return {
            "problem": self.problem_index,
            "actions": list(self.actions),
            "over": self._over,
            "iterations": self._meter.iterations,
            "candidates": self._meter.candidates,
            "real_measurements": self._meter.real_measurements,
            "random": self.np_random.bit_generator.state,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Goes to where `snapshot` was taken, by taking its actions again."""
        self._begin(snapshot["problem"])
        for action in snapshot["actions"]:
            self._move(action)
        self._over = snapshot["over"]
        self._meter.iterations = snapshot["iterations"]
        self._meter.candidates = snapshot["candidates"]
        self._meter.real_measurements = snapshot.get("real_measurements", 0)  # not kept before 0.2
        self.np_random.bit_generator.state = snapshot["random"]

    # Within -----------------------------------------------------------------------------------

    def _begin(self, problem_index: int) -> None:
        self.problem_index = problem_index
        self._taken: list[tuple[State, int]] = []
        self._meter = _meter(self.problem.budget)
        self._enter(self._initial[problem_index])
        self._over = False

    def _stay(self) -> str:
        self._enter(self.state)  # new arrays: what was returned before is the caller's
        return ""

    def _apply(self, action: int) -> str:
        rule: str = self._rule_names[self._observation["match_rule"][action]]
        self._move(action if self._kept is None else int(self._kept[action]))
        return rule

    def _move(self, match: int) -> None:
        """Applies a match, by its index among all matches of the state."""
        self._taken.append((self.state, match))
        self._enter(self.state.apply(match))

    def _enter(self, state: State) -> None:
        objective = self.problem.objective
        with self._meter.measuring(objective):
            complete = objective.complete(state)
        self.position = Position(complete, self._initial[self.problem_index])
        self._observation = observe(self.position)
        self._kept = None
        if self._max_matches is not None and len(complete) > self._max_matches:
            self._kept = np.sort([match.index for match in complete.best(self._max_matches)])
            self._observation = keep_matches(self._observation, self._kept)
        self._num_dropped = len(complete) - self.num_matches
        self.action_space = spaces.Discrete(self.num_matches + 1)

    def _reward(self, before: State, after_ms: float, terminated: bool, truncated: bool) -> float:
        initial = self.position.initial
        transition = Transition(
            initial=initial,
            before=before,
            after=self.state,
            terminated=terminated,
            truncated=truncated,
            initial_ms=self._ms(initial),
            before_ms=self._ms(before),
            after_ms=after_ms,
        )
        return float(self._reward_fn(transition))

    def _ms(self, state: State) -> float:
        objective, model = self.problem.objective, self.problem.model
        if objective.is_real:
            with self._meter.measuring(objective):
                initial_ms = objective.reference(model, self.position.initial).cost_ms
                return min(objective.cost_ms(model, state), _WORST * initial_ms)
        if self._measure_fn is None:
            return objective.cost_ms(model, state)
        if state.hash not in self._measured_ms:
            with self._meter.measuring_graph():
                self._measured_ms[state.hash] = self._measure_fn(model, state)
        return self._measured_ms[state.hash]

    def _cost_ms(self, state: State) -> float:
        """By the objective, whatever rewards are made of."""
        return self._ms(state) if self.problem.objective.is_real else float(state.cost.ms)

    def _info(self, rule: str) -> dict[str, Any]:
        return {
            "action_mask": self.action_masks(),
            "cost_ms": self._cost_ms(self.state),
            "problem": self.problem_index,
            "num_dropped_matches": self._num_dropped,
            "rule": rule,
        }


def _meter(budget: Budget) -> Meter:
    # Asking the system for the memory held takes as long as a step: only where there is a limit.
    if budget.max_memory_mb is None:
        return Meter(budget, memory_fn=lambda: 0)
    return Meter(budget)


def trace_of(
    initial: State,
    taken: Sequence[tuple[State, int]],
    last: State,
    *,
    cost_fn: Callable[[State], float],
) -> Trace:
    """The trace of an episode.

    Args:
        initial: the state it began with.
        taken: each state, and the index of the match taken in it.
        last: the state after the last of them.
        cost_fn: what a state costs, in ms.
    """
    steps = []
    after = [state for state, _ in taken[1:]] + [last]
    for (state, action), following in zip(taken, after, strict=False):
        match = state.matches()[action]
        steps.append(Step(match.rule, tuple(match.tensors), cost_fn(following)))
    return Trace(initial.graph.hash, tuple(steps))
