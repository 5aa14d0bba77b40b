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
from xflowrl.measurement.runtimes import runtimes_on
from xflowrl.problem import Problem

MakeProblem = Callable[..., Problem]
Judging = Callable[..., tuple[Any, Judgement]]


TIMED_HERE = SimpleNamespace(device="here", runtime="onnxruntime_plain")
PRICE_LIST = SimpleNamespace(device="a100_fp32", runtime=None)


@pytest.fixture
def judging(relu_problem: MakeProblem, monkeypatch: pytest.MonkeyPatch) -> Judging:
    """Judges a real result with a verdict and measurements that are made up.

    `slower` names the runtimes that find the result slower; options are those of `Judge`.
    """

    def judge(
        *slower: str, equal: bool = True, objective: Any = TIMED_HERE, **options: Any
    ) -> tuple[Any, Judgement]:
        def compare(original: Any, best: Any, runtime: Any, **keywords: Any) -> Any:
            name = runtime.name
            return SimpleNamespace(device="here", runtime=name, is_slower=name in slower)

        (result,) = Greedy().optimize([relu_problem(3)], lambda metrics, step: None)
        verdict = SimpleNamespace(equal=equal)
        monkeypatch.setattr(verify, "verify", lambda *args, **keywords: verdict)
        monkeypatch.setattr(compare_module, "compare", compare)
        return result, Judge(**options).judge(result, objective)

    return judge


def test_a_faster_result_is_delivered(judging: Judging) -> None:
    result, judgement = judging()
    assert judgement.model is result.model
    assert not judgement.kept_original
    assert [entry.runtime for entry in judgement.real] == runtimes_on("cpu", group="judge")


def test_the_runtime_that_costs_were_timed_in_decides(judging: Judging) -> None:
    result, judgement = judging("onnxruntime_plain")
    assert judgement.model is result.original
    assert judgement.kept_original
    assert judgement.decisive is judgement.real[1]


def test_a_runtime_that_does_not_decide_keeps_nothing(judging: Judging) -> None:
    result, judgement = judging("onnxruntime")
    assert judgement.model is result.model
    assert not judgement.kept_original


@pytest.mark.parametrize("objective", [TIMED_HERE, PRICE_LIST])
def test_a_named_runtime_decides_whatever_guided(judging: Judging, objective: Any) -> None:
    result, judgement = judging("onnxruntime", objective=objective, runtime="onnxruntime")
    assert judgement.model is result.original
    assert judgement.decisive is judgement.real[0]


@pytest.mark.parametrize(
    "objective", [PRICE_LIST, SimpleNamespace(device="there", runtime="onnxruntime_plain")]
)
def test_costs_from_elsewhere_decide_nothing(judging: Judging, objective: Any) -> None:
    result, judgement = judging("onnxruntime", "onnxruntime_plain", objective=objective)
    assert judgement.model is result.model
    assert judgement.decisive is None


def test_an_unequal_result_is_neither_measured_nor_delivered(judging: Judging) -> None:
    _, judgement = judging(equal=False)
    assert judgement.model is None
    assert judgement.real == ()
    assert not judgement.kept_original


def test_measuring_can_be_left_out(judging: Judging) -> None:
    result, judgement = judging("onnxruntime_plain", measure=False)
    assert judgement.real == ()
    assert judgement.model is result.model


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 0}, r"judge\.draws is 0: give at least 1"),
        ({"runtime": "tensorrt"}, r"judge\.runtime='tensorrt': use one of onnxruntime"),
        ({"device": "tpu"}, r"judge\.device='tpu': use one of cpu"),
        ({"threads": 0}, r"judge\.threads=0: give at least 1"),
    ],
)
def test_bad_options_are_one_clear_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Judge(**options)
