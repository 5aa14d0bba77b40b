"""The Python API: what the command line does, as functions."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from xflowrl.problem import Agent, Budget, Result

if TYPE_CHECKING:
    from xflowrl._engine import RuleSet
    from xflowrl.measurement import Objective
    from xflowrl.onnx_io import Model


def optimize(
    model: Model | str | PathLike[str],
    agent: str | Agent = "greedy",
    *,
    rules: str | RuleSet = "core",
    measurement: str | Objective = "estimated",
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
