"""From a command line to a run folder."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

# What a run needs least: a small graph with a known optimum, a price list, no W&B.
QUICK = ("graph=tiny", "measurement=roofline", "wandb.mode=disabled", "judge.max_s=0.1")

ENTRY_KEYS = {
    *("graph", "agent", "rules", "measurement", "seed", "cost_initial_ms", "cost_best_ms"),
    *("iterations", "candidates", "best_iteration", "best_seconds", "optimisation_s"),
    *("stop_reason", "num_nodes_initial", "num_nodes_best", "num_kernels_initial"),
    *(
        "num_unexpanded",
        "num_dropped",
        "num_kernels_best",
        "real",
        "verified",
        "kept_original",
        "best_onnx",
    ),
}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, in a process of its own."""
    command = [sys.executable, "-m", "xflowrl.run", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture
def run_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """The command line, in this process: returns exit code, standard output and error."""
    from xflowrl import run
    from xflowrl.cli import jobs

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["xflowrl.run", *arguments])
        code = 0
        try:
            jobs.main(run.optimize)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def make_tiny(path: Path) -> None:
    """Writes a model file."""
    from xflowrl.onnx_io import save_onnx
    from xflowrl.options import build_option

    save_onnx(build_option("graph", "tiny"), path)


def run_folders(folder: Path) -> list[Path]:
    """The run folders, in the order in which they were made."""
    folders = folder.glob("multirun/*/*/[0-9]*/")
    return sorted(folders, key=lambda path: (path.parent, int(path.name)))


def result_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return record


