"""What is delivered at the end of a run: proven, faster, or the original."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from xflowrl import judge, load_onnx, proof, save_onnx, verify
from xflowrl._engine import RuleSet
from xflowrl.agents.greedy import Greedy
from xflowrl.candidates import Candidate
from xflowrl.judge import Judge
from xflowrl.measurement import RealMeasurement
from xflowrl.measurement import compare as compare_module
from xflowrl.measurement.timer import Measurement
from xflowrl.problem import Problem, Result, Step, replay
from xflowrl.proving import prove_steps

MakeProblem = Callable[..., Problem]


@pytest.fixture
def problem(relu_problem: MakeProblem, tmp_path: Path) -> Problem:
    """Four relus in a row, in the file user.onnx."""
    made = relu_problem(4)
    save_onnx(made.model, tmp_path / "user.onnx")
    return replace(made, model=load_onnx(tmp_path / "user.onnx"))


def found(problem: Problem) -> Result:
    (result,) = Greedy().optimize([problem], lambda metrics, step: None)
    return result


def num_nodes(path: Path) -> int:
    return len(onnx.load(path).graph.node)


def timed(ms: float) -> Measurement:
    return Measurement(ms, ms, ms, 9, "cpu", "onnxruntime")


@pytest.fixture
def timing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[Path]]]:
    """Makes the race up: a candidate of N nodes is `speedups[N]` times as fast."""
    raced: list[list[Path]] = []

    def set_speedups(speedups: dict[int, float], noise: float = 0.02) -> list[list[Path]]:
        def race(original: Path, files: list[Path], *args: Any, **keywords: Any) -> Any:
            raced.append(files)
            speedup = {file: speedups[num_nodes(file)] for file in files}
            return {
                file: RealMeasurement(
                    "cpu", "onnxruntime", timed(1.0), timed(1 / speedup[file]), noise
                )
                for file in sorted(files, key=speedup.__getitem__, reverse=True)
            }

        monkeypatch.setattr(compare_module, "race", race)
        return raced

    return set_speedups


def test_a_faster_result_is_delivered(problem: Problem, tmp_path: Path, timing: Any) -> None:
    timing({1: 1.5})
    judgement = Judge().deliver(found(problem), problem, tmp_path / "out" / "best.onnx")
    assert num_nodes(tmp_path / "out" / "best.onnx") == 1
    assert (judgement.kept_original, len(judgement.steps)) == (False, 3)
    assert judgement.verdict.equal
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["best.onnx"]


@pytest.mark.parametrize("speedup", [0.5, 1.0, 1.02])
def test_where_nothing_is_faster_the_file_is_copied(
    problem: Problem, tmp_path: Path, timing: Any, speedup: float
) -> None:
    timing({1: speedup})
    judgement = Judge().deliver(found(problem), problem, tmp_path / "best.onnx")
    assert (tmp_path / "best.onnx").read_bytes() == (tmp_path / "user.onnx").read_bytes()
    assert judgement.kept_original
    assert judgement.detail == "nothing found is faster in onnxruntime"
    assert judgement.real is not None and judgement.real.speedup == pytest.approx(speedup)


def test_measuring_can_be_left_out(problem: Problem, tmp_path: Path, timing: Any) -> None:
    raced = timing({1: 0.5})
    judgement = Judge(measure=False).deliver(found(problem), problem, tmp_path / "best.onnx")
    assert num_nodes(tmp_path / "best.onnx") == 1
    assert judgement.real is None
    assert not raced


def test_undecided_is_not_delivered(
    problem: Problem, tmp_path: Path, timing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    timing({1: 1.5})
    verdict = verify.Verdict("undecided", 0.0, 0.0, "nothing finite")
    monkeypatch.setattr(verify, "verify_file", lambda *args, **keywords: verdict)
    judgement = Judge().deliver(found(problem), problem, tmp_path / "best.onnx")
    assert (tmp_path / "best.onnx").read_bytes() == (tmp_path / "user.onnx").read_bytes()
    assert judgement.verdict is verdict
    assert judgement.detail == "not proven: nothing finite"


def test_what_cannot_be_run_nor_proven_says_why(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def race(*args: object, **keywords: object) -> None:
        raise RuntimeError("refused")

    monkeypatch.setattr(compare_module, "race", race)
    verdict = verify.Verdict("undecided", 0.0, 0.0, "nothing finite")
    monkeypatch.setattr(verify, "verify_file", lambda *args, **keywords: verdict)
    judgement = Judge().deliver(found(problem), problem, tmp_path / "best.onnx")
    assert (judgement.detail, judgement.real) == ("not proven: nothing finite", None)
    assert judgement.verdict is verdict


def test_inputs_that_cannot_be_drawn_are_no_fault_of_the_runtime(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw_feeds(*args: object) -> None:
        raise proof.CannotRun("nothing is finite")

    monkeypatch.setattr(proof, "draw_feeds", draw_feeds)
    judgement = Judge().deliver(found(problem), problem, tmp_path / "best.onnx")
    assert judgement.detail == "nothing is finite"


@pytest.fixture
def mixed_problem(problem: Problem) -> Problem:
    """Rules of which one is wrong on purpose, on tensors that both signs pass."""
    from xflowrl._engine import GraphBuilder, TensorType
    from xflowrl.weights import DrawnWeights

    builder = GraphBuilder("mixed")
    tensor = builder.add_input("x", TensorType("float32", [8, 8]))
    for index, op_type in enumerate(("Neg", "Neg", "Tanh", "Abs", "Abs", "Sigmoid", "Neg", "Neg")):
        (tensor,) = builder.add_node(op_type, [tensor], [f"t{index}"])
    builder.set_outputs([tensor])
    graph = builder.build()
    text = """(rules mixed)
