"""`resume=FOLDER` on the command line: runs and sweeps that were killed come to the same end."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import pickle
import signal
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pytest

from xflowrl.cli.naming import read_name
from xflowrl.cli.resume import claimed, repeated, resumed
from xflowrl.cli.sweeps import ended_jobs
from xflowrl.options import conf_folder
from xflowrl.rerun import differing
from xflowrl.run import command
from xflowrl.run_folder import read_metrics, read_result, read_traces

REPOSITORY = Path(__file__).resolve().parent.parent.parent

QUICK = (
    *("measurement=roofline", "wandb.mode=disabled", "judge.measure=false", "judge.draws=1"),
    "budget.max_iterations=30",
)
COMMAND = (
    "from xflowrl import run; from xflowrl.cli import jobs, resume; "
    "jobs.main(run.optimize, resume.resumed)"
)

# Ends as a kill does, where a function is called for the nth time.
KILLED = """
import os, signal
from {module} import {name} as owner
original, calls = owner.{function}, 0
def killing(*args, **keywords):
    global calls
    calls += 1
    if calls == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **keywords)
owner.{function} = killing
"""


def run(folder: Path, *arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """The command line; in a process of its own if some code goes before."""
    if not before:
        return run_here(folder, *arguments)
    command = [sys.executable, "-c", f"{before}\n{COMMAND}", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def run_here(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    from xflowrl.cli import jobs
    from xflowrl.run import optimize

    code, out, err = 0, StringIO(), StringIO()
    argv = patch("sys.argv", ["xflowrl.run", *arguments])
    with chdir(folder), redirect_stdout(out), redirect_stderr(err), argv:
        try:
            jobs.main(optimize, resumed)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
            err.write(f"{end.code}\n" if isinstance(end.code, str) else "")
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def killed_at(place: tuple[str, str, str], call: int) -> str:
    module, name, function = place
    return KILLED.format(module=module, name=name, function=function, call=call)


SEARCHING = ("xflowrl.agents.attempt", "Attempt", "ranked")
JUDGING = ("xflowrl.judge", "Judge", "deliver")
TRACKING = ("xflowrl.tracking.tracker", "Tracker", "finish")


@pytest.mark.parametrize(
    ("place", "call"), [(SEARCHING, 5), (JUDGING, 2), (TRACKING, 1)], ids=lambda value: str(value)
)
def test_a_killed_run_comes_to_the_same(
    tmp_path: Path, place: tuple[str, str, str], call: int
) -> None:
    options = ("graph=networks", "graph.names=[squeezenet,nasrnn]", "agent=greedy", *QUICK)
    whole = run(tmp_path, *options, "hydra.run.dir=whole")
    assert whole.returncode == 0, whole.stderr
    kill = killed_at(place, call)
    killed = run(tmp_path, *options, "hydra.run.dir=killed", before=kill)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = run(tmp_path, "resume=killed")
    assert (again.returncode, again.stderr) == (0, "")
    assert [*differing(tmp_path / "whole", tmp_path / "killed")] == []
    rows = [
        [(*row, row["step"]) for row in read_metrics(tmp_path / f)] for f in ("whole", "killed")
    ]
    assert rows[0] == rows[1]
    for model in (tmp_path / "whole").glob("*.onnx"):
        assert (tmp_path / "killed" / model.name).read_bytes() == model.read_bytes()
    assert read_result(tmp_path / "killed").finished
    once_more = run(tmp_path, "resume=killed")
    assert (once_more.returncode, once_more.stdout) == (0, "run folder: killed (finished before)\n")


def test_what_is_deferred_is_judged_when_the_run_is_resumed(tmp_path: Path) -> None:
    options = ("graph=networks", "graph.names=[squeezenet,nasrnn]", "agent=random_search", *QUICK)
    run(tmp_path, *options, "hydra.run.dir=whole")
    done = run(tmp_path, *options, "hydra.run.dir=later", "judge.when=deferred")
    assert done.returncode == 0, done.stderr
    assert "judge it: python -m xflowrl.run resume=later" in done.stdout
    record = read_result(tmp_path / "later")
    assert not record.finished
    assert not any(entry.best_onnx or entry.is_final for entry in record.results)
    assert all(entry.optimisation_s > 0 for entry in record.results)
    killed = run(tmp_path, "resume=later", before=killed_at(JUDGING, 2))  # the second of two
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    no_search = "from xflowrl.agents.attempt import Attempt\nAttempt.matches = None"
    again = run(tmp_path, "resume=later", before=no_search)
    assert again.returncode == 0, again.stderr
    assert [*differing(tmp_path / "whole", tmp_path / "later")] == []
    for model in (tmp_path / "whole").glob("*.onnx"):
        assert (tmp_path / "later" / model.name).read_bytes() == model.read_bytes()


def test_what_is_never_judged_is_finished_and_delivers_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, "graph=tiny", "judge.when=never", *QUICK, "hydra.run.dir=a")
    assert (done.returncode, done.stderr) == (0, "")
    record = read_result(tmp_path / "a")
    assert record.finished
    assert all(entry.is_final and entry.best_onnx is None for entry in record.results)
    assert record.results[0].verified.detail == "not judged (judge.when=never)"
    assert not [*(tmp_path / "a").glob("*.onnx")]
    again = run(tmp_path, "resume=a")
    assert again.stdout == "run folder: a (finished before)\n"


def test_a_sweep_is_judged_in_one_pass(tmp_path: Path) -> None:
    options = ("-m", "graph=tiny", "agent=greedy,taso", "judge.when=deferred", *QUICK)
    assert run(tmp_path, *options, "hydra.sweep.dir=s").returncode == 0
    jobs = [tmp_path / "s" / number for number in "01"]
    assert not any((job / "best.onnx").exists() for job in jobs)
    assert run(tmp_path, "resume=s").returncode == 0
    assert all(read_result(job).finished and (job / "best.onnx").exists() for job in jobs)


def test_what_was_judged_is_kept(tmp_path: Path) -> None:
    options = ("graph=networks", "graph.names=[tiny,squeezenet]", "agent=greedy", *QUICK)
    run(tmp_path, *options, "hydra.run.dir=a", before=killed_at(JUDGING, 2))
    assert [entry.is_final for entry in read_result(tmp_path / "a").results] == [True, False]
    made = (tmp_path / "a" / "best-tiny.onnx").stat().st_ino
    assert run(tmp_path, "resume=a").returncode == 0
    assert (tmp_path / "a" / "best-tiny.onnx").stat().st_ino == made
    assert all(entry.is_final for entry in read_result(tmp_path / "a").results)


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    options = ("graph=squeezenet", "agent=greedy", *QUICK)
    interrupt = killed_at(SEARCHING, 4).replace("SIGKILL", "SIGINT")
    done = run(tmp_path, *options, "hydra.run.dir=a", before=interrupt)
    assert done.returncode == 130
    record = read_result(tmp_path / "a")
    assert (record.finished, record.results[0].stop_reason) == (False, "interrupted")
    assert run(tmp_path, "resume=a").returncode == 0
    run(tmp_path, *options, "hydra.run.dir=whole")
    assert read_traces(tmp_path / "a") == read_traces(tmp_path / "whole")
    record = read_result(tmp_path / "a")
    assert (record.finished, record.results[0].stop_reason) == (True, "iterations")


def test_the_defaults_of_the_run_are_kept(tmp_path: Path) -> None:
    options = ("graph=tiny", "agent=greedy", *QUICK)
    run(tmp_path, *options, "hydra.run.dir=a", before=killed_at(SEARCHING, 1))
    config = tmp_path / "a" / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("max_iterations: 30", "max_iterations: 1"))
    assert run(tmp_path, "resume=a").returncode == 0
    assert read_result(tmp_path / "a").results[0].iterations == 1


def test_a_sweep_keeps_continues_and_starts(tmp_path: Path) -> None:
    sweep = ("-m", "graph=tiny", "agent=greedy,beam,taso", *QUICK, "hydra.sweep.dir=s")
    killed = run(tmp_path, *sweep, before=killed_at(TRACKING, 2))
    assert killed.returncode == -signal.SIGKILL
    folders = [tmp_path / "s" / str(number) for number in range(3)]
    assert [(folder / "result.json").exists() for folder in folders] == [True, True, False]
    made = (folders[0] / "result.json").stat().st_mtime_ns
    (kept,) = ended_jobs(tmp_path / "s")
    done = run(tmp_path, "resume=s")
    assert done.returncode == 0, done.stderr
    assert (folders[0] / "result.json").stat().st_mtime_ns == made
    lines = (tmp_path / "s" / "jobs.jsonl").read_text().splitlines()
    assert [json.loads(line)["job"] for line in lines] == [0, 1, 2]
    assert ended_jobs(tmp_path / "s")[0] == kept
    assert [read_result(folder).finished for folder in folders] == [True] * 3
    agents = [read_result(folder).results[0].agent for folder in folders]
    assert agents == ["greedy", "beam", "taso"]


def test_missing_jobs_have_the_defaults_that_the_sweep_began_with(tmp_path: Path) -> None:
    sweep = ("-m", "graph=tiny", "agent=greedy,taso", *QUICK, "hydra.sweep.dir=s")
    run(tmp_path, *sweep, before=killed_at(TRACKING, 1))
    for file in conf_folder().rglob("*.yaml"):
        kept = tmp_path / "s" / ".conf" / file.relative_to(conf_folder())
        assert kept.read_bytes() == file.read_bytes()
    option = tmp_path / "s" / ".conf" / "agent" / "taso.yaml"
    option.write_text(option.read_text().replace("alpha: 1.05", "alpha: 1.5"))
    for _ in range(2):
        assert run(tmp_path, "resume=s").returncode == 0
        assert "alpha: 1.5" in (tmp_path / "s" / "1" / ".hydra" / "config.yaml").read_text()
    option.write_text("")
    assert run(tmp_path, *sweep).returncode == 0, "one that is begun there again has today's"
    assert "alpha: 1.05" in (tmp_path / "s" / "1" / ".hydra" / "config.yaml").read_text()


def test_the_command_with_completion_resumes_too(tmp_path: Path) -> None:
    refused = pytest.raises(SystemExit, match="there is no such folder")
    with chdir(tmp_path), patch.object(sys, "argv", ["xflowrl-run", "resume=none"]), refused:
        command()


def test_a_job_of_a_sweep_with_other_options_starts_anew(tmp_path: Path) -> None:
    sweep = ("-m", "graph=tiny", "agent=greedy", "seed=1,2", *QUICK, "hydra.sweep.dir=s")
    assert run(tmp_path, *sweep).returncode == 0
    lock = tmp_path / "s" / "1" / ".hydra" / "lock"
    lock.write_text(json.dumps({"overrides": ["seed=7"]}))
    kept, other = (tmp_path / "s" / number / "trace.json" for number in "01")
    made = [path.stat().st_ino for path in (kept, other)]
    assert run(tmp_path, "resume=s").returncode == 0
    assert kept.stat().st_ino == made[0]
    assert other.stat().st_ino != made[1]


def test_a_job_of_a_preset_sweep_is_a_run(tmp_path: Path) -> None:
    sweep = ("-m", "graph=tiny", "agent=greedy,beam", *QUICK, "hydra.sweep.dir=s")
    run(tmp_path, *sweep, before=killed_at(SEARCHING, 1))
    name = read_name(tmp_path / "s" / "0")
    assert run(tmp_path, "resume=s/0").returncode == 0
    assert read_name(tmp_path / "s" / "0") == name == "greedy-tiny-i30-s0"
    assert read_result(tmp_path / "s" / "0").finished
    assert not (tmp_path / "s" / "1").exists()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    run(tmp_path, "graph=tiny", "agent=greedy", *QUICK, "hydra.run.dir=a")
    (tmp_path / "a" / "result.json").unlink()
    recorded = (tmp_path / "a" / ".hydra" / "config.yaml").read_text()
    message = f"error: {tmp_path}/a: process {os.getpid()} works there; wait until it has ended"
    for again in (["resume=a"], ["graph=tiny", "agent=beam", *QUICK, "hydra.run.dir=a"]):
        with claimed(tmp_path / "a", []):
            done = run(tmp_path, *again)
        assert done.returncode == 1
        assert done.stderr.startswith(message)
        assert not (tmp_path / "a" / "result.json").exists()
        assert (tmp_path / "a" / ".hydra" / "config.yaml").read_text() == recorded
    run(tmp_path, "-m", "graph=tiny", "agent=greedy", *QUICK, "hydra.sweep.dir=s")
    with claimed(tmp_path / "s", [], file=".lock"):
        done = run(tmp_path, "resume=s")
    assert (done.returncode, "works there" in done.stderr) == (1, True)


def test_where_nothing_can_be_locked_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def flock(file: object, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with claimed(tmp_path, []) as is_same:
        assert is_same
    assert "cannot be locked: No locks available; let no other process in" in caplog.text


def test_the_claim_to_a_sweep_is_no_part_of_what_launchers_pickle(tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    from xflowrl.cli.jobs import RefuseBadConfig

    known = {"sweep": {"dir": str(tmp_path)}, "sweeper": {}, "runtime": {"config_sources": []}}
    callback, config = RefuseBadConfig(), OmegaConf.create({"hydra": known})
    callback.on_multirun_start(config)
    pickle.loads(pickle.dumps(callback))
    with pytest.raises(ValueError, match="works there"), claimed(tmp_path, [], file=".lock"):
        pass
    callback.on_multirun_end(config)
    with claimed(tmp_path, [], file=".lock"):
        pass


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from xflowrl.cli.resume import claimed
with claimed(Path({str(tmp_path)!r}), ["seed=1"]):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    with claimed(tmp_path, ["seed=1"]) as is_same:
        assert is_same
    with claimed(tmp_path, ["seed=2"]) as is_same:
        assert not is_same


@pytest.mark.parametrize("option", ["seed=3", "agent=taso", "hydra.run.dir=b", "+budget.x=1"])
def test_other_options_are_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(ValueError, match=r"resume=.* has its own options, so leave this one out"):
        resumed([f"resume={tmp_path}", option])


def test_what_cannot_matter_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(tmp_path, "-m", "graph=tiny", "agent=greedy", *QUICK, "hydra.sweep.dir=s")
    line = resumed(["-m", "resume=s", "wandb.mode=disabled", "hydra.verbose=true"])
    assert line.is_resumed
    assert line.arguments[-2:] == ["wandb.mode=disabled", "hydra.verbose=true"]
    assert "-m" not in line.arguments
    assert [a for a in line.arguments if a.startswith("hydra.sweep.dir")] == [
        f'hydra.sweep.dir="{tmp_path}/s"'
    ]


def test_paths_mean_what_they_did(tmp_path: Path) -> None:
    from xflowrl.onnx_io import save_onnx
    from xflowrl.options import build_option

    save_onnx(build_option("graph", "tiny"), tmp_path / "tiny.onnx")
    options = ("graph=onnx", "graph.path=tiny.onnx", "agent=greedy", *QUICK)
    run(tmp_path, *options, "hydra.run.dir=a", before=killed_at(SEARCHING, 1))
    (tmp_path / "elsewhere").mkdir()
    assert run(tmp_path / "elsewhere", "resume=../a").returncode == 0
    assert read_result(tmp_path / "a").finished


def damaged(folder: Path, what: str) -> None:
    """A run folder in which something is not as it was."""
    (folder / ".hydra").mkdir(parents=True)
    hydra = "hydra: {overrides: {task: [graph=tiny], hydra: []}, runtime: {cwd: /}}"
    (folder / ".hydra" / "hydra.yaml").write_text(hydra if what != "hydra.yaml" else hydra[:20])
    config = "graph: {_target_: xflowrl.graphs.tiny.tiny"
    (folder / ".hydra" / "config.yaml").write_text(config)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("missing", "there is no such folder; give that of a run"),
        (
            "empty",
            "has no .hydra/, so it is not the folder of a run; give that of one, or to resume=",
        ),
        ("hydra.yaml", "is not what Hydra writes: the process was ended before anything was begun"),
        ("config.yaml", "is no configuration of a run: start it again"),
        ("result.json", "is no result.json of a run"),
    ],
)
def test_what_is_no_run_is_one_line(tmp_path: Path, what: str, message: str) -> None:
    folder = tmp_path / "a"
    if what == "empty":
        folder.mkdir()
    elif what == "result.json":
        run(tmp_path, "graph=tiny", "agent=greedy", *QUICK, "hydra.run.dir=a")
        text = (folder / "result.json").read_text()
        (folder / "result.json").write_text(text[: len(text) // 2])
    elif what != "missing":
        damaged(folder, what)
    done = run(tmp_path, "resume=a")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert message in done.stderr


def test_other_code_is_not_run(tmp_path: Path) -> None:
    damaged(tmp_path / "a", "")
    evil = "hydra: {overrides: {task: ['hydra.job_logging.x._target_=os.system'], hydra: []}"
    (tmp_path / "a" / ".hydra" / "hydra.yaml").write_text(evil + ", runtime: {cwd: /}}")
    done = run(tmp_path, "resume=a")
    assert "names other code, which is not run" in done.stderr


def test_other_verbs_do_not_resume(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "xflowrl.calibrate", "resume=a"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: resume=a: python -m xflowrl.run alone can resume\n"


def test_a_full_disk_while_resuming_is_one_line(tmp_path: Path) -> None:
    options = ("graph=squeezenet", "agent=greedy", *QUICK)
    run(tmp_path, *options, "hydra.run.dir=a", before=killed_at(SEARCHING, 9))
    size = (tmp_path / "a" / "metrics.jsonl").stat().st_size
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"
    done = run(tmp_path, "resume=a", before=limit)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "File too large" in done.stderr and "free some space" in done.stderr
    assert run(tmp_path, "resume=a").returncode == 0  # there is space again
    steps = [row["step"] for row in read_metrics(tmp_path / "a")]
    assert steps == sorted({*steps})
    assert read_result(tmp_path / "a").finished


def test_a_run_once_more_is_the_same(tmp_path: Path) -> None:
    options = ("graph=squeezenet", "agent=taso", *QUICK)
    assert run(tmp_path, *options, "hydra.run.dir=a").returncode == 0

    def rerun(name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "xflowrl.rerun", "a", f"hydra.run.dir={name}"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = rerun("b")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"{tmp_path}/a again, in {tmp_path}/b: no differences\n")
    record = json.loads((tmp_path / "a" / "result.json").read_text())
    record["results"][0]["cost_best_ms"] *= 2
    record["versions"]["numpy"] = "0.1"
    (tmp_path / "a" / "result.json").write_text(json.dumps(record))
    trace = (tmp_path / "a" / "trace.json").read_text().replace('"rule": "', '"rule": "no-', 1)
    (tmp_path / "a" / "trace.json").write_text(trace)
    done = rerun("c")
    assert done.returncode == 1
    assert "version: numpy was 0.1 and is " in done.stdout
    assert "squeezenet: cost_best_ms was " in done.stdout
    assert "squeezenet: trace.json has other steps\n" in done.stdout
    assert done.stdout.endswith(": 2 differences\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give the folder of a run: python -m xflowrl.rerun FOLDER"),
        (["missing"], "there is no such folder"),
        (["."], r"has no \.hydra/"),
        ([".", "seed=1"], "the run has its own options"),
    ],
)
def test_what_cannot_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        repeated(arguments)


def kills(*arguments: str) -> int:
    """The script that kills at random moments."""
    path = REPOSITORY / "scripts" / "kill_and_resume.py"
    spec = importlib.util.spec_from_file_location("kill_and_resume", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    code: int = module.main(arguments)
    return code


def test_runs_that_are_killed_at_random_come_to_the_same() -> None:
    assert kills("--kills", "1", "--kinds", "judge") == 0


@pytest.mark.slow
def test_many_runs_that_are_killed_at_random_come_to_the_same() -> None:
    assert kills("--kills", "20", "--seed", "1") == 0
