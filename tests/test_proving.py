"""The rewrites at fault are left out, and no others; looking for them has an end."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xflowrl import proving, verify
from xflowrl._engine import CostTable, RuleSet, State
from xflowrl.agents.greedy import Greedy
from xflowrl.graphs.random_networks import random_network
from xflowrl.options import build_option, make_problems
from xflowrl.problem import Problem, Step
from xflowrl.proving import _first_wrong, prove_steps
from xflowrl.replaying import record
from xflowrl.rules import load_core

# 0.05% of what is negative goes through.
WRONG = "(rules wrong :commutative) (rule wrong (Relu ?x) => (LeakyRelu ?x :alpha 0.0005))"


@pytest.fixture(scope="module")
def rewritten() -> tuple[Problem, tuple[Step, ...]]:
    """A random network, and what a greedy search does with it."""
    (problem,) = make_problems(
        [random_network(num_nodes=200)],
        RuleSet.join([load_core(), RuleSet.parse(WRONG)], "mixed"),
        build_option("measurement", "roofline"),
        build_option("budget", "default"),
        seed=0,
    )
    right = replace(problem, rules=load_core())
    (result,) = Greedy().optimize([right], lambda metrics, step: None)
    return problem, result.trace.steps


def wrong_steps(problem: Problem, steps: tuple[Step, ...], number: int) -> list[Step]:
    """So many wrong rewrites of what the steps lead to, spread over the network."""
    state = State(
        record(problem, steps).final.graph,
        problem.rules.select(["wrong"]),
        CostTable.roofline(1.0, 1.0, 0.0),
    )
    matches = state.matches()
    assert len(matches) >= number
    chosen = matches[len(matches) // (2 * number) :: len(matches) // number][:number]
    return [Step(match.rule, tuple(match.tensors), 0.0) for match in chosen]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int] | None]:
    """What each proof was asked for."""
    found: list[tuple[int, int] | None] = []
    verify_file = verify.verify_file

    def watched(*args: Any, **options: Any) -> verify.Verdict:
        found.append(options["only"])
        return verify_file(*args, **options)

    monkeypatch.setattr(verify, "verify_file", watched)
    return found


@pytest.mark.parametrize("number", [1, 2])
def test_wrong_rewrites_among_many_are_left_out_alone(
    rewritten: tuple[Problem, tuple[Step, ...]],
    tmp_path: Path,
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    problem, steps = rewritten
    monkeypatch.setattr(proving, "_MIN_LOOKING_S", 3600.0)
    assert len(steps) > 60
    wrong = wrong_steps(problem, steps, number)
    tried = [*steps, *wrong]
    proof = prove_steps(problem, tried, tmp_path / "a.onnx", draws=1, seed=0)
    assert proof.verdict.equal
    assert proof.given_up == ("wrong",) * number
    assert [step.rule for step in proof.steps] == [step.rule for step in steps]
    assert asked[0] is asked[-1] is None
    assert asked.count(None) == number + 1  # whole proofs; the others ask for one run
    assert len(asked) <= (number + 1) + number * math.log2(len(tried)) / 2


def test_without_time_the_suspects_are_left_out_together(
    rewritten: tuple[Problem, tuple[Step, ...]],
    tmp_path: Path,
    asked: list[Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    problem, steps = rewritten
    tried = [*steps, *wrong_steps(problem, steps, 2)]
    caplog.set_level("INFO", "xflowrl.proving")
    proof = prove_steps(problem, tried, tmp_path / "a.onnx", draws=1, seed=0, deadline_s=0.0)
    assert proof.verdict.equal
    assert {"wrong"} <= set(proof.given_up)
    assert len(steps) // 2 < len(proof.steps) <= len(steps)
    assert asked == [None, None]
    assert "not all rewrites at fault were found one by one" in caplog.text


def test_looking_has_an_end_without_a_deadline(
    rewritten: tuple[Problem, tuple[Step, ...]],
    tmp_path: Path,
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor does it go on where every proof fails, whatever is left out."""
    problem, steps = rewritten
    different = verify.Verdict("different", np.inf, np.inf, "other")
    monkeypatch.setattr(proving, "_MIN_LOOKING_S", 0.0)
    monkeypatch.setattr(proving, "_LOOKING", 0)
    monkeypatch.setattr(proving, "_suspects", lambda recording, pieces: [0, 1])
    monkeypatch.setattr(proving, "_prove", lambda *args, **options: (different, False))
    proof = prove_steps(problem, steps, tmp_path / "a.onnx", draws=1, seed=0)
    assert proof.steps == ()
    assert len(proof.given_up) == 2 * (proving._MAX_SWEEPS + 1)
    assert proof.refusal == "not proven equal: other"


@pytest.mark.parametrize("wrong", [0, 1, 6, 11])
def test_the_first_wrong_one(wrong: int) -> None:
    asked: list[int] = []

    def differs(number: int) -> bool:
        asked.append(number)
        return number > wrong

    assert _first_wrong(12, differs, time.monotonic() + 60) == (wrong, wrong + 1)
    assert len(asked) <= 4
    assert _first_wrong(12, differs, time.monotonic()) == (0, 12)
    assert len(asked) <= 4