(rule neg-neg (Neg (Neg ?x)) => ?x)
(rule wrong (Abs (Abs ?x)) => (Neg ?x))
"""
    model = replace(problem.model, graph=graph, weights=DrawnWeights(graph, 0), source=None)
    return replace(problem, model=model, rules=RuleSet.parse(text))


def test_a_wrong_rewrite_is_given_up_alone(mixed_problem: Problem, tmp_path: Path) -> None:
    judgement = Judge(measure=False).deliver(
        found(mixed_problem), mixed_problem, tmp_path / "best.onnx"
    )
    assert judgement.given_up == ("wrong",)
    assert [step.rule for step in judgement.steps] == ["neg-neg", "neg-neg"]
    assert judgement.verdict.equal
    operators = [node.op_type for node in onnx.load(tmp_path / "best.onnx").graph.node]
    assert operators == ["Tanh", "Abs", "Abs", "Sigmoid"]


def test_many_wrong_rewrites_are_given_up_together(problem: Problem, tmp_path: Path) -> None:
    from xflowrl._engine import GraphBuilder, TensorType
    from xflowrl.weights import DrawnWeights

    builder = GraphBuilder("many")
    tensor = builder.add_input("x", TensorType("float32", [8, 8]))
    for index, op_type in enumerate([*("Abs", "Tanh") * 12, "Neg", "Neg"]):
        (tensor,) = builder.add_node(op_type, [tensor], [f"t{index}"])
    builder.set_outputs([tensor])
    graph = builder.build()
    rules = RuleSet.parse(
        "(rules many) (rule neg-neg (Neg (Neg ?x)) => ?x)"
        "(rule wrong (Tanh (Abs ?x)) => (Sigmoid ?x))"
    )
    model = replace(problem.model, graph=graph, weights=DrawnWeights(graph, 0), source=None)
    many = replace(problem, model=model, rules=rules)
    steps = found(many).trace.steps
    proof = prove_steps(many, steps, tmp_path / "a.onnx", draws=1, seed=0)
    assert [step.rule for step in proof.steps] == ["neg-neg"]
    assert proof.given_up == ("wrong",) * 12
    assert proof.verdict.equal


def test_a_rewrite_that_needs_a_fixed_size_is_told_apart(problem: Problem, tmp_path: Path) -> None:
    text = """
        agraph (float[n, 4] x) => (float[n, 4] y) { a = Neg(x) b = Neg(a) y = Sigmoid(b) }"""
    graph = onnx.parser.parse_graph(text)
    imports = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=imports), tmp_path / "dynamic.onnx")
    rules = RuleSet.parse("""(rules mixed)
        (rule neg-neg (Neg (Neg ?x)) => ?x)
        (rule cut (Sigmoid ?x) => (Slice (Sigmoid ?x)
          :starts (list 0) :ends (list (dim ?x 0)) :axes (list 0) :steps (list 1)))""")
    mixed = replace(problem, model=load_onnx(tmp_path / "dynamic.onnx"), rules=rules)
    state, steps = mixed.unpriced_state(), list[Step]()
    for rule in ("cut", "neg-neg"):
        match = next(match for match in state.matches() if match.rule == rule)
        steps.append(Step(match.rule, tuple(match.tensors), 0.0))
        state = state.apply(match)
    proof = prove_steps(mixed, steps, tmp_path / "a.onnx", draws=1, seed=0)
    assert (proof.fixed, proof.given_up) == (("cut",), ())
    assert [step.rule for step in proof.steps] == ["neg-neg"]
    assert num_nodes(tmp_path / "a.onnx") == 1


def test_without_time_the_longest_proven_prefix_is_left(
    mixed_problem: Problem, tmp_path: Path
) -> None:
    steps = found(mixed_problem).trace.steps
    index = [step.rule for step in steps].index("wrong")
    proof = prove_steps(mixed_problem, steps, tmp_path / "a.onnx", draws=1, seed=0, deadline_s=0.0)
    assert proof.steps == steps[:index]
    assert proof.verdict.equal


def test_steps_that_need_the_given_up_one_are_left_out(problem: Problem, tmp_path: Path) -> None:
    steps = (Step("relu-of-relu", ("no", "such"), 0.0), *found(problem).trace.steps)
    proof = prove_steps(problem, steps, tmp_path / "a.onnx", draws=1, seed=0)
    assert proof.verdict.equal
    assert num_nodes(tmp_path / "a.onnx") == 1


def core_problem(tmp_path: Path) -> Problem:
    """Two convolutions of one input, each with a BatchNormalization, and a Concat of them."""
    from xflowrl.options import build_option, make_problems

    generator = np.random.default_rng(0)
    weights, nodes = [], []

    def weight(name: str, *shape: int) -> str:
        array = generator.uniform(0.5, 1.5, shape).astype(np.float32)
        weights.append(onnx.numpy_helper.from_array(array, name))
        return name

    for side in "ab":
        nodes.append(
            onnx.helper.make_node("Conv", ["x", weight(f"w{side}", 8, 8, 1, 1)], [f"c{side}"])
        )
        facts = [weight(f"{name}{side}", 8) for name in ("scale", "bias", "mean", "var")]
        nodes.append(
            onnx.helper.make_node("BatchNormalization", [f"c{side}", *facts], [f"n{side}"])
        )
        nodes.append(onnx.helper.make_node("Relu", [f"n{side}"], [f"r{side}"]))
    nodes.append(onnx.helper.make_node("Concat", ["ra", "rb"], ["y"], axis=1))
    make = onnx.helper.make_tensor_value_info
    x, y = make("x", 1, [1, 8, 16, 16]), make("y", 1, [1, 16, 16, 16])
    graph = onnx.helper.make_graph(nodes, "siblings", [x], [y], weights)
    opset = onnx.helper.make_opsetid("", 18)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), tmp_path / "m")
    (problem,) = make_problems(
        [load_onnx(tmp_path / "m")],
        build_option("rules", "core"),
        build_option("measurement", "hybrid", {"guide": "roofline"}),
        build_option("budget", "default"),
        seed=0,
    )
    return problem


def test_a_merge_that_does_not_pay_as_deployed_is_not_delivered(
    tmp_path: Path, timing: Any
) -> None:
    problem = core_problem(tmp_path)
    merged = found(problem)
    assert any("merge" in step.rule for step in merged.trace.steps)
    raced = timing({merged.num_nodes_best: 0.7, 2: 0.7, 3: 0.7, 5: 1.2})
    judgement = Judge().deliver(merged, problem, tmp_path / "best.onnx")
    assert 2 <= len(raced[0]) <= 3
    operators = [node.op_type for node in onnx.load(tmp_path / "best.onnx").graph.node]
    assert sorted(operators) == ["Concat", "Conv", "Conv", "Relu", "Relu"]
    assert judgement.real is not None and judgement.real.speedup == pytest.approx(1.2)
    assert not any("merge" in step.rule for step in judgement.steps)


def test_a_lucky_winner_is_not_delivered(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raced: list[list[Path]] = []

    def race(original: Path, files: list[Path], *args: Any, **keywords: Any) -> Any:
        raced.append(files)
        best = timed(0.5 if len(raced) == 1 else 1.01)
        return {
            file: RealMeasurement("cpu", "onnxruntime", timed(1.0), best, 0.02) for file in files
        }

    monkeypatch.setattr(compare_module, "race", race)
    judgement = Judge().deliver(found(problem), problem, tmp_path / "best.onnx")
    assert (tmp_path / "best.onnx").read_bytes() == (tmp_path / "user.onnx").read_bytes()
    assert judgement.kept_original
    assert judgement.real is not None and judgement.real.speedup == pytest.approx(1 / 1.01)
    assert [entry.speedup for entry in judgement.raced] == [2.0]
    assert not any(entry.is_delivered for entry in judgement.raced)


def test_the_second_is_delivered_where_the_first_was_lucky(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = core_problem(tmp_path)
    final: list[int] = []

    def race(original: Path, files: list[Path], *args: Any, **keywords: Any) -> Any:
        if len(files) == 1:
            final.append(num_nodes(files[0]))
        is_lucky = len(set(final)) == 1
        times = [timed(1.1 if is_lucky else 0.5 + 0.1 * place) for place in range(len(files))]
        return {
            file: RealMeasurement("cpu", "onnxruntime", timed(1.0), best, 0.02)
            for file, best in zip(files, times, strict=True)
        }

    monkeypatch.setattr(compare_module, "race", race)
    judgement = Judge().deliver(found(problem), problem, tmp_path / "best.onnx")
    assert not judgement.kept_original
    assert [entry.is_delivered for entry in judgement.raced][:2] == [False, True]
    assert num_nodes(tmp_path / "best.onnx") == final[-1] != final[0]


def test_all_that_raced_is_recorded(tmp_path: Path, timing: Any) -> None:
    problem = core_problem(tmp_path)
    merged = found(problem)
    timing({merged.num_nodes_best: 0.7, 2: 0.7, 3: 0.7, 5: 1.2})
    judgement = Judge().deliver(merged, problem, tmp_path / "best.onnx")
    winner, *others = judgement.raced
    assert (winner.is_delivered, winner.is_found) == (True, False)
    assert winner.speedup == pytest.approx(1.2)
    assert winner.num_steps == len(judgement.steps)
    assert "merges 0 of 1" in winner.takes
    (pick,) = [entry for entry in others if entry.is_found]
    assert pick.speedup == pytest.approx(0.7)
    assert pick.cost_ms == merged.cost_best_ms < winner.cost_ms


def test_the_objective_says_how_many_race(tmp_path: Path, timing: Any) -> None:
    from xflowrl.measurement import roofline

    problem = replace(core_problem(tmp_path), objective=roofline())
    merged = found(problem)
    raced = timing({merged.num_nodes_best: 0.7, 2: 0.7, 3: 0.7})
    judgement = Judge().deliver(merged, problem, tmp_path / "best.onnx")
    assert [len(files) for files in raced] == [1]
    assert judgement.kept_original


def test_equal_files_are_timed_once(
    problem: Problem, tmp_path: Path, timing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    raced, result = timing({1: 1.5, 2: 1.2}), found(problem)
    trace = replace(result.trace, steps=result.trace.steps[:2])
    model = problem.model.with_graph(replay(problem, trace).graph)
    all_of_it = Candidate(result.trace.steps, result.model, "", 0.0)
    fewer = Candidate(trace.steps, model, "", 0.0)
    made = [all_of_it, fewer, all_of_it]
    monkeypatch.setattr(judge, "diverse", lambda *args, **keywords: iter(made))
    Judge().deliver(result, problem, tmp_path / "best.onnx")
    assert [len(files) for files in raced] == [2, 1, 1, 1]  # and the winner in three processes
    assert num_nodes(tmp_path / "best.onnx") == 1


def test_a_stop_while_proving_leaves_nothing(
    problem: Problem, tmp_path: Path, timing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **keywords: Any) -> None:
        raise KeyboardInterrupt

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(verify, "verify_file", interrupted)
    timing({1: 1.5})
    with pytest.raises(KeyboardInterrupt):
        Judge().deliver(found(problem), problem, tmp_path / "best.onnx")
    assert sorted(tmp_path.iterdir()) == before


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


def test_files_race_in_eager_torch(problem: Problem, tmp_path: Path) -> None:
    judgement = Judge(runtime="torch", max_s=1.0).deliver(
        found(problem), problem, tmp_path / "best.onnx"
    )
    assert judgement.real is not None
    assert judgement.real.runtime == "torch"
    assert judgement.real.is_faster  # one relu for four


def test_what_torch_cannot_run_is_kept(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xflowrl.measurement.runtimes.onnx_to_torch.table import TABLE

    monkeypatch.delitem(TABLE, "Relu")
    judgement = Judge(runtime="torch").deliver(found(problem), problem, tmp_path / "best.onnx")
    assert (tmp_path / "best.onnx").read_bytes() == (tmp_path / "user.onnx").read_bytes()
    assert judgement.detail.startswith('torch cannot run it: node "relu0" (Relu): the operator')
