"""What is delivered at the end of a run."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from xflowrl import verify
from xflowrl.agents.greedy import Greedy
from xflowrl.judge import Judge, Judgement
from xflowrl.measurement import compare as compare_module
from xflowrl.problem import Problem

MakeProblem = Callable[..., Problem]
Judging = Callable[..., tuple[Any, Judgement]]


@pytest.fixture
def judging(relu_problem: MakeProblem, monkeypatch: pytest.MonkeyPatch) -> Judging:
    """Judges a real result with a verdict and measurements that are made up."""

    def judge(equal: bool, *measured: tuple[bool, bool], measure: bool = True) -> Any:
        problem = relu_problem(3)
        (result,) = Greedy().optimize([problem], lambda metrics, step: None)
        real = [SimpleNamespace(decides=d, is_slower=s) for d, s in measured]
        verdict = SimpleNamespace(equal=equal)
        monkeypatch.setattr(verify, "verify", lambda *args, **keywords: verdict)
        monkeypatch.setattr(compare_module, "compare", lambda *args, **keywords: real)
        return result, Judge(measure=measure).judge(result, problem.cost_model)

    return judge


def test_a_faster_result_is_delivered(judging: Judging) -> None:
    result, judgement = judging(True, (True, False), (False, False))
    assert judgement.model is result.model
    assert not judgement.kept_original
    assert len(judgement.real) == 2


def test_a_slower_result_gives_way_to_the_original(judging: Judging) -> None:
    result, judgement = judging(True, (True, True))
    assert judgement.model is result.original
    assert judgement.kept_original


def test_a_runtime_that_does_not_decide_keeps_nothing(judging: Judging) -> None:
    result, judgement = judging(True, (False, True), (True, False))
    assert judgement.model is result.model
    assert not judgement.kept_original


def test_an_unequal_result_is_neither_measured_nor_delivered(judging: Judging) -> None:
    _, judgement = judging(False, (True, True))
    assert judgement.model is None
    assert judgement.real == ()
    assert not judgement.kept_original


def test_measuring_can_be_left_out(judging: Judging) -> None:
    result, judgement = judging(True, (True, True), measure=False)
    assert judgement.real == ()
    assert judgement.model is result.model


def test_refuses_no_draws() -> None:
    with pytest.raises(ValueError, match=r"judge\.draws is 0: give at least 1"):
        Judge(draws=0)
