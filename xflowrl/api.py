"""The Python API: what the command line does, as functions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from xflowrl.problem import Agent, Budget, Log, Result, Step, StopReason

if TYPE_CHECKING:
    import numpy as np

    from xflowrl._engine import RuleSet
    from xflowrl.judge import Raced
    from xflowrl.measurement import Objective
    from xflowrl.onnx_io import Model
    from xflowrl.onnx_io.model_file import ModelFile


def optimize(
    model: Model | str | PathLike[str],
    agent: str | Agent = "greedy",
    *,
    rules: str | RuleSet = "core",
    measurement: str | Objective = "hybrid",
    budget: Budget | Mapping[str, Any] | None = None,
    seed: int = 0,
    verify: bool = True,
    **options: Any,
) -> Result:
    """Makes a model cheaper; `result.model` is the cheaper one, ready for `export_onnx`.

    Args:
        model: a model, or the path of an ONNX file.
        agent: an option of `conf/agent`, or an agent.
        rules: an option of `conf/rules`, or a rule set.
        measurement: an option of `conf/measurement`, or an objective.
        budget: a budget, or those of its limits that differ from the default.
        verify: prove that the result computes the original's function.
        **options: the agent's own, as `agent.NAME=...` on the command line: `alpha=1.0`.

    Raises:
        ValueError: a name or option that does not exist, a model that cannot be read, or (with
            `verify`) a result that is not proven equal.
    """
    from xflowrl.onnx_io import Model, load_onnx
    from xflowrl.options import build_option, make_problems

    def option(group: str, choice: Any, changes: Mapping[str, Any]) -> Any:
        if not isinstance(choice, str):
            if changes:
                raise ValueError(f"{group} is an object: set {', '.join(changes)} in it")
            return choice
        return build_option(group, choice, changes, seed=seed)

    limits: Any = budget if isinstance(budget, Mapping) else {}
    (problem,) = make_problems(
        [model if isinstance(model, Model) else load_onnx(model)],
        option("rules", rules, {}),
        option("measurement", measurement, {}),
        budget if isinstance(budget, Budget) else option("budget", "default", limits),
        seed=seed,
    )
    chosen: Agent = option("agent", agent, options)
    (result,) = chosen.optimize([problem], lambda metrics, step: None)
    if verify:
        from xflowrl.verify import verify as verify_equal

        verdict = verify_equal(result.original, result.model, seed=seed)
        if not verdict.equal:
            raise ValueError(f"{problem.name}: the result is not proven equal: {verdict.detail}")
    return result


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What `optimize_file` delivered. All numbers are about the delivered file.

    Attributes:
        path: the delivered file.
        kept_original: it is a copy of the user's file.
        detail: one line: why it is; "" if it is not.
        speedup: time of the user's file over time of the delivered one; 1.0 for a copy.
        noise: how far such a ratio of the user's file to itself is from 1; None if nothing was
            timed.
        initial_ms: median time of the user's file; None if nothing was timed.
        best_ms: the same of the fastest proven file, delivered or not.
        runtime: where they were timed.
        threads: of the runtime.
        proof: one line: on what they were proven equal.
        rewritten: the rewrites in the file, in words.
        steps: the same as steps.
        given_up: rules of rewrites that were not proven and left out.
        fixed: rules of rewrites that hold at one size of a dynamic dimension only, and left out.
        raced: what was measured for real before, the fastest first.
        operators_before: how many nodes of each type the user's file has.
        operators_after: the same of the delivered file.
        num_bytes_before: of the user's file, external data included.
        num_bytes_after: the same of the delivered file.
        seconds: that all took.
    """

    path: Path
    kept_original: bool
    detail: str
    speedup: float
    noise: float | None
    initial_ms: float | None
    best_ms: float | None
    runtime: str
    threads: int
    proof: str
    rewritten: str
    steps: tuple[Step, ...]
    given_up: tuple[str, ...]
    fixed: tuple[str, ...]
    raced: tuple[Raced, ...]
    operators_before: Counter[str]
    operators_after: Counter[str]
    num_bytes_before: int
    num_bytes_after: int
    seconds: float


class Watcher:
    """Is told what `optimize_file` does; this one ignores it."""

    def stage(self, name: str) -> None:
        """A stage begins: "reading", "timing", "searching", "proving" or "measuring"."""

    def begun(self, *, deadline_s: float, objective: Objective | None = None) -> None:
        """It ends at `deadline_s` of `time.monotonic`; `objective` tells what it has timed."""

    log: Log = staticmethod(lambda metrics, step: None)


def default_seconds(num_bytes: int) -> float:
    """How long a model of this size may take: 5 s up to 10 MB, 60 s from 120 MB."""
    return min(60.0, max(5.0, num_bytes / 2e6))


