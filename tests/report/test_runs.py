"""Run folders found and read: what failed, what is half-written, what is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_runs import MakeRun

from xflowrl.report.runs import job_folders, read_runs


def test_runs_come_in_the_order_of_their_numbers(tmp_path: Path, make_run: MakeRun) -> None:
    for number in (10, 9, 1):
        make_run(tmp_path / "sweep" / str(number))
    runs = read_runs(job_folders([tmp_path / "sweep", tmp_path]))
    assert [run.name for run in runs] == ["1", "9", "10"], "each once"
    assert runs[0].options["agent.alpha"] == 1.05
    assert runs[0].choices["agent"] == "taso"
    assert not runs[0].failure


def test_of_two_sweeps_names_tell_which(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(tmp_path / "a" / "0")
    make_run(tmp_path / "b" / "0")
    runs = read_runs(job_folders([tmp_path / "b", tmp_path / "a"]))
    assert [run.name for run in runs] == ["b/0", "a/0"]


def test_runs_are_called_what_they_were_called_then(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(tmp_path / "a" / "0", name="taso-tiny-s0")
    make_run(tmp_path / "a" / "1", name="taso-tiny-s1")
    make_run(tmp_path / "b" / "0", name="taso-tiny-s0")
    runs = read_runs(job_folders([tmp_path]))
    named = ["taso-tiny-s0 (a/0)", "taso-tiny-s1", "taso-tiny-s0 (b/0)"]
    assert [run.name for run in runs] == named
    assert [run.place for run in runs] == ["a/0", "a/1", "b/0"]


def test_a_failed_job_says_why(tmp_path: Path, make_run: MakeRun) -> None:
    failed = make_run(tmp_path / "0")
    (failed / "result.json").unlink()
    log = "[now][xflowrl.run][INFO] graphs\n[now][xflowrl.run][ERROR] error: before it\n"
    log += '[now][xflowrl.cli.jobs][ERROR] error: no model "x"\nmore\n'
    (failed / "run.log").write_text(log)
    killed = make_run(tmp_path / "1")
    (killed / "result.json").unlink()
    (killed / "run.log").unlink()
    first, second = read_runs(job_folders([tmp_path]))
    assert first.record is second.record is None
    assert first.failure == 'no model "x"'
    assert first.choices["agent"] == "taso", "as Hydra wrote it"
    assert second.failure == "no result.json: it was killed, or is still running"


@pytest.mark.parametrize("text", ["", '{"schema": 2, "results": [', "[]", '{"schema": 99}', "\xff"])
def test_a_half_written_result_is_a_failed_run(
    text: str, tmp_path: Path, make_run: MakeRun
) -> None:
    make_run(tmp_path / "0")
    broken = make_run(tmp_path / "1")
    (broken / "result.json").write_text(text, encoding="latin-1")
    whole, half = read_runs(job_folders([tmp_path]))
    assert whole.record is not None
    assert half.record is None
    assert str(broken / "result.json") in half.failure
    assert "\n" not in half.failure


def test_a_cut_off_configuration_hides_no_result(tmp_path: Path, make_run: MakeRun) -> None:
    folder = make_run(tmp_path / "0")
    (folder / ".hydra" / "config.yaml").write_text("graph: {")
    (run,) = read_runs(job_folders([tmp_path]))
    assert run.record is not None
    assert run.options == {}


def test_other_verbs_are_no_runs_and_libraries_are_not_searched(
    tmp_path: Path, make_run: MakeRun
) -> None:
    make_run(tmp_path / "0")
    other = make_run(tmp_path / "complexity")
    (other / "result.json").rename(other / "complexity.json")
    make_run(tmp_path / "wandb" / "offline-run")
    jobs = job_folders([tmp_path])
    assert [job.name for job in jobs] == ["0", "complexity"]
    assert [run.name for run in read_runs(jobs)] == [f"{tmp_path.name}/0"]


def test_what_has_no_run_is_refused(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(tmp_path / "0")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match='empty" has no run folder in it: give a folder'):
        job_folders([tmp_path / "0", tmp_path / "empty"])
    with pytest.raises(ValueError, match='nothing" does not exist: give a folder'):
        job_folders([tmp_path / "nothing"])
