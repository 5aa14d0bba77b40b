"""What a sweep runs and what it says."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from xflowrl import run
from xflowrl.cli import jobs
from xflowrl.cli.naming import run_name
from xflowrl.cli.sweeps import (
    EndedJob,
    SayJob,
    as_choices,
    ended_jobs,
    jobs_of,
    time_left,
    write_plan,
)
from xflowrl.report.runs import read_runs

QUICK = ("graph=tiny", "measurement=roofline", "wandb.mode=disabled", "judge.measure=false")

Sweep = Callable[..., tuple[int, list[str], list[str]]]


@pytest.fixture
def sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Sweep:
    """A sweep in this process, into `sweep/`: exit code, lines of standard output and error."""

    def call(*arguments: str) -> tuple[int, list[str], list[str]]:
        monkeypatch.chdir(tmp_path)
        options = [*QUICK, "-m", "hydra.sweep.dir=sweep", *arguments]  # in any place
        monkeypatch.setattr(sys, "argv", ["xflowrl.run", *options])
        code = 0
        try:
            jobs.main(run.optimize)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return call


@pytest.mark.slow  # processes take some seconds to start
def test_trainings_by_two_processes_run_in_a_sweep(sweep: Sweep, tmp_path: Path) -> None:
    training = ("agent.trainer.devices=2", "agent.train_iterations=2")
    code, out, _ = sweep("agent=ppo", *training, "agent.num_samples=0,1")
    assert code == 0, out
    assert len(ended_jobs(tmp_path / "sweep")) == 2
    files = [tmp_path / "sweep" / job / "checkpoints" / "last.pt" for job in "01"]
    assert files[0].read_bytes() == files[1].read_bytes(), "the same training"


def options_of(folder: Path, group: str) -> list[str]:
    """What the jobs of a sweep give to a group, a text a job."""
    return [" ".join(o for o in job if o.startswith(group)) for job in jobs_of(folder)]


def test_an_option_goes_to_the_agents_that_have_it(sweep: Sweep, tmp_path: Path) -> None:
    code, out, _ = sweep("agent=taso,greedy", "agent.alpha=1,1.2", "seed=0,1")
    assert code == 0
    assert out[0] == "agent.alpha is left out of agent=greedy: 6 jobs, not 8"
    assert options_of(tmp_path / "sweep", "agent") == [
        *["agent=taso agent.alpha=1"] * 2,
        *["agent=taso agent.alpha=1.2"] * 2,
        *["agent=greedy"] * 2,
    ]
    assert [job.name for job in ended_jobs(tmp_path / "sweep")][::3] == [
        *("taso-tiny-i1000-s0-alpha1", "taso-tiny-i1000-s1-alpha1.2")
    ]


def test_one_value_goes_to_the_agents_that_have_it_too(sweep: Sweep, tmp_path: Path) -> None:
    code, out, _ = sweep("agent=beam,greedy", "agent.width=2")
    assert (code, out[0]) == (0, "agent.width is left out of agent=greedy")
    assert options_of(tmp_path / "sweep", "agent") == ["agent=beam agent.width=2", "agent=greedy"]


def test_a_presets_option_that_no_chosen_agent_has_is_left_out(
    sweep: Sweep, tmp_path: Path
) -> None:
    preset = ("experiment=finding_long", "graph=tiny", "hydra/launcher=basic")
    code, out, _ = sweep(*preset, "agent=greedy", "budget.max_iterations=2")
    assert (code, len(ended_jobs(tmp_path / "sweep"))) == (0, 1), out
    assert options_of(tmp_path / "sweep", "agent") == ["agent=greedy"]
    assert options_of(tmp_path / "sweep", "graph") == ["graph=tiny"]
    assert sweep(*preset, "agent=greedy", "agent.alpha=1,1.2")[0] == 1, "which was asked for"


def test_an_option_with_one_value_is_in_no_name() -> None:
    greedy, ppo = ["agent=greedy"], ["agent=ppo", "agent.train=false", "agent.seed=0"]
    siblings = [greedy, ppo, ["agent=ppo", "agent.train=false", "agent.seed=1"]]
    choices = {"agent": "ppo", "graph": "tiny"}
    assert run_name({"seed": 0}, choices, ppo, siblings) == "ppo-tiny-s0-seed0"
    assert run_name({"seed": 0}, choices, ppo) == "ppo-tiny-s0-trainfalse-seed0"


def test_options_of_a_swept_group_are_swept() -> None:
    given = ["-m", "agent=a,b", "agent.x=[1,2]", "agent.y=range(1,3)", "seed=3", "graph.bias=true"]
    assert as_choices(given) == [*given[:2], "agent.x=choice([1,2])", *given[3:]]
    preset = ["-m", "experiment=finding_long", "agent.seed=0", "budget.max_seconds=1"]
    assert as_choices(preset) == [*preset[:2], "agent.seed=choice(0)", preset[3]]
    chosen = [*preset, "agent=ppo"]
    assert as_choices(chosen) == chosen, "it goes to what is chosen"


def test_an_option_that_no_agent_has_is_refused(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("agent=taso,greedy", "agent.alhpa=1,2", "hydra.sweep.dir=new/sweep")[0] == 1
    assert not [*tmp_path.iterdir()], "nor a folder without jobs"
    (tmp_path / "sweep").mkdir()
    assert sweep("agent=taso,gredy")[0] == 1
    assert (tmp_path / "sweep").exists(), "which was there before"


def test_a_sweep_says_where_it_is_and_ends_with_a_table(sweep: Sweep, tmp_path: Path) -> None:
    code, out, err = sweep("agent=taso", "budget.max_iterations=3,5,7")
    assert (code, err) == (0, [])
    said = [line for line in out if line.startswith("job ")]
    assert said[0] == "job 1/3 taso-tiny-i3-s0"
    assert re.fullmatch(r"job 1/3 taso-tiny-i3-s0: 0\.0\d+ -> 0\.0\d+ ms, saved .*, equal", said[1])
    assert re.fullmatch(r"job 2/3 taso-tiny-i5-s0, ETA \d+ s", said[2])
    assert len(said) == 6
    table = out[out.index(said[-1]) + 1 :]
    assert table[0].strip() == "3 of 3 jobs"
    for budget in (3, 5, 7):
        assert sum(f"taso-tiny-i{budget}-s0" in line for line in table) == 1
    assert table[-1] == "sweep folder: sweep"


def test_the_table_says_what_failed_and_why(sweep: Sweep, tmp_path: Path) -> None:
    code, out, err = sweep("agent=greedy", "judge.draws=0,1")
    assert code == 1
    (line,) = err  # none of Hydra's
    assert line.startswith("job 1/2 greedy-tiny-i1000-s0-draws0: error: judge.draws is 0: give")
    failed, done = ended_jobs(tmp_path / "sweep")
    assert (failed.exit_code, failed.folder, done.exit_code, done.error) == (1, "0", 0, "")
    assert "judge.draws is 0" in failed.error
    assert any(line.strip() == "2 of 2 jobs, 1 failed" for line in out)
    assert "judge.draws is 0" in " ".join(out)
    assert "judge.draws is 0" in (tmp_path / "sweep" / "0" / "run.log").read_text()


def test_a_run_has_one_name_everywhere(sweep: Sweep, tmp_path: Path) -> None:
    options = ("agent.alpha=1.2", "judge.draws=0,1", "wandb.mode=offline")
    _, out, _ = sweep("agent=greedy,taso", *options)
    assert "compare: wandb leet sweep/wandb" in out
    names = [job.name for job in ended_jobs(tmp_path / "sweep")]
    assert len(set(names)) == 4
    folders = [tmp_path / "sweep" / number for number in "0123"]
    assert [run.name for run in read_runs(folders)] == names, "of those that failed too"
    assert [json.loads((f / "wandb.json").read_text())["name"] for f in folders] == names


def test_a_job_has_three_lines_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "0").mkdir()
    monkeypatch.setattr(logging.root, "handlers", [logging.StreamHandler(sys.stderr)])
    with pytest.raises(SystemExit), SayJob(tmp_path, tmp_path / "0", 0, "greedy"):
        for number in range(3):
            logging.warning("warning %d", number)
            logging.error("error: number %d", number)
        sys.exit(130)
    out, err = capsys.readouterr()
    assert out.splitlines() == ["job 1 greedy"]
    assert err.splitlines() == ["warning 0", "job 1 greedy: error: number 0 (and 2 more)"]
    (ended,) = ended_jobs(tmp_path)
    assert (ended.exit_code, ended.error) == (130, "error: number 0")


def ended(number: int, at: float) -> str:
    job = EndedJob(
        *(), job=number, name="", folder="", exit_code=0, error="", seconds=1.0, ended=at
    )
    return json.dumps(vars(job)) + "\n"


def test_the_time_left_is_that_of_the_jobs_that_ended(tmp_path: Path) -> None:
    plan = {"schema": 1, "began": 100.0, "jobs": [["seed=0"]] * 5}
    (tmp_path / "sweep.json").write_text(json.dumps(plan))
    assert time_left(tmp_path, 200.0) == ""
    lines = ended(0, 50.0) + ended(1, 150.0) + ended(1, 160.0) + ended(2, 200.0) + '{"job": 3, "na'
    (tmp_path / "jobs.jsonl").write_text(lines)
    assert [job.job for job in ended_jobs(tmp_path)] == [0, 1, 2]
    assert time_left(tmp_path, 150.0) == ", ETA 50 s"  # 50 s for 2, 1 is kept, and 2 are left
    assert time_left(tmp_path, 1300.0) == ", ETA 20 min"


def test_a_sweep_that_draws_its_jobs_says_how_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_plan(tmp_path, (), 30)
    (tmp_path / "6").mkdir()
    line = ended(5, time.time() + 10)
    (tmp_path / "jobs.jsonl").write_text(line)
    with SayJob(tmp_path, tmp_path / "6", 6, "taso"):
        pass
    assert re.fullmatch(r"job 7/30 taso, ETA \d+ s\n", capsys.readouterr().out)


def test_jobs_in_other_processes_are_jobs_of_the_sweep(sweep: Sweep, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    options = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "agent=greedy", "seed=0,1")
    code, out, _ = sweep(*options)
    assert code == 0
    assert any(line.strip() == "2 of 2 jobs" for line in out)
    names = ["greedy-tiny-i1000-s0", "greedy-tiny-i1000-s1"]
    assert [job.name for job in ended_jobs(tmp_path / "sweep")] == names