def optimize_file(
    path: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    agent: str = "taso",
    seconds: float | None = None,
    threads: int = 1,
    inputs: Mapping[str, np.ndarray] | str | PathLike[str] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    watcher: Watcher | None = None,
) -> Delivery:
    """Makes an ONNX file faster: the delivered one is proven equal, or a copy of the user's.

    Args:
        path: the user's file.
        out: the file to write; `NAME.faster.onnx` beside it if None. Its external data, if any,
            are in `<out>.data`.
        agent: an option of `conf/agent`.
        seconds: about so long; by the size of the file if None, 5 to 60. Proving takes its own
            time if that is longer.
        threads: of the runtime it will be deployed with.
        inputs: arrays by name, or an .npz file of them, to prove and time on; they also fix the
            shapes.
        shapes: of inputs with dynamic dimensions, by name.
        settings: other options as the command line names them: `{"agent.alpha": 1.1, "rules":
            "file", "rules.path": "my.rules"}`.
        seed: of everything random.
        watcher: is told what happens.

    Raises:
        ValueError: one line on what the user can put right.
        KeyboardInterrupt: nothing is written then.
    """
    from xflowrl.delivery import check_target, copy_file
    from xflowrl.judge import Judge
    from xflowrl.onnx_io import load_onnx
    from xflowrl.onnx_io.model_file import inspect_file
    from xflowrl.options import build_choices, build_keywords, make_problems
    from xflowrl.proof import check_inputs, runs
    from xflowrl.summary import in_words

    began_s, watcher = time.monotonic(), watcher or Watcher()
    watcher.stage("reading")
    path = Path(path)
    if not path.is_file():
        found = "is no file" if path.exists() else "does not exist"
        raise ValueError(f'model "{path}" {found}; give the path of an .onnx file')
    target = Path(out) if out is not None else path.with_name(f"{path.stem}.faster.onnx")
    before = inspect_file(path)
    check_target(path, target)
    seconds = default_seconds(before.num_bytes) if seconds is None else seconds
    if not seconds > 0:
        raise ValueError(f"seconds is {seconds}: give a number above 0")
    arrays = _arrays(inputs)
    fixed = {name: array.shape for name, array in arrays.items()} | dict(shapes or {})
    try:
        model = load_onnx(path, input_shapes=fixed)
    except ValueError as error:
        if fixed or not runs(path):
            raise
        # No reason to refuse a model: what ONNX Runtime runs is given back as it is.
        copy_file(path, target)
        return _copied(target, str(error), before, threads, time.monotonic() - began_s)
    if arrays:
        check_inputs(path, arrays)
    defaults = {
        "agent": agent,
        "rules": "core",
        "measurement": "hybrid",
        "budget": "default",
        "budget.max_iterations": None,
        "budget.max_seconds": 0.3 * seconds,
        "judge.max_s": 0.4 * seconds,
        "judge.threads": threads,
    }
    if (settings or {}).get("agent", agent) == "ppo":
        defaults["agent.train_wall_s"] = 0.3 * seconds
    if (settings or {}).get("measurement", "hybrid") in ("hybrid", "estimated"):
        # So that timing every operator once takes a third of the time, at most.
        limit_ms = 300.0 * seconds / max(len(model.graph), 1)
        defaults["measurement.max_ms_per_op"] = min(50.0, max(2.0, limit_ms))
    elif (settings or {}).get("measurement") == "real":
        defaults["budget.max_wall_s"] = 0.6 * seconds
    groups = ("agent", "rules", "measurement", "budget")
    chosen, judging = build_choices(groups, {**defaults, **(settings or {})}, seed=seed)
    judge: Judge = build_keywords("judge", Judge, judging)
    deadline_s = began_s + seconds
    (problem,) = make_problems(
        [model], chosen["rules"], chosen["measurement"], chosen["budget"], seed=seed
    )
    watcher.begun(deadline_s=deadline_s, objective=problem.objective)
    watcher.stage("searching")
    (result,) = chosen["agent"].optimize([problem], watcher.log)
    if result.stop_reason == StopReason.INTERRUPTED:
        raise KeyboardInterrupt
    judgement = judge.deliver(
        *(result, problem, target),
        seed=seed,
        inputs=arrays or None,
        deadline_s=deadline_s,
        tell=watcher.stage,
    )
    real, after = judgement.real, inspect_file(target)
    return Delivery(
        path=target,
        kept_original=judgement.kept_original,
        detail=judgement.detail,
        speedup=real.speedup if real is not None and not judgement.kept_original else 1.0,
        noise=real.noise if real is not None else None,
        initial_ms=real.initial.median_ms if real is not None else None,
        best_ms=real.best.median_ms if real is not None else None,
        runtime=judge.runtime,
        threads=threads,
        proof=judgement.verdict.detail,
        rewritten=in_words(judgement.steps, {r.name: r.filename for r in problem.rules.rules}),
        steps=judgement.steps,
        given_up=judgement.given_up,
        fixed=judgement.fixed,
        raced=judgement.raced,
        operators_before=before.operators,
        operators_after=after.operators,
        num_bytes_before=before.num_bytes,
        num_bytes_after=after.num_bytes,
        seconds=time.monotonic() - began_s,
    )


def _copied(target: Path, detail: str, file: ModelFile, threads: int, seconds: float) -> Delivery:
    return Delivery(
        path=target,
        kept_original=True,
        detail=f"it cannot be rewritten: {detail}",
        speedup=1.0,
        noise=None,
        initial_ms=None,
        best_ms=None,
        runtime="",
        threads=threads,
        proof="the original itself, byte for byte",
        rewritten="",
        steps=(),
        given_up=(),
        fixed=(),
        raced=(),
        operators_before=file.operators,
        operators_after=file.operators,
        num_bytes_before=file.num_bytes,
        num_bytes_after=file.num_bytes,
        seconds=seconds,
    )


def _arrays(
    inputs: Mapping[str, np.ndarray] | str | PathLike[str] | None,
) -> dict[str, np.ndarray]:
    import numpy as np

    if inputs is None or isinstance(inputs, Mapping):
        return dict(inputs or {})
    try:
        with np.load(inputs, allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, TypeError, AttributeError, EOFError, BadZipFile):
        raise ValueError(
            f'inputs "{inputs}" is no .npz file; write it with numpy.savez(file, NAME=array)'
        ) from None