def processor_seconds() -> float:
    """What the processes started so far have used, however busy the machine is."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_run_leaves_a_complete_folder(tmp_path: Path) -> None:
    done = run(tmp_path, *QUICK, "agent=taso", "budget.max_iterations=50", "seed=3")
    assert done.returncode == 0, done.stderr
    assert "Results" in done.stdout
    (folder,) = run_folders(tmp_path)
    assert folder.name == "0"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *(".hydra", "best.onnx", "metrics.jsonl", "result.json", "run.log", "trace.json")
    }
    record = result_of(folder)
    assert record["schema"] == 2
    assert {"train_s", "peak_rss_mb", "versions", "git_commit", "overrides"} <= record.keys()
    (entry,) = record["results"]
    assert entry.keys() >= ENTRY_KEYS
    assert (entry["agent"], entry["rules"], entry["seed"]) == ("taso", "core", 3)
    assert entry["cost_best_ms"] < entry["cost_initial_ms"]
    assert entry["verified"]["status"] == "equal"
    for measured in entry["real"]:
        assert measured["initial_ms"].keys() == {"median", "q1", "q3"}
        assert (measured["decides"], measured["runtime"]) == (True, "onnxruntime")
    onnx.checker.check_model(str(folder / "best.onnx"), full_check=True)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["search/best_cost_ms"] == entry["cost_initial_ms"]
    assert rows[-1]["search/best_cost_ms"] == entry["cost_best_ms"]
    assert rows[-1]["step"] == entry["iterations"]


def test_trace_of_a_run_replays(run_here: Callable[..., Any], tmp_path: Path) -> None:
    from xflowrl.options import build_option
    from xflowrl.problem import Problem, replay
    from xflowrl.run_folder import read_traces

    assert run_here(*QUICK, "agent=greedy", "judge.measure=false")[0] == 0
    (folder,) = run_folders(tmp_path)
    (trace,) = read_traces(folder).values()
    problem = Problem(
        model=build_option("graph", "tiny"),
        rules=build_option("rules", "core"),
        objective=build_option("measurement", "roofline"),
    )
    entry = result_of(folder)["results"][0]
    assert replay(problem, trace).cost.ms == pytest.approx(entry["cost_best_ms"])


def test_same_seed_same_result(run_here: Callable[..., Any], tmp_path: Path) -> None:
    options = (*QUICK, "agent=random_search", "budget.max_iterations=30", "judge.measure=false")
    for _ in range(2):
        assert run_here(*options, "seed=5")[0] == 0
    first, second = (json.loads((f / "trace.json").read_text()) for f in run_folders(tmp_path))
    for record in (first, second):
        for improvement in record["traces"][0]["improvements"]:
            improvement.pop("seconds")
    assert first == second


def test_sweeps_make_a_folder_a_job(run_here: Callable[..., Any], tmp_path: Path) -> None:
    code, _, err = run_here(
        "-m", "agent=taso,greedy,random_search", "budget.max_iterations=1,5", *QUICK
    )
    assert code == 0, err
    folders = run_folders(tmp_path)
    assert [folder.name for folder in folders] == list("012345")
    entries = [result_of(folder)["results"][0] for folder in folders]
    assert [entry["agent"] for entry in entries] == [
        *("taso", "taso", "greedy", "greedy", "random_search", "random_search")
    ]
    assert all(entry["iterations"] <= (1, 5)[i % 2] for i, entry in enumerate(entries))


def test_a_failing_job_does_not_stop_the_others(
    run_here: Callable[..., Any], tmp_path: Path
) -> None:
    code, _, err = run_here("-m", "judge.draws=0,1", "agent=greedy", *QUICK)
    assert code == 1
    assert "judge.draws is 0: give at least 1" in err
    assert "Traceback" not in err
    bad, good = run_folders(tmp_path)
    assert not (bad / "result.json").exists()
    assert "judge.draws is 0" in (bad / "run.log").read_text()
    assert result_of(good)["results"][0]["verified"]["status"] == "equal"


def test_several_graphs_make_several_models(run_here: Callable[..., Any], tmp_path: Path) -> None:
    assert run_here(*QUICK, "agent=greedy", "judge.measure=false")[0] == 0
    (folder,) = run_folders(tmp_path)
    for name in ("a", "b"):
        (tmp_path / f"{name}.onnx").write_bytes((folder / "best.onnx").read_bytes())
    code, _, err = run_here(*QUICK[1:], "graph=onnx", "graph.paths=[a.onnx,b.onnx]", "agent=greedy")
    assert code == 0, err
    folder = run_folders(tmp_path)[-1]
    entries = result_of(folder)["results"]
    assert len({entry["graph"] for entry in entries}) == 2
    assert len({entry["best_onnx"] for entry in entries}) == 2
    for entry in entries:
        assert (folder / entry["best_onnx"]).is_file()
        assert entry["best_onnx"].startswith("best-")


def test_built_in_networks_are_graphs_of_one_run(
    run_here: Callable[..., Any], tmp_path: Path
) -> None:
    options = ("graph=networks", "graph.names=[squeezenet,tiny]", "agent=greedy")
    code, _, err = run_here(*QUICK[1:], *options, "judge.measure=false")
    assert code == 0, err
    (folder,) = run_folders(tmp_path)
    entries = result_of(folder)["results"]
    assert [entry["graph"] for entry in entries] == ["squeezenet", "tiny"]
    assert all(entry["cost_best_ms"] < entry["cost_initial_ms"] for entry in entries)
    assert {path.name for path in folder.glob("*.onnx")} == {
        *("best-squeezenet.onnx", "best-tiny.onnx")
    }


def test_networks_are_those_of_their_options() -> None:
    from xflowrl.options import build_option, networks

    models = networks(names=["random", "nasbench_3x3"], seed=3)
    for model, name in zip(models, ("random", "nasbench_3x3"), strict=True):
        alone = build_option("graph", name, seed=3)
        assert model.graph.hash == alone.graph.hash
    assert models[0].graph.hash != networks(names=["random"], seed=4)[0].graph.hash


def test_one_policy_is_trained_on_all_networks(
    run_here: Callable[..., Any], tmp_path: Path
) -> None:
    training = ("agent=ppo", "agent.train_iterations=1", "agent.learning.num_steps=8")
    names = "graph.names=[tiny,squeezenet]"
    code, _, err = run_here(
        *QUICK[1:], "graph=networks", names, *training, "agent.num_samples=0", "judge.measure=false"
    )
    assert code == 0, err
    (folder,) = run_folders(tmp_path)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (trained,) = (row for row in rows if "train/iteration" in row)
    assert {"train/tiny/best_cost_ms", "train/squeezenet/best_cost_ms"} <= trained.keys()
    assert [path.name for path in (folder / "checkpoints").glob("last.pt")] == ["last.pt"]


def test_best_onnx_computes_the_original(run_here: Callable[..., Any], tmp_path: Path) -> None:
    from xflowrl.onnx_io import export_onnx
    from xflowrl.options import build_option

    assert run_here(*QUICK, "agent=taso", "agent.alpha=1.5", "judge.measure=false")[0] == 0
    (folder,) = run_folders(tmp_path)
    original = build_option("graph", "tiny")
    generator = np.random.default_rng(0)
    feeds = {
        name: generator.standard_normal(original.graph.tensor_type(name).shape).astype("float32")
        for name in original.graph.inputs
    }
    outputs = []
    for model in (export_onnx(original).SerializeToString(), str(folder / "best.onnx")):
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        outputs.append(session.run(None, feeds))
    for before, after in zip(*outputs, strict=True):
        # float32 sums in another order: a few units in the last place of the largest value
        np.testing.assert_allclose(after, before, atol=1e-4 * np.abs(before).max(), rtol=0)


def test_of_an_unequal_result_the_original_is_delivered(
    run_here: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xflowrl import verify

    make_tiny(tmp_path / "my.onnx")
    verdict = verify.Verdict("different", max_abs_error=1.0, max_rel_error=1.0, detail="output y")
    monkeypatch.setattr(verify, "verify_file", lambda *args, **keywords: verdict)
    untimed = (*QUICK[1:], "judge.measure=false")
    assert run_here(*untimed, "graph=onnx", "graph.path=my.onnx", "agent=greedy")[0] == 0
    (folder,) = run_folders(tmp_path)
    assert (folder / "best.onnx").read_bytes() == (tmp_path / "my.onnx").read_bytes()
    (entry,) = result_of(folder)["results"]
    assert (entry["best_onnx"], entry["kept_original"]) == ("best.onnx", True)
    assert entry["verified"]["status"] == "different"
    assert entry["detail"] == "not proven equal: output y"


def test_a_bad_file_does_not_stop_the_others(run_here: Callable[..., Any], tmp_path: Path) -> None:
    make_tiny(tmp_path / "good.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    paths = "graph.paths=[bad.onnx,good.onnx]"
    code, _, err = run_here(*QUICK[1:], "graph=onnx", paths, "agent=greedy")
    assert code == 1
    (line,) = err.splitlines()
    assert line.startswith('error: model "bad.onnx" is not an ONNX file')
    (folder,) = run_folders(tmp_path)
    assert (folder / "best.onnx").is_file()
    assert len(result_of(folder)["results"]) == 1


def test_where_nothing_matches_the_file_is_copied(
    run_here: Callable[..., Any], tmp_path: Path
) -> None:
    make_tiny(tmp_path / "my.onnx")
    (tmp_path / "my.rules").write_text("(rules my)\n(rule r (Neg (Neg ?x)) => ?x)\n")
    rules = ("rules=file", "rules.path=my.rules")
    assert run_here(*QUICK[1:], "graph=onnx", "graph.path=my.onnx", *rules)[0] == 0
    (folder,) = run_folders(tmp_path)
    assert (folder / "best.onnx").read_bytes() == (tmp_path / "my.onnx").read_bytes()
    (entry,) = result_of(folder)["results"]
    assert (entry["kept_original"], entry["verified"]["status"]) == (True, "equal")


def test_experiments_are_differences(tmp_path: Path) -> None:
    done = run(tmp_path, "experiment=compare_agents", "--cfg", "all")
    assert done.returncode == 0, done.stderr
    assert "_target_: xflowrl.measurement.roofline" in done.stdout
    assert "agent: taso,greedy,random_search" in done.stdout


def test_help_and_config_answer_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    for flags, said in (
        (["--help"], "budget.max_iterations=1000"),
        (["--cfg", "job"], "max_iterations: 1000"),
    ):
        began_s = processor_seconds()
        done = run(tmp_path, *flags)
        assert done.returncode == 0
        assert said in done.stdout
        assert processor_seconds() - began_s < 1.0
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "hydra" in imported
        assert not imported & {"numpy", "onnx", "onnxruntime", "torch", "lightning", "wandb"}
    assert not any(tmp_path.iterdir())


def test_models_of_a_run_have_files_of_their_own() -> None:
    from xflowrl.run import model_files

    assert model_files(["a/b"]) == ["best.onnx"]
    long = "x" * 120
    names = ["a/b", "a_b", "A_B", long + "1", long + "2"]
    files = model_files(names)
    assert files[:3] == ["best-a_b.onnx", "best-a_b-2.onnx", "best-A_B-3.onnx"]
    assert len({file.lower() for file in files}) == len(names)


def test_a_tag_is_no_longer_than_weights_and_biases_takes(tmp_path: Path) -> None:
    from xflowrl.cli.interrupts import Interrupts
    from xflowrl.cli.jobs import Job
    from xflowrl.cli.resume import CommandLine
    from xflowrl.run import label

    choices = {"agent": "greedy", "graph": "onnx", "rules": "core", "measurement": "roofline"}
    job = Job(
        config={"graph": {"path": f"{'l' * 100}.onnx"}},
        choices=choices,
        overrides=[],
        folder=tmp_path,
        interrupts=Interrupts(),
        line=CommandLine([]),
    )
    assert label(job).tags == ["l" * 64, "core", "roofline"]
